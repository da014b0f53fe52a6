"""Solvers of higher order on data whose noise estimate and transport are known in closed form."""

import math
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor

from facewright.diffusion import SamplerConfig, run_sampler
from facewright.diffusion.samplers import ddim, ddim_plan_through
from facewright.diffusion.samplers_dpm import dpm_solver, dpm_solver_single
from facewright.diffusion.samplers_unipc import unipc
from facewright.diffusion.schedules import alpha_bars, levels, linear_betas, sampling_times
from facewright.errors import ConfigError

FINE = alpha_bars(linear_betas(100_000))  # so fine that rounding a time moves no level
BETAS = linear_betas(1000)
BARS = alpha_bars(BETAS)
SPREAD = 0.5
X = torch.linspace(-2, 2, 9, dtype=torch.float64)


def spread_at(bar: float) -> float:
    return math.sqrt(bar * SPREAD**2 + 1 - bar)


def gaussian(bars: Tensor, x: Tensor, time: int) -> Tensor:
    bar = float(bars[time])
    return x * (1 - bar) ** 0.5 / spread_at(bar) ** 2


def euler(predict: Any, x: Tensor, bars: Tensor, times: Any, **options: Any) -> Tensor:
    return ddim(predict, x, ddim_plan_through(bars, times), **options)


SOLVERS = {
    "euler": (euler, 1),
    "first": (partial(dpm_solver, order=1), 1),
    "2m": (dpm_solver, 2),
    "2s": (dpm_solver_single, 2),
    "unipc1": (partial(unipc, order=1), 2),
    "unipc2": (unipc, 3),
}
THIRD = {"3m": partial(dpm_solver, order=3), "unipc3": partial(unipc, order=3)}
ALL = {name: solver for name, (solver, _) in SOLVERS.items()} | THIRD


@pytest.mark.parametrize(("solver", "order"), SOLVERS.values(), ids=SOLVERS)
def test_the_error_falls_with_the_order_of_the_solver(solver: Any, order: int) -> None:
    """The error of the state at the lowest noise level against the exact transport; UniPC's corrector adds an order."""
    errors = []
    for steps in (80, 160):
        times = sampling_times(FINE, steps, spacing="log-snr")
        states: list[Tensor] = []
        solver(partial(gaussian, FINE), X, FINE, times, on_step=states.append)
        assert len(states) == steps
        exact = X * spread_at(float(FINE[times[-1]])) / spread_at(float(FINE[times[0]]))
        errors.append(float((states[-2] - exact).abs().max()))
    assert math.log2(errors[0] / errors[1]) == pytest.approx(order, abs=0.1)


@pytest.mark.parametrize("solver", THIRD.values(), ids=THIRD)
def test_order_3_is_nearer_than_order_2(solver: Any) -> None:
    """Its rate is lost to the first step, which can only have order 1."""
    times = sampling_times(FINE, 40, spacing="log-snr")
    exact = X * SPREAD / spread_at(float(FINE[times[0]]))
    predict = partial(gaussian, FINE)
    second, third = (float((one(predict, X, FINE, times) - exact).abs().max()) for one in (dpm_solver, solver))
    assert third < 0.6 * second


@pytest.mark.parametrize(("order", "terms"), [(1, (0.7, 0.0, 0.0)), (3, (0.7, -0.4, 0.2))])
def test_a_step_is_exact_for_a_clean_estimate_of_its_degree(order: int, terms: tuple[float, float, float]) -> None:
    """Such an estimate, a polynomial of the log signal-to-noise ratio, has a closed integral."""
    times = sampling_times(BARS, 12, spacing="karras")
    run = levels(BARS, times)
    a, b, c = terms

    def predict(x: Tensor, time: int) -> Tensor:
        k = times.index(time)
        clean = a + b * run.log_snr[k] + c * run.log_snr[k] ** 2
        return (x - run.signal[k] * clean) / run.noise[k]

    def integral(k: int) -> float:
        ratio = run.log_snr[k]
        return math.exp(ratio) * (a - b + 2 * c + (b - 2 * c) * ratio + c * ratio**2)

    states: list[Tensor] = []
    dpm_solver(predict, X, BARS, times, order=order, on_step=states.append)
    for k in range(order - 1, len(times) - order):
        before = X if k == 0 else states[k - 1]
        exact = run.noise[k + 1] * (before / run.noise[k] + integral(k + 1) - integral(k))
        assert torch.allclose(states[k], exact, rtol=1e-9)


MIXTURE = ((-1.0, 0.3, 0.4), (0.8, 0.15, 0.6))  # mean, spread and share of two groups


def mixture(x: Tensor, time: int) -> Tensor:
    """The exact noise estimate for two groups of points."""
    bar = float(BARS[time])
    shares, pulls = [], []
    for mean, spread, share in MIXTURE:
        variance = bar * spread**2 + 1 - bar
        off = x - bar**0.5 * mean
        shares.append(share * torch.exp(-(off**2) / (2 * variance)) / variance**0.5)
        pulls.append(off / variance)
    total = shares[0] + shares[1]
    return (1 - bar) ** 0.5 * (shares[0] * pulls[0] + shares[1] * pulls[1]) / total


def rank(x: Tensor, bar: float) -> Tensor:
    """The share of points below x at a noise level; the exact transport keeps it."""
    return sum(
        (
            share * torch.special.ndtr((x - bar**0.5 * mean) / (bar * spread**2 + 1 - bar) ** 0.5)
            for mean, spread, share in MIXTURE
        ),
        torch.zeros_like(x),
    )


@pytest.mark.parametrize(
    ("sampler", "error"), [("euler", 0.02), ("dpmpp-2m", 5e-4), ("dpmpp-2s", 0.01), ("dpmpp-3m", 4e-4), ("unipc", 4e-4)]
)
def test_a_point_keeps_its_rank_on_the_way_to_two_groups(sampler: str, error: float) -> None:
    made = run_sampler(SamplerConfig(sampler, steps=100), mixture, X, BETAS)
    assert torch.allclose(rank(made, 1.0), rank(X, float(BARS[-1])), atol=error)
    assert bool((made.diff() > 0).all())


@pytest.mark.parametrize("spacing", ["trailing", "log-snr", "karras"])
@pytest.mark.parametrize("steps", [1, 2, 3, 4, 7, 16])
def test_a_single_point_is_hit_exactly_from_any_noise(steps: int, spacing: str) -> None:
    point = torch.linspace(-2, 2, 9, dtype=torch.float64)

    def single(x: Tensor, time: int) -> Tensor:
        bar = float(BARS[time])
        return (x - bar**0.5 * point) / (1 - bar) ** 0.5

    times = sampling_times(BARS, steps, spacing=spacing)
    for solver in ALL.values():
        assert torch.allclose(solver(single, X.flip(0), BARS, times), point, atol=1e-8)


def test_order_1_is_ddim() -> None:
    times = sampling_times(BARS, 13)
    expected = euler(partial(gaussian, BARS), X, BARS, times)
    assert torch.allclose(dpm_solver(partial(gaussian, BARS), X, BARS, times, order=1), expected, rtol=1e-9)


@pytest.mark.parametrize("solver", ALL.values(), ids=ALL)
def test_the_network_is_called_once_a_time(solver: Any) -> None:
    seen: list[int] = []

    def predict(x: Tensor, time: int) -> Tensor:
        seen.append(time)
        return gaussian(BARS, x, time)

    times = sampling_times(BARS, 9, spacing="karras")
    solver(predict, X, BARS, times)
    assert tuple(seen) == times


def test_every_row_of_a_batch_is_its_own() -> None:
    batch = torch.randn(4, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    times = sampling_times(BARS, 8, spacing="log-snr")
    for solver in ALL.values():
        together = solver(mixture, batch, BARS, times)
        alone = torch.cat([solver(mixture, row[None], BARS, times) for row in batch])
        assert torch.allclose(together, alone, rtol=1e-12)


def test_no_other_order_is_offered() -> None:
    for solver in (dpm_solver, unipc):
        with pytest.raises(ConfigError, match="order must be 1, 2 or 3, got 4"):
            solver(mixture, X, BARS, (999, 0), order=4)
