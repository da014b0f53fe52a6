"""Pickles of plain values, byte strings and numeric arrays, read without running anything they name.

A pickle is a program: it may name any function and call it. Here the few names that byte strings and arrays need
(bytes, bytearray, _codecs.encode, and what NumPy pickles an array as) stand for harmless classes of this module, and
any other name is refused before the program starts. NumPy's own code is not called until the claimed type and size
of an array were checked against its bytes.
"""

import io
import math
import pickle
import pickletools
from collections.abc import Callable
from typing import Any

import numpy as np

from facewright.errors import DataError

_BROKEN = (
    pickle.UnpicklingError, EOFError, ValueError, TypeError, AttributeError, IndexError, KeyError, OverflowError,
    MemoryError, RecursionError,
)  # fmt: skip
_TYPES = {"b1", "u1", "i1", "u2", "i2", "u4", "i4", "u8", "i8", "f2", "f4", "f8"}


class PickledArray:
    """An array as its pickle describes it; nothing of it is believed until `array`."""

    def __init__(self) -> None:
        self.shape: object = None
        self.kind: object = None
        self.columns_first: object = False
        self.raw: object = None

    def __setstate__(self, state: object) -> None:
        if not isinstance(state, tuple) or len(state) not in (4, 5):
            raise ValueError("an array without shape and bytes")
        self.shape, self.kind, self.columns_first, self.raw = state[-4:]

    def array(self, where: str) -> np.ndarray:
        """The values; DataError where type, shape and bytes do not fit one another."""
        kind, shape, raw = self.kind, self.shape, self.raw
        if isinstance(kind, _Type) and isinstance(shape, tuple) and isinstance(raw, bytes | bytearray):
            sizes = all(type(size) is int and size >= 0 for size in shape)
            if kind.code in _TYPES and sizes and math.prod(shape) * int(kind.code[1:]) == len(raw):
                values = np.frombuffer(bytes(raw), kind.order + kind.code)
                return values.reshape(shape, order="F" if self.columns_first else "C")
        raise DataError(f"{where}: an array whose type, shape and bytes do not fit one another; the file is damaged")


class _Type:
    """The type of an array: a code such as u1, and its byte order."""

    def __init__(self, code: object, *_: object) -> None:
        text = code.decode("ascii") if isinstance(code, bytes) else str(code)
        self.code, self.order = text.lstrip("<>|="), "<"

    def __setstate__(self, state: object) -> None:
        if not isinstance(state, tuple) or len(state) < 2:
            raise ValueError("a type without byte order")
        self.order = ">" if state[1] in (">", b">") else "<"


class _Name:
    """What a name of the pickle stands for; nothing can be set on it."""

    __slots__ = ("_call",)

    def __init__(self, call: Callable[..., Any]) -> None:
        self._call = call

    def __call__(self, *arguments: Any) -> Any:
        return self._call(*arguments)

    def __setattr__(self, name: str, value: object) -> None:
        if name != "_call" or hasattr(self, "_call"):
            raise AttributeError(name)
        super().__setattr__(name, value)

    def __setstate__(self, state: object) -> None:
        raise ValueError("a state for a function")


def read_pickle(data: bytes, where: str) -> Any:
    """What a pickle of any protocol holds; arrays are `PickledArray`, strings of Python 2 are bytes.

    Raises:
        DataError: it names anything but what byte strings and arrays need, or is damaged; nothing was run.
    """
    try:
        for code, argument, _ in pickletools.genops(data):
            if "PUT" in code.name and isinstance(argument, int) and argument > len(data):
                raise ValueError(f"memory for {argument} values in {len(data)} bytes")
        return _Reader(io.BytesIO(data), where).load()
    except _BROKEN as error:
        reason = str(error) or type(error).__name__
        raise DataError(f"{where}: not a readable pickle ({reason}); fetch the file again") from error


class _Reader(pickle.Unpickler):
    def __init__(self, opened: io.BytesIO, where: str) -> None:
        super().__init__(opened, encoding="bytes")
        self._where = where
        self._names = {name: _Name(call) for name, call in _CALLS.items()}

    def find_class(self, module: str, name: str) -> Any:
        """The stand-in for a name; called for whatever the pickle names."""
        known = self._names.get(f"{module}.{name}")
        if known is None:
            raise DataError(
                f"{self._where}: the pickle names {module}.{name}, which is code and no picture: refused, nothing was"
                " run; do not trust this file"
            )
        return known

    def persistent_load(self, pid: object) -> Any:
        raise DataError(f"{self._where}: the pickle refers to an object {pid!r} outside itself: refused")


def _encode(text: object, codec: object = "latin1") -> bytes:
    """How protocols 0 to 2 write the byte strings of Python 3."""
    if not isinstance(text, str) or codec not in ("latin1", "latin-1", b"latin1", b"latin-1"):
        raise ValueError(f"byte string encoded as {codec!r}")
    return text.encode("latin1")


def _bytes(value: object = b"", codec: object = "latin1") -> bytes:
    return _encode(value, codec) if isinstance(value, str) else _checked_bytes(value)


def _checked_bytes(value: object) -> bytes:
    if not isinstance(value, bytes | bytearray):
        raise ValueError(f"byte string made from {type(value).__name__}")
    return bytes(value)


def _empty_array(*_: object) -> PickledArray:
    return PickledArray()


def _whole_array(raw: object, kind: object, shape: object, order: object) -> PickledArray:
    """How protocol 5 writes an array."""
    array = PickledArray()
    array.__setstate__((shape, kind, order in ("F", b"F"), raw))
    return array


def _scalar(kind: object, raw: object) -> PickledArray:
    """An array without axes."""
    return _whole_array(raw, kind, (), "C")


_CALLS: dict[str, Callable[..., Any]] = {
    "_codecs.encode": _encode,
    "numpy.ndarray": _empty_array,
    "numpy.dtype": _Type,
    **{f"{module}.{name}": _bytes for module in ("builtins", "__builtin__") for name in ("bytes", "bytearray")},
    **{f"{module}.multiarray._reconstruct": _empty_array for module in ("numpy.core", "numpy._core")},
    **{f"{module}.multiarray.scalar": _scalar for module in ("numpy.core", "numpy._core")},
    **{f"{module}.numeric._frombuffer": _whole_array for module in ("numpy.core", "numpy._core")},
}
