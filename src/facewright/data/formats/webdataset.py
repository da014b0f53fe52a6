"""WebDataset: plain tar files in which the members of one sample share their name up to the first dot.

Chosen over LMDB because it needs no further library, streams from any store, and is what public image sets are
shipped in. KEY.jpg (or another picture) is the image; KEY.cls, or `label` in KEY.json, the label.
"""

import io
import json
import tarfile
from collections.abc import Iterable
from itertools import islice
from pathlib import Path

import numpy as np

from facewright.data.formats.mapped import MappedFiles
from facewright.data.formats.records import PICTURE_SUFFIXES, Record, Records, picture_suffix, whole_label
from facewright.errors import DataError

SHARD_RECORDS = 10_000
_BROKEN = (tarfile.TarError, OSError, EOFError, ValueError)


class WebDataset(Records):
    """The samples of a tar file or of all tar files of a folder; headers are read on opening, pictures on reading."""

    format = "webdataset"

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self._files = MappedFiles()
        self._places: list[tuple[Path, int, int, str]] = []  # shard, first byte and length of the picture, key
        self._broken: dict[int, DataError] = {}  # why the sample of this number is damaged
        labels: list[int] = []
        for shard in sorted(path.glob("*.tar")) if path.is_dir() else [path]:
            for key, members in _samples(shard):
                try:
                    (start, length), label = self._read_members(shard, members, f"{shard}: sample {key}")
                except DataError as error:
                    self._broken[len(labels)] = error
                    start, length, label = 0, 0, -1
                self._places.append((shard, start, length, key))
                labels.append(label)
        if not labels:
            raise DataError(f"{path}: holds no sample; fetch it again")
        self.labels = np.array(labels, np.int64)

    def __len__(self) -> int:
        return len(self._places)

    def read(self, number: int) -> Record:
        if number in self._broken:
            raise DataError(str(self._broken[number]))
        shard, start, length, key = self._places[number]
        image = self._files.get(shard)[start : start + length]
        if not image:
            raise DataError(f"{self.where(number)}: the picture is empty; make the shard again")
        return Record(image, int(self.labels[number]), key)

    def where(self, number: int) -> str:
        return f"{self._places[number][0]}: sample {self._places[number][3]} (record {number})"

    def _read_members(
        self, shard: Path, members: dict[str, tarfile.TarInfo], where: str
    ) -> tuple[tuple[int, int], int]:
        """First byte and length of the picture of a sample, and its label."""
        pictures = [member for suffix, member in members.items() if suffix in PICTURE_SUFFIXES]
        if len(pictures) != 1:
            raise DataError(f"{where}: has {len(pictures)} pictures, expected one; make the shard again")
        return (pictures[0].offset_data, pictures[0].size), self._read_label(shard, members, where)

    def _read_label(self, shard: Path, members: dict[str, tarfile.TarInfo], where: str) -> int:
        member = members.get(".cls", members.get(".json"))
        if member is None:
            raise DataError(f"{where}: has no .cls or .json with its label; make the shard again")
        text = self._files.get(shard)[member.offset_data : member.offset_data + member.size]
        try:
            value = text.decode("utf-8").strip() if ".cls" in members else json.loads(text)["label"]
        except (ValueError, KeyError, TypeError) as error:
            raise DataError(
                f"{where}: no label can be read from {member.name} ({error}); make the shard again"
            ) from error
        return whole_label(value if isinstance(value, int | float | str) else str(value), where)


def write_webdataset(records: Iterable[Record], out: Path, *, name: str, shard_records: int = SHARD_RECORDS) -> None:
    """Write NAME-000000.tar ... into the existing folder `out`; the same records give the same bytes.

    Keys count the records, since a name may hold dots; the record's own name is in KEY.json beside the label.
    """
    left, count, shard = iter(records), 0, 0
    while first := next(left, None):
        with tarfile.open(out / f"{name}-{shard:06d}.tar", "w", format=tarfile.PAX_FORMAT) as archive:
            for record in (first, *islice(left, shard_records - 1)):
                described = json.dumps({"label": record.label, "name": record.name}).encode()
                members = {picture_suffix(record.image, record.name): record.image, ".cls": str(record.label).encode()}
                for suffix, content in {**members, ".json": described}.items():
                    member = tarfile.TarInfo(f"{count:09d}{suffix}")
                    member.size, member.mode = len(content), 0o644
                    archive.addfile(member, io.BytesIO(content))
                count += 1
        shard += 1


def _samples(shard: Path) -> Iterable[tuple[str, dict[str, tarfile.TarInfo]]]:
    """Keys and members by suffix, in the order of the tar file.

    Raises:
        DataError: no plain tar file, cut short, or a key that comes back after another.
    """
    found: dict[str, dict[str, tarfile.TarInfo]] = {}
    latest = None
    try:
        size = shard.stat().st_size
        with tarfile.open(shard, "r:") as archive:
            for member in archive:
                if member.isdir():
                    continue
                if not member.isreg() or member.offset_data + member.size > size:
                    raise DataError(f"{shard}: {member.name} is cut short or no plain file; fetch the shard again")
                folder, _, base = member.name.rpartition("/")
                stem, _, suffix = base.partition(".")
                key = f"{folder}/{stem}" if folder else stem
                if (key in found and key != latest) or f".{suffix.lower()}" in found.get(key, {}):
                    raise DataError(f"{shard}: {member.name} belongs to a sample that was already whole; make it again")
                found.setdefault(key, {})[f".{suffix.lower()}"] = member
                latest = key
            end = archive.offset
        with shard.open("rb") as opened:
            opened.seek(end)
            mark = opened.read(tarfile.BLOCKSIZE)
    except _BROKEN as error:
        raise DataError(
            f"{shard}: not a readable tar file ({error}); fetch it again, unpacked if compressed"
        ) from error
    if mark != bytes(tarfile.BLOCKSIZE):
        last = f" after {latest}" if latest else ""
        raise DataError(f"{shard}: cut short{last}: the end mark of a tar file is missing; fetch it again")
    return found.items()
