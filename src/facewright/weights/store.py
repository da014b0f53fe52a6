"""Write and read weights files: safetensors with a card in the header. Nothing is ever unpickled."""

import hashlib
import json
import re
import struct
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from importlib import resources
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from facewright.errors import DataError, InputError, WorkError
from facewright.training.atomic import atomic_path
from facewright.weights.card import Card

BUNDLED = re.compile(r"bundled(-\w+)?")
CARD_KEY = "facewright_card"
HALF_LARGEST = torch.finfo(torch.float16).max
HEADER_LARGEST = 100_000_000  # bytes; safetensors' own limit


def tensors_sha256(tensors: Mapping[str, Tensor]) -> str:
    """Hash names, dtypes, shapes and values, in order of name: the same model in another file has the same hash."""
    digest = hashlib.sha256()
    for name in sorted(tensors):
        tensor = tensors[name].detach().cpu().contiguous()
        digest.update(json.dumps([name, str(tensor.dtype), list(tensor.shape)]).encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def save_weights(path: Path | str, state_dict: Mapping[str, Tensor], card: Card, *, half: bool = False) -> Card:
    """Write `path` (.safetensors) and the readable card beside it (.md), each whole or not at all.

    Args:
        path: file to write; its folder is made.
        state_dict: tensors of any float or integer type; floats are stored as float32.
        card: its `sha256`, `stored` and `created` are filled in here.
        half: store matrices and kernels as float16. Vectors (biases, norms, running statistics) stay float32, and so
            does a tensor with a value beyond float16's range.

    Returns:
        The card as written.
    """
    path = Path(path)
    if path.suffix != ".safetensors":
        raise InputError(f"{path}: a weights file is written as .safetensors; change the name")
    tensors = {name: _stored(tensor, half=half) for name, tensor in state_dict.items()}
    for name, tensor in tensors.items():
        if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
            raise DataError(
                f"{path}: tensor {name!r} holds NaN or infinity and was not written; check the training run"
            )
    card = replace(
        card,
        sha256=tensors_sha256(tensors),
        stored="float16" if half else "float32",
        created=datetime.now(UTC).isoformat(timespec="seconds"),
    )
    metadata = {CARD_KEY: card.to_json()}
    try:
        with atomic_path(path) as temporary:
            save_file(tensors, temporary, metadata=metadata)
    except SafetensorError as error:
        raise WorkError(f"{path}: could not be written ({error}); free disk space and save again") from error
    with atomic_path(path.with_suffix(".md")) as temporary:
        temporary.write_text(card.to_markdown(), encoding="utf-8")
    return card


def load_weights(source: Path | str, *, kind: str) -> tuple[dict[str, Tensor], Card]:
    """Read a weights file written by `save_weights`.

    Args:
        source: a path; "bundled" for the model of this kind that ships with the package; "bundled-NAME" for another of
            its kind.
        kind: the role that the caller needs; another kind is an InputError.

    Returns:
        The tensors on CPU, floats as float32 whatever they were stored as, and the card.

    Raises:
        InputError: no such file, or a model of another kind.
        DataError: not a safetensors file, truncated, without a card, with a newer card, or changed since it was saved.
    """
    path = weights_path(source, kind=kind)
    card = read_card(path)
    if card.kind != kind:
        raise InputError(f"{path} holds a model of kind {card.kind!r}, expected {kind!r}; name another file")
    try:
        with safe_open(path, framework="pt", device="cpu") as opened:
            tensors = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118 (not a mapping)
    except (SafetensorError, OSError) as error:
        raise DataError(f"{path}: cut short or damaged ({error}); get the file again") from error
    if tensors_sha256(tensors) != card.sha256:
        raise DataError(f"{path}: the tensors do not match the sha256 of the card; get the file again")
    return {name: _full(tensor) for name, tensor in tensors.items()}, card


def read_card(path: Path | str) -> Card:
    """Read only the card of a weights file; raises as `load_weights` does."""
    path = Path(path)
    if not path.is_file():
        raise InputError(f"{path}: no such weights file; name a .safetensors file or 'bundled'")
    metadata = _header(path).get("__metadata__", {})
    if not isinstance(metadata, dict) or CARD_KEY not in metadata:
        raise DataError(f"{path}: a safetensors file without a facewright card; save it with save_weights")
    return Card.from_json(metadata[CARD_KEY], source=str(path))


def bundled_cards() -> dict[str, Card]:
    """Cards of the models that ship with the package, by KIND, or KIND-NAME of a further one."""
    return {path.stem: read_card(path) for path in sorted(_bundled_folder().glob("*.safetensors"))}


def _bundled_folder() -> Path:
    return Path(str(resources.files("facewright.weights"))) / "bundled"


def weights_path(source: Path | str, *, kind: str) -> Path:
    """The file that a name stands for, as of `load_weights`.

    Raises:
        InputError: nothing of that name ships with the package.
    """
    if BUNDLED.fullmatch(str(source)) is None:
        return Path(source)
    if not (path := _bundled_folder() / f"{str(source).replace('bundled', kind, 1)}.safetensors").is_file():
        others = sorted(
            there.stem.replace(kind, "bundled", 1) for there in _bundled_folder().glob(f"{kind}*.safetensors")
        )
        there = f"there is {' and '.join(others)}; name one of those" if others else "reinstall facewright"
        raise InputError(f"this install has no bundled {kind} {str(source)!r}: {there}, or name a file")
    return path


def _header(path: Path) -> dict[str, object]:
    """The JSON header of a safetensors file: 8 bytes of length, little endian, then the text."""
    with path.open("rb") as opened:
        prefix = opened.read(8)
        length = struct.unpack("<Q", prefix)[0] if len(prefix) == 8 else HEADER_LARGEST + 1
        text = opened.read(length) if length <= HEADER_LARGEST else b""
    try:
        header = json.loads(text)
    except ValueError as error:
        raise DataError(
            f"{path}: not a whole safetensors file; name a .safetensors file or get it again, and bring other "
            "checkpoints into this form with facewright import"
        ) from error
    if not isinstance(header, dict):
        raise DataError(f"{path}: not a safetensors file; name a .safetensors file")
    return header


def _stored(tensor: Tensor, *, half: bool) -> Tensor:
    tensor = tensor.detach().cpu()
    if not tensor.is_floating_point():
        return tensor.clone().contiguous()
    tensor = tensor.float()
    if half and tensor.ndim >= 2 and tensor.numel() and float(tensor.abs().max()) <= HALF_LARGEST:
        tensor = tensor.half()
    return tensor.clone().contiguous()


def _full(tensor: Tensor) -> Tensor:
    return tensor.float() if tensor.is_floating_point() else tensor
