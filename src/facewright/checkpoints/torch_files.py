"""Files of torch.save, in its zip format and in the one before: no code of theirs is run, no size is believed."""

import pickle
import pickletools
import re
import tarfile
import warnings
import zipfile
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from struct import error as struct_error
from typing import IO, Any

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode

from facewright.checkpoints.source import STATE_ALONE
from facewright.errors import DataError

_BROKEN = (
    RuntimeError, EOFError, OSError, ValueError, KeyError, IndexError, TypeError, AttributeError, AssertionError,
    OverflowError, MemoryError, struct_error,
)  # fmt: skip
"""What torch's reader raises on bytes that are no checkpoint; it has no error class of its own."""

_HARMLESS = re.compile(
    r"collections\.(OrderedDict|Counter)|builtins\.(set|complex)"
    r"|torch\.(Size|Tensor|device|bool|nn\.parameter\.Parameter|serialization\._get_layout|per_\w+_affine\w*)"
    r"|torch\.(\w+\.)?\w+Storage|torch\.(bfloat|complex|float|q?u?int)\d+\w*"
    r"|torch\._utils\._rebuild_\w+|torch\._tensor\._rebuild_from_type_v2"
)
"""What a state dict may refer to. Torch's reader allows these too, and builders of bytes that can fill the memory."""

_LEGACY_PICKLES = 5  # magic number, version, byte order, the object, the names of its storages


def zip_names(path: Path) -> list[str]:
    """Names of the records of a zip file.

    Raises:
        DataError: cut short, or a record does not have its checksum or claims more bytes than the file has.
    """
    try:
        with zipfile.ZipFile(path) as opened:
            records = opened.infolist()
            packed = sum(record.compress_size for record in records)
            if packed > path.stat().st_size:
                raise DataError(f"{path} claims {packed:,} bytes of records and is smaller: damaged; get it again")
    except (zipfile.BadZipFile, *_BROKEN) as error:
        raise DataError(f"{path} is cut short or damaged ({error}); get the file again") from error
    return [record.filename for record in records]


def read_zip(path: Path, names: list[str]) -> Any:
    """What torch.save wrote, its tensors left in the file until they are touched.

    Args:
        path: the file.
        names: of its records, from `zip_names`.
    """
    if any(name.endswith("/constants.pkl") for name in names):
        raise DataError(f"{path} is a TorchScript program, which is code; get the weights as a plain state dict")
    if not any(name.endswith("/data.pkl") for name in names):
        raise DataError(
            f"{path} is a zip file but no checkpoint; name a file of torch.save or a .npz file that holds arrays"
        )
    with zipfile.ZipFile(path) as opened, _refusals(path):
        for record in opened.infolist():
            if record.compress_type != zipfile.ZIP_STORED or record.file_size != record.compress_size:
                raise DataError(
                    f"{path}: record {record.filename} is compressed, which torch.save never does: refused; "
                    "save it again with torch.save"
                )
            if record.filename.endswith("/data.pkl"):
                with opened.open(record) as stream:
                    _check(stream, path)
        if broken := opened.testzip():
            raise DataError(f"{path}: record {broken} does not have its checksum; get the file again")
        return torch.load(path, weights_only=True, mmap=True, map_location="cpu")


def read_legacy(path: Path) -> Any:
    """What torch.save wrote before torch 1.6; read only after the sizes it claims were found to fit in the file."""
    if tarfile.is_tarfile(path):
        raise DataError(f"{path} is a tar file, the format of torch before 0.2; save it again with a newer torch")
    with _refusals(path):
        with path.open("rb") as stream:
            for _ in range(_LEGACY_PICKLES):
                _check(stream, path)
        with FakeTensorMode():  # shapes without memory
            planned = torch.load(path, weights_only=True)
        claimed, size = sum(_storages(planned).values()), path.stat().st_size
        if claimed > size:
            raise DataError(
                f"{path} claims {claimed:,} bytes of tensors but has {size:,}, so it is damaged; get it again"
            )
        return torch.load(path, weights_only=True, map_location="cpu")


def _check(stream: IO[bytes], path: Path) -> None:
    """Refuse a pickle that refers to anything but what state dicts are made of; `stream` is left behind its end."""
    for name in _globals(stream):
        if not _HARMLESS.fullmatch(name):
            raise DataError(
                f"{path} refers to {name}, which is code and not weights: refused, nothing was run; {STATE_ALONE}"
            )


def _globals(stream: IO[bytes]) -> Iterator[str]:
    """Every function and class that a pickle refers to; nothing is built. ValueError where it is no whole pickle."""
    texts: deque[str] = deque(["", ""], maxlen=2)  # the last two; a STACK_GLOBAL is named by them
    memo: dict[int, str] = {}
    text = ""
    for operation, argument, _ in pickletools.genops(stream):
        if operation.name == "MEMOIZE" or "PUT" in operation.name:
            memo[len(memo) if argument is None else int(argument)] = text
            continue
        if operation.name in ("GLOBAL", "INST"):
            yield str(argument).replace(" ", ".", 1).replace("__builtin__.", "builtins.")
        elif operation.name == "STACK_GLOBAL":
            yield ".".join(texts)
        text = argument if isinstance(argument, str) else ""
        if "GET" in operation.name and argument is not None:
            text = memo.get(int(argument), "")
        if text:
            texts.append(text)


def _storages(value: object) -> dict[int, int]:
    """Bytes of every storage in nested containers, by the storage's identity."""
    found: dict[int, int] = {}
    seen: set[int] = set()
    waiting = [value]
    while waiting:
        item = waiting.pop()
        if isinstance(item, Tensor):
            storage = item.untyped_storage()
            found[storage._cdata] = storage.nbytes()
        elif isinstance(item, (dict, list, tuple, set)) and id(item) not in seen:
            seen.add(id(item))
            waiting.extend(item.values() if isinstance(item, dict) else item)
    return found


@contextmanager
def _refusals(path: Path) -> Iterator[None]:
    """Say in one sentence why torch refused a file; its warnings about odd pickles say nothing more."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except pickle.UnpicklingError as error:
        reason = re.search(r"(Unsupported|Trying to|Can only|[^.\n]*truncated)[^.\n]*", str(error))
        raise DataError(
            f"{path} holds something other than tensors ({reason[0] if reason else 'unreadable pickle'}): refused; "
            f"{STATE_ALONE}"
        ) from error
    except _BROKEN as error:
        raise DataError(f"{path} is cut short or damaged; get the file again") from error
