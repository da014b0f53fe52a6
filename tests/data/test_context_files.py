"""Context files of other projects: every form, its order, and what is refused."""

import json
import os
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tests.golden import bridge

from facewright.data.context_files import read_contexts
from facewright.data.embeddings import write_embeddings
from facewright.errors import DataError, InputError

GOLDEN = Path(bridge.__file__).resolve().parent / "data" / "formats"
EXPECTED = json.loads((GOLDEN / "expected.json").read_text(encoding="utf-8"))["contexts"]


def unit(count: int, width: int = 8) -> np.ndarray:
    rows = np.random.default_rng(0).normal(size=(count, width)).astype(np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


@pytest.mark.parametrize("name", ["uniform_dict.npy", "uniform_dict_tensors.pt", "matrix.npy"])
def test_the_known_uniform_contexts(name: str) -> None:
    read = read_contexts(GOLDEN / "contexts" / name, width=512)
    assert list(read.names) == EXPECTED["uniform_dict_order"]
    assert np.array_equal(read.embeddings, np.load(GOLDEN / "contexts" / "matrix.npy"))
    assert read.provenance == {"kind": "imported", "source": name, "normalised": False}


def test_the_known_keyed_contexts() -> None:
    read = read_contexts(GOLDEN / "contexts" / "keyed_dict.pt")
    assert list(read.names) == EXPECTED["keyed_dict_expected_order"]
    wanted = np.load(GOLDEN / "contexts" / "keyed_dict_expected.npy")
    np.testing.assert_allclose(read.embeddings, wanted, rtol=0, atol=1e-7)
    assert read.provenance["normalised"]


def test_casia_names_come_from_their_list() -> None:
    read = read_contexts(GOLDEN / "casia_file" / "elastic_embed.npy")
    assert (read.names[0], read.names[-1], len(read)) == ("0000001/001.jpg", "0000149/004.jpg", 24)


def test_other_forms(tmp_path: Path) -> None:
    rows = unit(3)
    write_embeddings(tmp_path / "own.npz", ["a", "b", "c"], rows, provenance={"kind": "uniform"})
    assert read_contexts(tmp_path / "own.npz").provenance == {"kind": "uniform"}
    (tmp_path / "each").mkdir()
    for name, row in zip(("b.jpg", "a.x", "c"), rows, strict=True):
        np.save(tmp_path / "each" / f"{name}.npy", row[None])
    read = read_contexts(tmp_path / "each")
    assert read.names == ("a", "b", "c")
    assert np.array_equal(read.embeddings, rows[[1, 0, 2]])
    torch.save({"x/10.png": torch.tensor(rows[0]), "x/9.png": torch.tensor(rows[1])[None]}, tmp_path / "a.pt")
    assert read_contexts(tmp_path / "a.pt").names == ("x/9.png", "x/10.png")
    torch.save({"b": torch.tensor(rows[0]), "x/1": torch.tensor(rows[1])}, tmp_path / "old.pt")
    assert read_contexts(tmp_path / "old.pt").names == ("b", "x/1")
    torch.save({"b": torch.tensor(rows[0])}, tmp_path / "old.pt", _use_new_zipfile_serialization=False)
    assert np.array_equal(read_contexts(tmp_path / "old.pt").embeddings, rows[:1])


class _Runs:
    def __reduce__(self) -> Any:
        return os.mkdir, ("made",)


def test_what_is_wrong_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    rows = unit(3)

    def saved(value: object) -> Path:
        torch.save(value, "a.pt")
        return Path("a.pt")

    def numpy(value: np.ndarray) -> Path:
        np.save("a.npy", value, allow_pickle=True)
        return Path("a.npy")

    for make, value, message in (
        (saved, {"a": _Runs()}, r"a\.pt: names \w+\.mkdir, which is code: refused, nothing was run"),
        (saved, [1, 2], r"a\.pt: holds list, expected a mapping"),
        (saved, {"a": "text"}, r"a\.pt: 'a' is str, expected a vector of floats"),
        (saved, {"a": torch.ones(3), "b": torch.ones(4)}, r"of one length, got \(3,\), \(4,\)"),
        (saved, {"a": torch.zeros(3)}, r"the embedding of 'a' has length 0"),
        (saved, {"a": torch.tensor([1.0, float("nan")])}, r"the embedding of 'a' holds NaN"),
        (saved, {1: torch.ones(3), "1": torch.ones(3)}, r"two of its names read alike"),
        (saved, {}, r"expected vectors of floats of one length, got none"),
        (numpy, rows[0], r"a\.npy: holds float32 \(8,\), expected a matrix"),
        (numpy, np.ones((2, 3), np.int64), r"expected vectors of floats"),
        (numpy, np.array([{"a": 1}], object), r"a\.npy: not a readable \.npy of numbers"),
    ):
        with pytest.raises(DataError, match=message):
            read_contexts(make(value))
    assert not Path("made").exists()
    with pytest.raises(DataError, match="contexts are 8 wide, expected 512"):
        read_contexts(numpy(rows), width=512)
    Path("image_names.pkl").write_bytes(pickle.dumps(["a", "b"]))
    with pytest.raises(DataError, match=r"3 rows, but image_names\.pkl beside it has 2 names"):
        read_contexts(numpy(rows))
    Path("image_names.pkl").write_bytes(pickle.dumps(["a", "b", _Runs()]))
    with pytest.raises(DataError, match=r"image_names\.pkl: the pickle names \w+\.mkdir, which is code"):
        read_contexts(numpy(rows))
    Path("image_names.pkl").write_bytes(pickle.dumps(["a", "b", "a"]))
    with pytest.raises(DataError, match=r"image_names\.pkl: a name occurs more than once"):
        read_contexts(numpy(rows))
    whole = saved({"a": torch.ones(300)}).read_bytes()
    Path("a.pt").write_bytes(whole[:-100])
    with pytest.raises(DataError, match=r"a\.pt: cut short or damaged"):
        read_contexts("a.pt")
    with pytest.raises(InputError, match="no such context file"):
        read_contexts("none.npy")
