import pickle
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from facewright.data.embeddings import Embeddings, embedding_sha256, read_embeddings, write_embeddings
from facewright.errors import DataError, InputError


def unit(count: int, width: int = 16, seed: int = 0) -> np.ndarray:
    drawn = np.random.default_rng(seed).standard_normal((count, width))
    return (drawn / np.linalg.norm(drawn, axis=1, keepdims=True)).astype(np.float32)


def test_round_trip_and_same_bytes(tmp_path: Path) -> None:
    rows, names = unit(3), ("anna", "bo", "žofie")
    provenance = {"kind": "photos", "seed": 4, "encoder_sha256": None}
    write_embeddings(tmp_path / "a.npz", names, rows, provenance=provenance)
    write_embeddings(tmp_path / "b.npz", list(names), rows.astype(np.float64), provenance=provenance)
    read = read_embeddings(tmp_path / "a.npz", width=16)
    assert read.names == names
    assert read.provenance == provenance
    assert read.embeddings.dtype == np.float32
    np.testing.assert_array_equal(read.embeddings, rows)
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()


def test_half_precision_rows_are_taken(tmp_path: Path) -> None:
    np.savez(tmp_path / "half.npz", names=np.array(["a"]), embeddings=unit(1).astype(np.float16), provenance="{}")
    assert read_embeddings(tmp_path / "half.npz").embeddings.dtype == np.float32


def test_hash_counts_names_and_values_not_provenance() -> None:
    first = Embeddings(("a", "b"), unit(2), {"seed": 1})
    assert first.sha256 == Embeddings(("a", "b"), unit(2).astype(">f4"), {"seed": 2}).sha256
    assert first.sha256 != Embeddings(("a", "c"), unit(2)).sha256
    assert first.sha256 != Embeddings(("a", "b"), unit(2, seed=1)).sha256
    assert embedding_sha256(unit(2)[0]) != embedding_sha256(unit(2)[1])


def spoiled(row: int, value: float) -> np.ndarray:
    rows = unit(3)
    rows[row] = value
    return rows


@pytest.mark.parametrize(
    ("names", "rows", "said"),
    [
        (("a", "b", "c"), spoiled(1, np.nan), "'b' holds NaN"),
        (("a", "b", "c"), spoiled(2, np.inf), "'c' holds NaN or infinity"),
        (("a", "b", "c"), spoiled(0, 0.0), "'a' has length 0, expected 1; remake it"),
        (("a", "b", "c"), unit(3) * 2, "'a' has length 2, expected 1; divide"),
        (("a", "b", "a"), unit(3), "'a' occurs more than once"),
        (("a", "b"), unit(3), "2 names for 3 embeddings"),
        (("a", "b", "c"), unit(3)[:, :, None], r"\(N, D\), got float32 \(3, 16, 1\)"),
        (("a", "b", "c"), np.eye(3, dtype=np.int64), "floats"),
    ],
)
def test_rows_that_cannot_be_used(tmp_path: Path, names: tuple[str, ...], rows: np.ndarray, said: str) -> None:
    with pytest.raises(DataError, match=said):
        Embeddings(names, rows)
    path = tmp_path / "bad.npz"
    with pytest.raises(DataError, match=f"bad.npz: .*{said}"):
        write_embeddings(path, names, rows, provenance={})
    assert not path.exists()
    np.savez(path, names=np.array(names), embeddings=rows, provenance="{}")
    with pytest.raises(DataError, match=f"bad.npz: .*{said}"):
        read_embeddings(path)


def test_wrong_width(tmp_path: Path) -> None:
    write_embeddings(tmp_path / "a.npz", ("a",), unit(1), provenance={})
    with pytest.raises(DataError, match=r"a\.npz: embeddings are 16 wide, expected 512"):
        read_embeddings(tmp_path / "a.npz", width=512)


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.95])
def test_truncated(tmp_path: Path, share: float) -> None:
    path = tmp_path / "a.npz"
    write_embeddings(path, ("a", "b"), unit(2), provenance={})
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * share)])
    with pytest.raises(DataError, match=r"a\.npz: not a readable \.npz"):
        read_embeddings(path)


@pytest.mark.parametrize(
    "arrays",
    [
        {"embeddings": unit(1), "provenance": "{}"},
        {"names": np.array(["a"]), "embeddings": unit(1), "provenance": "no json"},
        {"names": np.array(["a"]), "embeddings": unit(1), "provenance": "[]"},
        {"names": np.array([1]), "embeddings": unit(1), "provenance": "{}"},
        {"names": np.array([["a"]]), "embeddings": unit(1), "provenance": "{}"},
        {"names": np.array(["a"], dtype=object), "embeddings": unit(1), "provenance": "{}"},
    ],
)
def test_other_contents(tmp_path: Path, arrays: dict[str, Any]) -> None:
    np.savez(tmp_path / "odd.npz", **arrays)
    with pytest.raises(DataError, match=r"odd\.npz"):
        read_embeddings(tmp_path / "odd.npz")


def test_files_of_another_kind(tmp_path: Path) -> None:
    (tmp_path / "p.npz").write_bytes(pickle.dumps({"names": ["a"]}))
    np.save(tmp_path / "array.npy", unit(1))
    (tmp_path / "array.npy").rename(tmp_path / "array.npz")
    with zipfile.ZipFile(tmp_path / "huge.npz", "w") as archive:  # a header that claims 4 exabytes
        header = b"{'descr': '<f4', 'fortran_order': False, 'shape': (1152921504606846976,), }"
        header = header.ljust(117) + b"\n"
        for name in ("names", "embeddings", "provenance"):
            archive.writestr(f"{name}.npy", b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header)
    for name in ("p.npz", "array.npz", "huge.npz"):
        with pytest.raises(DataError, match=f"{name}: not a readable"):
            read_embeddings(tmp_path / name)


def test_missing_file_and_wrong_suffix(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file of embeddings"):
        read_embeddings(tmp_path / "absent.npz")
    with pytest.raises(InputError, match=r"written as \.npz"):
        write_embeddings(tmp_path / "a.npy", ("a",), unit(1), provenance={})
