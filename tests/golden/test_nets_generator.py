"""The golden networks of generation and personalisation: outputs, keys and shapes."""

from fnmatch import fnmatchcase
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from tests.golden.nets_generator_cases import TOLERANCES, Case, covers, run_net
from torch import nn

from facewright.diffusion.controlnet import ControlNet
from facewright.diffusion.unet import ConditionalUNet, published_config
from facewright.diffusion.vq import VQDecoder, VQEncoder
from facewright.personalise import BiSeNet, Mapping, PostFuse

HERE = Path(__file__).resolve().parent / "data" / "nets"
BESIDE = Path(__file__).resolve().parents[3] / "shared" / "golden" / "nets"
PATHS = {path.stem: path for folder in (BESIDE, HERE) for path in folder.glob("*.npz") if covers(path.stem)}
"""The cases with the tests, and those beside the checkout that are not among them."""

SIZES = {
    "idiff__unet-ca": (partial(ConditionalUNet, published_config()), 842, 216_341_187),
    "idiff__unet-adagn": (partial(ConditionalUNet, published_config("adagn")), 566, 134_595_939),
    "idiff__unet-uncond": (partial(ConditionalUNet, published_config(None)), 520, 132_392_163),
    "idiff__controlnet": (partial(ControlNet, published_config()), 412, 109_340_752),
    "ldm__vq-encoder": (VQEncoder, 90, 22_337_423),
    "ldm__vq-decoder": (VQDecoder, 115, 32_985_359),
    "f2d__mapping": (Mapping, 13, 12_000_832),
    "fastcomposer__postfuse": (PostFuse, 14, 2_958_336),
    "bisenet": (BiSeNet, 191, 13_300_416),
}
"""The network, its tensors and its parameters; for postfuse the sum of the specified shapes, otherwise as specified."""


def load(name: str) -> Case:
    with np.load(PATHS[name], allow_pickle=False) as opened:
        return dict(opened)


def test_every_golden_network_is_here() -> None:
    assert PATHS.keys() >= SIZES.keys() | {"f2d__text-injection", "idiff__ddpm-ddim"}


@pytest.mark.parametrize("name", sorted(PATHS))
def test_outputs(name: str) -> None:
    case = load(name)
    computed = run_net(name, {key: value for key, value in case.items() if not key.startswith("out_")})
    for key in [key for key in case if key.startswith("out_")]:
        assert computed[key].dtype == case[key].dtype, key
        tolerance = next(
            limit for rule, limit in TOLERANCES.items() if name.startswith(rule) or fnmatchcase(f"{name}:{key}", rule)
        )
        tolerance = tolerance if case[key].dtype.kind == "f" else 0
        np.testing.assert_allclose(computed[key], case[key], rtol=0, atol=tolerance, err_msg=key)


@pytest.mark.parametrize("name", SIZES)
def test_keys_shapes_and_counts(name: str) -> None:
    build, tensors, parameters = SIZES[name]
    with torch.device("meta"):
        network: nn.Module = build()
    case = load(name)
    wanted = {
        key.removeprefix("postfuse_module."): shape
        for key, shape in zip(case["keys"].tolist(), case["shapes"].tolist(), strict=True)
    }
    state = network.state_dict()
    assert {key: ",".join(map(str, value.shape)) for key, value in state.items()} == wanted
    assert (len(state), sum(value.numel() for value in network.parameters())) == (tensors, parameters)
