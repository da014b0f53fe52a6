"""Every kind of network in bf16 and in channels-last order: finite, and as near to fp32 as stated here.

Deviation is the standard deviation of the difference over that of the fp32 output. Sizes are small, weights are random.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from facewright.diffusion.controlnet import ControlledUNet, ControlNet
from facewright.diffusion.unet import ConditionalUNet, UNetConfig
from facewright.diffusion.vq import VQConfig, VQDecoder, VQEncoder
from facewright.encoders.ir import IR
from facewright.encoders.iresnet import IResNet
from facewright.encoders.mobilefacenet import MobileFaceNet
from facewright.encoders.mobilefacenet_arcface import NETWORKS as MOBILE
from facewright.encoders.msid import MSID
from facewright.encoders.vit import FaceTransformer
from facewright.personalise import BiSeNet, Mapping, MappingConfig, PostFuse

Built = tuple[nn.Module, tuple[Tensor, ...], dict[str, Any]]

ORDER = 1e-5  # channels last, fp32
BF16 = {
    "iresnet": 0.02,
    "ir": 0.02,
    "ir_se": 0.02,
    "mobilefacenet": 0.01,
    "mbf": 0.01,
    "vit": 0.02,
    "msid": 0.02,
    "mapping": 0.006,
    "postfuse": 0.004,
    "bisenet": 0.02,
    "unet-ca": 0.025,
    "unet-adagn": 0.02,
    "unet-uncond": 0.025,
    "controlnet": 0.025,
    "vq-encoder": 0.02,
    "vq-decoder": 0.025,
}
"""Bound for bf16, by autocast and with bf16 weights: one and a half to twice what an x86-64 CPU gives."""

WAYS = {
    "channels last": (torch.float32, False),
    "autocast": (torch.float32, True),
    "bf16 weights": (torch.bfloat16, False),
}
UNET = UNetConfig(channels=3, width=64, multipliers=(1, 2), attention=(False, True), blocks=1, context_width=64)


def _denoiser(condition: str | None) -> ConditionalUNet:
    values = {**vars(UNET), "condition": condition or "adagn", "context_inputs": condition and 512}
    return ConditionalUNet(UNetConfig(**values))


def _controlled() -> nn.Module:
    return ControlledUNet(
        _denoiser("cross-attention"), ControlNet(UNetConfig(**{**vars(UNET), "condition": "cross-attention"}))
    )


BUILDERS: dict[str, Callable[[], nn.Module]] = {
    "iresnet": partial(IResNet, 18),
    "ir": partial(IR, 18),
    "ir_se": partial(IR, 18, squeeze=True),
    "mobilefacenet": MobileFaceNet,
    "mbf": MOBILE["mbf"],
    "vit": partial(FaceTransformer, 64, 3),
    "msid": MSID,
    "mapping": partial(Mapping, MappingConfig(identity_width=96, width=96, word_width=48)),
    "postfuse": partial(PostFuse, 64),
    "bisenet": BiSeNet,
    "unet-ca": partial(_denoiser, "cross-attention"),
    "unet-adagn": partial(_denoiser, "adagn"),
    "unet-uncond": partial(_denoiser, None),
    "controlnet": _controlled,
    "vq-encoder": partial(VQEncoder, VQConfig(width=32, codes=64)),
    "vq-decoder": partial(VQDecoder, VQConfig(width=32, codes=64)),
}


def built(name: str) -> Built:
    """The network in eval mode, no kernel or matrix of it zero, and what it is called with."""
    chance = torch.Generator().manual_seed(0)
    draw = partial(torch.randn, generator=chance)
    network = BUILDERS[name]().eval()
    with torch.no_grad():
        for parameter in network.parameters():
            if parameter.ndim >= 2:
                parameter.copy_(draw(parameter.shape) * parameter[0].numel() ** -0.5)
            else:
                parameter.add_(0.05 * draw(parameter.shape))
        for module in network.modules():
            if isinstance(module, (nn.BatchNorm1d, nn.BatchNorm2d)):
                module.running_var.fill_(1.5)  # keeps the sums of residual networks from growing with depth
    latent, times = draw(2, 3, 8, 8), torch.tensor([3, 900])
    if name == "mapping":
        return network, (draw(2, 96),), {}
    if name == "postfuse":
        marked = torch.arange(6) == torch.tensor([[1], [4]])
        return network, (draw(2, 6, 64), draw(2, 1, 64)), {"marked": marked, "counts": torch.ones(2, dtype=torch.int64)}
    if name.startswith("unet"):
        return network, (latent, times, *([] if name.endswith("uncond") else [draw(2, 512)])), {}
    if name == "controlnet":
        return network, (latent, times, draw(2, 512)), {"hint": draw(2, 3, 64, 64)}
    if name == "vq-decoder":
        return network, (latent,), {"quantise": False}
    side = {"bisenet": 64, "vq-encoder": 32}.get(name, 112)
    return network, (draw(2, 3, side, side),), {}


@pytest.mark.parametrize("name", list(BUILDERS))
@torch.no_grad()
def test_deviation_from_plain_fp32(name: str) -> None:
    network, positional, named = built(name)
    plain = _first(network(*positional, **named))
    assert plain.isfinite().all()
    assert plain.std() > 1e-3
    for way, (dtype, cast) in WAYS.items():
        network = network.to(dtype).to(memory_format=torch.channels_last)
        with torch.autocast("cpu", torch.bfloat16, enabled=cast):
            out = _first(network(*(_as(x, dtype) for x in positional), **{k: _as(v, dtype) for k, v in named.items()}))
        assert out.isfinite().all(), way
        deviation = float((out.float() - plain).std() / plain.std())
        assert deviation < (ORDER if way == "channels last" else BF16[name]), way


def _as(value: Any, dtype: torch.dtype) -> Any:
    """A tensor of floats in this precision, pictures in channels-last order; anything else as it is."""
    if not isinstance(value, Tensor) or not value.is_floating_point():
        return value
    return value.to(dtype, memory_format=torch.channels_last if value.ndim == 4 else torch.contiguous_format)


def _first(output: Any) -> Tensor:
    """The output itself, or the first of several."""
    return output[0] if isinstance(output, tuple) else output
