"""RecordIO: framing around the magic word, the grouped form, and every way in which a file can be broken."""

import re
import struct
from collections.abc import Sequence
from pathlib import Path

import pytest
from tests.data.formats.toy_sets import Listed, content, write

from facewright.data.formats import Record, open_records
from facewright.data.formats.recordio import MAGIC_BYTES, body_bytes, frame_bytes, parse_body, read_frames
from facewright.errors import DataError


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"abc",
        MAGIC_BYTES,
        MAGIC_BYTES * 3,
        b"abcd" + MAGIC_BYTES + b"e",
        b"abc" + MAGIC_BYTES + b"de",  # not on a multiple of 4: stays in the part
        b"ab" + MAGIC_BYTES + b"cd" + MAGIC_BYTES,
        MAGIC_BYTES + b"abcd" + MAGIC_BYTES + b"xy",
    ],
)
def test_a_body_with_the_magic_word_comes_back(body: bytes) -> None:
    framed = frame_bytes(body, "here")
    assert len(framed) % 4 == 0
    frames = [place for place in range(0, len(framed), 4) if framed[place : place + 4] == MAGIC_BYTES]
    cuts = [place for place in range(0, len(body) // 4 * 4, 4) if body[place : place + 4] == MAGIC_BYTES]
    assert len(frames) == 1 + len(cuts)  # a reader that looks for the word on multiples of 4 finds frames alone
    assert read_frames(framed, 0, len(framed), "here") == body


def test_labels_of_a_body() -> None:
    assert parse_body(body_bytes(b"jpg", (3,), 7), "here") == ((3.0,), 7, b"jpg")
    assert parse_body(body_bytes(b"jpg", (3, 0.5), 7), "here") == ((3.0, 0.5), 7, b"jpg")


def test_plain_and_grouped_forms(drawn: Listed, tmp_path: Path) -> None:
    plain = write(drawn, tmp_path / "plain", "recordio")
    assert content(plain) == content(drawn)
    assert (plain / "property").read_text() == "3,112,112\n"
    assert (plain / "train.lst").read_text().splitlines()[1] == "1\t1.000000\tp1/1.jpg"
    grouped = write(drawn, tmp_path / "grouped", "recordio", grouped=True)
    assert content(grouped) == sorted(content(drawn), key=lambda row: row[0])
    lines = (grouped / "train.idx").read_text().splitlines()
    assert [line.split("\t")[0] for line in lines] == [*map(str, range(1, 12)), "0"]
    rec, starts = (grouped / "train.rec").read_bytes(), [int(line.split("\t")[1]) for line in lines]
    bodies = [
        parse_body(read_frames(rec, start, end, "here"), "here")
        for start, end in zip(starts, [*starts[1:], len(rec)], strict=True)
    ]
    assert [body.labels for body in bodies[8:]] == [(1.0, 4.0), (4.0, 6.0), (6.0, 9.0), (9.0, 12.0)]


@pytest.mark.parametrize("grouped", [False, True])
def test_a_file_without_index_is_scanned(drawn: Listed, tmp_path: Path, grouped: bool) -> None:
    out = write(drawn, tmp_path / "set", "recordio", grouped=grouped)
    whole = content(out)
    (out / "train.idx").unlink()
    assert content(out) == whole


def test_an_index_in_another_order_gives_that_order(drawn: Listed, tmp_path: Path) -> None:
    out = write(drawn, tmp_path / "set", "recordio")
    lines = (out / "train.idx").read_text().splitlines()
    (out / "train.idx").write_text("\n".join(reversed(lines)) + "\n")
    assert content(out) == content(drawn)[::-1]


def _grouped(
    folder: Path, first: int, promised: tuple[float, float], *, middle: int = 2, labels: Sequence[int] = (0, 0, 1)
) -> Path:
    """A grouped file of two identities whose keys start at `first`; the first says that it ends before `middle`."""
    spans = [(first, first + middle), (first + 2, first + 3)]
    entries = [(first + n, body_bytes(b"\xff\xd8" + bytes([n]), (labels[n],), first + n)) for n in range(3)]
    entries += [(first + 3 + n, body_bytes(b"", span, first + 3 + n)) for n, span in enumerate(spans)]
    entries.append((0, body_bytes(b"", promised, 0, number2=1)))
    folder.mkdir()
    with (folder / "train.rec").open("wb") as rec, (folder / "train.idx").open("w") as idx:
        for key, body in entries:
            idx.write(f"{key}\t{rec.tell()}\n")
            rec.write(frame_bytes(body, "here"))
    return folder


def test_a_header_rounded_to_float32_does_not_lose_pictures(tmp_path: Path) -> None:
    first = 2**24 + 1
    assert struct.unpack("<f", struct.pack("<f", first + 3))[0] == first + 3  # even numbers are exact here
    for number, start in enumerate((first, first + 1)):  # boundary exact, then rounded
        records = open_records(_grouped(tmp_path / str(number), start, (start + 3, start + 5)))
        assert [(record.label, record.image[-1]) for record in records] == [(0, 0), (0, 1), (1, 2)]


@pytest.mark.parametrize("promised", [(5, 6), (3, 6), (9, 11), (4, 7), (float("nan"), 6)])
def test_a_header_that_lies_is_refused(tmp_path: Path, promised: tuple[float, float]) -> None:
    assert len(open_records(_grouped(tmp_path / "true", 1, (4, 6)))) == 3
    with pytest.raises(DataError, match=r"train\.rec: header record \(key 0\): promises identity records"):
        open_records(_grouped(tmp_path / "false", 1, promised))


@pytest.mark.parametrize(("middle", "labels"), [(3, (0, 0, 1)), (1, (0, 0, 1)), (2, (0, 1, 1))])
def test_identity_records_that_contradict_pictures_are_refused(
    tmp_path: Path, middle: int, labels: Sequence[int]
) -> None:
    folder = _grouped(tmp_path / "set", 1, (4, 6), middle=middle, labels=labels)
    with pytest.raises(DataError, match=r"identity record \(key [45]\): lists the pictures with keys [13] up to"):
        open_records(folder)
    assert len(open_records(folder, gaps="keep")) == 3


def test_people_that_property_does_not_count_are_refused(drawn: Listed, tmp_path: Path) -> None:
    out = write(drawn, tmp_path / "set", "recordio")
    people = int((out / "property").read_text().split(",")[0])
    (out / "property").write_text("99,112,112\n")
    with pytest.raises(DataError, match=rf"property: says 99 people, the labels of train\.rec are those of {people};"):
        open_records(out)
    (out / "property").unlink()
    assert len(open_records(out))


def test_what_is_wrong_with_an_index_is_named(drawn: Listed, tmp_path: Path) -> None:
    out = write(drawn, tmp_path / "set", "recordio")
    index = out / "train.idx"
    lines = index.read_text().splitlines()
    for changed, message in (
        ([*lines, lines[3]], r"train\.idx: the key 3 occurs 2 times"),
        ([*lines, "8\t0"], r"train\.idx: the offset 0 occurs 2 times"),
        ([*lines[:2], "two 17", *lines[3:]], r"line 3: expected key and offset, got 'two 17'"),
        ([*lines[:2], "2", *lines[3:]], r"line 3: expected key and offset"),
        (lines[1:], r"no line leads to the first record of train\.rec"),
        ([], r"lists no record"),
    ):
        index.write_text("\n".join(changed) + "\n")
        with pytest.raises(DataError, match=message):
            open_records(out)
    index.write_text("\n".join(lines[:4] + lines[5:]) + "\n")  # record 4 belongs to no line
    with pytest.raises(DataError, match=r"record 3 \(key 3\): ends at byte \d+, but the next record"):
        list(open_records(out, gaps="keep"))


def test_what_is_wrong_with_a_record_is_named(drawn: Listed, tmp_path: Path) -> None:
    out = write(drawn, tmp_path / "set", "recordio")
    rec, whole = out / "train.rec", (out / "train.rec").read_bytes()
    start = int((out / "train.idx").read_text().splitlines()[3].split("\t")[1])

    def broken(place: int, patch: bytes) -> None:
        rec.write_bytes(whole[: start + place] + patch + whole[start + place + len(patch) :])

    for place, patch, message in (
        (0, b"\0\0\0\0", "no RecordIO frame at byte"),
        (4, struct.pack("<I", 2 << 29 | 10), "no RecordIO frame at byte"),
        (4, struct.pack("<I", 1 << 20), "claims 1048576 bytes"),
        (4, struct.pack("<I", 8), "the next record starts at"),
        (8, struct.pack("<I", 10**9), "promises 1000000000 labels"),
        (12, struct.pack("<f", 0.5), "the label is 0.5, expected a whole number"),
        (12, struct.pack("<f", -1), "the label is -1.0"),
        (12, struct.pack("<f", float("nan")), "the label is nan"),
    ):
        broken(place, patch)
        records = open_records(out, gaps="keep")
        assert len([records.read(number) for number in range(8) if number != 3]) == 7
        with pytest.raises(DataError, match=rf"train\.rec: record 3 \(key 3\): .*{message}"):
            records.read(3)
    rec.write_bytes(whole[:-40])
    with pytest.raises(DataError, match=r"record 7 \(key 7\): claims .* fetch the file and its index again"):
        list(open_records(out, gaps="keep"))
    rec.write_bytes(b"")
    with pytest.raises(DataError, match=r"train\.rec: the file is empty"):
        open_records(out)


@pytest.mark.parametrize("place", ["at the end", "far past it", "between records"])
def test_a_record_that_an_index_misplaces_is_damaged(drawn: Listed, tmp_path: Path, place: str) -> None:
    out = write(drawn, tmp_path / "set", "recordio")
    size = (out / "train.rec").stat().st_size
    start = {"at the end": size, "far past it": 10**9, "between records": 2}[place]
    with (out / "train.idx").open("a") as opened:
        opened.write(f"8\t{start}\n")
    records = open_records(out)
    assert [(record.label, record.image) for record in map(records.read, range(8))] == content(drawn)
    message = (
        rf"train\.rec: record 8 \(key 8\): starts at byte {start}, where a file of {size} bytes has no record; fetch"
    )
    with pytest.raises(DataError, match=message):
        records.read(8)


def kept(folder: Path) -> tuple[list[bytes], list[str]]:
    """The pictures that can be read, and what is said of the others."""
    records, images, refused = open_records(folder, gaps="keep"), [], []
    for number in range(len(records)):
        try:
            images.append(records.read(number).image)
        except DataError as error:
            refused.append(str(error).split(": ", 1)[1])
    return images, refused


def test_a_grouped_file_that_lost_its_header_keeps_its_pictures(tmp_path: Path) -> None:
    folder = _grouped(tmp_path / "set", 1, (4, 6))
    rec, whole = folder / "train.rec", (folder / "train.rec").read_bytes()
    starts = [int(line.split("\t")[1]) for line in (folder / "train.idx").read_text().splitlines()]
    rec.write_bytes(whole[: starts[3]])  # identity records and header are gone
    images, refused = kept(folder)
    assert [image[-1] for image in images] == [0, 1, 2]
    assert [reason.split(": ")[0] for reason in refused] == [
        "record 3 (key 4)",
        "record 4 (key 5)",
        "record 5 (key 0)",
    ]
    for broken, key in ((starts[5], 0), (starts[3], 4)):  # the header, and the first identity record
        rec.write_bytes(whole[:broken] + b"\0" + whole[broken + 1 :])
        images, refused = kept(folder)
        assert ([image[-1] for image in images], len(refused)) == ([0, 1, 2], 1)
        assert f"(key {key}): no RecordIO frame at byte {broken}; fetch the file and its index again" in refused[0]


@pytest.mark.parametrize("indexed", [True, False])
@pytest.mark.parametrize(
    ("number", "offset", "bits"),
    [(0, 0, 1), (3, 0, 1), (7, 0, 1), (0, 4, 64), (3, 5, 1), (3, 7, 16), (7, 7, 4), (7, 5, 1)],
    ids=lambda value: str(value),
)
def test_damage_costs_one_record(
    drawn: Listed, tmp_path: Path, indexed: bool, number: int, offset: int, bits: int
) -> None:
    out = write(drawn, tmp_path / "set", "recordio")
    starts = [int(line.split("\t")[1]) for line in (out / "train.idx").read_text().splitlines()]
    data = bytearray((out / "train.rec").read_bytes())
    data[starts[number] + offset] ^= bits  # of the magic word, or of flag and length
    (out / "train.rec").write_bytes(data)
    if not indexed:
        (out / "train.idx").unlink()
    images, refused = kept(out)
    assert images == [record.image for n, record in enumerate(drawn) if n != number]
    assert len(refused) == 1
    assert re.match(rf"record {number} \(key {number}\): .*; fetch the file and its index again$", refused[0])


def test_labels_beyond_float32_are_not_written(tmp_path: Path, drawn: Listed) -> None:
    large = Listed([Record(drawn.records[0].image, 2**24, "a.jpg")])
    with pytest.raises(DataError, match="label 16777216 is not exact"):
        write(large, tmp_path / "set", "recordio")
    assert not any(tmp_path.iterdir())
