"""Training faces of several sources, aligned and packed into one array that training maps into memory."""

import csv
import io
import json
import logging
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import BinaryIO

import cv2
import numpy as np
from numpy.typing import NDArray

from facewright.align.crops import choose_face
from facewright.align.detector import Detector, load_detector
from facewright.align.sources import Photo, open_photos
from facewright.align.template import ARCFACE_TEMPLATE, similarity
from facewright.errors import ConfigError, DataError, InputError
from facewright.training.atomic import atomic_path

SIZE = 128
"""Side of a packed face in pixels; its central 112 x 112 is the ArcFace crop."""
MARGIN = 8
"""Pixels around the ArcFace crop."""
CELLS = 16
"""Cells of a mask along a side."""
SHRINK_BELOW = 0.8
"""Photos that the warp shrinks further than this are averaged over areas first."""
SAVE_EVERY = 500
"""Faces between two notes of how far the work has come."""

IMAGES, INDEX, SETTINGS, JOURNAL = "images.npy", "index.npz", "config.json", "unfinished.npz"

_COLUMNS = [f"{point}_{axis}" for point in ("eye1", "eye2", "nose", "mouth1", "mouth2") for axis in "xy"]

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class PackSource:
    """One set of photos, each of which shows one person."""

    name: str
    archive: Path  # tar or folder of photos
    manifest: Path  # CSV with a row a photo; its column `file` is the path inside the archive
    points: str = "columns"  # columns: eye1_x ... mouth2_y of the manifest; fixed; or the name of a face detector
    fixed: tuple[tuple[float, float], ...] | None = None  # five points x, y for all photos alike, in pixels
    identity: str | None = None  # column that holds a person's number; None: nobody is known
    leave_out: Path | None = None  # CSV; the people in its column `identity` are left out

    def __post_init__(self) -> None:
        if (self.points == "fixed") != (self.fixed is not None):
            raise ConfigError(f"source {self.name}: give the five points in `fixed` when points is 'fixed', else none")
        if self.fixed is not None and len(self.fixed) != len(ARCFACE_TEMPLATE):
            raise ConfigError(f"source {self.name}: fixed must hold five points, got {len(self.fixed)}")
        if self.leave_out is not None and self.identity is None:
            raise ConfigError(f"source {self.name}: leave_out needs the identity column to be named")


@dataclass(frozen=True)
class PackConfig:
    """The sources of a pack, in the order that numbers them."""

    source: tuple[PackSource, ...]
    data: Path = Path()  # the folder that relative paths of the sources start from

    def sources(self) -> tuple[PackSource, ...]:
        """The sources with `data` before their paths."""
        return tuple(
            replace(
                source,
                archive=self.data / source.archive,
                manifest=self.data / source.manifest,
                leave_out=None if source.leave_out is None else self.data / source.leave_out,
            )
            for source in self.source
        )


@dataclass(frozen=True)
class PackReport:
    """What a pack holds."""

    faces: int  # rows, those without a face included
    kept: Mapping[str, int]  # usable faces, by name of source


@dataclass(frozen=True)
class _Entry:
    """One row of the pack before its photo is read."""

    source: int
    photo: Photo
    identity: int
    points: NDArray[np.float64] | None  # None: ask the source's detector


def pack_faces(
    sources: Sequence[PackSource],
    out: Path,
    *,
    detectors: Mapping[str, Detector] | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> PackReport:
    """Align the faces of all sources and write a pack that `facewright.data.packs.read_pack` opens.

    Writes `images.npy`, uint8 (N, 128, 128, 3) RGB with the ArcFace crop in the centre, and last `index.npz`: `source`
    (int8), `identity` (int64, -1 where unknown), `files` (str), `mask` (uint8 (N, 16, 16), 1 for cells that lie wholly
    inside the photo) and `keep` (bool, False where no face was found or the photo cannot be read). Outside the photo
    its border is repeated. A photo that the warp shrinks to less than `SHRINK_BELOW` is averaged over areas first; one
    that it enlarges is interpolated by cubics. After an interruption the same call goes on where it stopped. One photo
    is in memory at a time.

    Args:
        sources: at most 127; rows come in the order of the sources and of their manifests.
        out: folder of the pack.
        detectors: loaded detectors by the name that a source's `points` gives; others are loaded by name.
        progress: called with (faces done, faces in all).

    Raises:
        InputError: an archive or a manifest does not exist, or there is no source.
        ConfigError: `out` holds the pack of another call.
        DataError: a manifest lacks a column or holds a wrong value, or names a photo that the archive lacks.
    """
    if not 1 <= len(sources) <= 127:
        raise InputError(f"a pack takes 1 to 127 sources, got {len(sources)}")
    finders = dict(detectors or {})
    with ExitStack() as opened:
        entries = [
            entry
            for number, source in enumerate(sources)
            for entry in _entries(source, number, _photos(source, opened))
        ]
        for source in sources:
            if source.points not in ("columns", "fixed") and source.points not in finders:
                finders[source.points] = load_detector(source.points)
        _claim(out, sources, len(entries))
        if not (out / INDEX).exists():
            mask, keep = _pack(entries, [finders.get(source.points) for source in sources], out, progress)
            _write_index(out, entries, mask, keep)
    return _report(out, sources)


def _photos(source: PackSource, opened: ExitStack) -> dict[str, Photo]:
    return {photo.name: photo for photo in opened.enter_context(open_photos(source.archive))}


def _entries(source: PackSource, number: int, photos: Mapping[str, Photo]) -> Iterator[_Entry]:
    """The rows of a source's manifest, without the people that are left out."""
    fixed = None if source.fixed is None else np.array(source.fixed, dtype=np.float64)
    left_out = set() if source.leave_out is None else {_whole(row, "identity") for row in _table(source.leave_out)}
    for row in _table(source.manifest):
        name = row.text("file")
        if name not in photos:
            raise DataError(f"{row.where} names {name}, which {source.archive} does not hold; get both files again")
        identity = -1 if source.identity is None or not row.text(source.identity) else _whole(row, source.identity)
        if identity in left_out:
            continue
        points = fixed
        if source.points == "columns":
            points = np.array([row.number(column) for column in _COLUMNS]).reshape(5, 2)
        yield _Entry(number, photos[name], identity, points)


@dataclass(frozen=True)
class _Row:
    """One line of a CSV file."""

    cells: Mapping[str, str]
    where: str

    def text(self, column: str) -> str:
        value = self.cells.get(column)
        if value is None:
            raise DataError(f"{self.where} has no column {column}; it has {', '.join(map(str, self.cells))}")
        return value

    def number(self, column: str) -> float:
        try:
            return float(self.text(column))
        except ValueError as problem:
            raise DataError(f"{self.where}: {column} must be a number, got {self.text(column)!r}") from problem


def _whole(row: _Row, column: str) -> int:
    try:
        return int(row.text(column))
    except ValueError as problem:
        raise DataError(f"{row.where}: {column} must be a whole number, got {row.text(column)!r}") from problem


def _table(path: Path) -> list[_Row]:
    try:
        with path.open(encoding="utf-8", newline="") as stream:
            return [_Row(cells, f"{path}, line {line}") for line, cells in enumerate(csv.DictReader(stream), start=2)]
    except FileNotFoundError as problem:
        raise InputError(f"{path} does not exist; a source needs its manifest beside the photos") from problem
    except (UnicodeDecodeError, csv.Error) as problem:
        raise DataError(f"{path} is not a CSV file ({problem}); get it again") from problem


def _claim(out: Path, sources: Sequence[PackSource], faces: int) -> None:
    """Note what is packed in a new folder, or check that it is what the folder was begun with."""
    settings = {"size": SIZE, "margin": MARGIN, "faces": faces, "sources": [_plain(source) for source in sources]}
    path = out / SETTINGS
    if path.exists():
        try:
            found = json.loads(path.read_text(encoding="utf-8"))
        except ValueError as problem:
            raise DataError(f"{path} cannot be read ({problem}); choose another folder") from problem
        if found != json.loads(json.dumps(settings)):
            raise ConfigError(f"{out} holds a pack of other sources or settings; choose another folder or delete it")
        return
    if any((out / name).exists() for name in (IMAGES, INDEX)):
        raise ConfigError(f"{out} already holds a pack that this command did not make; choose another folder")
    with atomic_path(path) as temporary:
        temporary.write_text(json.dumps(settings, indent=2) + "\n", encoding="utf-8")


def _plain(source: PackSource) -> dict[str, object]:
    """The source as JSON values; paths are written out in full, so that they do not depend on where a call is made."""
    return {key: str(value.resolve()) if isinstance(value, Path) else value for key, value in asdict(source).items()}


def _pack(
    entries: Sequence[_Entry],
    finders: Sequence[Detector | None],
    out: Path,
    progress: Callable[[int, int], None] | None,
) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
    """Write all faces; give their masks and which of them are faces."""
    mask, keep, done = np.zeros((len(entries), CELLS, CELLS), np.uint8), np.zeros(len(entries), np.bool_), 0
    if (out / JOURNAL).exists():
        with np.load(out / JOURNAL, allow_pickle=False) as journal:
            mask, keep, done = journal["mask"], journal["keep"], int(journal["done"])
    blank = np.zeros((SIZE, SIZE, 3), np.uint8)
    with _faces_file(out / IMAGES, len(entries), done) as stream:
        for number in range(done, len(entries)):
            found = _face(entries[number], finders[entries[number].source])
            face, mask[number] = (blank, 0) if found is None else found
            keep[number] = found is not None
            stream.write(face.tobytes())
            if (number + 1) % SAVE_EVERY == 0:
                stream.flush()
                os.fsync(stream.fileno())
                with atomic_path(out / JOURNAL) as temporary:
                    np.savez(temporary, mask=mask, keep=keep, done=number + 1)
            if progress is not None:
                progress(number + 1, len(entries))
        stream.flush()
        os.fsync(stream.fileno())
    return mask, keep


@contextmanager
def _faces_file(path: Path, faces: int, done: int) -> Iterator[BinaryIO]:
    """The array's file, open where face number `done` goes; what was written behind it is cut off.

    Faces are appended to a plain file: writing through a memory map would end the process when the disk is full.
    """
    shape = (faces, SIZE, SIZE, 3)
    head = io.BytesIO()
    np.lib.format.write_array_header_1_0(head, {"descr": "|u1", "fortran_order": False, "shape": shape})
    with path.open("r+b" if done else "wb") as stream:
        stream.write(head.getvalue())
        stream.seek(len(head.getvalue()) + done * SIZE * SIZE * 3)
        stream.truncate()
        yield stream


def _face(entry: _Entry, finder: Detector | None) -> tuple[NDArray[np.uint8], NDArray[np.uint8]] | None:
    """The aligned face and its mask; None where the photo has no face or cannot be read."""
    try:
        image = entry.photo.read()
    except DataError as problem:
        _log.warning("left out: %s", problem)
        return None
    points = entry.points
    if points is None and finder is not None:
        faces = finder.detect(image)
        points = choose_face(faces, image.shape).points if faces else None
    if points is None:
        return None
    try:
        matrix = similarity(points, ARCFACE_TEMPLATE + MARGIN)
    except InputError as problem:
        raise DataError(f"{entry.photo.name}: its five points cannot be aligned ({problem})") from problem
    return _warped(image, matrix), _inside(matrix, image.shape)


def _warped(image: NDArray[np.uint8], matrix: NDArray[np.float64]) -> NDArray[np.uint8]:
    scale = float(np.sqrt(abs(np.linalg.det(matrix[:2, :2]))))
    if scale < SHRINK_BELOW:
        height, width = image.shape[:2]
        small = max(1, round(width * scale)), max(1, round(height * scale))
        image = np.asarray(cv2.resize(image, small, interpolation=cv2.INTER_AREA), np.uint8)
        matrix = matrix @ _from_small(width / small[0], height / small[1])
    flags = cv2.INTER_CUBIC if scale > 1 else cv2.INTER_LINEAR
    face = cv2.warpAffine(image, matrix[:2], (SIZE, SIZE), flags=flags, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(face, dtype=np.uint8)


def _from_small(across: float, down: float) -> NDArray[np.float64]:
    """Pixels of a photo made smaller by these factors to pixels of the photo; both share their outer edges."""
    return np.array([[across, 0.0, (across - 1) / 2], [0.0, down, (down - 1) / 2], [0.0, 0.0, 1.0]])


def _inside(matrix: NDArray[np.float64], shape: tuple[int, ...]) -> NDArray[np.uint8]:
    """Which cells of the face lie wholly inside the photo: those whose four corners do, because a photo is convex."""
    edges = np.arange(CELLS + 1) * (SIZE / CELLS) - 0.5
    x, y = np.meshgrid(edges, edges)
    corners = np.linalg.inv(matrix)[:2] @ np.stack([x.ravel(), y.ravel(), np.ones(x.size)])
    limits = np.array([[shape[1] - 0.5], [shape[0] - 0.5]])
    within = ((corners >= -0.5 - 1e-6) & (corners <= limits + 1e-6)).all(axis=0).reshape(x.shape)
    return (within[:-1, :-1] & within[1:, :-1] & within[:-1, 1:] & within[1:, 1:]).astype(np.uint8)


def _write_index(out: Path, entries: Sequence[_Entry], mask: NDArray[np.uint8], keep: NDArray[np.bool_]) -> None:
    with atomic_path(out / INDEX) as temporary:
        np.savez(
            temporary,
            source=np.array([entry.source for entry in entries], np.int8),
            identity=np.array([entry.identity for entry in entries], np.int64),
            files=np.array([entry.photo.name for entry in entries], np.str_),
            mask=mask,
            keep=keep,
        )
    (out / JOURNAL).unlink(missing_ok=True)


def _report(out: Path, sources: Sequence[PackSource]) -> PackReport:
    with np.load(out / INDEX, allow_pickle=False) as index:
        numbers, keep = index["source"], index["keep"]
    return PackReport(len(keep), {source.name: int(keep[numbers == k].sum()) for k, source in enumerate(sources)})
