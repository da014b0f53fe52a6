"""The denoiser: shapes, the empty context, contextual partial dropout, what each input changes."""

import pytest
import torch
from tests.diffusion.tiny import DENOISER, tiny_unet

from facewright.diffusion import ConditionalUNet, UNetConfig
from facewright.errors import ConfigError


def inputs(count: int = 3) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    context = torch.nn.functional.normalize(torch.randn(count, 16, generator=generator))
    return torch.randn(count, 4, 16, 16, generator=generator), torch.tensor([0, 500, 999])[:count], context


def test_output_has_the_shape_of_the_latent_and_starts_at_zero() -> None:
    x, times, context = inputs()
    fresh = ConditionalUNet(DENOISER)
    assert fresh(x, times, context).shape == x.shape
    assert not fresh(x, times, context).any()
    assert tiny_unet()(x, times, context).std() > 0.01


def test_no_context_equals_a_dropped_one_row_by_row() -> None:
    network = tiny_unet()
    x, times, context = inputs()
    with torch.inference_mode():
        kept, empty = network(x, times, context), network(x, times)
        mixed = network(x, times, context, drop=torch.tensor([True, False, True]))
    assert torch.allclose(mixed[[0, 2]], empty[[0, 2]], atol=1e-6)
    assert torch.allclose(mixed[1], kept[1], atol=1e-6)
    assert not torch.allclose(kept, empty, atol=1e-3)


def test_time_context_and_latent_each_matter_for_their_own_row_only() -> None:
    network = tiny_unet()
    x, times, context = inputs()
    with torch.inference_mode():
        before = network(x, times, context)
        for changed in ((x.roll(1, 0), times, context), (x, times.roll(1), context), (x, times, context.roll(1, 0))):
            assert not torch.allclose(network(*changed), before, atol=1e-4)
        other = x.clone()
        other[0] += 1
        assert torch.allclose(network(other, times, context)[1:], before[1:], atol=1e-5)


def test_partial_dropout_zeroes_components_and_scales_the_rest() -> None:
    config = UNetConfig(**{**DENOISER.__dict__, "context_width": 4096, "partial_dropout": 0.25})
    network = tiny_unet(config)
    context = inputs(2)[2]
    whole = network.project(context, count=2)
    assert whole is not None
    assert torch.equal(whole, network.context_emb(context)), "in evaluation nothing is dropped"  # type: ignore[misc]
    network.train()
    torch.manual_seed(0)
    dropped = network.project(context, count=2)
    assert dropped is not None
    kept = dropped != 0
    assert float(kept.float().mean()) == pytest.approx(0.75, abs=0.02)
    assert torch.allclose(dropped[kept], whole[kept] / 0.75)
    assert not torch.equal(kept[0], kept[1]), "every row has its own mask"
    some = network.project(context, count=2, drop=torch.tensor([False, True]))
    assert some is not None
    assert some[0].any()
    assert not some[1].any()


def test_context_is_scaled_before_it_is_projected() -> None:
    one, two = tiny_unet(), tiny_unet(UNetConfig(**{**DENOISER.__dict__, "context_scale": 3.0}))
    context = inputs()[2]
    assert torch.equal(two.project(context, count=3), one.project(3 * context, count=3))  # type: ignore[arg-type]


def test_an_unconditional_denoiser_has_no_context() -> None:
    network = tiny_unet(UNetConfig(**{**DENOISER.__dict__, "context_inputs": None}))
    assert not [name for name in network.state_dict() if "context" in name]
    x, times, _ = inputs()
    assert network(x, times).shape == x.shape


def test_gradients_reach_every_weight() -> None:
    network = tiny_unet()
    x, times, context = inputs()
    network(x, times, context).square().mean().backward()
    missing = [name for name, value in network.named_parameters() if value.grad is None or not value.grad.any()]
    # A shift of all keys of an attention leaves its weights alone, so the gradient of that bias is 0 but for rounding.
    assert [name for name in missing if not name.endswith("to_k.bias")] == []


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"attention": (True,)}, "one entry a level"),
        ({"width": 40}, "multiple of 32, got 40"),
        ({"partial_dropout": 1.0}, r"in \[0, 1\), got 1.0"),
    ],
)
def test_sizes_that_cannot_be_are_refused(change: dict[str, object], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        UNetConfig(**{**DENOISER.__dict__, **change})  # type: ignore[arg-type]
