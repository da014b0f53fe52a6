"""The table beside aligned crops: one row a face, and one for every photo that gave none."""

import csv
import io
import re
from collections.abc import Iterable
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path, PurePosixPath

from facewright.align.detector import Face
from facewright.errors import DataError
from facewright.training.atomic import atomic_path

_POINTS = [f"{point}_{axis}" for point in ("eye1", "eye2", "nose", "mouth1", "mouth2") for axis in "xy"]
COLUMNS = ["source", "source_bytes", "face", "file", "left", "top", "right", "bottom", *_POINTS, "score", "reason"]

NO_FACE = "no face found"


@dataclass(frozen=True)
class Row:
    """One face of a photo, or the reason why a photo gave none."""

    source: str
    """Path of the photo inside its folder or tar."""
    source_bytes: int
    face: int | None = None
    """Number of the face in its photo from 0, the chosen or largest first; None where there is none."""
    file: str = ""
    """Crop, relative to the manifest; empty where there is none."""
    box: tuple[float, ...] = ()
    """left, top, right, bottom, in pixels of the upright photo."""
    points: tuple[float, ...] = ()
    """Ten numbers: x and y of the five points, in pixels of the upright photo."""
    score: float | None = None
    reason: str = ""
    """Why there is no crop; empty where there is one."""

    def cells(self) -> list[str]:
        """The row's text, in the order of `COLUMNS`."""
        box = [f"{value:.2f}" for value in self.box] or [""] * 4
        points = [f"{value:.3f}" for value in self.points] or [""] * 10
        face = "" if self.face is None else str(self.face)
        score = "" if self.score is None else f"{self.score:.4f}"
        return [self.source, str(self.source_bytes), face, self.file, *box, *points, score, self.reason]


def face_row(source: str, source_bytes: int, number: int, face: Face) -> Row:
    """The row of a face, with the name its crop gets."""
    points = tuple(float(value) for value in face.points.ravel())
    return Row(source, source_bytes, number, crop_file(source, number), face.box, points, face.score)


def crop_file(source: str, number: int) -> str:
    """Where a crop goes below the target folder: the photo's folder and name, and a hash of its whole path.

    Parts such as `..`, a drive or characters that some file system refuses are replaced, so that a name in a tar cannot
    leave the target; the hash keeps `a.jpg` and `a.png`, or two names that differ in such a part, apart.
    """
    path = PurePosixPath(source)
    folders = [_plain(part) for part in path.parent.parts if part not in {"/", ".", ".."}]
    digest = sha256(source.encode("utf-8", "surrogateescape")).hexdigest()[:12]
    return "/".join(["crops", *folders, f"{_plain(path.stem)}-{digest}-{number}.png"])


def manifest_text(rows: Iterable[Row], *, header: bool) -> str:
    """The rows as CSV."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    if header:
        writer.writerow(COLUMNS)
    writer.writerows(row.cells() for row in rows)
    return text.getvalue()


def write_manifest(path: Path, rows: Iterable[Row]) -> None:
    """Write the whole table, or leave the old one as it was."""
    with atomic_path(path) as temporary:
        temporary.write_text(manifest_text(rows, header=True), encoding="utf-8", errors="surrogateescape", newline="")


def read_manifest(path: Path | str) -> list[Row]:
    """Read a table that `align_photos` wrote.

    Raises:
        DataError: the file is missing or is no such table.
    """
    try:
        text = Path(path).read_text(encoding="utf-8", errors="surrogateescape")
    except OSError as problem:
        raise DataError(f"cannot read {path}: {problem.strerror or problem}") from problem
    lines = csv.reader(io.StringIO(text))
    if next(lines, None) != COLUMNS:
        raise DataError(f"{path} is no manifest of aligned crops; its first line must be {','.join(COLUMNS)}")
    return [_parse(cells, f"{path}, row {number}") for number, cells in enumerate(lines, start=1)]


def _parse(cells: list[str], where: str) -> Row:
    try:
        if len(cells) != len(COLUMNS):
            raise ValueError(f"{len(cells)} cells instead of {len(COLUMNS)}")
        return Row(
            source=cells[0],
            source_bytes=int(cells[1]),
            face=int(cells[2]) if cells[2] else None,
            file=cells[3],
            box=tuple(float(cell) for cell in cells[4:8] if cell),
            points=tuple(float(cell) for cell in cells[8:18] if cell),
            score=float(cells[18]) if cells[18] else None,
            reason=cells[19],
        )
    except ValueError as problem:
        raise DataError(f"{where} cannot be read: {problem}; delete the folder and align again") from problem


def _plain(part: str) -> str:
    """A file name made of letters, digits, `_`, `-` and `.`, at most 80 long, that does not start with a dot."""
    return re.sub(r"[^\w.-]", "_", part, flags=re.ASCII)[:80].lstrip(".") or "_"
