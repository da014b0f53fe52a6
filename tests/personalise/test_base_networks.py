from dataclasses import replace
from typing import Any

import pytest
import torch
from tests.personalise.tiny_world import AUTOENCODER, DENOISER, TEXT

from facewright.diffusion.schedules import alpha_bars, linear_betas
from facewright.errors import ConfigError
from facewright.personalise import base_networks
from facewright.personalise.base_networks import (
    AutoencoderSizes,
    DenoiserSizes,
    TextSizes,
    check_size,
    latent_side,
    make_autoencoder,
    make_denoiser,
    make_scheduler,
    make_text_encoder,
    standardise,
)
from facewright.personalise.base_tokenizer import make_tokenizer

pytest.importorskip("diffusers", reason="needs the extra personalise")


@torch.no_grad()
def test_standardised_latents_are_unit_normal_and_decode_as_before() -> None:
    torch.manual_seed(0)
    network = make_autoencoder(AUTOENCODER, picture=32).eval()
    for parameter in network.parameters():
        parameter.add_(0.1 * torch.randn_like(parameter))
    pictures = torch.rand(6, 3, 32, 32) * 2 - 1
    before = network.encode(pictures).latent_dist
    decoded = network.decode(before.mean).sample
    spread = before.mean.std((0, 2, 3))
    standardise(network, before.mean.mean((0, 2, 3)), spread)
    after = network.encode(pictures).latent_dist
    torch.testing.assert_close(after.mean.mean((0, 2, 3)), torch.zeros(4), atol=1e-5, rtol=0)
    torch.testing.assert_close(after.mean.std((0, 2, 3)), torch.ones(4), atol=1e-5, rtol=0)
    torch.testing.assert_close(after.std * spread[:, None, None], before.std)
    torch.testing.assert_close(network.decode(after.mean).sample, decoded, atol=1e-5, rtol=1e-4)


@torch.no_grad()
def test_a_denoiser_begins_at_zero_and_reads_the_prompt_once_it_is_moved() -> None:
    torch.manual_seed(0)
    network = make_denoiser(DENOISER, channels=4, latent=8, text_width=32).eval()
    x, times = torch.randn(2, 4, 8, 8), torch.tensor([3, 900])
    assert not network(x, times, torch.randn(2, 5, 32)).sample.any()
    for parameter in network.parameters():
        parameter.add_(0.1 * torch.randn_like(parameter))
    first, second = (network(x, times, torch.randn(2, 5, 32)).sample for _ in range(2))
    assert not torch.allclose(first, second)


@torch.no_grad()
def test_a_pooled_prompt_is_read_without_cross_attention() -> None:
    torch.manual_seed(0)
    network = make_denoiser(replace(DENOISER, pooled=True), channels=4, latent=8, text_width=32).eval()
    for name, parameter in network.named_parameters():
        parameter.add_(0.1 * torch.randn_like(parameter))
        if ".attn2.to_out" in name:
            parameter.zero_()
    x, times = torch.randn(2, 4, 8, 8), torch.tensor([3, 900])
    first, second = (network(x, times, torch.randn(2, 5, 32)).sample for _ in range(2))
    assert not torch.allclose(first, second)


def test_the_scheduler_has_the_levels_that_training_uses() -> None:
    scheduler = make_scheduler("velocity")
    torch.testing.assert_close(scheduler.alphas_cumprod, alpha_bars(linear_betas(1000)).float(), rtol=1e-4, atol=1e-7)
    assert scheduler.config.prediction_type == "v_prediction"
    assert make_scheduler("noise").config.prediction_type == "epsilon"


def test_token_tables_are_left_to_adam() -> None:
    encoder = make_text_encoder(TEXT, make_tokenizer(["person"], length=TEXT.length))
    tables = [name for name, part in encoder.named_modules() if getattr(part, "is_table", False)]
    assert sorted(name.rpartition(".")[2] for name in tables) == ["position_embedding", "token_embedding"]


def test_sizes_that_do_not_fit_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    wrong: list[tuple[Any, str]] = [
        (lambda: AutoencoderSizes(widths=(16, 20), groups=8), "multiples of groups = 8"),
        (lambda: TextSizes(width=100), "head_width must divide width 100"),
        (lambda: DenoiserSizes(attention=(True,)), "one entry a width"),
        (lambda: DenoiserSizes(widths=(64, 80, 96), head_width=64), "divide every width"),
        (lambda: latent_side(100, AUTOENCODER, DENOISER), "a multiple of 8 px .* got 100"),
        (lambda: make_scheduler("picture"), "target must be noise or velocity"),
    ]
    for make, sentence in wrong:
        with pytest.raises(ConfigError, match=sentence):
            make()
    assert latent_side(32, AUTOENCODER, DENOISER) == 8
    monkeypatch.setattr(base_networks, "LARGEST", 10)
    with pytest.raises(ConfigError, match=r"would have 12 parameters, at most 10; make it smaller"):
        check_size(torch.nn.Linear(3, 3))
