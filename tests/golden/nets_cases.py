"""The golden cases of whole networks as calls of facewright; the deterministic weights come from `fill`.

Recognition networks and MSID are here; those of generation and personalisation are in `nets_generator_cases`.
"""

from typing import Any

import numpy as np
import torch
from tests.golden import nets_generator_cases
from tests.golden.fill import fill
from torch import Tensor, nn

from facewright import checkpoints

Case = dict[str, np.ndarray]


def covers_net(name: str) -> bool:
    """Whether `run_net` knows cases of this name."""
    return nets_generator_cases.covers(name) or layout_of(name) is not None


def run_net(name: str, case: Case) -> Case:
    """Load the case's weights strictly by their layout and compute every output, under its name in the file.

    Args:
        name: the file's stem; it begins with the layout's name, `/` written as `__`.
        case: the file's arrays without its outputs.
    """
    if nets_generator_cases.covers(name):
        return nets_generator_cases.run_net(name, case)
    layout = layout_of(name)
    if layout is None:
        raise KeyError(f"no layout for nets/{name}")
    compute = _msid if layout == "f2d/msid" else _embedding
    with torch.inference_mode():
        return {f"out_{key}": np.asarray(value) for key, value in compute(layout, case).items()}


def layout_of(name: str) -> str | None:
    """The recognition layout that a case's file is named after."""
    kinds = ("encoder", "msid")
    known = [layout.name for layout in checkpoints.LAYOUTS.values() if layout.family.kind in kinds]
    return max((layout for layout in known if name.startswith(layout.replace("/", "__"))), key=len, default=None)


def weights(case: Case) -> Case:
    """The filled state dict that a case describes by `keys`, `shapes` and `seed`."""
    shapes = {
        str(key): tuple(int(length) for length in str(shape).split(",") if length)
        for key, shape in zip(case["keys"], case["shapes"], strict=True)
    }
    return fill(shapes, int(case["seed"]))


def _network(layout: str, state: Case) -> nn.Module:
    return checkpoints.load(state, layout=layout)


def _input(case: Case, name: str) -> Tensor:
    return torch.from_numpy(case[f"in_{name}"])


def _embedding(layout: str, case: Case) -> dict[str, Any]:
    """Recognition networks: the plain fill and, for residual ones, the tamed one."""
    state, images = weights(case), _input(case, "images")
    outputs = {"embedding": _network(layout, state)(images)}
    if "tame_keys" in case:
        state |= {str(key): state[str(key)] * case["tame_factor"] for key in case["tame_keys"]}
        outputs["embedding_tamed"] = _network(layout, state)(images)
    return outputs


def _msid(layout: str, case: Case) -> dict[str, Any]:
    network, images = _network(layout, weights(case)), _input(case, "images")
    return {"features": network(images), "features_depths_0_10_11": network(images, taps=(0, 10, 11))}
