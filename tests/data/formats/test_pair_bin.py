"""Verification sets: read, written, drawn from a labelled set, and refused."""

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.data.formats.toy_sets import Listed, content, write

from facewright.data.formats import PairBin, draw_pairs, open_records
from facewright.errors import ConfigError, DataError, FaceError, InputError


def test_pairs_go_through_other_formats_and_back(drawn_pairs: Listed, tmp_path: Path) -> None:
    out = write(drawn_pairs, tmp_path / "toy.bin", "bin")
    assert content(out) == content(drawn_pairs)
    assert PairBin(out).issame.tolist() == [True, False, False, True]
    for to in ("recordio", "tfrecord", "webdataset", "parquet", "list"):
        through = write(open_records(out), tmp_path / to, to)
        back = write(open_records(through), tmp_path / f"{to}.bin", "bin")
        assert back.read_bytes() == out.read_bytes()
    with out.open("rb") as opened:  # as the public evaluators read it
        pictures, issame = pickle.load(opened)  # noqa: S301
    assert pictures == [record.image for record in drawn_pairs]
    assert issame == [True, False, False, True]


def _bin(path: Path, value: Any) -> Path:
    path.write_bytes(pickle.dumps(value))
    return path


def test_what_is_wrong_is_named(tmp_path: Path) -> None:
    jpg = b"\xff\xd8"
    for value, message in (
        ([jpg, jpg], "its pictures are bytes"),
        ({"a": 1}, r"holds dict, expected \(pictures, matches\)"),
        (([jpg] * 3, [True]), r"3 pictures for 1 pairs"),
        (([jpg] * 4, [True]), r"4 pictures for 1 pairs"),
        (([], []), r"0 pictures for 0 pairs"),
        ((jpg, [True]), r"its pictures are bytes"),
        (([jpg] * 2, [2]), r"whether pair 0 matches is 2"),
        (([jpg] * 2, 1), r"its matches are int"),
        (([jpg] * 2, np.array([0.5])), r"whether pair 0 matches is 0\.5"),
    ):
        with pytest.raises(DataError, match=message):
            PairBin(_bin(tmp_path / "toy.bin", value))
    for picture, message in (
        (7, "holds a value of int, expected the bytes of an encoded picture; fetch the file again"),
        (b"", "holds nothing, expected"),
        (None, "holds nothing, expected the bytes of an encoded picture; fetch the file again"),
        (np.zeros((4, 4, 3), np.uint8), r"holds an array of uint8 \(4, 4, 3\), expected"),
        (np.zeros(4, np.float32), r"holds an array of float32 \(4,\), expected"),
    ):
        records = PairBin(_bin(tmp_path / "toy.bin", ([jpg, picture], [True])))
        assert records.read(0).image == jpg
        with pytest.raises(DataError, match=rf"toy\.bin: picture 1 \(pair 0\): {message}"):
            records.read(1)
    with pytest.raises(InputError, match="no such file"):
        open_records(tmp_path / "none.bin")


def test_arrays_of_bytes_are_pictures(tmp_path: Path) -> None:
    jpg = np.frombuffer(b"\xff\xd8\xff\xd9", np.uint8)
    records = PairBin(_bin(tmp_path / "toy.bin", ([jpg, jpg[None]], np.array([True]))))
    assert [record.image for record in records] == [b"\xff\xd8\xff\xd9"] * 2


def test_a_labelled_set_is_no_set_of_pairs(drawn: Listed, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"^listed: holds labelled people, .* --pairs 6000"):
        write(drawn, tmp_path / "toy.bin", "bin")
    with pytest.raises(ConfigError, match="a pair cannot lose a picture"):
        write(drawn, tmp_path / "toy.bin", "bin", damaged="skip")
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("to", "settings", "message"),
    [
        ("folder", {}, "the format folder would make two people of them"),
        ("set", {}, "the format set would make two people of them; .*: list, recordio, "),
        ("recordio", {"grouped": True}, "grouped RecordIO would make two people of them"),
        ("bin", {"pairs": 20}, "holds pairs, and pairs are drawn from labelled people"),
        ("recordio", {"damaged": "skip"}, "a pair cannot lose a picture"),
    ],
)
def test_pairs_are_no_people(
    drawn_pairs: Listed, tmp_path: Path, to: str, settings: dict[str, object], message: str
) -> None:
    pairs = open_records(write(drawn_pairs, tmp_path / "toy.bin", "bin"))
    with pytest.raises(FaceError, match=message):
        write(pairs, tmp_path / "out", to, **settings)
    assert [path.name for path in tmp_path.iterdir()] == ["toy.bin"]


def test_drawn_pairs_are_what_they_say(tmp_path: Path) -> None:
    labels = np.repeat(np.arange(12), 5)
    numbers, issame = draw_pairs(labels, 60, seed=1)
    first, second = labels[numbers[::2]], labels[numbers[1::2]]
    assert np.array_equal(first == second, issame)
    assert np.array_equal(issame.reshape(10, 6), np.tile([True] * 3 + [False] * 3, (10, 1)))
    assert len({tuple(pair) for pair in numbers.reshape(-1, 2).tolist()}) == 60
    assert (numbers[::2] != numbers[1::2]).all()
    assert np.array_equal(draw_pairs(labels, 60, seed=1)[0], numbers)
    assert not np.array_equal(draw_pairs(labels, 60, seed=2)[0], numbers)


def test_pairs_that_cannot_be_drawn() -> None:
    with pytest.raises(InputError, match="need a multiple of 20"):
        draw_pairs(np.repeat(np.arange(12), 5), 30, seed=0)
    with pytest.raises(InputError, match="has 7 matching pairs and 21 others"):
        draw_pairs(np.array([0, 1, 0, 2, 1, 2, 2, 0]), 20, seed=0)
    numbers, _ = draw_pairs(np.repeat([0, 1], [5, 2]), 20, seed=0)  # every pair of a kind: 11 and 10
    assert len({tuple(pair) for pair in numbers.reshape(-1, 2).tolist()}) == 20
