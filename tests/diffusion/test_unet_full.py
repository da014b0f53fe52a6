"""The denoiser in its three forms, small; the public sizes are compared in tests/golden."""

import pytest
import torch
from torch import Tensor

from facewright.diffusion.attention import ContextAttention
from facewright.diffusion.unet import ConditionalUNet, UNetConfig, published_config
from facewright.errors import ConfigError

SMALL = {"channels": 3, "width": 32, "multipliers": (1, 2), "attention": (False, True), "context_width": 64}
FORMS = {
    "adagn": UNetConfig(**SMALL),
    "cross-attention": UNetConfig(**SMALL, condition="cross-attention"),
    "unconditional": UNetConfig(**{**SMALL, "context_inputs": None}),
}


def network(config: UNetConfig) -> ConditionalUNet:
    """A denoiser whose zero-initialised layers are drawn too, so that every path counts."""
    torch.manual_seed(0)
    unet = ConditionalUNet(config).eval()
    for parameter in unet.parameters():
        if parameter.ndim > 1 and not parameter.any():
            torch.nn.init.normal_(parameter, std=0.05)
    return unet


@pytest.fixture
def inputs() -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    x, context = torch.randn(2, 3, 8, 8, generator=generator), torch.randn(2, 512, generator=generator)
    return x, torch.tensor([3, 900]), context


@pytest.mark.parametrize("form", FORMS)
def test_bf16_and_channels_last_agree_with_fp32(form: str, inputs: tuple[Tensor, Tensor, Tensor]) -> None:
    unet, (x, times, context) = network(FORMS[form]), inputs
    plain = unet(x, times, context)
    unet = unet.to(memory_format=torch.channels_last)
    x = x.contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(unet(x, times, context), plain, rtol=1e-4, atol=1e-5)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        mixed = unet(x, times, context)
    half = unet.bfloat16()(x.bfloat16(), times, context.bfloat16())
    assert half.dtype == torch.bfloat16
    for estimate in (mixed, half):
        assert (estimate.float() - plain).std() < 0.02 * plain.std()


@pytest.mark.parametrize("form", FORMS)
def test_graph_is_captured_whole_and_gives_gradients(form: str, inputs: tuple[Tensor, Tensor, Tensor]) -> None:
    unet, (x, times, context) = network(FORMS[form]), inputs
    captured = torch.compile(unet, backend="eager", fullgraph=True)
    out = captured(x, times, context)
    torch.testing.assert_close(out, unet(x, times, context))
    out.square().mean().backward()
    without = [name for name, parameter in unet.named_parameters() if parameter.grad is None]
    assert not without


@pytest.mark.parametrize("form", ["adagn", "cross-attention"])
def test_dropped_rows_have_the_empty_context(form: str, inputs: tuple[Tensor, Tensor, Tensor]) -> None:
    unet, (x, times, context) = network(FORMS[form]), inputs
    given, empty = unet(x, times, context), unet(x, times)
    mixed = unet(x, times, context, drop=torch.tensor([True, False]))
    torch.testing.assert_close(mixed, torch.stack([empty[0], given[1]]))
    assert (given - empty).abs().max() > 1e-3


def test_the_unconditional_form_looks_at_no_context(inputs: tuple[Tensor, Tensor, Tensor]) -> None:
    unet, (x, times, context) = network(FORMS["unconditional"]), inputs
    assert torch.equal(unet(x, times, context), unet(x, times))
    assert not [key for key in unet.state_dict() if "context" in key]


def test_cross_attention_keeps_the_context_out_of_the_residual_blocks() -> None:
    unet = network(FORMS["cross-attention"])
    assert not [key for key in unet.state_dict() if ".res" in key and "context_emb" in key]
    assert sum(isinstance(module, ContextAttention) for module in unet.modules()) == 2 + 1 + 3


def test_empty_context_can_be_learned(inputs: tuple[Tensor, Tensor, Tensor]) -> None:
    x, times, context = inputs
    unet = network(UNetConfig(**SMALL, condition="cross-attention", learn_empty_context=True))
    assert unet.empty_context_embedding is not None
    before = unet(x, times)
    torch.testing.assert_close(unet(x, times, context, drop=torch.ones(2, dtype=torch.bool)), before)
    torch.nn.init.normal_(unet.empty_context_embedding)
    assert (unet(x, times) - before).abs().max() > 1e-3
    unet(x, times).sum().backward()
    assert unet.empty_context_embedding.grad is not None
    assert unet.state_dict()["empty_context_embedding"].shape == (64,)


def test_partial_dropout_acts_in_training_and_can_be_given() -> None:
    unet = network(FORMS["adagn"]).train()
    context = torch.randn(64, 512)
    full = unet.eval().project(context, count=64)
    dropped = unet.train().project(context, count=64)
    assert full is not None
    assert dropped is not None
    gone = dropped == 0
    assert 0.2 < gone.float().mean() < 0.3
    torch.testing.assert_close(dropped[~gone], full[~gone] / 0.75)
    keep = torch.full((64, 64), 2.0)
    torch.testing.assert_close(unet.project(context, count=64, keep=keep), 2 * full)


def test_context_is_scaled_before_it_is_projected() -> None:
    plain = network(FORMS["adagn"])
    scaled = network(UNetConfig(**SMALL, context_scale=3.0))
    scaled.load_state_dict(plain.state_dict())
    context = torch.randn(2, 512)
    torch.testing.assert_close(scaled.project(context, count=2), plain.project(3 * context, count=2))


@pytest.mark.parametrize(
    ("changed", "named"),
    [
        ({"condition": "film"}, "adagn or cross-attention, got 'film'"),
        ({"condition": "cross-attention", "context_inputs": None}, "context_inputs"),
        ({"context_inputs": None, "learn_empty_context": True}, "context_inputs"),
        ({"condition": "cross-attention", "context_width": 40}, "multiple of 32, got 40"),
        ({"head_width": 48}, "head_width must divide width 64, got 48"),
        ({"width": 48}, "multiple of 32, got 48"),
        ({"attention": (True,)}, "one entry a level"),
        ({"partial_dropout": 1.0}, "partial_dropout"),
    ],
)
def test_bad_settings_are_named(changed: dict[str, object], named: str) -> None:
    with pytest.raises(ConfigError, match=named):
        UNetConfig(**changed)  # type: ignore[arg-type]


def test_published_sizes() -> None:
    assert published_config().condition == "cross-attention"
    assert published_config("adagn").context_inputs == 512
    assert published_config(None).context_inputs is None
