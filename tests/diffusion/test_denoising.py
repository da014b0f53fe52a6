"""Targets, what outputs stand for, and weights of the times, against their formulas."""

import pytest
import torch
from tests.diffusion.tiny import tiny_unet
from torch import Tensor

from facewright.diffusion.denoising import (
    clean_of,
    guided_output,
    masked_mean,
    min_snr_weights,
    noise_of,
    noised,
    target_of,
)


def drawn(count: int = 6) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    clean, noise = (torch.randn(count, 2, 3, 3, generator=generator, dtype=torch.float64) for _ in range(2))
    return clean, noise, torch.linspace(0.001, 0.999, count, dtype=torch.float64).view(-1, 1, 1, 1)


@pytest.mark.parametrize("target", ["noise", "velocity"])
def test_the_exact_output_names_both_ends(target: str) -> None:
    clean, noise, bars = drawn()
    noisy, output = noised(clean, noise, bars), target_of(target, clean, noise, bars)
    torch.testing.assert_close(clean_of(target, output, noisy, bars), clean)
    torch.testing.assert_close(noise_of(target, output, noisy, bars), noise)


@pytest.mark.parametrize("target", ["noise", "velocity"])
def test_without_noise_the_latent_is_clean_whatever_the_network_says(target: str) -> None:
    clean, anything, _ = drawn()
    assert torch.equal(clean_of(target, anything, clean, torch.ones(1, dtype=torch.float64)), clean)


@pytest.mark.parametrize("target", ["noise", "velocity"])
def test_min_snr_makes_the_error_of_the_clean_latent_count_min_snr_gamma(target: str) -> None:
    clean, noise, bars = drawn()
    noisy = noised(clean, noise, bars)
    wrong = target_of(target, clean, noise, bars) + 0.1 * torch.sin(noisy)
    error = (wrong - target_of(target, clean, noise, bars)).square()
    of_clean = (clean_of(target, wrong, noisy, bars) - clean).square()
    ratio = bars / (1 - bars)
    weighted = min_snr_weights(bars, target=target, gamma=5.0) * error
    torch.testing.assert_close(weighted, torch.minimum(ratio, torch.full_like(ratio, 5.0)) * of_clean)


def test_a_masked_mean_counts_real_cells_and_is_0_without_any() -> None:
    values = torch.arange(16.0).view(2, 2, 2, 2)
    mask = torch.zeros(2, 1, 2, 2)
    assert float(masked_mean(values, mask)) == 0
    mask[1, 0, 0, 1] = 1
    assert float(masked_mean(values, mask)) == (9 + 13) / 2


def test_guidance_moves_away_from_the_empty_context_and_is_off_at_1() -> None:
    network, generator = tiny_unet(), torch.Generator().manual_seed(0)
    x, context = torch.randn(2, 4, 8, 8, generator=generator), torch.randn(2, 16, generator=generator)
    times = torch.tensor([3, 800])
    with torch.no_grad():
        conditioned, empty = network(x, times, context), network(x, times, None)
        torch.testing.assert_close(
            guided_output(network, x, times, context, weight=2.5), empty + 2.5 * (conditioned - empty)
        )
        assert torch.equal(guided_output(network, x, times, context, weight=1.0), conditioned)
