"""Consistency targets and sampling against Gaussian data, whose paths through the noise levels are known."""

from itertools import pairwise

import pytest
import torch
from torch import Tensor

from facewright.diffusion import alpha_bars, ddim, linear_betas, sampling_times
from facewright.diffusion.consistency import (
    clean_behind,
    consistency_steps,
    consistency_target,
    ddim_to,
    pseudo_huber,
    skip_plan,
)
from facewright.diffusion.samplers import ddim_plan_through
from facewright.errors import ConfigError

BARS = alpha_bars(linear_betas(1000))
SPREAD = 0.5


def width(bars: Tensor) -> Tensor:
    """Standard deviation of noised data of spread 0.5."""
    return (bars * SPREAD**2 + 1 - bars).sqrt()


def posterior_mean(x: Tensor, bars: Tensor) -> Tensor:
    return x * bars.sqrt() * SPREAD**2 / width(bars) ** 2


def test_the_plan_ends_without_noise_and_phases_begin_at_the_times_of_a_short_run() -> None:
    plan = skip_plan(BARS, steps=40, phases=4)
    assert tuple(plan.times[::10].tolist()) == sampling_times(BARS, 4, spacing="trailing")
    assert torch.equal(plan.next_bars[:-1], plan.bars[1:])
    assert plan.next_bars[-1] == plan.end_bars[-1] == 1
    assert torch.equal(plan.end_bars[::10], torch.cat([plan.bars[10::10], torch.ones(1, dtype=torch.float64)]))
    assert len(set(plan.end_bars.tolist())) == 4
    assert set(skip_plan(BARS, steps=40).end_bars.tolist()) == {1.0}
    with pytest.raises(ConfigError, match="multiple of the phases, got 40 and 3"):
        skip_plan(BARS, steps=40, phases=3)


def test_a_step_and_the_clean_latent_behind_it_are_each_others_inverse() -> None:
    generator = torch.Generator().manual_seed(0)
    x, clean = (torch.randn(5, generator=generator, dtype=torch.float64) for _ in range(2))
    now = torch.tensor([0.001, 0.1, 0.5, 0.9, 0.99], dtype=torch.float64)
    for end in (now + 0.5 * (1 - now), torch.ones_like(now)):
        torch.testing.assert_close(clean_behind(x, ddim_to(x, clean, now, end), now, end), clean)
    torch.testing.assert_close(ddim_to(x, clean, now, torch.ones_like(now)), clean)


@pytest.mark.parametrize("phases", [1, 4])
def test_followed_from_the_clean_end_the_targets_are_the_teachers_whole_run(phases: int) -> None:
    """Where every student has learnt its target, a leap ends where the teacher's steps of DDIM end."""
    steps = 40
    plan = skip_plan(BARS, steps=steps, phases=phases)
    estimates = torch.ones(steps + 1, dtype=torch.float64)  # of the clean latent, for x = 1, at each level
    for k in reversed(range(steps)):
        estimates[k] = consistency_target(
            lambda x, k=k: posterior_mean(x, plan.bars[k]),  # type: ignore[misc]
            lambda x, k=k: x * estimates[k + 1],  # type: ignore[misc]
            torch.ones(1, dtype=torch.float64),
            plan.bars[k],
            plan.next_bars[k],
            plan.end_bars[k],
        )
    times = tuple(plan.times.tolist())

    def predict(x: Tensor, time: int) -> Tensor:
        return (x - BARS[time].sqrt() * posterior_mean(x, BARS[time])) / (1 - BARS[time]).sqrt()

    whole = ddim(predict, torch.ones(1, dtype=torch.float64), ddim_plan_through(BARS, times))
    x = torch.ones(1, dtype=torch.float64)
    for start in range(0, steps, steps // phases):
        x = ddim_to(x, x * estimates[start], plan.bars[start], plan.end_bars[start])
    torch.testing.assert_close(x, whole)
    assert abs(float(whole) / float(SPREAD / width(BARS[999])) - 1) < 0.1, "which is near the exact path"


def test_the_exact_function_is_nearly_its_own_target_and_the_nearer_the_shorter_the_steps() -> None:
    errors = []
    for steps in (20, 100, 500):
        plan = skip_plan(BARS, steps=steps)
        x = torch.ones(steps, dtype=torch.float64)
        wanted = consistency_target(
            lambda x, plan=plan: posterior_mean(x, plan.bars),  # type: ignore[misc]
            lambda x, plan=plan: x * SPREAD / width(plan.next_bars),  # type: ignore[misc]
            x,
            plan.bars,
            plan.next_bars,
            plan.end_bars,
        )
        errors.append(float((wanted - SPREAD / width(plan.bars))[:-1].abs().max()))
    assert errors[0] > 10 * errors[1] > 100 * errors[2]


def test_the_exact_function_gives_the_spread_of_the_data_in_any_number_of_steps() -> None:
    generator = torch.Generator().manual_seed(0)
    draws = [torch.randn(20_000, generator=generator, dtype=torch.float64) for _ in range(5)]

    def predict(x: Tensor, time: int) -> Tensor:
        clean = x * SPREAD / width(BARS[time])
        return (x - BARS[time].sqrt() * clean) / (1 - BARS[time]).sqrt()

    for steps in (1, 2, 4):
        times = sampling_times(BARS, steps, spacing="trailing")
        made = consistency_steps(predict, draws[0], BARS, times, noise=draws[1:].__getitem__)
        assert abs(float(made.std()) - SPREAD) < 0.01
        assert abs(float(made.mean())) < 0.01
    torch.testing.assert_close(consistency_steps(predict, draws[0], BARS, (999,)), draws[0] * SPREAD / width(BARS[999]))
    with pytest.raises(ConfigError, match="adds noise between them"):
        consistency_steps(predict, draws[0], BARS, (999, 499))


def test_the_pseudo_huber_distance_is_square_near_0_and_absolute_far_away() -> None:
    error = torch.tensor([0.0, 1e-5, 3.0, -3.0], dtype=torch.float64)
    found = pseudo_huber(error, width=1e-2)
    assert found[0] == 0
    assert float(found[1]) == pytest.approx(1e-10 / 2e-2, rel=1e-3)
    assert float(found[2]) == float(found[3]) == pytest.approx(3 - 1e-2, abs=1e-4)
    assert torch.equal(pseudo_huber(error, width=0.0), error.square())


def test_levels_of_a_plan_rise_towards_the_picture() -> None:
    plan = skip_plan(BARS, steps=8)
    assert all(now < after for now, after in pairwise([*plan.bars.tolist(), 1.0]))
