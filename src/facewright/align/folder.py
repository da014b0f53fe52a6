"""All photos of a folder or tar to aligned crops and a manifest."""

import contextlib
import json
import logging
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TextIO

import cv2
import numpy as np
from numpy.typing import NDArray

from facewright.align.crops import choose_face
from facewright.align.detector import DEFAULT_DETECTOR, Detector, Face, load_detector
from facewright.align.manifest import NO_FACE, Row, face_row, manifest_text, read_manifest, write_manifest
from facewright.align.sources import Photo, open_photos
from facewright.align.template import TEMPLATE_SIZE
from facewright.align.warp import check_canvas, warp_face
from facewright.errors import ConfigError, DataError, InputError, WorkError
from facewright.training.atomic import atomic_path

MANIFEST = "manifest.csv"
SETTINGS = "config.json"
UNFINISHED = "manifest.partial.csv"

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class AlignReport:
    """What a run gave, earlier parts of the same run included."""

    photos: int
    crops: int
    without_face: int
    unreadable: int
    manifest: Path


@dataclass(frozen=True)
class _Settings:
    """What must be the same for a run to go on in its folder."""

    source: str
    detector: str
    size: int
    margin: float
    all_faces: bool


def align_photos(
    src: Path | str,
    dst: Path | str,
    *,
    size: int = TEMPLATE_SIZE,
    margin: float = 0.0,
    detector: Detector | str = DEFAULT_DETECTOR,
    all_faces: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> AlignReport:
    """Cut the faces out of every photo of `src`, aligned to the ArcFace template.

    Writes `dst/crops/...png`, `dst/manifest.csv` and `dst/config.json`. The manifest has one row a face, with box and
    points in pixels of the upright photo; a photo without a face, or one that cannot be read, is a row with the
    reason. After an interruption the same call goes on where it stopped: a photo is done again only when its crop is
    missing, its size in bytes has changed or it could not be read.

    Args:
        src: folder (searched with its subfolders), tar, or one photo.
        dst: folder for the results; it may lie inside `src`.
        size: side of the crops in pixels.
        margin: width, in template pixels, added on every side (see `warp_face`).
        detector: a name or a loaded detector.
        all_faces: every face of a photo, largest first, not only the largest.
        progress: called with (photos done, photos).

    Raises:
        InputError: `src` does not exist or holds no photo, `dst` is no folder of its own, an argument is out of range,
            or the detector is not installed.
        ConfigError: `dst` holds the results of another call.
        DataError: `src` is a broken tar, or what is in `dst` cannot be read.
        WorkError: not one photo gave a crop; the manifest with the reasons is kept.
    """
    source, target = Path(src), Path(dst)
    check_canvas(size, margin)
    if target.exists() and (not target.is_dir() or target.resolve() == source.resolve()):
        raise InputError(f"{target} cannot take the crops: give a folder of its own, new or of an interrupted run")
    finder = load_detector(detector) if isinstance(detector, str) else detector
    with open_photos(source, skip=target) as photos:
        _claim(target, _Settings(str(source.resolve()), finder.name, size, margin, all_faces))
        done = _finished(target, photos)
        rows: list[Row] = []
        with _journal(target, done) as journal:
            for number, photo in enumerate(photos, start=1):
                kept = done.get(photo.name)
                if kept is None:
                    kept = _align(photo, target, finder, size=size, margin=margin, all_faces=all_faces)
                    journal.write(manifest_text(kept, header=False))
                    journal.flush()
                rows += kept
                if progress is not None:
                    progress(number, len(photos))
    write_manifest(target / MANIFEST, rows)
    (target / UNFINISHED).unlink()

    report = _report(rows, target / MANIFEST)
    if not report.crops:
        raise WorkError(
            f"none of the {report.photos} photos of {source} gave a face ({report.without_face} without one, "
            f"{report.unreadable} unreadable); {report.manifest} gives the reason for each"
        )
    return report


def _align(photo: Photo, target: Path, detector: Detector, *, size: int, margin: float, all_faces: bool) -> list[Row]:
    """Write the crops of one photo and give its rows."""
    try:
        image = photo.read()
    except DataError as problem:
        _log.warning("left out: %s", problem)
        return [Row(photo.name, photo.size, reason=f"unreadable: {problem}")]
    faces = _chosen(detector.detect(image), image.shape, all_faces=all_faces)
    if not faces:
        return [Row(photo.name, photo.size, reason=NO_FACE)]
    rows = [face_row(photo.name, photo.size, number, face) for number, face in enumerate(faces)]
    for row, face in zip(rows, faces, strict=True):
        _write_png(target / row.file, warp_face(image, face.points, size=size, margin=margin))
    return rows


def _chosen(faces: list[Face], shape: tuple[int, ...], *, all_faces: bool) -> list[Face]:
    if not faces:
        return []
    if all_faces:
        return sorted(faces, key=lambda face: -face.area)
    return [choose_face(faces, shape)]


def _write_png(path: Path, image: NDArray[np.uint8]) -> None:
    encoded = cv2.imencode(".png", cv2.cvtColor(image, cv2.COLOR_RGB2BGR))[1]
    with atomic_path(path) as temporary:
        temporary.write_bytes(encoded.tobytes())


def _claim(target: Path, settings: _Settings) -> None:
    """Write the settings into a new target, or check that they are those of the run that it holds."""
    path = target / SETTINGS
    if path.exists():
        try:
            found = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as problem:
            raise DataError(f"{path} cannot be read: {problem}; choose another target folder") from problem
        wanted = asdict(settings)
        if found != wanted:
            other = found if isinstance(found, dict) else {}
            if not wanted.keys() <= other.keys():
                raise ConfigError(
                    f"{target} holds something that facewright align did not make; choose another target folder"
                )
            differing = [name for name in wanted if other.get(name) != wanted[name]] or ["its settings"]
            raise ConfigError(
                f"{target} holds the results of another run (differing in {', '.join(differing)}); "
                "choose another target folder or delete it"
            )
        return
    if any((target / name).exists() for name in (MANIFEST, UNFINISHED, "crops")):
        raise ConfigError(f"{target} already holds crops or a manifest that this command did not make; choose another")
    with atomic_path(path) as temporary:
        temporary.write_text(json.dumps(asdict(settings), indent=2) + "\n", encoding="utf-8")


def _finished(target: Path, photos: list[Photo]) -> dict[str, list[Row]]:
    """Rows of the photos that need not be done again, by photo."""
    done: dict[str, list[Row]] = {}
    sizes = {photo.name: photo.size for photo in photos}
    if (target / UNFINISHED).exists():
        rows = _whole_rows(target / UNFINISHED)
    elif (target / MANIFEST).exists():
        rows = read_manifest(target / MANIFEST)
    else:
        rows = []
    for row in rows:
        done.setdefault(row.source, []).append(row)
    return {
        name: kept
        for name, kept in done.items()
        if all(row.source_bytes == sizes.get(name) and _stands(row, target) for row in kept)
    }


def _whole_rows(path: Path) -> list[Row]:
    """Rows of an unfinished manifest but those of its last photo, which may be cut off in the middle."""
    text = path.read_text(encoding="utf-8", errors="surrogateescape")
    with atomic_path(path) as temporary:
        temporary.write_text(text[: text.rfind("\n") + 1], encoding="utf-8", errors="surrogateescape", newline="")
    rows = read_manifest(path)
    return [row for row in rows if row.source != rows[-1].source]


def _stands(row: Row, target: Path) -> bool:
    return (target / row.file).is_file() if row.file else row.reason == NO_FACE


@contextlib.contextmanager
def _journal(target: Path, done: dict[str, list[Row]]) -> Iterator[TextIO]:
    """The unfinished manifest, open for further rows and begun with those of `done`."""
    path = target / UNFINISHED
    write_manifest(path, (row for kept in done.values() for row in kept))
    with path.open("a", encoding="utf-8", errors="surrogateescape", newline="") as journal:
        yield journal


def _report(rows: list[Row], manifest: Path) -> AlignReport:
    return AlignReport(
        photos=len({row.source for row in rows}),
        crops=sum(bool(row.file) for row in rows),
        without_face=sum(row.reason == NO_FACE for row in rows),
        unreadable=sum(row.reason not in {"", NO_FACE} for row in rows),
        manifest=manifest,
    )
