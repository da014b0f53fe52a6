"""The same network under another layout's names."""

import re
from collections.abc import Mapping

import torch
from torch import Tensor

from facewright.checkpoints.matching import match
from facewright.checkpoints.source import open_checkpoint
from facewright.checkpoints.table import LAYOUTS
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
STAGES = {8: (18, (2, 2, 2, 2)), 16: (34, (3, 4, 6, 3)), 24: (50, (3, 4, 14, 3)), 49: (101, (3, 13, 30, 3))}
"""Units in all: depth by name, and units a stage."""
EPSILON = 1e-5  # torch's of a batch norm


def iresnet_from_ir(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Turn the state dict of an IR-18, -34, -50 or -101 into that of an IResNet-18, -34, -50 or -100; nothing is lost.

    IR has no weights in the first shortcut and no scale and shift in the last norm: the first becomes a 1 x 1 identity
    with a norm that changes nothing, the last a scale of one and a shift of zero.

    Args:
        state: names and tensors as `IR(...).state_dict()` gives them; wrappers' prefixes are taken off.

    Returns:
        Names and tensors for `IResNet(...).load_state_dict`.

    Raises:
        DataError: a tensor is missing, left over or of another shape: also of an IR with squeeze-and-excitation, with
            bottlenecks, or without a norm in the middle of its units.
    """
    checkpoint = open_checkpoint(state)
    units = len({found[1] for key in checkpoint.entries if (found := re.search(r"(?:^|\.)body\.(\d+)\.", key))})
    if units not in STAGES:
        raise DataError(
            f"an IR of depth 18, 34, 50 or 101 has 8, 16, 24 or 49 units, this state dict has {units}; give the whole "
            "state dict of one"
        )
    depth, stages = STAGES[units]
    held = match(checkpoint, LAYOUTS[f"tface/ir_{depth}"])
    if not held.fits:
        raise DataError(
            f"this state dict is not that of a plain IR-{depth}, so no IResNet has its numbers: {held.sentence()}; "
            "give the whole state dict of one"
        )
    places = [f"layer{stage}.{index}" for stage, count in enumerate(stages, 1) for index in range(count)]
    renamed = {_renamed(key, places): checkpoint.entries[name].read() for key, name in held.keys.items()}
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
    if found := re.fullmatch(r"body\.(\d+)\.(shortcut|res)_layer\.(\d)\.(\w+)", key):
        unit, branch, index, tensor = found.groups()
        part = f"downsample.{index}" if branch == "shortcut" else BRANCH[index]
        return f"{places[int(unit)]}.{part}.{tensor}"
    module, _, tensor = key.rpartition(".")
    return f"{OUTSIDE[module]}.{tensor}"
