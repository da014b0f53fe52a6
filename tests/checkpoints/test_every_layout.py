"""Every layout of the contract end to end: names and shapes in, every number in its place in the network."""

import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from tests.checkpoints.test_table import CONTRACT

from facewright import checkpoints
from facewright.checkpoints import LAYOUTS
from facewright.checkpoints.layouts import signature
from facewright.errors import DataError

LARGEST = 30_000_000  # parameters of a network that is written to a file here; larger ones come from a mapping
FORMS = [(name, form) for name in CONTRACT for form in range(len(LAYOUTS[name].generations))]
PREFIXES = {
    "adaface": "model.",
    "fastcomposer": "postfuse_module.",
    "idiff": "module.eps_model.",
    "ldm": "first_stage_model.",
}
"""What public files put before every name, besides DDP's `module.`."""

Arrays = dict[str, np.ndarray]


def arrays(name: str, form: int) -> Arrays:
    """Arrays that fit, each of one value of its own, in next to no memory."""
    return {
        key: np.broadcast_to(_value(key, dtype), shape)
        for key, (shape, dtype) in signature(LAYOUTS[name].generations[form]).items()
    }


def _value(key: str, dtype: torch.dtype) -> np.ndarray:
    return np.array(zlib.crc32(key.encode()) % 10_007, np.float32 if dtype.is_floating_point else np.int64)


def assert_loaded(network: torch.nn.Module, state: Arrays) -> None:
    loaded = network.state_dict()
    assert loaded.keys() == state.keys()
    for key, tensor in loaded.items():
        value = int(state[key].flat[0])
        assert tensor.shape == state[key].shape, key
        assert (tensor.min(), tensor.max()) == (value, value), key
    assert not network.training


@pytest.mark.parametrize(("name", "form"), FORMS)
def test_a_mapping_of_arrays_loads(name: str, form: int) -> None:
    state = arrays(name, form)
    network = checkpoints.load(state, layout=name)
    generation = LAYOUTS[name].generations[form]
    assert sum(parameter.numel() for parameter in network.parameters()) == generation.parameters
    assert_loaded(network, state)


@pytest.mark.parametrize(
    ("name", "form"), [(name, form) for name, form in FORMS if LAYOUTS[name].generations[form].parameters < LARGEST]
)
def test_files_of_every_wrapping_load(tmp_path: Path, name: str, form: int) -> None:
    state = arrays(name, form)
    tensors = {key: torch.from_numpy(value.copy()) for key, value in state.items()}
    prefix = PREFIXES.get(name.split("/")[0], "")
    torch.save(tensors, tmp_path / "plain.pt")
    torch.save({f"module.{prefix}{key}": value for key, value in tensors.items()}, tmp_path / "ddp.pth")
    trained = {"epoch": 3, "loops": {}, "state_dict": {f"{prefix or 'model.'}{k}": v for k, v in tensors.items()}}
    torch.save(trained, tmp_path / "lightning.ckpt")
    torch.save(trained, tmp_path / "before-1.6.bin", _use_new_zipfile_serialization=False)
    save_file(tensors, tmp_path / "plain.safetensors")
    for path in sorted(tmp_path.iterdir()):
        assert_loaded(checkpoints.load(path, layout=name), state)
        assert name in checkpoints.identify(path)
        path.unlink()


@pytest.mark.parametrize("name", CONTRACT)
def test_one_tensor_less_more_or_of_another_shape_is_named(name: str) -> None:
    state = arrays(name, 0)
    lost, bent = next(iter(state)), list(state)[-1]
    del state[lost]
    state[bent] = np.broadcast_to(np.float32(0), (10**6, 10**6))
    state["stranger"] = np.zeros(1, np.float32)
    said = rf"does not fit {name}: .*missing: {lost}; unexpected: stranger; .*{bent} \(1000000, 1000000\) instead of"
    with pytest.raises(DataError, match=said):
        checkpoints.load(state, layout=name)
