"""Pickles: every protocol of plain values and arrays, and nothing that could run."""

import os
import pickle
import pickletools
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from facewright.data.formats.safe_pickle import PickledArray, read_pickle
from facewright.errors import DataError


def plain(value: Any) -> Any:
    """The value with arrays in place of their descriptions."""
    if isinstance(value, PickledArray):
        return value.array("here")
    return type(value)(plain(item) for item in value) if isinstance(value, tuple | list) else value


@pytest.mark.parametrize("protocol", range(6))
def test_values_of_every_protocol(protocol: int) -> None:
    value = ([b"\xff\xd8\x00jpg", b"", "name"], [True, False, 3, None, 0.5], bytearray(b"ab"))
    assert plain(read_pickle(pickle.dumps(value, protocol), "here")) == value


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize(
    "array",
    [
        np.arange(7, dtype=np.uint8),
        np.asfortranarray(np.arange(6, dtype=np.float32).reshape(2, 3)),
        np.array([True, False]),
        np.array([[1.5, -2]], ">f8"),
        np.zeros((0, 3), np.int64),
    ],
)
def test_arrays_of_every_protocol(protocol: int, array: np.ndarray) -> None:
    found = plain(read_pickle(pickle.dumps([array, array.dtype.type(1)], protocol), "here"))
    assert found[0].shape == array.shape
    assert found[0].dtype == array.dtype
    assert np.array_equal(found[0], array)
    assert found[1] == 1


class _Runs:
    """Pickles as a call of the given function."""

    def __init__(self, function: Any, *arguments: Any) -> None:
        self.call = (function, arguments)

    def __reduce__(self) -> Any:
        return self.call


@pytest.mark.parametrize("protocol", [0, 2, 4, 5])
def test_code_is_named_and_not_run(protocol: int, tmp_path: Path) -> None:
    made = tmp_path / "made"
    attacks = {
        f"{os.mkdir.__module__}.mkdir": _Runs(os.mkdir, str(made)),
        f"{eval.__module__}.eval|__builtin__.eval": _Runs(eval, f"open({str(made)!r}, 'w')"),
        f"{getattr.__module__}.getattr|__builtin__.getattr": _Runs(getattr, b"", "join"),
        "numpy.*fromfile": _Runs(np.fromfile, str(made)),
    }
    for name, attack in attacks.items():
        with pytest.raises(DataError, match=rf"here: the pickle names ({name}), which is code .*nothing was run"):
            read_pickle(pickle.dumps(([b"jpg"], attack), protocol), "here")
        assert not made.exists()


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"not a pickle",
        pickle.dumps([b"abc"] * 3)[:-4],
        b"\x80\x02\x8a\xff.",  # a length beyond the end
        b"\x80\x02]r\xff\xff\xff\x7f.",  # a memo of two milliards
        b"\x80\x02c_codecs\nencode\nX\x01\0\0\0aX\x05\0\0\0utf16\x86R.",  # another codec
        b"\x80\x02c_codecs\nencode\n}b.",  # a state for a function
        b"\x80\x02c_codecs\nencode\n)\x81.",  # a new object of it
        b"\x80\x02cnumpy\nndarray\n)R}b.",  # an array with attributes
        b"\x80\x04\x95\xff\xff\xff\xff\xff\xff\xff\x7f.",  # a frame beyond the end
    ],
)
def test_damaged_pickles_are_refused(data: bytes) -> None:
    with pytest.raises(DataError, match="here: not a readable pickle"):
        read_pickle(data, "here")


@pytest.mark.parametrize("changed", [(b"K\x07\x85", b"K\x7f\x85"), (b"u1", b"O8"), (b"u1", b"f4")])
def test_an_array_that_does_not_fit_its_bytes_is_refused(changed: tuple[bytes, bytes]) -> None:
    data = pickletools.optimize(pickle.dumps(np.arange(7, dtype=np.uint8), 2))
    assert data.count(changed[0]) == 1
    with pytest.raises(DataError, match="do not fit one another"):
        plain(read_pickle(data.replace(*changed), "here"))


def test_a_reference_outside_is_refused() -> None:
    with pytest.raises(DataError, match="outside itself"):
        read_pickle(b"\x80\x02X\x01\0\0\0aQ.", "here")
