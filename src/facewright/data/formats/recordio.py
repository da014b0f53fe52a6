"""MXNet RecordIO (.rec with .idx), as im2rec and InsightFace write it.

A record is framed by a magic word, a word of 3 flag bits and 29 length bits, and zeros up to a multiple of 4. Where
the magic word stands in the body on a multiple of 4, the writer cuts the record there and drops the word; flags 1, 2
and 3 mark first, middle and last part, and reading puts the word back.

The body starts with 24 bytes: flag u32, label f32, id u64, id2 u64; `flag` > 0 counts float32 labels that follow, of
which the first is the class. InsightFace's identity-grouped files also have a record without a picture for every
identity (its first key and the one after its last) and one with key 0 that says where those begin. That key is a
float32 and rounded above 2**24, so the index decides.
"""

import struct
from collections.abc import Sequence
from functools import cached_property
from mmap import mmap
from pathlib import Path
from typing import NamedTuple

import numpy as np

from facewright.data.formats.mapped import MappedFiles, read_text
from facewright.data.formats.records import Record, Records, whole_label
from facewright.errors import DataError

MAGIC = 0xCED7230A
MAGIC_BYTES = struct.pack("<I", MAGIC)
FRAME = struct.Struct("<II")
HEADER = struct.Struct("<IfQQ")
LENGTH_BITS = 29
LONGEST = (1 << LENGTH_BITS) - 1  # bytes of one part
EXACT = 1 << 24  # keys below it are whole numbers in float32
SIZES = "property"  # InsightFace's file of people, height and width beside train.rec


class Body(NamedTuple):
    """What a record holds."""

    labels: tuple[float, ...]
    number: int  # the field `id`
    image: bytes  # empty in the records that only tell the structure


class RecordIO(Records):
    """The pictures of a .rec file, in the order of its .idx, or of the file where there is no .idx."""

    format = "recordio"

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self._files = MappedFiles()
        mapped = self._files.get(path)
        index = path.with_suffix(".idx")
        keys, starts = _read_index(index) if index.is_file() else _scan(mapped)
        inside = np.flatnonzero((starts % 4 == 0) & (starts + FRAME.size <= len(mapped)))
        order = inside[np.argsort(starts[inside])]
        ends = starts.copy()  # no room for a record that is not in the file, which reading it says
        ends[order] = np.append(starts[order][1:], len(mapped))
        if len(order) and starts[order[0]] != 0:
            raise DataError(f"{index}: no line leads to the first record of {path.name}; restore the index")
        self._keys, self._starts, self._ends = keys, starts, ends
        self._people_rows = np.empty(0, np.int64)  # of the identity records of a grouped file
        self._rows = self._picture_rows(indexed=index.is_file())

    def __len__(self) -> int:
        return len(self._rows)

    def read(self, number: int) -> Record:
        row = self._rows.item(number)
        name = str(self._keys.item(row))
        where = f"{self.path}: record {number} (key {name})"
        body = self._body(row, where)
        if not body.image:
            raise DataError(f"{where}: holds no picture; fetch the file and its index again")
        return Record(body.image, whole_label(body.labels[0], where), name)

    def where(self, number: int) -> str:
        return f"{self.path}: record {number} (key {self._keys.item(self._rows.item(number))})"

    @cached_property
    def keys(self) -> np.ndarray:
        """Key of every picture, (N,) int64."""
        return self._keys[self._rows]

    def _label(self, number: int) -> int:
        """From the first bytes alone, where the record is in one part with one label."""
        mapped, start = self._files.get(self.path), int(self._starts[self._rows[number]])
        where = self.where(number)
        if start + FRAME.size + HEADER.size <= self._ends[self._rows[number]]:
            magic, word = FRAME.unpack_from(mapped, start)
            flag, label, _, _ = HEADER.unpack_from(mapped, start + FRAME.size)
            if magic == MAGIC and not word >> LENGTH_BITS and flag == 0:
                return whole_label(label, where)
        return whole_label(self._body(int(self._rows[number]), where).labels[0], where)

    def check_labels(self) -> None:
        """Hold the labels against InsightFace's `property` and against the identity records of a grouped file."""
        people, sizes = int(self.labels.max(initial=-1)) + 1, self.path.with_name(SIZES)
        if self.path.stem == "train" and sizes.is_file():
            said = read_text(sizes).split(",")[0].strip()
            if said != str(people):
                raise DataError(
                    f"{sizes}: says {said} people, the labels of {self.path.name} are those of {people}; correct or "
                    "delete it"
                )
        order = np.argsort(self.keys)
        keys, labels = self.keys[order].astype(np.float32), self.labels[order]
        before: int | None = 0
        for row in self._people_rows[np.argsort(self._keys[self._people_rows])].tolist():
            where = f"{self.path}: identity record (key {self._keys.item(row)})"
            try:
                first, last = self._body(row, where).labels[:2]
            except DataError:  # reading the pictures goes without it
                before = None
                continue
            low, high = np.searchsorted(keys, np.array([first, last], np.float32)).tolist()
            own = labels[low:high]
            if before not in (None, low) or (len(keys) and keys[-1] < EXACT and len(np.unique(own[own >= 0])) > 1):
                raise DataError(
                    f"{where}: lists the pictures with keys {first:.0f} up to {last:.0f}, which the identity before it "
                    "or the labels of the pictures contradict; fetch the file and its index again"
                )
            before = high

    def _body(self, row: int, where: str) -> Body:
        mapped, start, end = self._files.get(self.path), self._starts.item(row), self._ends.item(row)
        if start == end:
            raise DataError(
                f"{where}: starts at byte {start}, where a file of {len(mapped)} bytes has no record; fetch the file"
                " and its index again"
            )
        return parse_body(read_frames(mapped, start, end, where), where)

    def _picture_rows(self, *, indexed: bool) -> np.ndarray:
        """Which rows of the index hold pictures, or are damaged and may have held one."""
        if indexed:
            zero = np.flatnonzero(self._keys == 0)
            grouped = self._is_structure(zero.item(0)) if len(zero) else False
            if grouped is False:
                return np.arange(len(self._keys))
            if grouped and (rows := self._promised_rows(zero.item(0))) is not None:
                return rows
        return np.array([row for row in range(len(self._keys)) if not self._is_structure(row)], np.int64)

    def _promised_rows(self, header: int) -> np.ndarray | None:
        """The rows before the identity records, as key 0 says; None where damage hides whether that is true."""
        where = f"{self.path}: header record (key 0)"
        promised = self._body(header, where).labels
        rows = np.flatnonzero(self._keys != 0)
        rows = rows[np.argsort(self._keys[rows])]
        keys = np.append(self._keys[rows], self._keys[rows[-1]] + 1) if len(rows) else np.array([1])
        for place in np.flatnonzero(keys.astype(np.float32) == np.float32(promised[0])).tolist():
            before = place > 0 and self._is_structure(int(rows[place - 1]))
            after = place == len(rows) or self._is_structure(int(rows[place]))
            if before is None or after is None:
                return None
            if not before and after and len(promised) > 1 and np.float32(keys[-1]) == np.float32(promised[1]):
                self._people_rows = rows[place:]
                return np.sort(rows[:place])
        raise DataError(
            f"{where}: promises identity records with keys {promised[0]:.0f} up to {promised[-1]:.0f}, which the index"
            " and the records there contradict; fetch the file and its index again"
        )

    def _is_structure(self, row: int) -> bool | None:
        """Whether a record tells the structure and holds no picture; None where it is damaged."""
        try:
            body = self._body(row, "")
        except DataError:
            return None
        return len(body.labels) > 1 and not body.image


def read_frames(data: mmap | bytes, start: int, end: int, where: str) -> bytes:
    """The body of the record whose frames fill data[start:end].

    Raises:
        DataError: no frame there, cut short, or longer or shorter than the room it has.
    """
    parts: list[bytes] = []
    place = start
    while True:
        if place + FRAME.size > end:
            raise DataError(f"{where}: cut short at byte {end}; fetch the file and its index again")
        magic, word = FRAME.unpack_from(data, place)
        flag, length = word >> LENGTH_BITS, word & LONGEST
        if magic != MAGIC or flag not in ((1, 0) if not parts else (2, 3)):
            raise DataError(f"{where}: no RecordIO frame at byte {place}; fetch the file and its index again")
        body = place + FRAME.size
        place = body + (length + 3) // 4 * 4
        if place > end:
            raise DataError(
                f"{where}: claims {length} bytes, but {end - body} are left for it; fetch the file and its index again"
            )
        parts.append(data[body : body + length])
        if flag in (0, 3):
            break
    if place != end:
        raise DataError(
            f"{where}: ends at byte {place}, but the next record starts at {end}; fetch the file and its index again"
        )
    return parts[0] if len(parts) == 1 else MAGIC_BYTES.join(parts)


def parse_body(data: bytes, where: str) -> Body:
    """Take a body apart: labels, id and picture."""
    if len(data) < HEADER.size:
        raise DataError(f"{where}: {len(data)} bytes are too few for a header of {HEADER.size}; fetch the file again")
    flag, label, number, _ = HEADER.unpack_from(data)
    if flag == 0:
        return Body((label,), number, data[HEADER.size :])
    start = HEADER.size + 4 * flag
    if start > len(data):
        raise DataError(f"{where}: promises {flag} labels in {len(data)} bytes; fetch the file again")
    return Body(struct.unpack_from(f"<{flag}f", data, HEADER.size), number, data[start:])


def body_bytes(image: bytes, labels: Sequence[float], number: int, *, number2: int = 0) -> bytes:
    """Put a body together; one label goes into the header, more of them behind it."""
    if len(labels) == 1:
        return HEADER.pack(0, labels[0], number, number2) + image
    return HEADER.pack(len(labels), 0.0, number, number2) + struct.pack(f"<{len(labels)}f", *labels) + image


def frame_bytes(body: bytes, where: str) -> bytes:
    """Frame a body, cut where the magic word stands in it on a multiple of 4."""
    cuts = [place for place in _occurrences(body) if place % 4 == 0]
    starts, ends = [0, *(cut + 4 for cut in cuts)], [*cuts, len(body)]
    out = []
    for number, (start, end) in enumerate(zip(starts, ends, strict=True)):
        if end - start > LONGEST:
            raise DataError(f"{where}: {end - start} bytes do not fit a record of at most {LONGEST}")
        flag = 0 if not cuts else 1 if number == 0 else 3 if number == len(cuts) else 2
        out += [FRAME.pack(MAGIC, flag << LENGTH_BITS | end - start), body[start:end]]
    return b"".join(out) + bytes(-len(body) % 4)


def _occurrences(body: bytes) -> list[int]:
    """Where the magic word stands; a dropped word cannot overlap the next."""
    found, place = [], body.find(MAGIC_BYTES)
    while place >= 0:
        found.append(place)
        place = body.find(MAGIC_BYTES, place + 1)
    return found


def _read_index(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Keys and offsets of an .idx, (N,) int64 each."""
    lines = read_text(path).splitlines()
    while lines and not lines[-1].strip():
        lines.pop()
    if not lines:
        raise DataError(f"{path}: lists no record; restore the index")
    pairs = np.empty((len(lines), 2), np.int64)
    for number, line in enumerate(lines):
        fields = line.split()
        if len(fields) != 2 or not all(field.isascii() and field.isdigit() and len(field) < 19 for field in fields):
            raise DataError(f"{path}, line {number + 1}: expected key and offset, got {line!r}; restore the index")
        pairs[number] = fields
    for column, what in ((0, "key"), (1, "offset")):
        _, first, counts = np.unique(pairs[:, column], return_index=True, return_counts=True)
        if counts.max() > 1:
            value = pairs[first[np.argmax(counts)], column]
            raise DataError(f"{path}: the {what} {value} occurs {counts.max()} times; restore the index")
    return pairs[:, 0].copy(), pairs[:, 1].copy()


def _scan(mapped: mmap) -> tuple[np.ndarray, np.ndarray]:
    """Numbers and offsets of all records of a file without an index, damaged ones among them."""
    starts: list[int] = []
    place, inside = 0, False
    while place < len(mapped):
        if not inside:
            starts.append(place)
        flag, end = _claim(mapped, place)
        inside = flag in (1, 2)
        if mapped[place : place + 4] != MAGIC_BYTES:
            place, inside = _next_start(mapped, place + 4), False
        elif _leads_on(mapped, end):
            place = end
        else:  # the length is wrong, or the magic word of the next frame, whose own length then leads on
            following = _next_start(mapped, place + FRAME.size)
            known = end < following and _leads_on(mapped, _claim(mapped, end)[1])
            place, inside = (end, inside) if known else (following, False)
    return np.arange(len(starts)), np.array(starts, np.int64)


def _claim(mapped: mmap, place: int) -> tuple[int, int]:
    """Flag and end of the frame at `place`, as its second word has them."""
    if place + FRAME.size > len(mapped):
        return 0, len(mapped)
    _, word = FRAME.unpack_from(mapped, place)
    return word >> LENGTH_BITS, place + FRAME.size + ((word & LONGEST) + 3) // 4 * 4


def _leads_on(mapped: mmap, place: int) -> bool:
    """Whether a frame starts at `place`, or the file ends there."""
    return place == len(mapped) or mapped[place : place + 4] == MAGIC_BYTES


def _next_start(mapped: mmap, place: int) -> int:
    """Where the next record starts, from `place` on: no body has the magic word on a multiple of 4."""
    while (place := mapped.find(MAGIC_BYTES, place)) >= 0:
        if place % 4 == 0 and _claim(mapped, place)[0] in (0, 1):
            return place
        place += 1
    return len(mapped)
