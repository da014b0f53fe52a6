"""Between any two formats: the same bytes, whole or not at all, damaged records refused or counted."""

from pathlib import Path

import pytest
from tests.data.formats.toy_sets import Listed, content, drawn_jpeg, write

from facewright.data.formats import FORMATS, ExportConfig, PairBin, Record, export_records, open_records
from facewright.data.sets import read_set
from facewright.errors import ConfigError, DataError, InputError

LABELLED = [name for name in FORMATS if name != "bin"]


@pytest.mark.parametrize("first", LABELLED)
@pytest.mark.parametrize("second", LABELLED)
def test_every_way_between_two_formats(drawn: Listed, tmp_path: Path, first: str, second: str) -> None:
    there = write(drawn, tmp_path / "there", first)
    back = write(open_records(there), tmp_path / "back", second)
    sorts = {"folder", "set"} & {first, second}
    known = sorted(content(drawn), key=lambda row: row[0]) if sorts else content(drawn)
    assert content(back) == known
    assert open_records(back).format == second


def test_a_written_set_is_a_set(drawn: Listed, tmp_path: Path) -> None:
    faces = read_set(write(drawn, tmp_path / "faces", "set"))
    assert faces.identities.tolist() == [0, 0, 0, 1, 1, 2, 2, 2]
    assert faces.rows[2].file == "images/000000/002.jpg"
    assert faces.crops([3]).shape == (1, 112, 112, 3)
    assert faces.config == {"imported_from": "listed (listed)"}


def test_pairs_can_be_drawn_from_a_labelled_set(tmp_path: Path) -> None:
    records = Listed([Record(drawn_jpeg(n, size=16), n // 6, str(n)) for n in range(36)])
    out = write(records, tmp_path / "toy.bin", "bin", pairs=40, seed=3)
    owner = {record.image: record.label for record in records}
    pairs = PairBin(out)
    labels = [owner[record.image] for record in pairs]
    assert [one == other for one, other in zip(labels[::2], labels[1::2], strict=True)] == pairs.issame.tolist()
    assert pairs.issame.sum() == 20


def test_damaged_records_are_refused_or_skipped_with_a_count(drawn: Listed, tmp_path: Path) -> None:
    rec = write(drawn, tmp_path / "set", "recordio") / "train.rec"
    starts = [int(line.split("\t")[1]) for line in (rec.parent / "train.idx").read_text().splitlines()]
    whole = bytearray(rec.read_bytes())
    whole[starts[2]] ^= 1  # no frame
    half = starts[5] + 32 + 300
    whole[half : starts[6]] = bytes(starts[6] - half)  # a picture that ends early
    rec.write_bytes(whole)
    records = open_records(rec)
    assert records.labels.tolist() == [0, 1, -1, 2, 1, 2, 2, 0]
    with pytest.raises(DataError, match=r"train\.rec: record 2 \(key 2\): no RecordIO frame"):
        write(records, tmp_path / "out", "folder")
    with pytest.raises(DataError, match=r"record 2 \(key 2\)"):
        write(records, tmp_path / "out.bin", "bin", pairs=20)
    assert [path.name for path in tmp_path.iterdir()] == ["set"]
    calls: list[tuple[int, int]] = []
    report = export_records(
        records,
        tmp_path / "out",
        ExportConfig(to="webdataset", damaged="skip", decode=True),
        progress=lambda done, total: calls.append((done, total)),
    )
    assert (report.written, report.skipped, report.identities) == (6, 2, 3)
    assert "record 2 (key 2): no RecordIO frame" in report.reasons[0]
    assert "record 5 (key 5): not a readable picture" in report.reasons[1]
    assert calls[-1] == (8, 8)
    assert content(tmp_path / "out") == [row for n, row in enumerate(content(drawn)) if n not in (2, 5)]


def test_nothing_is_overwritten_or_left_half_made(drawn: Listed, tmp_path: Path) -> None:
    out = write(drawn, tmp_path / "out", "parquet")
    before = content(out)
    for to in ("parquet", "bin"):
        with pytest.raises(InputError, match="already there; nothing is overwritten"):
            write(drawn, out, to)
    assert content(out) == before
    nothing = Listed([Record(b"no picture", 0, "a")])
    with pytest.raises(DataError, match="listed: record 0: no JPEG, PNG, WebP or BMP"):
        write(nothing, tmp_path / "none", "recordio")
    with pytest.raises(DataError, match="no record is left to write; 1 are damaged"):
        write(nothing, tmp_path / "none", "webdataset", damaged="skip")
    nothing.latents = True
    with pytest.raises(InputError, match="holds tensors, and only pictures are exported"):
        write(nothing, tmp_path / "none", "webdataset")
    with pytest.raises(DataError, match=r"has a tab or line break in it"):
        write(Listed([Record(drawn_jpeg(0), 0, "a\tb")]), tmp_path / "none", "tfrecord")
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    (tmp_path / "empty").mkdir()
    assert content(write(drawn, tmp_path / "empty", "list")) == content(drawn)


def test_the_property_file_tells_the_size_of_a_picture_that_has_one(drawn: Listed, tmp_path: Path) -> None:
    records = Listed([Record(b"\xff\xd8\xff headless", 0, "a"), *drawn.records])
    out = write(records, tmp_path / "set", "recordio")
    assert (out / "property").read_text() == "3,112,112\n"
    assert content(out) == content(records)


def test_equal_names_do_not_collide(tmp_path: Path) -> None:
    records = Listed([Record(drawn_jpeg(n), 0, "same.jpg") for n in range(3)])
    out = write(records, tmp_path / "TFR-x", "tfrecord")
    assert content(out / "TFR-x" / "TFR-x.index") == content(records)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"to": "zip"}, "no format 'zip'; known are folder"),
        ({"to": "list", "damaged": "ignore"}, "refused or skipped, not 'ignore'"),
        ({"to": "list", "grouped": True}, "only RecordIO has an identity-grouped form"),
        ({"to": "list", "pairs": 20}, "pairs are drawn for bin alone"),
        ({"to": "list", "shard_records": 0}, "at least one record, got 0"),
    ],
)
def test_settings_that_make_no_sense(settings: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        ExportConfig(**settings)  # type: ignore[arg-type]
