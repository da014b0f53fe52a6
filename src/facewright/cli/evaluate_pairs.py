"""Pairs of faces for `facewright evaluate verification`: lists, `.bin` files, folders, embeddings, groups."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from facewright.cli.console import Progress, progress_bar
from facewright.cli.evaluate_inputs import read_same_encoder
from facewright.errors import DataError, InputError

if TYPE_CHECKING:
    import numpy as np

    from facewright.encoders import Encoder
    from facewright.evaluation import FacePairs


@dataclass(frozen=True)
class PairSource:
    """Where the faces of a list of pairs are."""

    images: Path | None  # folder or tar of crops
    root: Path | None  # folder of the benchmarks
    manifest: Path | None  # of the images
    embeddings: Path | None  # instead of crops
    missing: str  # "refuse" or "reject": images that the embeddings lack


@dataclass(frozen=True, eq=False)
class PairFeatures:
    """The embeddings of the images of a list."""

    embeddings: "np.ndarray"  # (N, D)
    found: "np.ndarray | None"  # (N,) bool, which images have one; None: all
    mirrored: bool  # of image and mirror together


def open_pairs(given: str, source: PairSource) -> "FacePairs":
    """A list of pairs with its crops, or without where embeddings take their place."""
    path = Path(given)
    if source.embeddings is not None:
        if not path.is_file():
            raise InputError(f"{given}: no such list of pairs; --embeddings takes one in the form of LFW's pairs.txt")
        return _listed(path)
    with progress_bar("reading crops") as progress:
        return _open(given, source, progress)


def read_features(faces: "FacePairs", source: PairSource, network: "Encoder", *, mirror: bool) -> PairFeatures:
    """Embed the images of a list, or look them up."""
    from facewright.evaluation import embed_pairs

    if source.embeddings is not None:
        return _from_embeddings(faces, source.embeddings, source.missing, network)
    with progress_bar(f"embedding {faces.name}") as progress:
        rows = embed_pairs(faces, lambda crops: network.embed(crops, mirror=mirror), progress=progress)
    return PairFeatures(rows, None, mirror)


def _from_embeddings(faces: "FacePairs", path: Path, missing: str, network: "Encoder") -> PairFeatures:
    import numpy as np

    read = read_same_encoder(path, network)
    places = {Path(name).stem: place for place, name in enumerate(read.names)}
    rows = [places.get(name) for name in faces.images]
    absent = [name for name, row in zip(faces.images, rows, strict=True) if row is None]
    if absent and missing == "refuse":
        raise DataError(
            f"{path}: lacks {len(absent)} of {len(rows)} images, the first is {absent[0]}; embed them, or count their"
            " pairs as rejected with --missing reject"
        )
    found = np.array([row is not None for row in rows])
    return PairFeatures(read.embeddings[[row or 0 for row in rows]], found, bool(read.provenance.get("mirror")))


def _open(given: str, source: PairSource, progress: Progress) -> "FacePairs":
    from facewright.data.pairs import read_crops
    from facewright.evaluation import (
        BENCHMARKS,
        find_benchmark,
        known_benchmarks,
        read_bin_pairs,
        read_folder_pairs,
    )

    path, images = Path(given), source.images
    if given in BENCHMARKS and not path.exists():
        if source.root is None:
            raise InputError(f"{given} is a benchmark by name; say with --root where {given}.bin or its folder is")
        return find_benchmark(given, source.root)
    if not path.exists():
        raise InputError(
            f"{given}: no such list, .bin file or folder, nor a benchmark's name.{known_benchmarks(given)}"
        )
    if path.suffix == ".bin":
        return read_bin_pairs(path)
    if path.is_dir():
        return read_folder_pairs(path)
    if images is None:
        raise InputError(f"{path}: give the crops that the list names with --images")
    if images.is_dir() and source.manifest is None and not _is_lfw(path):
        return read_folder_pairs(images, pairs=path)
    listed = _listed(path)
    crops = read_crops(
        images, [_image_name(name) for name in listed.images], manifest=source.manifest, progress=progress
    )
    return replace(listed, load=crops.__getitem__)


def _listed(path: Path) -> "FacePairs":
    """A list in LFW's form, its crops not read."""
    from facewright.data.pairs import read_pairs
    from facewright.evaluation import FacePairs

    listed = read_pairs(path)
    names = tuple(f"{person}_{number:04d}" for person, number in listed.images)
    people = tuple(person for person, _ in listed.images)

    def unread(number: int) -> "np.ndarray":
        raise AssertionError(f"the crop of image {number} was not asked for")

    return FacePairs(path.stem, names, unread, listed.first, listed.second, listed.issame, listed.folds, people)


def _image_name(name: str) -> tuple[str, int]:
    person, _, number = name.rpartition("_")
    return person, int(number)


def _is_lfw(path: Path) -> bool:
    """Whether a list is in LFW's form: a line of two whole numbers first."""
    try:
        with path.open(encoding="utf-8") as opened:
            fields = opened.readline().split()
    except (OSError, UnicodeDecodeError):
        return True  # whose reader says what is wrong
    return len(fields) == 2 and all(field.isdigit() for field in fields)


def read_groups(path: Path) -> dict[str, str]:
    """Group of each identity or file."""
    import csv

    if not path.is_file():
        raise InputError(f"{path}: no such list of groups; it has columns identity (or file) and group")
    try:
        with path.open(newline="", encoding="utf-8") as opened:
            reader = csv.DictReader(opened)
            columns = set(reader.fieldnames or ())
            key = next((name for name in ("identity", "file") if name in columns), None)
            if key is None or "group" not in columns:
                raise DataError(f"{path}, line 1: a list of groups needs the columns identity (or file) and group")
            return {(row[key] if key == "identity" else Path(row[key]).stem): row["group"] for row in reader}
    except (UnicodeDecodeError, csv.Error, TypeError) as error:
        raise DataError(f"{path}: not a readable CSV ({error})") from error
