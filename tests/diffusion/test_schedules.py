"""Noise schedules against their closed forms."""

import math
from itertools import pairwise

import pytest
import torch

from facewright.diffusion.schedules import (
    SPACINGS,
    alpha_bars,
    constants,
    cosine_betas,
    levels,
    linear_betas,
    sampling_times,
)
from facewright.errors import ConfigError


@pytest.mark.parametrize("timesteps", [21, 1000, 4000])
def test_linear_betas_keep_the_total_noise_at_any_length(timesteps: int) -> None:
    betas = linear_betas(timesteps)
    assert betas.dtype == torch.float64
    assert float(betas[0]) == pytest.approx(0.1 / timesteps)
    assert float(betas[-1]) == pytest.approx(20 / timesteps)
    assert torch.allclose(betas.diff(), betas.diff()[:1].expand(timesteps - 1), atol=1e-12)


@pytest.mark.parametrize("timesteps", [-1, 0, 1, 10, 20])
def test_linear_betas_of_one_and_more_are_refused(timesteps: int) -> None:
    with pytest.raises(ConfigError, match=f"timesteps.*got {timesteps}$"):
        linear_betas(timesteps)
    assert float(linear_betas(21)[-1]) < 1


def test_cosine_betas_give_the_squared_cosine() -> None:
    length = 200
    bars = alpha_bars(cosine_betas(length, beta_max=0.999))

    def bar(time: float) -> float:
        return math.cos(math.pi / 2 * (time + 0.008) / 1.008) ** 2

    for step in (0, 1, 57, 198):
        assert float(bars[step]) == pytest.approx(bar((step + 1) / length) / bar(0.0), rel=1e-9)


def test_cosine_betas_stay_between_their_bounds() -> None:
    betas = cosine_betas(100, beta_min=0.002, beta_max=0.05)
    assert float(betas.min()) == 0.002
    assert float(betas.max()) == 0.05


def test_cumulative_products_fall_from_near_one() -> None:
    betas = linear_betas(50)
    bars = alpha_bars(betas.float())
    product = 1.0
    for beta, value in zip(betas.float().tolist(), bars.tolist(), strict=True):
        product *= 1 - beta
        assert value == pytest.approx(product, rel=1e-12)
    assert bars.dtype == torch.float64


def test_constants_fit_each_other_and_keep_their_type() -> None:
    betas = cosine_betas(40)
    tables = constants(betas)
    alphas, bars = tables["alphas"], tables["alpha_bars"]
    assert torch.equal(bars, alpha_bars(betas))
    assert torch.allclose(tables["sigmas"] ** 2, betas)
    assert torch.allclose(tables["sqrt_alphas_inv"] ** -2, alphas)
    assert torch.allclose(
        tables["sqrt_alpha_bars"] ** 2 + tables["sqrt_one_minus_alpha_bars"] ** 2, torch.ones(40).double()
    )
    weight = tables["one_minus_alphas_over_sqrt_one_minus_alpha_bars"]
    assert torch.allclose(weight * tables["sqrt_one_minus_alpha_bars"], betas)
    assert {table.dtype for table in constants(betas.float()).values()} == {torch.float32}


def test_no_timesteps_are_refused() -> None:
    for schedule in (linear_betas, cosine_betas):
        with pytest.raises(ConfigError, match="at least 1, got 0"):
            schedule(0)


@pytest.mark.parametrize("spacing", SPACINGS)
@pytest.mark.parametrize("betas", [linear_betas(1000), cosine_betas(200, beta_max=0.999), linear_betas(100)])
def test_times_fall_and_are_as_many_as_asked(betas: torch.Tensor, spacing: str) -> None:
    bars = alpha_bars(betas)
    for steps in (1, 2, 7, 16, 90, len(bars)):
        times = sampling_times(bars, steps, spacing=spacing)
        assert all(one > other for one, other in pairwise(times))
        if spacing == "stride":
            assert len(times) >= steps
            assert times[-1] == 0
        else:
            assert len(times) == steps
            assert times[0] == len(bars) - 1
            assert times[-1] >= 0
    assert sampling_times(bars, len(bars), spacing=spacing) == tuple(reversed(range(len(bars))))


def test_times_are_even_in_what_the_spacing_names() -> None:
    bars = alpha_bars(linear_betas(100_000))
    sigma = ((1 - bars) / bars).sqrt()
    assert sampling_times(bars, 4, spacing="trailing") == (99_999, 74_999, 49_999, 24_999)
    for spacing, scale in (("log-snr", sigma.log()), ("karras", sigma ** (1 / 7))):
        values = scale[list(sampling_times(bars, 12, spacing=spacing))]
        steps = values.diff()
        assert torch.allclose(steps, steps[:1].expand(11), rtol=3e-2)
        assert values[-1] == scale[0]


def test_times_that_cannot_be_chosen_are_refused() -> None:
    bars = alpha_bars(linear_betas(100))
    for steps in (0, 101):
        with pytest.raises(ConfigError, match=f"steps must be in 1 ... 100, got {steps}"):
            sampling_times(bars, steps)
    with pytest.raises(ConfigError, match="unknown spacing 'even'; known: stride, trailing"):
        sampling_times(bars, 5, spacing="even")


def test_levels_end_without_noise() -> None:
    bars = alpha_bars(linear_betas(1000))
    run = levels(bars, (999, 400, 3))
    assert (run.signal[-1], run.noise[-1], run.log_snr[-1]) == (1.0, 0.0, math.inf)
    for k, time in enumerate((999, 400, 3)):
        assert run.signal[k] ** 2 == pytest.approx(float(bars[time]))
        assert run.signal[k] ** 2 + run.noise[k] ** 2 == pytest.approx(1.0)
        assert run.log_snr[k] == pytest.approx(math.log(run.signal[k] / run.noise[k]))
