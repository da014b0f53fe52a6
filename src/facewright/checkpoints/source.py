"""What a checkpoint holds, whatever holds it: names, shapes and types first, values only when they are asked for."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from facewright.errors import DataError, InputError

CONTAINERS = ("state_dict", "state_dict_backbone", "model_state_dict", "model")
"""Under which names trainers keep a state dict: Lightning, arcface_torch, and two habits."""
DEEPEST = 4  # containers within one another
STATE_ALONE = "where it was made, save the network's state dict alone"


@dataclass(frozen=True)
class Entry:
    """One tensor that has not been read yet."""

    shape: tuple[int, ...]
    dtype: torch.dtype
    read: Callable[[], Tensor]


@dataclass(frozen=True)
class Checkpoint:
    """The tensors of a source by their names in it."""

    name: str  # for messages
    entries: dict[str, Entry]
    layout: str | None = None  # what a facewright card inside says


def open_checkpoint(source: Path | str | Mapping[str, Any]) -> Checkpoint:
    """Look into a checkpoint without reading its values.

    Args:
        source: a file (.pt, .pth, .ckpt and .bin as torch writes them, in both of its formats; .safetensors; .npz), or
            a mapping of names to tensors or arrays. What the file is, is told from its first bytes.

    Raises:
        InputError: no such file.
        DataError: empty, cut short, damaged, of another kind, or holding anything but tensors.
    """
    if isinstance(source, Mapping):
        return Checkpoint("the mapping", entries_of(source, "the mapping"))
    if not isinstance(source, (str, Path)):
        raise InputError(f"a checkpoint is a file or a mapping of names to tensors, got {type(source).__name__}")
    path = Path(source)
    if path.is_dir():
        raise InputError(f"{path} is a folder; name the checkpoint file in it")
    if not path.is_file():
        raise InputError(f"{path}: no such checkpoint file; name a file of torch.save, a .safetensors or a .npz file")
    from facewright.checkpoints import array_files, torch_files

    with path.open("rb") as opened:
        head = opened.read(16)
    if not head:
        raise DataError(f"{path} is empty; get the file again")
    if head.startswith(b"PK"):
        names = torch_files.zip_names(path)
        if names and all(name.endswith(".npy") for name in names):
            return Checkpoint(str(path), array_files.npz_entries(path))
        return Checkpoint(str(path), entries_of(torch_files.read_zip(path, names), str(path)))
    if head[8:9] == b"{" or path.suffix == ".safetensors":
        return array_files.open_safetensors(path)
    if head.startswith(b"\x80"):
        return Checkpoint(str(path), entries_of(torch_files.read_legacy(path), str(path)))
    raise DataError(
        f"{path} is no checkpoint; name a file of torch.save, a .safetensors or a .npz file, or get it again"
    )


def joined(first: Checkpoint, second: Checkpoint) -> Checkpoint:
    """One checkpoint of two that a project keeps apart; raises DataError where both hold a tensor of one name."""
    if twice := [key for key in first.entries if key in second.entries]:
        raise DataError(f"{first.name} and {second.name} both hold {twice[0]!r}; give the two halves of one network")
    return Checkpoint(f"{first.name} with {second.name}", {**first.entries, **second.entries})


def entries_of(loaded: object, name: str) -> dict[str, Entry]:
    """The tensors of a state dict, which may lie in a trainer's checkpoint under one of `CONTAINERS`."""
    for _ in range(DEEPEST):
        if isinstance(loaded, Mapping):
            loaded = next((loaded[key] for key in CONTAINERS if isinstance(loaded.get(key), Mapping)), loaded)
    if not isinstance(loaded, Mapping):
        kind = type(loaded).__name__
        raise DataError(f"{name} holds a value of type {kind}, expected a mapping of names to tensors; {STATE_ALONE}")
    if not loaded:
        raise DataError(f"{name} holds no tensor, expected a mapping of names to tensors; {STATE_ALONE}")
    return {str(key): _entry(value, str(key), name) for key, value in loaded.items()}


def _entry(value: object, key: str, name: str) -> Entry:
    if isinstance(value, (np.ndarray, np.generic)) and value.dtype.kind in "fiub" and value.dtype.itemsize <= 8:
        native = value.dtype.newbyteorder("=")
        plain = torch.from_numpy(np.empty(0, native)).dtype
        return Entry(value.shape, plain, lambda: torch.from_numpy(np.array(value, native, order="C")))
    if not isinstance(value, Tensor):
        kind = (
            f"an array of {value.dtype}" if isinstance(value, np.ndarray) else f"a value of type {type(value).__name__}"
        )
        raise DataError(
            f"{name}: entry {key!r} is {kind}, expected a tensor; {STATE_ALONE}, or keep it under one of "
            f"{', '.join(CONTAINERS)}"
        )
    tensor = value.detach()
    if tensor.is_nested or tensor.layout is not torch.strided or tensor.is_quantized:
        raise DataError(f"{name}: tensor {key!r} is sparse or quantised; save it as a plain tensor")
    if not tensor.is_meta and tensor.numel() * tensor.element_size() > tensor.untyped_storage().nbytes():
        raise DataError(
            f"{name}: tensor {key!r} claims {tuple(tensor.shape)} values but stores fewer; get the file again"
        )
    return Entry(tuple(tensor.shape), tensor.dtype, lambda: tensor)
