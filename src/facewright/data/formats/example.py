"""The wire format of tf.train.Example, as much of it as pictures and labels need.

Example { Features features = 1 }, Features { map<string, Feature> feature = 1 }, Feature { one of BytesList 1,
FloatList 2, Int64List 3 }, each list { repeated value = 1 } (protocol buffers, proto3: a map entry is a message with
key 1 and value 2, and repeated numbers are packed).
"""

from collections.abc import Mapping

from facewright.errors import DataError

Feature = bytes | int
VARINT, WIDE, DELIMITED, NARROW = 0, 1, 2, 5
NUMBER = -1


def read_example(payload: bytes, where: str) -> dict[str, Feature]:
    """First value of every feature that is a list of bytes or of integers, by name.

    Raises:
        DataError: not a tf.train.Example.
    """
    found: dict[str, Feature] = {}
    try:
        for features in _messages(payload, (0, len(payload))):
            for entry in _messages(payload, features):
                name, feature = b"", (0, 0)
                for field, start, end in _fields(payload, *entry):
                    if field == 1 and end != NUMBER:
                        name = payload[start:end]
                    elif field == 2 and end != NUMBER:
                        feature = start, end
                for kind, start, end in _fields(payload, *feature):
                    value = _first(payload, kind, start, end) if kind in (1, 3) and end != NUMBER else None
                    if value is not None:
                        found[name.decode()] = value
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


def _first(data: bytes, kind: int, start: int, end: int) -> Feature | None:
    """The first value of the BytesList (1) or Int64List (3) that fills data[start:end], None where it is empty."""
    for field, first, last in _fields(data, start, end):
        if field == 1 and kind == 1 and last != NUMBER:
            return data[first:last]
        if field == 1 and kind == 3:
            number = first if last == NUMBER else _varint(data[first:last], 0)[0]
            return number - (1 << 64) if number >> 63 else number
    return None


def _messages(data: bytes, span: tuple[int, int]) -> list[tuple[int, int]]:
    """Where the messages of field 1 lie in the message that fills this span."""
    return [(start, end) for field, start, end in _fields(data, *span) if field == 1 and end != NUMBER]


def _fields(data: bytes, place: int, stop: int) -> list[tuple[int, int, int]]:
    """Fields of the message that fills data[place:stop], in order: number, and first byte and end of the content.

    A content that is a number itself stands in place of its first byte, with `NUMBER` as end. Nothing is copied, and
    tags of one byte and lengths of two are read here: for a record of a picture this is most of the work.
    """
    found = []
    while place < stop:
        tag = data[place]
        place += 1
        if tag > 0x7F:
            tag, place = _varint(data, place - 1)
        wire = tag & 7
        if wire == VARINT:
            number, place = _varint(data, place)
            found.append((tag >> 3, number, NUMBER))
            continue
        if wire == DELIMITED:
            length, more = data[place], 0
            place += 1
            if length > 0x7F:
                more = data[place]
                place += 1
            if more < 0x80:
                length = length & 0x7F | more << 7
            else:
                length, place = _varint(data, place - 2)
        elif wire in (WIDE, NARROW):
            length = 8 if wire == WIDE else 4
        else:
            raise ValueError(f"wire type {wire} at byte {place}")
        found.append((tag >> 3, place, place + length))
        place += length
    if place != stop:
        raise ValueError(f"a field ends at byte {place}, its message at {stop}")
    return found


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
