"""Hostile and broken files: refused with a sentence that names what is wrong; nothing runs, no memory is taken."""

import argparse
import collections
import io
import json
import os
import pickle
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tests.checkpoints.conftest import State

from facewright import checkpoints
from facewright.errors import DataError, InputError


class Calls:
    """Unpickled freely, it would call `function`."""

    def __init__(self, function: Callable[..., Any], *arguments: Any) -> None:
        self.function, self.arguments = function, arguments

    def __reduce__(self) -> tuple[Any, ...]:
        return self.function, self.arguments


@pytest.mark.parametrize("protocol", [2, 4])
@pytest.mark.parametrize("new", [True, False])
def test_foreign_code_is_named_and_not_run(tmp_path: Path, small: State, new: bool, protocol: int) -> None:
    path, witness = tmp_path / "weights.pt", tmp_path / "witness"
    hidden = {"state_dict": small, "notes": [({"deep": Calls(os.mkdir, str(witness))},)]}
    torch.save(hidden, path, pickle_protocol=protocol, _use_new_zipfile_serialization=new)
    with pytest.raises(DataError, match=r"weights\.pt refers to (posix|nt)\.mkdir, which is code"):
        checkpoints.load(path)
    assert not witness.exists()


def test_code_in_a_plain_pickle_is_named(tmp_path: Path) -> None:
    (tmp_path / "weights.pkl").write_bytes(pickle.dumps({"a": Calls(eval, "1")}))
    with pytest.raises(DataError, match=r"refers to builtins\.eval, which is code"):
        checkpoints.load(tmp_path / "weights.pkl")


@pytest.mark.parametrize("new", [True, False])
def test_builders_of_bytes_take_no_memory(tmp_path: Path, new: bool) -> None:
    import resource

    path = tmp_path / "weights.pt"
    torch.save({"a": Calls(bytearray, 400_000_000)}, path, _use_new_zipfile_serialization=new)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(DataError, match=r"refers to builtins\.bytearray"):
        checkpoints.load(path)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200_000  # kilobytes


def test_lists_within_lists_are_gone_through_once(tmp_path: Path) -> None:
    nested: list[Any] = [1]
    for _ in range(64):
        nested = [nested, nested]
    torch.save({"a": nested}, tmp_path / "weights.pt", _use_new_zipfile_serialization=False)
    with pytest.raises(DataError, match="entry 'a' is a value of type list"):
        checkpoints.load(tmp_path / "weights.pt")


@pytest.mark.parametrize("new", [True, False])
def test_every_type_of_tensor_may_be_in_a_file(tmp_path: Path, new: bool) -> None:
    types = [torch.float64, torch.float16, torch.bfloat16, torch.int8, torch.bool, torch.complex64]
    types += [torch.float8_e4m3fn, torch.uint16] if new else []  # torch's reader knows them in the newer format only
    saved = {f"a{number}": torch.zeros(2).to(dtype) for number, dtype in enumerate(types)}
    trained = {"epoch": 1, "lr": {0.1}, "state_dict": {**saved, "b": torch.nn.Parameter(torch.zeros(2))}}
    torch.save(trained, tmp_path / "a.pt", _use_new_zipfile_serialization=new)
    with pytest.raises(DataError, match="no known layout has tensors like 'a0'"):
        checkpoints.load(tmp_path / "a.pt")


@pytest.mark.parametrize("new", [True, False])
def test_objects_of_other_packages_are_named(tmp_path: Path, state: State, new: bool) -> None:
    path = tmp_path / "weights.ckpt"
    trained = {"hyper_parameters": argparse.Namespace(lr=0.1), "state_dict": state}
    torch.save(trained, path, _use_new_zipfile_serialization=new)
    with pytest.raises(
        DataError, match=r"refers to argparse\.Namespace, which is code.*save the network's state dict alone"
    ):
        checkpoints.load(path)


def test_a_whole_module_is_refused_by_its_class(tmp_path: Path) -> None:
    torch.save(torch.nn.Linear(2, 2), tmp_path / "model.pt")
    with pytest.raises(DataError, match=r"refers to torch\.nn\.modules\.linear\.Linear"):
        checkpoints.load(tmp_path / "model.pt")


def test_a_torchscript_program_is_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "script.pt", "w") as archive:
        for name in ("data.pkl", "constants.pkl", "code/__torch__.py"):
            archive.writestr(f"script/{name}", b"x")
    with pytest.raises(DataError, match="TorchScript program"):
        checkpoints.load(tmp_path / "script.pt")


@pytest.mark.parametrize("kept", [0.999, 0.5, 0.01])
@pytest.mark.parametrize("kind", ["zip", "legacy", "safetensors", "npz"])
def test_files_that_are_cut_short(tmp_path: Path, small: State, kind: str, kept: float) -> None:
    from safetensors.torch import save_file

    path = tmp_path / f"weights.{ {'safetensors': 'safetensors', 'npz': 'npz'}.get(kind, 'pt') }"
    if kind in ("zip", "legacy"):
        torch.save(small, path, _use_new_zipfile_serialization=kind == "zip")
    elif kind == "npz":
        np.savez(path, **{key: value.numpy() for key, value in small.items()})  # type: ignore[arg-type]
    else:
        save_file(small, path)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * kept)])
    with pytest.raises(DataError, match=r"weights\.\w+(:| is| claims).*(cut short|whole|damaged)"):
        checkpoints.load(path)


def test_a_flipped_bit_is_noticed(saved: Path) -> None:
    data = bytearray(saved.read_bytes())
    data[len(data) // 2] ^= 1
    saved.write_bytes(data)
    with pytest.raises(DataError, match="does not have its checksum"):
        checkpoints.load(saved)


class _Claims(pickle.Pickler):
    """Pickles `_Claimed` as a tensor of any claimed size on a storage of any claimed size."""

    tail: tuple[None, ...] = ()

    def persistent_id(self, value: object) -> Any:
        if isinstance(value, int) and not isinstance(value, bool) and value < 0:
            return ("storage", torch.FloatStorage, "0", "cpu", -value, *self.tail)
        return None


class _Claimed:
    def __init__(self, stored: int, shape: tuple[int, ...], stride: tuple[int, ...]) -> None:
        self.stored, self.shape, self.stride = stored, shape, stride

    def __reduce__(self) -> tuple[Any, ...]:
        empty: collections.OrderedDict[str, Any] = collections.OrderedDict()
        return torch._utils._rebuild_tensor_v2, (-self.stored, 0, self.shape, self.stride, False, empty)


def _claiming(path: Path, claimed: _Claimed, *, legacy: bool) -> Path:
    """A file of one tensor whose storage holds four floats, whatever it claims."""
    body = io.BytesIO()
    pickler = _Claims(body, protocol=2)
    pickler.tail = (None,) if legacy else ()  # the older format also names a view
    pickler.dump({"w": claimed})
    if legacy:
        parts = [pickle.dumps(value, protocol=2) for value in (0x1950A86A20F9469CFC6C, 1001, {"little_endian": True})]
        parts += [body.getvalue(), pickle.dumps(["0"], protocol=2), struct.pack("<q", claimed.stored), bytes(16)]
        path.write_bytes(b"".join(parts))
        return path
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", body.getvalue())
        archive.writestr("archive/version", b"3\n")
        archive.writestr("archive/data/0", bytes(16))
    return path


@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.parametrize(
    "claimed",
    [
        _Claimed(10**12, (10**12,), (1,)),  # storage and tensor of 4 TB
        _Claimed(4, (10**12,), (1,)),  # a tensor far beyond its storage
        _Claimed(4, (10**6, 10**6), (0, 0)),  # one value repeated without end
        _Claimed(10**6, (10**6,), (1,)),
    ],
)
def test_sizes_that_the_file_does_not_have(tmp_path: Path, claimed: _Claimed, legacy: bool) -> None:
    import resource

    path = _claiming(tmp_path / "claims.pt", claimed, legacy=legacy)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(DataError, match=r"claims\.pt.*(damaged|claims)"):
        checkpoints.load(path)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200_000  # kilobytes


@pytest.mark.parametrize("legacy", [False, True])
def test_the_crafted_files_are_readable_when_true(tmp_path: Path, legacy: bool) -> None:
    path = _claiming(tmp_path / "true.pt", _Claimed(4, (2, 2), (2, 1)), legacy=legacy)
    with pytest.raises(DataError, match="no known layout has tensors like 'w'"):
        checkpoints.load(path)


def test_a_compressed_record_is_refused(tmp_path: Path, saved: Path) -> None:
    packed = tmp_path / "packed.pt"
    with zipfile.ZipFile(saved) as source, zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as target:
        for name in source.namelist():
            target.writestr(name, source.read(name))
    with pytest.raises(DataError, match=r"is compressed, which torch\.save never does"):
        checkpoints.load(packed)


def test_arrays_of_objects_are_refused(tmp_path: Path) -> None:
    witness = tmp_path / "witness"
    np.savez(tmp_path / "a.npz", weight=np.array([Calls(os.mkdir, str(witness))], dtype=object))
    with pytest.raises(
        DataError, match="holds Python objects, which are pickles: refused; where it was made, save one array"
    ):
        checkpoints.load(tmp_path / "a.npz")
    assert not witness.exists()


def test_an_array_that_claims_more_than_it_has(tmp_path: Path) -> None:
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "<f4", "fortran_order": False, "shape": (10**6, 10**6)})
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        archive.writestr("weight.npy", header.getvalue() + bytes(16))
    with pytest.raises(DataError, match=r"array 'weight' claims \(1000000, 1000000\), which is not its size"):
        checkpoints.load(tmp_path / "a.npz")


def test_a_header_that_claims_to_be_long_takes_no_memory(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.npz", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("weight.npy", b"\x93NUMPY\x02\x00" + struct.pack("<I", 10**9) + bytes(10**6))
    with pytest.raises(DataError, match=r"cut short or damaged .*expected 1000000000 bytes got 65524"):
        checkpoints.load(tmp_path / "a.npz")


@pytest.mark.parametrize("architecture", ["text", {"layout": [1]}])
def test_a_card_that_names_no_layout_is_passed_over(tmp_path: Path, architecture: object) -> None:
    from safetensors.torch import save_file

    said = {"name": "a", "kind": "b", "data": "c", "licence": "d", "recipe": "e", "input": None, "format": 1}
    card = json.dumps({**said, "architecture": architecture})
    save_file({"w": torch.zeros(2)}, tmp_path / "a.safetensors", metadata={"facewright_card": card})
    with pytest.raises(DataError, match="no known layout has tensors like 'w'"):
        checkpoints.load(tmp_path / "a.safetensors")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "is empty"),
        (b"version https://git-lfs.github.com/spec/v1\n", "is no checkpoint"),
        (b"<!DOCTYPE html><html></html>", "is no checkpoint"),
        (b"\x80\x02}q\x00.", "cut short or damaged|other than tensors"),
        (pickle.dumps({"a": 1}), "cut short or damaged|other than tensors"),
        (b"\x08\x00\x00\x00\x00\x00\x00\x00{}      ", "holds no tensor"),
    ],
)
def test_other_files_are_refused(tmp_path: Path, content: bytes, said: str) -> None:
    path = tmp_path / "weights.pt"
    path.write_bytes(content)
    with pytest.raises(DataError, match=said):
        checkpoints.load(path)


@pytest.mark.parametrize(
    ("saved", "said"),
    [([torch.zeros(2)], "holds a value of type list, expected a mapping"), ({}, "holds no tensor, expected a mapping")],
)
@pytest.mark.parametrize("new", [True, False])
def test_a_checkpoint_without_named_tensors_is_told_the_cure(
    tmp_path: Path, saved: object, said: str, new: bool
) -> None:
    torch.save(saved, tmp_path / "a.pth", _use_new_zipfile_serialization=new)
    with pytest.raises(DataError, match=f"a.pth {said} .*; where it was made, save the network's state dict alone$"):
        checkpoints.load(tmp_path / "a.pth")


@pytest.mark.parametrize("new", [True, False])
def test_a_file_cut_short_is_said_in_the_packages_own_words(tmp_path: Path, small: State, new: bool) -> None:
    path = tmp_path / "a.pt"
    torch.save(small, path, _use_new_zipfile_serialization=new)
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(
        DataError, match=r"a\.pt is cut short or damaged( \(File is not a zip file\))?; get the file again$"
    ):
        checkpoints.load(path)


def test_a_zip_of_something_else_is_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("readme.txt", "hello")
    with pytest.raises(DataError, match="is a zip file but no checkpoint"):
        checkpoints.load(tmp_path / "a.zip")


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such checkpoint file"):
        checkpoints.load(tmp_path / "nothing.pt")
