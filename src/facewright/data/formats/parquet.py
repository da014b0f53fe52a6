"""Parquet with a column of pictures and one of labels, in the form that Hugging Face `datasets` reads and writes."""

import json
from bisect import bisect_right
from collections.abc import Iterable
from functools import lru_cache
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from facewright.data.formats.records import Record, Records, whole_label
from facewright.errors import DataError, InputError

IMAGE_COLUMNS = ("image", "img", "jpg", "jpeg", "png", "bytes")
LABEL_COLUMNS = ("label", "labels", "identity", "class", "cls")
GROUP_ROWS = 256  # read at once for one row, so a shuffled order is not slow
SHARD_RECORDS = 50_000
GROUPS_KEPT = 16
_BROKEN = (pa.ArrowException, OSError, ValueError)

_SCHEMA = pa.schema(
    [("image", pa.struct([("bytes", pa.binary()), ("path", pa.string())])), ("label", pa.int64())],
    metadata={
        "huggingface": json.dumps(
            {"info": {"features": {"image": {"_type": "Image"}, "label": {"dtype": "int64", "_type": "Value"}}}}
        )
    },
)


class Parquet(Records):
    """The rows of a .parquet file or of all such files of a folder.

    The picture column is of bytes, or of structs with `bytes` and perhaps `path`; the labels are whole numbers.
    """

    format = "parquet"

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self._shards = sorted(path.glob("*.parquet")) if path.is_dir() else [path]
        self._groups: list[tuple[Path, int]] = []
        self._starts = [0]  # row of the set at which each group starts, and the end
        self._firsts: list[int] = []  # row of the set at which each group's shard starts
        labels = []
        for shard in self._shards:
            first = self._starts[-1]
            try:
                with pq.ParquetFile(shard) as opened:
                    names = opened.schema_arrow.names
                    label = _column(names, LABEL_COLUMNS, "labels", shard)
                    _column(names, IMAGE_COLUMNS, "pictures", shard)
                    labels.append(_labels(opened.read([label])[label], shard))
                    for number in range(opened.metadata.num_row_groups):
                        self._groups.append((shard, number))
                        self._starts.append(self._starts[-1] + opened.metadata.row_group(number).num_rows)
                        self._firsts.append(first)
            except FileNotFoundError as error:
                raise InputError(f"{shard}: no such file") from error
            except _BROKEN as error:
                raise DataError(f"{shard}: cut short or damaged ({error}); fetch it again") from error
        self.labels = np.concatenate(labels)
        if not len(self.labels):
            raise DataError(f"{path}: holds no row; fetch it again")
        self._open()

    def _open(self) -> None:
        self._pictures = lru_cache(maxsize=GROUPS_KEPT)(_read_pictures)

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name != "_pictures"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._open()

    def __len__(self) -> int:
        return len(self.labels)

    def read(self, number: int) -> Record:
        group, where = bisect_right(self._starts, number) - 1, self.where(number)
        row = number - self._starts[group]
        try:
            images, names = self._pictures(*self._groups[group])
            image, name = images[row].as_py(), names and names[row].as_py()
        except _BROKEN as error:
            raise DataError(f"{where}: its group of rows is damaged ({error}); fetch the file again") from error
        if not isinstance(image, bytes) or not image:
            raise DataError(f"{where}: holds no bytes of a picture, and no path is followed; write them into the file")
        return Record(image, int(self.labels[number]), name or str(number))

    def where(self, number: int) -> str:
        group = bisect_right(self._starts, number) - 1
        return f"{self._groups[group][0]}: row {number - self._firsts[group]}"


def write_parquet(records: Iterable[Record], out: Path, *, name: str, shard_records: int = SHARD_RECORDS) -> None:
    """Write NAME-00000.parquet ... with `image` (bytes, path) and `label` into the existing folder `out`."""
    left, shard = iter(records), 0
    while first := next(left, None):
        group, count = [first, *islice(left, min(GROUP_ROWS, shard_records) - 1)], 0
        with pq.ParquetWriter(out / f"{name}-{shard:05d}.parquet", _SCHEMA, compression="none") as opened:
            while group:
                images = [{"bytes": record.image, "path": record.name} for record in group]
                labels = [record.label for record in group]
                opened.write_table(pa.table({"image": images, "label": labels}, schema=_SCHEMA), GROUP_ROWS)
                count += len(group)
                group = list(islice(left, min(GROUP_ROWS, shard_records - count)))
        shard += 1


def _read_pictures(shard: Path, group: int) -> tuple[Any, Any]:
    """Arrow arrays of the bytes and of the paths (or None) of one group of rows."""
    with pq.ParquetFile(shard) as opened:
        name = _column(opened.schema_arrow.names, IMAGE_COLUMNS, "pictures", shard)
        column = opened.read_row_group(group, [name])[name]
    if column.num_chunks == 1:
        column = column.chunk(0)  # whose values are found quicker
    if not pa.types.is_struct(column.type):
        return column, None
    parts = dict(zip((part.name for part in column.type), column.flatten(), strict=True))
    return parts.get("bytes", column), parts.get("path")


def _labels(column: Any, shard: Path) -> np.ndarray:
    """A column of whole numbers as (N,) int64."""
    values = column.to_pylist() if column.null_count or not pa.types.is_integer(column.type) else column.to_numpy()
    if isinstance(values, list):
        values = [
            whole_label(-1 if value is None else value, f"{shard}: row {row}") for row, value in enumerate(values)
        ]
    labels = np.asarray(values, np.int64)
    if len(labels) and labels.min() < 0:
        whole_label(int(labels.min()), f"{shard}: row {int(labels.argmin())}")
    return labels


def _column(names: list[str], known: tuple[str, ...], what: str, shard: Path) -> str:
    found = [name for name in names if name.lower() in known]
    if len(found) != 1:
        raise DataError(
            f"{shard}: {len(found)} columns of {what} among {', '.join(names)}; name one of them {known[0]} and the"
            " others differently"
        )
    return found[0]
