"""WebDataset and Parquet shards: written, read in any order, and refused."""

import io
import json
import pickle
import tarfile
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from tests.data.formats.toy_sets import Listed, content, write

from facewright.data.formats import open_records
from facewright.errors import DataError


@pytest.mark.parametrize("to", ["webdataset", "parquet"])
def test_shards_hold_the_records_in_order(drawn: Listed, tmp_path: Path, to: str) -> None:
    out = write(drawn, tmp_path / "toy", to, shard_records=3)
    assert len(list(out.iterdir())) == 3
    assert content(out) == content(drawn)
    assert content(sorted(out.iterdir())[0]) == content(drawn)[:3]
    records = open_records(out)
    assert [records.read(number).image for number in (7, 0, 4)] == [drawn.records[n].image for n in (7, 0, 4)]
    again = write(drawn, tmp_path / "again" / "toy", to, shard_records=3)
    assert [path.read_bytes() for path in sorted(again.iterdir())] == [
        path.read_bytes() for path in sorted(out.iterdir())
    ]


@pytest.mark.parametrize("to", ["webdataset", "parquet", "recordio", "tfrecord"])
def test_open_records_can_go_to_another_process(drawn: Listed, tmp_path: Path, to: str) -> None:
    records = open_records(write(drawn, tmp_path / "toy", to))
    assert records.read(3).label == 2
    copy = pickle.loads(pickle.dumps(records))  # noqa: S301
    assert content(copy) == content(drawn)


def _tar(path: Path, members: list[tuple[str, bytes]]) -> Path:
    with tarfile.open(path, "w") as archive:
        for name, data in members:
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return path


def test_samples_of_other_writers(tmp_path: Path) -> None:
    members = [
        ("people/a.b.JPG", b"other"),
        ("people/a.jpg", b"one"),
        ("people/a.json", json.dumps({"label": 1}).encode()),
        ("people/b.cls", b"0\n"),
        ("people/b.png", b"two"),
    ]
    assert content(_tar(tmp_path / "a.tar", members)) == [(1, b"one"), (0, b"two")]


def test_what_is_wrong_with_a_tar_is_named(drawn: Listed, tmp_path: Path) -> None:
    path = tmp_path / "a.tar"
    for members, message in (
        ([("a.jpg", b"x")], r"a\.tar: sample a: has no \.cls or \.json"),
        ([("a.cls", b"0")], r"sample a: has 0 pictures"),
        ([("a.jpg", b"x"), ("a.png", b"x"), ("a.cls", b"0")], r"sample a: has 2 pictures"),
        ([("a.jpg", b"x"), ("a.cls", b"one")], r"sample a: the label is one"),
        ([("a.jpg", b"x"), ("a.json", b"[1]")], r"sample a: no label can be read from a\.json"),
        ([("a.jpg", b"x"), ("b.jpg", b"x"), ("b.cls", b"0"), ("a.cls", b"0")], r"a\.cls belongs to a sample"),
        ([("a.jpg", b"x"), ("a.jpg", b"x"), ("a.cls", b"0")], r"a\.jpg belongs to a sample"),
        ([], r"holds no sample"),
    ):
        with pytest.raises(DataError, match=message):
            list(open_records(_tar(path, members)))
    damaged = open_records(_tar(path, [("a.jpg", b"x"), ("b.jpg", b"y"), ("b.cls", b"0")]))
    assert damaged.labels.tolist() == [-1, 0]
    assert damaged.read(1).image == b"y"
    _tar(path, [("a.jpg", b""), ("a.cls", b"0")])
    with pytest.raises(DataError, match=r"a\.tar: sample a \(record 0\): the picture is empty"):
        list(open_records(path))
    whole = next(write(drawn, tmp_path / "toy", "webdataset").iterdir()).read_bytes()
    ends = [whole.index(b"000000005.jpg"), whole.index(b"000000005.jpg") + 700]  # at a header, in a picture
    for end in (*ends, 100, 0):
        path.write_bytes(whole[:end])
        with pytest.raises(DataError, match=r"a\.tar: .*(cut short|not a readable tar file)"):
            open_records(path)
    path.write_bytes(whole[:5120] + b"garbage" + whole[5127:])
    with pytest.raises(DataError, match=r"a\.tar"):
        list(open_records(path))


def test_a_link_in_a_tar_is_refused(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "a.tar", "w") as archive:
        member = tarfile.TarInfo("a.jpg")
        member.type, member.linkname = tarfile.SYMTYPE, "/secret"
        archive.addfile(member)
    with pytest.raises(DataError, match=r"a\.jpg is cut short or no plain file"):
        open_records(tmp_path / "a.tar")


def test_parquet_of_other_writers(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"img": [b"one", b"two"], "identity": pa.array([1, 0], pa.int16()), "age": [3, 4]}), path)
    assert content(path) == [(1, b"one"), (0, b"two")]


def test_what_is_wrong_with_a_parquet_is_named(drawn: Listed, tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    for columns, message in (
        ({"image": [b"x"]}, r"a\.parquet: 0 columns of labels among image"),
        ({"label": [0]}, r"0 columns of pictures among label"),
        ({"image": [b"x"], "jpg": [b"x"], "label": [0]}, r"2 columns of pictures"),
        ({"image": [b"x", b"x"], "label": [0, None]}, r"a\.parquet: row 1: the label is -1"),
        ({"image": [b"x", b"x"], "label": [0.5, 1]}, r"a\.parquet: row 0: the label is 0\.5"),
        ({"image": [b"x", b"x"], "label": [0, -7]}, r"a\.parquet: row 1: the label is -7"),
        ({"image": pa.array([], pa.binary()), "label": pa.array([], pa.int64())}, r"holds no row"),
    ):
        pq.write_table(pa.table(columns), path)
        with pytest.raises(DataError, match=message):
            open_records(path)
    pq.write_table(pa.table({"image": [{"bytes": None, "path": "/secret.jpg"}], "label": [0]}), path)
    with pytest.raises(DataError, match=r"a\.parquet: row 0: holds no bytes of a picture"):
        list(open_records(path))
    whole = next(write(drawn, tmp_path / "toy", "parquet").iterdir()).read_bytes()
    path.write_bytes(whole[:-200])
    with pytest.raises(DataError, match=r"a\.parquet: cut short or damaged"):
        open_records(path)
