from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from facewright.data.sets import (
    SetRow,
    image_file,
    read_manifest,
    read_set,
    write_config,
    write_image,
    write_manifest,
)
from facewright.errors import DataError, InputError


def row(identity: int, index: int) -> SetRow:
    return SetRow(
        identity=identity,
        name=f"person {identity}",
        index=index,
        file=image_file(identity, index),
        seed=2**63 - 1 - index,
        context_sha256="c" * 64,
        generator_sha256="a" * 64,
        sampler="ddim",
        steps=25,
        guidance=1.5,
        similarity=None if index else 0.25,
    )


def picture(number: int, size: int = 128) -> np.ndarray:
    return np.random.default_rng(number).integers(0, 256, (size, size, 3), dtype=np.uint8)


@pytest.fixture
def made(tmp_path: Path) -> Path:
    rows = [row(identity, index) for identity in (7, 2) for index in (1, 0)]
    rows[0] = replace(rows[0], kept=False, reason="no face")
    for number, entry in enumerate(rows):
        write_image(tmp_path, entry, picture(number))
    write_config(tmp_path, {"crop": 112})
    write_manifest(tmp_path, rows)
    return tmp_path


def test_read_what_was_written(made: Path) -> None:
    faces = read_set(made)
    assert len(faces) == 4
    assert faces.config == {"crop": 112}
    assert faces.identities.dtype == np.int64
    np.testing.assert_array_equal(faces.identities, [2, 2, 7, 7])
    np.testing.assert_array_equal(faces.kept, [True, True, True, False])
    assert faces.rows[:2] == (row(2, 0), row(2, 1))
    assert faces.rows[3] == replace(row(7, 1), kept=False, reason="no face")
    assert (made / "images/000007/001.png").is_file()
    np.testing.assert_array_equal(faces.image(3), picture(0))
    np.testing.assert_array_equal(faces.image(0), picture(3))


def test_crops_are_the_centre(made: Path) -> None:
    faces = read_set(made)
    crops = faces.crops([3, 0])
    assert crops.shape == (2, 112, 112, 3)
    assert crops.dtype == np.uint8
    np.testing.assert_array_equal(crops[0], picture(0)[8:120, 8:120])
    np.testing.assert_array_equal(crops[1], picture(3)[8:120, 8:120])
    np.testing.assert_array_equal(faces.crops()[[3, 0]], crops)


def test_same_rows_same_bytes(made: Path) -> None:
    before = (made / "manifest.parquet").read_bytes()
    write_manifest(made, reversed(read_manifest(made)))
    assert (made / "manifest.parquet").read_bytes() == before


def test_empty_set(tmp_path: Path) -> None:
    write_manifest(tmp_path, [])
    write_config(tmp_path, {})
    faces = read_set(tmp_path)
    assert len(faces) == 0
    assert faces.crops().shape == (0, 112, 112, 3)


def test_missing_pictures_are_named(made: Path) -> None:
    (made / "images/000002/001.png").unlink()
    with pytest.raises(DataError, match=r"1 of 4 pictures .* the first is images/000002/001\.png"):
        read_set(made)


@pytest.mark.parametrize("share", [0.0, 0.3, 0.99])
def test_truncated_manifest(made: Path, share: float) -> None:
    file = made / "manifest.parquet"
    whole = file.read_bytes()
    file.write_bytes(whole[: int(len(whole) * share)])
    with pytest.raises(DataError, match=r"manifest\.parquet: cut short or damaged"):
        read_set(made)


@pytest.mark.parametrize("text", ["", "[1]", "{"])
def test_damaged_config(made: Path, text: str) -> None:
    (made / "config.json").write_text(text)
    with pytest.raises(DataError, match=r"config\.json"):
        read_set(made)


def test_no_set(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="not a set"):
        read_set(tmp_path)


@pytest.mark.parametrize("content", [b"", b"no picture", None])
def test_damaged_picture_is_named(made: Path, content: bytes | None) -> None:
    file = made / "images/000002/000.png"
    file.write_bytes(file.read_bytes()[:2000] if content is None else content)
    with pytest.raises(DataError, match=r"000002/000\.png: not a readable picture"):
        read_set(made).crops()


def test_small_picture_gives_no_crop(made: Path) -> None:
    write_image(made, row(2, 0), picture(0, size=64))
    with pytest.raises(DataError, match=r"000002/000\.png: 64 x 64 px"):
        read_set(made).crops()


@pytest.mark.parametrize("file", ["../outside.png", "/etc/passwd", "images/../../x.png", "..\\x.png"])
def test_files_outside_the_set_are_refused(made: Path, file: str) -> None:
    table = pq.read_table(made / "manifest.parquet")
    place = table.column_names.index("file")
    files = [file, *table["file"].to_pylist()[1:]]
    pq.write_table(table.set_column(place, "file", pa.array(files)), made / "manifest.parquet")
    with pytest.raises(DataError, match="outside the set"):
        read_set(made)


def test_two_rows_for_one_image(made: Path) -> None:
    with pytest.raises(DataError, match="more than one row"):
        write_manifest(made, [row(1, 0), replace(row(1, 0), file="images/other.png")])
    with pytest.raises(DataError, match="more than one row"):
        write_manifest(made, [row(1, 0), replace(row(1, 1), file=row(1, 0).file)])


def test_other_tables(made: Path) -> None:
    table = pq.read_table(made / "manifest.parquet")
    for changed, said in (
        (table.drop_columns(["seed"]), "no column 'seed'"),
        (table.set_column(0, "identity", pa.array(["a"] * 4)), "wrong type"),
        (table.set_column(0, "identity", pa.array([1, None, 2, 3])), "'identity' has empty entries"),
    ):
        pq.write_table(changed, made / "manifest.parquet")
        with pytest.raises(DataError, match=said):
            read_set(made)
