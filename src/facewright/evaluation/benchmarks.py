"""The verification benchmarks by name: LFW, CFP-FF, CFP-FP, CPLFW, AgeDB-30 and CALFW, from `.bin` files or folders.

A folder holds aligned crops of 112 x 112 in any subfolders, and the list of pairs in the form that the benchmark's
makers, or anyone else, gave it; `pair_lists` says which forms are known.
"""

import difflib
import io
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from facewright.data.formats import PairBin
from facewright.data.formats.pixels import unreadable
from facewright.errors import DataError, InputError
from facewright.evaluation.folds import people_in_several_folds
from facewright.evaluation.pair_lists import read_pair_list

CROP_SIZE = 112
AT_ONCE = 512  # crops decoded at once

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Benchmark:
    """A benchmark as it is published, so that a file of another size is noticed."""

    name: str  # also of its .bin
    title: str
    pairs: int
    about: str
    folds: int = 10


BENCHMARKS = {
    benchmark.name: benchmark
    for benchmark in (
        Benchmark("lfw", "LFW", 6000, "Labeled Faces in the Wild (Huang et al. 2007), View 2"),
        Benchmark("cfp_ff", "CFP-FF", 7000, "Celebrities in Frontal-Profile (Sengupta et al. 2016), frontal only"),
        Benchmark("cfp_fp", "CFP-FP", 7000, "Celebrities in Frontal-Profile (Sengupta et al. 2016)"),
        Benchmark("cplfw", "CPLFW", 6000, "Cross-Pose LFW (Zheng and Deng 2018)"),
        Benchmark("agedb_30", "AgeDB-30", 6000, "AgeDB (Moschoglou et al. 2017), thirty years apart"),
        Benchmark("calfw", "CALFW", 6000, "Cross-Age LFW (Zheng et al. 2017)"),
    )
}


@dataclass(frozen=True, eq=False)
class FacePairs:
    """Pairs whose crops are read when they are asked for."""

    name: str
    images: tuple[str, ...]  # what each image is called, for messages
    load: Callable[[int], np.ndarray]  # image number to (112, 112, 3) uint8 RGB
    first: np.ndarray  # (P,) int64, index into `images`
    second: np.ndarray  # (P,) int64
    issame: np.ndarray  # (P,) bool
    folds: int  # contiguous
    people: tuple[str, ...] | None = None  # of each image, where the list tells

    def rows(self) -> np.ndarray:
        """Indices into `images` with pair k at 2k and 2k + 1, (2 P,) int64."""
        return np.stack([self.first, self.second], axis=1).ravel()

    def shared_people(self, folds: np.ndarray) -> int | None:
        """How many people occur in more than one fold; None where the list names nobody."""
        if self.people is None:
            return None
        first, second = ([self.people[image] for image in side] for side in (self.first, self.second))
        return people_in_several_folds(first, second, folds)


def embed_pairs(
    pairs: FacePairs, embed: Callable[[np.ndarray], np.ndarray], *, progress: Progress | None = None
) -> np.ndarray:
    """Embeddings of every image, (N, D), crops decoded `AT_ONCE` at a time.

    Args:
        pairs: whose images.
        embed: (n, 112, 112, 3) uint8 RGB to (n, D).
        progress: called with (images done, images in all).
    """
    parts = []
    for start in range(0, len(pairs.images), AT_ONCE):
        numbers = range(start, min(start + AT_ONCE, len(pairs.images)))
        parts.append(embed(np.stack([pairs.load(number) for number in numbers])))
        if progress is not None:
            progress(numbers.stop, len(pairs.images))
    return np.concatenate(parts)


def known_benchmarks(name: str) -> str:
    """The end of a message about an unknown name: the closest of `BENCHMARKS`, and all of them."""
    close = difflib.get_close_matches(name.lower().replace("-", "_"), BENCHMARKS, n=1)
    hint = f" Did you mean {close[0]}?" if close else ""
    return f"{hint} Known: {', '.join(BENCHMARKS)}."


def find_benchmark(name: str, root: Path) -> FacePairs:
    """A benchmark by name: ROOT/NAME.bin, else the folder ROOT/NAME (ROOT/cfp for both protocols of CFP).

    Args:
        name: of `BENCHMARKS`.
        root: where the files are.

    Raises:
        InputError: no such name, or neither file nor folder.
        DataError: damaged, or not of the published number of pairs.
    """
    known = BENCHMARKS.get(name)
    if known is None:
        raise InputError(f"unknown benchmark {name!r}.{known_benchmarks(name)}")
    file, folder = root / f"{name}.bin", root / name
    if name.startswith("cfp_") and not folder.is_dir():
        folder = root / "cfp"
    if file.is_file():
        found = read_bin_pairs(file, folds=known.folds)
    elif folder.is_dir():
        found = read_folder_pairs(folder, protocol="FF" if name == "cfp_ff" else "FP", folds=known.folds)
    else:
        raise InputError(f"{root}: holds neither {file.name} nor a folder {name}; give the folder of the benchmarks")
    if len(found.issame) != known.pairs:
        raise DataError(
            f"{file if file.is_file() else folder}: {len(found.issame)} pairs, {known.title} has {known.pairs}; restore"
            " it, or give the file itself instead of the benchmark's name"
        )
    return found


def read_bin_pairs(path: Path, *, folds: int = 10) -> FacePairs:
    """Pairs of an InsightFace `.bin`; square pictures that are not 112 x 112 are resized. Nothing in it is run.

    Raises:
        InputError: no such file.
        DataError: damaged, or the numbers of images and labels do not fit.
    """
    if not path.is_file():
        raise InputError(f"{path}: no such file of pairs")
    records = PairBin(path)

    def load(number: int) -> np.ndarray:
        return _crop(records.read(number).image, records.where(number), resize=True)

    numbers = np.arange(len(records))
    names = tuple(f"picture {number}" for number in numbers)
    return FacePairs(path.stem, names, load, numbers[0::2], numbers[1::2], records.issame, folds)


def read_folder_pairs(folder: Path, *, pairs: Path | None = None, protocol: str = "FP", folds: int = 10) -> FacePairs:
    """Pairs of a folder of aligned crops.

    The forms of list that are known are those of `pair_lists.read_pair_list`.

    Args:
        folder: where the crops are, and the list unless `pairs` names it: the only *.txt there that has "pairs" in its
            name, or `Protocol`.
        pairs: the list, or None.
        protocol: "FF" or "FP", for CFP.
        folds: of a list that does not name its own.

    Raises:
        InputError: no list, or several.
        DataError: a line of another form, or a crop that is missing.
    """
    listed = read_pair_list(folder, pairs, protocol=protocol, folds=folds)
    numbers: dict[str, int] = {}
    placed = np.array([[numbers.setdefault(file, len(numbers)) for file in pair] for pair in listed.files])
    paths = _paths(folder, list(numbers))

    def load(number: int) -> np.ndarray:
        return _crop(paths[number].read_bytes(), str(paths[number]), resize=False)

    people = None if listed.people is None else tuple(listed.people[file] for file in numbers)
    return FacePairs(folder.name, tuple(numbers), load, placed[:, 0], placed[:, 1], listed.issame, listed.folds, people)


def _paths(folder: Path, files: list[str]) -> list[Path]:
    """Where the named crops are: by path below the folder, else by name without suffix anywhere in it."""
    anywhere: dict[str, list[Path]] = {}
    for path in sorted(folder.rglob("*")):
        if path.suffix.lower() in (".jpg", ".jpeg", ".png", ".webp", ".bmp"):
            anywhere.setdefault(path.stem, []).append(path)
    paths = []
    for file in files:
        stem = Path(file).name.removesuffix(Path(file).suffix) if Path(file).suffix else Path(file).name
        found = [folder / file] if (folder / file).is_file() else anywhere.get(stem, [])
        if len(found) != 1:
            said = "is missing" if not found else f"is there {len(found)} times"
            raise DataError(f"{folder}: the crop {file} {said}; give the folder of aligned crops that the list names")
        paths.append(found[0])
    return paths


def _crop(encoded: bytes, where: str, *, resize: bool) -> np.ndarray:
    try:
        with Image.open(io.BytesIO(encoded)) as opened:
            image = opened.convert("RGB")
            if image.size != (CROP_SIZE, CROP_SIZE):
                if not resize or image.width != image.height:
                    raise DataError(
                        f"{where}: {image.width} x {image.height} px, expected an aligned crop of {CROP_SIZE} x"
                        f" {CROP_SIZE}; run facewright align first"
                    )
                image = image.resize((CROP_SIZE, CROP_SIZE), Image.Resampling.BILINEAR)
            return np.asarray(image)
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise unreadable(error, where) from error
