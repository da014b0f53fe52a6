"""Lists of picture files: a path and a label on each line.

Three forms are told apart line by line: `path label` parted by a tab or by spaces, MXNet's `key label ... path` and
InsightFace's older `aligned path label ...`, both parted by tabs. Paths are below the list's folder or a given root.
"""

from pathlib import Path, PurePosixPath

import numpy as np

from facewright.data.formats.mapped import read_text
from facewright.data.formats.records import PICTURE_SUFFIXES, Record, Records, whole_label
from facewright.errors import DataError


class ListFile(Records):
    """The pictures of a list, in its order."""

    format = "list"

    def __init__(self, path: Path, *, root: Path | None = None) -> None:
        super().__init__(path)
        self._root = path.parent if root is None else root
        labels = read_labels(path)
        self._files = list(labels)
        self.labels = np.array(list(labels.values()), np.int64)

    def __len__(self) -> int:
        return len(self._files)

    def read(self, number: int) -> Record:
        file = self._files[number]
        return Record(read_picture(self._root / file, self.where(number)), int(self.labels[number]), file)

    def where(self, number: int) -> str:
        return f"{self._root / self._files[number]} (line {number + 1} of {self.path})"


def read_labels(path: Path) -> dict[str, int]:
    """Label of every path of a list, in its order.

    Raises:
        DataError: a line of another form, a path that leaves the folder, or one that occurs twice; names the line.
    """
    found: dict[str, int] = {}
    for number, line in enumerate(read_text(path).splitlines(), 1):
        where = f"{path}, line {number}"
        file, label = _parse(line, where)
        if file in found:
            raise DataError(f"{where}: {file} is listed twice; remove one line")
        found[file] = whole_label(label, where)
    if not found:
        raise DataError(f"{path}: lists no picture; restore it")
    return found


def read_picture(path: Path, where: str) -> bytes:
    """The bytes of a picture file; DataError naming `where` it is missing, unreadable or empty."""
    try:
        image = path.read_bytes()
    except OSError as error:
        raise DataError(f"{where}: cannot be read ({error.strerror}); restore it or remove it from the set") from error
    if not image:
        raise DataError(f"{where}: the file is empty; restore it or remove it from the set")
    return image


def looks_like_list(path: Path) -> bool:
    """Whether the first line of a text file names a picture with a label."""
    try:
        with path.open(encoding="utf-8") as opened:
            file, label = _parse(opened.readline(1 << 12).rstrip("\n"), str(path))
        whole_label(label, str(path))
    except (DataError, UnicodeDecodeError, OSError):
        return False
    return PurePosixPath(file).suffix.lower() in PICTURE_SUFFIXES


def inside(file: str, where: str) -> str:
    """A path that stays below its root, as it is; DataError for one that leaves it."""
    parts = PurePosixPath(file)
    if parts.is_absolute() or ".." in parts.parts or "\\" in file or ":" in parts.parts[0]:
        raise DataError(f"{where}: the path {file!r} leaves the folder of the set; correct it or give another root")
    return file


def _parse(line: str, where: str) -> tuple[str, str]:
    """Path and label of one line."""
    fields = line.strip().split("\t") if "\t" in line else line.rsplit(maxsplit=1)
    if len(fields) == 2:
        file, label = fields
    elif len(fields) > 2 and _is_number(fields[0]) and not _is_number(fields[1]):
        if float(fields[0]) != 1:
            raise DataError(f"{where}: the picture is not aligned; run facewright align and list the crops")
        _, file, label = fields[:3]
    elif len(fields) > 2 and _is_number(fields[0]):
        file, label = fields[-1], fields[1]
    else:
        file, label = "", ""
    if not file or not _is_number(label):
        raise DataError(f"{where}: expected a path and a label, got {line[:200]!r}; correct the list")
    return inside(file, where), label


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
