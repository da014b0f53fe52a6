"""The wire format of tf.train.Example, as much of it as pictures and labels need.

Example { Features features = 1 }, Features { map<string, Feature> feature = 1 }, Feature { one of BytesList 1,
FloatList 2, Int64List 3 }, each list { repeated value = 1 } (protocol buffers, proto3: a map entry is a message with
key 1 and value 2, and repeated numbers are packed).
"""

from collections.abc import Iterator, Mapping

from facewright.errors import DataError

Feature = bytes | int
VARINT, WIDE, DELIMITED, NARROW = 0, 1, 2, 5


def read_example(payload: bytes, where: str) -> dict[str, Feature]:
    """First value of every feature that is a list of bytes or of integers, by name.

    Raises:
        DataError: not a tf.train.Example.
    """
    found: dict[str, Feature] = {}
    try:
        for entry in _messages(payload, (1, 1)):
            name, value = b"", b""
            for field, content in _fields(entry):
                if isinstance(content, bytes) and field in (1, 2):
                    name, value = (content, value) if field == 1 else (name, content)
            for kind, values in _fields(value):
                if kind in (1, 3) and isinstance(values, bytes):
                    found.update({name.decode(): first for first in _first(kind, values)})
    except (IndexError, ValueError) as error:
        raise DataError(f"{where}: not a tf.train.Example ({error}); fetch the file again") from error
    return found


def example_bytes(features: Mapping[str, bytes]) -> bytes:
    """An Example of features with one byte string each."""
    entries = (
        _delimited(1, name.encode()) + _delimited(2, _delimited(1, _delimited(1, value)))
        for name, value in features.items()
    )
    return _delimited(1, b"".join(_delimited(1, entry) for entry in entries))


def _first(kind: int, values: bytes) -> list[Feature]:
    """The first value of a BytesList (1) or Int64List (3), or nothing."""
    for field, content in _fields(values):
        if field != 1:
            continue
        if kind == 1 and isinstance(content, bytes):
            return [content]
        if kind == 3:
            number = _varint(content, 0)[0] if isinstance(content, bytes) else content
            return [number - (1 << 64) if number >> 63 else number]
    return []


def _messages(data: bytes, path: tuple[int, ...]) -> Iterator[bytes]:
    """Every message at this path of field numbers."""
    for field, content in _fields(data):
        if field == path[0] and isinstance(content, bytes):
            if len(path) == 1:
                yield content
            else:
                yield from _messages(content, path[1:])


def _fields(data: bytes) -> Iterator[tuple[int, bytes | int]]:
    """Field numbers and contents of a message, in order."""
    place = 0
    while place < len(data):
        tag, place = _varint(data, place)
        wire = tag & 7
        if wire == VARINT:
            number, place = _varint(data, place)
            yield tag >> 3, number
            continue
        if wire == DELIMITED:
            length, place = _varint(data, place)
        elif wire in (WIDE, NARROW):
            length = 8 if wire == WIDE else 4
        else:
            raise ValueError(f"wire type {wire} at byte {place}")
        if place + length > len(data):
            raise ValueError(f"{length} bytes promised, {len(data) - place} left")
        yield tag >> 3, data[place : place + length]
        place += length


def _varint(data: bytes, place: int) -> tuple[int, int]:
    """A number in groups of seven bits, lowest first, and where it ends; IndexError at the end of the data."""
    value = shift = 0
    while True:
        byte = data[place]
        place += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, place
        shift += 7
        if shift > 63:
            raise ValueError(f"a number without end at byte {place}")


def _delimited(field: int, content: bytes) -> bytes:
    return _varint_bytes(field << 3 | DELIMITED) + _varint_bytes(len(content)) + content


def _varint_bytes(value: int) -> bytes:
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])
