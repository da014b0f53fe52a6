"""TFRecord shards.

A shard repeats { length u64; masked CRC-32C of it; payload; masked CRC-32C of that }, little-endian, and the payload
is a tf.train.Example with the feature `image` (an encoded picture) or `tensor` (raw float32), and perhaps `label`.
`tfrecord_index` tells which text files lead to the records.
"""

import struct
from mmap import mmap
from pathlib import Path

import google_crc32c
import numpy as np

from facewright.data.formats.example import read_example
from facewright.data.formats.mapped import MappedFiles
from facewright.data.formats.records import Record, Records, whole_label
from facewright.data.formats.tfrecord_index import UNKNOWN, RowTable, four_columns, three_columns
from facewright.errors import DataError

START = struct.Struct("<QI")
CHECK = struct.Struct("<I")
OVERHEAD = START.size + CHECK.size
LABEL = struct.Struct("<i")


def masked_crc(data: bytes) -> int:
    """CRC-32C, rotated right by 15 bits and moved by a constant, so that a CRC of a CRC stays one."""
    crc = google_crc32c.value(data)
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF


class TFRecord(Records):
    """The records of an index, or of one or several shards that have none; CRCs are checked on reading."""

    format = "tfrecord"

    def __init__(self, path: Path, *, labels: Path | None = None) -> None:
        """Open an index (.txt of four columns, or .index), a shard, or a folder of shards.

        Args:
            path: of the index, the shard or the folder.
            labels: for an .index, the list of path and label; None looks for labels.txt in its folder and the one
                above, and else for labels in the records.
        """
        super().__init__(path)
        self._title = path.name
        self._files = MappedFiles()
        if path.suffix == ".txt":
            self._rows = four_columns(path)
        elif path.suffix == ".index":
            self._rows = three_columns(path, labels)
        else:
            self._rows = RowTable()
            for shard in sorted(path.glob("*.tfrecord")) if path.is_dir() else [path]:
                self._scan(shard)
        self._check_rows()
        self.latents = self._holds_tensors()

    def __len__(self) -> int:
        return len(self._rows)

    def read(self, number: int) -> Record:
        rows, where = self._rows, self.where(number)
        payload = read_payload(self._files.get(rows.shard(number)), rows.offsets[number], where)
        features = read_example(payload, where)
        image = features.get("image", features.get("tensor"))
        if not isinstance(image, bytes) or not image:
            raise DataError(
                f"{where}: has no feature `image` or `tensor` of bytes, only {sorted(features)}; make it again"
            )
        listed, own = rows.labels[number], _own_label(features, where)
        if listed == UNKNOWN and own is None:
            raise DataError(
                f"{where}: has no label, nor has its index; put the list of paths and labels beside it, labels.txt"
            )
        if own is not None and listed not in (UNKNOWN, own):
            raise DataError(f"{where}: has label {own}, but {self.path} says {listed}; restore the index")
        return Record(image, listed if own is None else own, rows.name(number))

    def where(self, number: int) -> str:
        rows = self._rows
        return f"{rows.shard(number)}: record at byte {rows.offsets[number]} (row {number} of {self._title})"

    def _label(self, number: int) -> int:
        listed = self._rows.labels[number]
        return self.read(number).label if listed == UNKNOWN else listed

    def _holds_tensors(self) -> bool:
        """Whether the first record has a tensor; a damaged one is left for reading to report."""
        try:
            payload = read_payload(self._files.get(self._rows.shard(0)), self._rows.offsets[0], "")
            return "tensor" in read_example(payload, "")
        except DataError:
            return False

    def _scan(self, shard: Path) -> None:
        """Add all records of a shard without an index."""
        mapped, offset, count = self._files.get(shard), 0, 0
        while offset < len(mapped):
            self._rows.add(shard, offset)
            if offset + START.size > len(mapped):
                break  # cut short, as reading it says
            offset += OVERHEAD + _length(mapped, offset, f"{shard}: record {count} at byte {offset}")
            count += 1

    def _check_rows(self) -> None:
        if not len(self._rows):
            raise DataError(f"{self.path}: lists no record; restore it")
        if (repeated := self._rows.repeated()) is not None:
            raise DataError(f"{self.where(repeated)}: is listed twice; restore the index")


def read_payload(mapped: mmap | bytes, offset: int, where: str) -> bytes:
    """The payload of the record at `offset`; DataError where it is cut short or a CRC differs."""
    length, start = _length(mapped, offset, where), offset + START.size
    if start + length + CHECK.size > len(mapped):
        raise DataError(f"{where}: claims {length} bytes, more than the file has left; fetch the file again")
    payload = mapped[start : start + length]
    if CHECK.unpack_from(mapped, start + length)[0] != masked_crc(payload):
        raise DataError(f"{where}: the CRC of its {length} bytes is wrong; fetch the file again")
    return payload


def read_latent(record: Record, *, shape: tuple[int, ...] = (3, 32, 32)) -> np.ndarray:
    """The float32 tensor of a record of latents, whose shape the file does not keep.

    Raises:
        DataError: the record has another number of values.
    """
    wanted = 4 * int(np.prod(shape))
    if len(record.image) != wanted:
        raise DataError(
            f"{record.name}: {len(record.image)} bytes are no float32 tensor {shape} of {wanted} bytes; give its shape"
        )
    return np.frombuffer(record.image, "<f4").reshape(shape)


def _length(mapped: mmap | bytes, offset: int, where: str) -> int:
    """Length of the payload at `offset`, once its CRC was checked."""
    if offset + START.size > len(mapped):
        raise DataError(f"{where}: the file ends at byte {len(mapped)}; fetch it and its index again")
    length, crc = START.unpack_from(mapped, offset)
    if crc != masked_crc(mapped[offset : offset + 8]):
        raise DataError(f"{where}: the CRC of its length is wrong; fetch the file and its index again")
    return int(length)


def _own_label(features: dict[str, bytes | int], where: str) -> int | None:
    """The feature `label`: an integer, or four bytes of one."""
    label = features.get("label")
    if isinstance(label, bytes):
        if len(label) != LABEL.size:
            raise DataError(
                f"{where}: its feature `label` has {len(label)} bytes, expected 4 of an int32; make it again"
            )
        label = int(LABEL.unpack(label)[0])
    return None if label is None else whole_label(label, where)
