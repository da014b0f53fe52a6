"""Identities to condition on: new ones drawn at random, or those of given photos."""

import math
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np

from facewright.align import Detector, open_photos, warp_face
from facewright.align.sources import Photo
from facewright.align.template import TEMPLATE_SIZE
from facewright.data.embeddings import Embeddings
from facewright.data.images import centre_crop
from facewright.data.packs import read_pack
from facewright.errors import ConfigError, DataError, InputError
from facewright.synthesis.models import CropEncoder
from facewright.synthesis.search import Candidates, Limits, choose_identities
from facewright.synthesis.statistics import EmbeddingStatistics
from facewright.training.seeds import seed_of

BLOCK = 1024
"""Identities drawn at a time; fixed, so that a longer list begins with the shorter one bit for bit."""

ATTEMPTS = 200
"""Draws for each identity wanted before a minimum angle is given up."""


@dataclass(frozen=True, eq=False)
class EmbeddedPhotos:
    """Embeddings of photos, and the photos that gave none."""

    embeddings: Embeddings
    refused: tuple[tuple[str, str], ...]  # path inside the source, and why


def uniform_contexts(count: int, *, seed: int, width: int = 512) -> Embeddings:
    """Directions drawn evenly over the sphere: a unit Gaussian, normalised (the uniform contexts of IDiff-Face).

    In 512 dimensions two of them are within 0.2 rad of a right angle, so all are different people to a generator. They
    lie apart from the embeddings of real faces, which gather around their mean; `fitted_contexts` follows those.

    Args:
        count: how many; a larger count with the same seed begins with the same identities.
        seed: any integer.
        width: D.

    Returns:
        Embeddings named "000000" and on; they belong to no encoder.
    """
    check_count(count)
    if width < 2:
        raise ConfigError(f"contexts must be at least 2 wide, got {width}")
    random = np.random.default_rng(seed_of("uniform contexts", seed))
    drawn = random.standard_normal((count, width))
    unit = (drawn / np.linalg.norm(drawn, axis=1, keepdims=True)).astype(np.float32)
    provenance = {"kind": "uniform", "seed": seed, "width": width, "encoder": None, "encoder_sha256": None}
    return Embeddings(numbered(count), unit, provenance)


def fitted_contexts(
    count: int,
    reference: EmbeddingStatistics,
    *,
    seed: int,
    min_angle: float | None = None,
    avoid: Embeddings | None = None,
) -> Embeddings:
    """New identities spread as real ones are: drawn from a Gaussian fitted to real embeddings, normalised.

    Args:
        count: how many; a larger count with the same other arguments begins with the same identities.
        reference: the fitted Gaussian (`load_statistics`, `fit_statistics`).
        seed: any integer.
        min_angle: radians, in (0, pi / 2]; a draw nearer than this to an earlier identity, or to one of `avoid`, is
            dropped. None keeps every draw.
        avoid: embeddings of real people that no new identity may come near; needs `min_angle`.

    Raises:
        ConfigError: an argument out of range, or `min_angle` so wide that too few draws pass.
        InputError: `avoid` was made by another encoder or has another width.
    """
    check_count(count)
    limits = Limits(min_angle, avoid)
    limits.check(width=reference.width, encoder=reference.encoder, encoder_sha256=reference.encoder_sha256)
    random = np.random.default_rng(seed_of("fitted contexts", seed))
    blocks = max(1, math.ceil(count * ATTEMPTS / BLOCK))
    drawn = (reference.draw(BLOCK, random).astype(np.float32) for _ in range(blocks))
    unnamed = [""] * BLOCK  # an identity is named by its place among those taken
    chosen = choose_identities(
        (Candidates(unnamed, rows) for rows in drawn), count, limits=limits, width=reference.width
    )
    if not chosen.report.complete:
        raise ConfigError(
            f"only {chosen.report.found} of {count} identities lie {min_angle:g} rad apart after"
            f" {chosen.report.drawn:,} draws ({chosen.report.sentence()}); lower the angle or the count"
        )
    provenance = {
        "kind": "fitted",
        "seed": seed,
        "min_angle": min_angle,
        "avoided_sha256": None if avoid is None else avoid.sha256,
        "statistics_sha256": reference.sha256,
        "licence": reference.licence,
        "encoder": reference.encoder,
        "encoder_sha256": reference.encoder_sha256,
    }
    return Embeddings(numbered(count), chosen.embeddings, provenance)


def embed_photos(
    src: Path | str,
    encoder: CropEncoder,
    *,
    detector: Detector | None = None,
    mirror: bool = False,
    batch: int = 64,
    progress: Callable[[int, int], None] | None = None,
) -> EmbeddedPhotos:
    """Embed every picture of a folder, a tar or a single file; only `batch` crops are held at a time.

    Args:
        src: where the pictures are, subfolders included.
        encoder: makes the embeddings.
        detector: finds the largest face of each photo, which is then aligned. None: the pictures are aligned crops of
            112 x 112 already.
        mirror: embed each crop and its mirror image together.
        batch: crops embedded at a time.
        progress: called with (pictures done, pictures).

    Returns:
        Embeddings named by path inside `src` ("anna/2.jpg"), and the pictures that could not be used.

    Raises:
        InputError: `src` does not exist, or not one picture could be used.
        DataError: without a detector, a picture of another size.
    """
    if batch < 1:
        raise ConfigError(f"batch must be at least 1, got {batch}")
    names: list[str] = []
    parts: list[np.ndarray] = []
    refused: list[tuple[str, str]] = []
    pending: list[np.ndarray] = []
    with open_photos(src) as photos:
        for number, photo in enumerate(photos, start=1):
            crop = _crop(photo, detector, src)
            if isinstance(crop, str):
                refused.append((photo.name, crop))
            else:
                names.append(photo.name)
                pending.append(crop)
            if pending and (len(pending) == batch or number == len(photos)):
                parts.append(encoder.embed(np.stack(pending), batch=batch, mirror=mirror))
                pending.clear()
            if progress is not None:
                progress(number, len(photos))
    if not names:
        first, why = refused[0]
        raise InputError(f"{src}: none of {len(refused)} pictures can be used, {first}: {why}; give clear photos")
    provenance = {
        "kind": "photos",
        "source": Path(src).name,
        "mirror": mirror,
        "encoder": encoder.name,
        "encoder_sha256": encoder.sha256,
    }
    return EmbeddedPhotos(Embeddings(tuple(names), np.concatenate(parts), provenance), tuple(refused))


def embed_pack(
    pack: Path,
    encoder: CropEncoder,
    *,
    held_out: bool = False,
    mirror: bool = False,
    batch: int = 64,
    progress: Callable[[int, int], None] | None = None,
) -> Embeddings:
    """Embed the faces of a pack that trainings see, or those that none may see.

    Args:
        pack: folder written by `facewright.align.pack_faces`; the central 112 px of its pictures are embedded.
        encoder: makes the embeddings.
        held_out: the held-out people instead of the others.
        mirror, batch, progress: as of `embed_photos`.

    Returns:
        Embeddings named "<person>/<row>", or "<row>" where nobody knows who it is.

    Raises:
        DataError: the pack is damaged.
        InputError: it holds nobody of that part.
    """
    if batch < 1:
        raise ConfigError(f"batch must be at least 1, got {batch}")
    faces = read_pack(pack)
    rows = faces.where(held_out=held_out)
    rows = rows[faces.sources[rows] >= 0]
    if not len(rows):
        raise InputError(f"{pack}: nobody is {'held out' if held_out else 'left to train on'}; pack more people")
    parts = []
    for start in range(0, len(rows), batch):
        crops = centre_crop(faces.images[rows[start : start + batch]], TEMPLATE_SIZE)
        parts.append(encoder.embed(crops, batch=batch, mirror=mirror))
        if progress is not None:
            progress(min(start + batch, len(rows)), len(rows))
    people = [f"{label:06d}/" if label >= 0 else "" for label in faces.labels[rows].tolist()]
    names = tuple(f"{person}{row:06d}" for person, row in zip(people, rows.tolist(), strict=True))
    provenance = {
        "kind": "pack",
        "source": pack.name,
        "held_out": held_out,
        "mirror": mirror,
        "encoder": encoder.name,
        "encoder_sha256": encoder.sha256,
    }
    return Embeddings(names, np.concatenate(parts), provenance)


def contexts_from_photos(
    src: Path | str,
    encoder: CropEncoder,
    *,
    detector: Detector | None,
    average: bool = False,
    mirror: bool = False,
    batch: int = 64,
    progress: Callable[[int, int], None] | None = None,
) -> EmbeddedPhotos:
    """The identities of photographed people, as `embed_photos` gives them, under a person's name.

    Args:
        src, encoder, detector, mirror, batch, progress: as in `embed_photos`.
        average: photos of one folder are one person, named after the folder: the normalised sum of their embeddings.
            A photo outside any folder is named by its stem (and joins the folder of that name, if there is one).
            Otherwise each photo is one identity, named by its stem, or by its path where two stems are the same.
    """
    read = embed_photos(src, encoder, detector=detector, mirror=mirror, batch=batch, progress=progress)
    paths = [PurePosixPath(name) for name in read.embeddings.names]
    provenance = {**read.embeddings.provenance, "average": average}
    if average:
        people = [str(path.parent) if len(path.parts) > 1 else path.stem for path in paths]
        names, embeddings = _averaged(people, read.embeddings.embeddings)
        return EmbeddedPhotos(Embeddings(names, embeddings, provenance), read.refused)
    candidates = ([path.stem for path in paths], [str(path.with_suffix("")) for path in paths], [*map(str, paths)])
    distinct = next(names for names in candidates if len(set(names)) == len(paths))
    return EmbeddedPhotos(Embeddings(tuple(distinct), read.embeddings.embeddings, provenance), read.refused)


def check_count(count: int) -> None:
    """Refuse to make no identity."""
    if count < 1:
        raise ConfigError(f"the number of identities must be at least 1, got {count}")


def numbered(count: int) -> tuple[str, ...]:
    """The names of identities that have no others: "000000" and on."""
    return tuple(f"{number:06d}" for number in range(count))


def _crop(photo: Photo, detector: Detector | None, src: Path | str) -> np.ndarray | str:
    """The aligned crop of a picture, or why there is none."""
    try:
        image = photo.read()
    except DataError as error:
        _, named, why = str(error).partition(photo.name)
        return why.lstrip(": ") if named else str(error)
    if detector is None:
        if image.shape[:2] != (TEMPLATE_SIZE, TEMPLATE_SIZE):
            raise DataError(
                f"{src}: {photo.name} is {image.shape[1]} x {image.shape[0]} px, expected aligned crops of"
                f" {TEMPLATE_SIZE} x {TEMPLATE_SIZE}; run facewright align first or embed with --align"
            )
        return image
    faces = detector.detect(image)
    return warp_face(image, max(faces, key=lambda face: face.area).points) if faces else "no face found"


def _averaged(keys: Sequence[str], embeddings: np.ndarray) -> tuple[tuple[str, ...], np.ndarray]:
    """One normalised sum a key, in order of first appearance."""
    rows: dict[str, list[int]] = defaultdict(list)
    for row, key in enumerate(keys):
        rows[key].append(row)
    sums = np.stack([embeddings[numbers].astype(np.float64).sum(axis=0) for numbers in rows.values()])
    lengths = np.linalg.norm(sums, axis=1, keepdims=True)
    if not (lengths > 1e-6).all():
        raise InputError(f"the photos of {list(rows)[int(np.argmin(lengths))]!r} cancel out; keep one person a folder")
    return tuple(rows), (sums / lengths).astype(np.float32)
