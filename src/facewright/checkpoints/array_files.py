"""Files of plain arrays: safetensors and .npz. Only headers are read until a tensor is asked for."""

import zipfile
from io import BytesIO
from pathlib import Path
from typing import IO, Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from facewright.checkpoints.source import STATE_ALONE, Checkpoint, Entry
from facewright.errors import DataError
from facewright.weights import Card
from facewright.weights.store import CARD_KEY

_TYPES = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "I64": torch.int64,
    "I32": torch.int32,
    "I16": torch.int16,
    "I8": torch.int8,
    "U8": torch.uint8,
    "BOOL": torch.bool,
}
FLOATS_ALONE = "where it was made, save one array of numbers a tensor"
HEADER_LARGEST = 1 << 16  # bytes of a .npy record that may go before its values; NumPy's own limit is lower


def open_safetensors(path: Path) -> Checkpoint:
    """The tensors of a safetensors file, and the layout if the file has a facewright card that names one."""
    try:
        opened: Any = safe_open(path, framework="pt", device="cpu")
        entries = {}
        for key in opened.keys():  # noqa: SIM118 (not a mapping)
            header = opened.get_slice(key)
            if header.get_dtype() not in _TYPES:
                raise DataError(
                    f"{path}: tensor {key!r} is {header.get_dtype()}, expected one of {', '.join(_TYPES)}; "
                    "save it as one of them"
                )

            def read(key: str = key) -> Tensor:
                return opened.get_tensor(key)

            entries[key] = Entry(tuple(header.get_shape()), _TYPES[header.get_dtype()], read)
        metadata = opened.metadata() or {}
    except (SafetensorError, OSError) as error:
        raise DataError(f"{path}: no whole safetensors file ({error}); get the file again") from error
    if not entries:
        raise DataError(f"{path} holds no tensor, expected those of a network; {STATE_ALONE}")
    return Checkpoint(str(path), entries, layout=_layout(metadata[CARD_KEY], path) if CARD_KEY in metadata else None)


def _layout(text: str, path: Path) -> str | None:
    """The layout that a card names, if any."""
    try:
        said = Card.from_json(text, source=str(path)).architecture
    except RecursionError as error:
        raise DataError(f"{path}: its card cannot be read ({error}); get the file again") from error
    layout = said.get("layout") if isinstance(said, dict) else None
    return layout if isinstance(layout, str) else None


def npz_entries(path: Path) -> dict[str, Entry]:
    """The arrays of a .npz file; arrays of objects, which are pickles, are refused."""
    entries = {}
    try:
        with zipfile.ZipFile(path) as archive:
            for record in archive.infolist():
                key = record.filename.removesuffix(".npy")
                with archive.open(record) as opened:
                    shape, dtype, offset = _header(BytesIO(opened.read(HEADER_LARGEST)))
                if dtype.hasobject:
                    raise DataError(
                        f"{path}: array {key!r} holds Python objects, which are pickles: refused; {FLOATS_ALONE}"
                    )
                if dtype.kind not in "fiub" or dtype.itemsize > 8:
                    raise DataError(
                        f"{path}: array {key!r} is {dtype}, expected floats, integers or booleans; {FLOATS_ALONE}"
                    )
                if record.file_size - offset != int(np.prod(shape, dtype=object)) * dtype.itemsize:
                    raise DataError(f"{path}: array {key!r} claims {shape}, which is not its size; get the file again")

                def read(name: str = record.filename) -> Tensor:
                    return _read_array(path, name)

                plain = np.empty(0, dtype.newbyteorder("="))
                entries[key] = Entry(shape, torch.from_numpy(plain).dtype, read)
    except (zipfile.BadZipFile, ValueError, EOFError, OSError, TypeError, NotImplementedError) as error:
        raise DataError(f"{path} is cut short or damaged ({error}); get the file again") from error
    return entries


def _header(opened: IO[bytes]) -> tuple[tuple[int, ...], np.dtype[Any], int]:
    """Shape, type and length of the header of one .npy record."""
    version = np.lib.format.read_magic(opened)
    reader = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, _, dtype = reader(opened)
    return shape, dtype, opened.tell()


def _read_array(path: Path, name: str) -> Tensor:
    try:
        with zipfile.ZipFile(path) as archive, archive.open(name) as opened:
            array = np.lib.format.read_array(opened, allow_pickle=False)
    except (zipfile.BadZipFile, ValueError, EOFError, OSError) as error:
        raise DataError(f"{path}: array {name} is cut short or damaged ({error}); get the file again") from error
    return torch.from_numpy(array.astype(array.dtype.newbyteorder("="), copy=False))
