"""The three kinds of index of TFRecord shards, as TFace and its kin write them: text with tabs.

    NAME.index    path, shard, offset            beside the shards; labels come from a list of path and label
    NAME.txt      NAME, shard, offset, label     the training list
    labels.txt    path, label                    a list of image files, see `list_file`

Shard 3 of NAME is NAME-00003.tfrecord, in a folder NAME beside the list or in the list's own folder.
"""

from array import array
from collections.abc import Iterator
from functools import cache, partial
from pathlib import Path, PurePath

import numpy as np

from facewright.data.formats.list_file import read_labels
from facewright.data.formats.mapped import read_text
from facewright.data.formats.records import whole_label
from facewright.errors import DataError, InputError

UNKNOWN = -1  # the label of a row whose index does not tell it


class RowTable:
    """Where every record lies, a few numbers each, so that the index of millions stays small."""

    def __init__(self) -> None:
        self.shards: list[Path] = []
        self.stems: list[str] = []  # of `shards`
        self.places = array("i")  # index into `shards`
        self.offsets = array("q")  # bytes
        self.labels = array("q")
        self.names: list[str] = []  # of every row, or of none
        self._numbers: dict[Path, int] = {}

    def __len__(self) -> int:
        return len(self.places)

    def add(self, shard: Path, offset: int, label: int = UNKNOWN) -> None:
        """Append a row."""
        number = self._numbers.setdefault(shard, len(self.shards))
        if number == len(self.shards):
            self.shards.append(shard)
            self.stems.append(shard.stem)
        self.places.append(number)
        self.offsets.append(offset)
        self.labels.append(label)

    def shard(self, number: int) -> Path:
        """File of a row."""
        return self.shards[self.places[number]]

    def name(self, number: int) -> str:
        """Path that the index gives to a row, else its place."""
        return self.names[number] if self.names else f"{self.stems[self.places[number]]}:{self.offsets[number]}"

    def repeated(self) -> int | None:
        """A row that leads where an earlier one does, or None."""
        places, offsets = np.asarray(self.places), np.asarray(self.offsets)
        order = np.lexsort((offsets, places))
        same = (np.diff(places[order]) == 0) & (np.diff(offsets[order]) == 0)
        return int(order[1:][same].min()) if same.any() else None


def four_columns(path: Path) -> RowTable:
    """A training list, NAME.txt."""
    rows, find = RowTable(), cache(partial(_shard, path.parent))
    for where, fields in _lines(path, 4, "name, shard, offset and label"):
        shard = find(fields[0], _whole(fields[1], "shard", where))
        rows.add(shard, _whole(fields[2], "offset", where), whole_label(fields[3], where))
    return rows


def three_columns(path: Path, labels: Path | None) -> RowTable:
    """A NAME.index with the labels of a list, by default labels.txt in its folder or the one above."""
    beside = (folder / "labels.txt" for folder in (path.parent, path.parent.parent))
    source = labels or next((file for file in beside if file.is_file()), None)
    known = None if source is None else read_labels(source)
    rows, find = RowTable(), cache(partial(_shard, path.parent, path.stem))
    for where, fields in _lines(path, 3, "path, shard and offset"):
        if known is not None and fields[0] not in known:
            raise DataError(f"{where}: {source} has no label for {fields[0]!r}; add it")
        label = UNKNOWN if known is None else known[fields[0]]
        rows.add(find(_whole(fields[1], "shard", where)), _whole(fields[2], "offset", where), label)
        rows.names.append(fields[0])
    return rows


def _lines(path: Path, columns: int, names: str) -> Iterator[tuple[str, list[str]]]:
    """Where each line of an index stands, and its fields."""
    for number, line in enumerate(read_text(path).splitlines(), 1):
        where, fields = f"{path}, line {number}", line.rstrip().split("\t")
        if len(fields) != columns:
            raise DataError(f"{where}: expected {names} parted by tabs, got {line!r}; restore the index")
        yield where, fields


def _whole(text: str, what: str, where: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) < 19):
        raise DataError(f"{where}: the {what} is {text!r}, expected a whole number from 0; restore the index")
    return int(text)


def _shard(folder: Path, name: str, number: int) -> Path:
    """The file of a shard, which lies in the folder or in one of its name."""
    if PurePath(name).name != name or "\\" in name:
        raise DataError(f"{folder}: an index names the set {name!r}, which is no plain name; restore the index")
    file = f"{name}-{number:05d}.tfrecord"
    for place in (folder / name / file, folder / file):
        if place.is_file():
            return place
    raise InputError(f"{folder}: no shard {file} here or in {name}, though an index names it; fetch it")
