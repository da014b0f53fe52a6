"""The same network under another layout's names."""

import re
from collections.abc import Mapping

import torch
from torch import Tensor

from facewright.errors import DataError

BRANCH = {"0": "bn1", "1": "conv1", "2": "bn2", "3": "prelu", "4": "conv2", "5": "bn3"}
OUTSIDE = {
    "input_layer.0": "conv1",
    "input_layer.1": "bn1",
    "input_layer.2": "prelu",
    "output_layer.0": "bn2",
    "output_layer.3": "fc",
    "output_layer.4": "features",
}
STRIDED = {8: (2, 2, 2, 2), 16: (3, 4, 6, 3), 24: (3, 4, 14, 3), 49: (3, 13, 30, 3)}  # units in all: a stage
EPSILON = 1e-5


def iresnet_from_ir(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Turn the state dict of an IR-18, -34, -50 or -101 into that of an IResNet-18, -34, -50 or -100; nothing is lost.

    IR has no weights in the first shortcut and no scale and shift in the last norm: the first becomes a 1 x 1 identity
    with a norm that changes nothing, the last a scale of one and a shift of zero.

    Args:
        state: names and tensors as `IR(...).state_dict()` gives them.

    Returns:
        Names and tensors for `IResNet(...).load_state_dict`.

    Raises:
        DataError: not an IR with a norm in the middle of its units, or with squeeze-and-excitation, or a bottleneck.
    """
    units = 1 + max((int(found[1]) for key in state if (found := re.match(r"body\.(\d+)\.", key))), default=-1)
    if units not in STRIDED:
        raise DataError(f"an IR of depth 18, 34, 50 or 101 has 8, 16, 24 or 49 units, this state dict has {units}")
    places = [f"layer{stage}.{index}" for stage, count in enumerate(STRIDED[units], 1) for index in range(count)]
    renamed = {}
    for key, tensor in state.items():
        renamed[_renamed(key, places)] = tensor
    if f"{places[0]}.bn3.weight" not in renamed:
        raise DataError("this IR has no norm in the middle of its units, so no IResNet has its numbers")
    width = len(renamed["bn1.weight"])
    like = renamed["bn1.weight"]
    first = f"{places[0]}.downsample"
    renamed[f"{first}.0.weight"] = torch.eye(width, dtype=like.dtype, device=like.device)[:, :, None, None]
    renamed[f"{first}.1.weight"] = torch.ones_like(like)
    renamed[f"{first}.1.bias"] = torch.zeros_like(like)
    renamed[f"{first}.1.running_mean"] = torch.zeros_like(like)
    renamed[f"{first}.1.running_var"] = torch.full_like(like, 1 - EPSILON)
    renamed[f"{first}.1.num_batches_tracked"] = torch.zeros((), dtype=torch.int64, device=like.device)
    renamed["features.weight"] = torch.ones_like(renamed["fc.bias"])
    renamed["features.bias"] = torch.zeros_like(renamed["fc.bias"])
    return renamed


def _renamed(key: str, places: list[str]) -> str:
    if found := re.fullmatch(r"((?:in|out)put_layer\.\d)\.(\w+)", key):
        return f"{OUTSIDE[found[1]]}.{found[2]}"
    if found := re.fullmatch(r"body\.(\d+)\.shortcut_layer\.([01])\.(\w+)", key):
        return f"{places[int(found[1])]}.downsample.{found[2]}.{found[3]}"
    if found := re.fullmatch(r"body\.(\d+)\.res_layer\.([0-5])\.(\w+)", key):
        return f"{places[int(found[1])]}.{BRANCH[found[2]]}.{found[3]}"
    raise DataError(f"{key} belongs to no plain IR; squeeze-and-excitation and bottlenecks have no IResNet form")
