"""Samplers on data whose noise is known in closed form."""

import pytest
import torch
from torch import Tensor

from facewright.diffusion.samplers import (
    Predict,
    ancestral,
    ddim,
    ddim_invert,
    ddim_invert_exactly,
    ddim_plan,
    ddim_plan_through,
)
from facewright.diffusion.schedules import alpha_bars, linear_betas, respaced_betas, sampling_times
from facewright.errors import ConfigError, WorkError

BETAS = linear_betas(1000)
BARS = alpha_bars(BETAS)


def gaussian(spread: float) -> Predict:
    """The exact noise estimate for data of standard deviation `spread` around 0."""

    def predict(x: Tensor, time: int) -> Tensor:
        bar = float(BARS[time])
        return x * (1 - bar) ** 0.5 / (bar * spread**2 + 1 - bar)

    return predict


def single(point: Tensor) -> Predict:
    """The exact noise estimate for data that is always `point`."""

    def predict(x: Tensor, time: int) -> Tensor:
        bar = float(BARS[time])
        return (x - bar**0.5 * point) / (1 - bar) ** 0.5

    return predict


def start(count: int = 500) -> Tensor:
    return torch.randn(count, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


@pytest.mark.parametrize(("steps", "error"), [(20, 0.08), (100, 0.02), (1000, 0.004)])
def test_ddim_maps_noise_to_the_spread_of_the_data(steps: int, error: float) -> None:
    x = start()
    made = ddim(gaussian(0.5), x, ddim_plan(BARS, steps))
    assert torch.allclose(made, 0.5 * x, atol=error * float(x.abs().max()))


@pytest.mark.parametrize("steps", [1, 7, 25])
def test_a_single_point_is_hit_exactly_from_any_noise(steps: int) -> None:
    point = torch.linspace(-2, 2, 5, dtype=torch.float64)
    assert torch.allclose(ddim(single(point), start(5), ddim_plan(BARS, steps)), point, atol=1e-9)


def test_all_steps_with_full_noise_have_the_mean_of_ancestral_sampling() -> None:
    """DDIM with eta 1 over all times is ancestral sampling with another variance, so without noise they agree."""
    x, nothing = start(6), torch.zeros(6, dtype=torch.float64)
    plan = ddim_plan(BARS, 1000, eta=1.0)
    one = ddim(gaussian(0.7), x, plan, noise=lambda _: nothing)
    assert torch.allclose(one, ancestral(gaussian(0.7), x, BETAS, noise=lambda _: nothing), rtol=1e-8)
    posterior = BETAS[1:] * (1 - BARS[:-1]) / (1 - BARS[1:])
    assert torch.allclose(plan.sigma.flip(0)[1:] ** 2, posterior, rtol=1e-8)


def test_ancestral_samples_have_the_spread_of_the_data() -> None:
    generator = torch.Generator().manual_seed(1)
    made = ancestral(
        gaussian(0.5), start(4000), BETAS, noise=lambda _: torch.randn(4000, generator=generator, dtype=torch.float64)
    )
    assert float(made.std()) == pytest.approx(0.5, abs=0.03)
    assert float(made.mean()) == pytest.approx(0.0, abs=0.03)


def test_the_published_variants_differ_and_lose_noise() -> None:
    x = start()
    exact, published = (ddim_plan(BARS, 20, variant=variant) for variant in ("exact", "published"))
    assert exact.times == published.times
    assert bool((published.alpha_bar_next >= exact.alpha_bar_next).all())
    assert float(ddim(gaussian(0.5), x, published).std()) < 0.99 * float(ddim(gaussian(0.5), x, exact).std())
    seen: dict[str, list[int]] = {"exact": [], "published": []}
    for variant, times in seen.items():

        def noise(time: int, times: list[int] = times) -> Tensor:
            times.append(time)
            return torch.zeros(500)

        ancestral(gaussian(0.5), x, BETAS, noise=noise, variant=variant)
    assert seen == {"exact": list(range(999, 0, -1)), "published": list(range(999, 1, -1))}


@pytest.mark.parametrize(("steps", "error"), [(50, 0.14), (500, 0.014)])
def test_inversion_and_sampling_undo_each_other(steps: int, error: float) -> None:
    clean = 0.5 * start()
    noise = ddim_invert(gaussian(0.5), clean, BARS, steps)
    assert float(noise.std()) == pytest.approx(float(start().std()), rel=error)
    back = ddim(gaussian(0.5), noise, ddim_plan(BARS, steps))
    assert torch.allclose(back, clean, atol=error * float(clean.abs().max()))


@pytest.mark.parametrize("variant", ["exact", "published"])
@pytest.mark.parametrize("steps", [10, 50])
def test_exact_inversion_undoes_sampling_to_rounding(steps: int, variant: str) -> None:
    """In both directions, for an estimate that bends, where the inversion of first order is off by a step's size."""

    def bent(x: Tensor, time: int) -> Tensor:
        return gaussian(0.5)(x, time) + 0.1 * torch.sin(2 * x)

    plan = ddim_plan(BARS, steps, variant=variant)
    noise = start(50)
    clean = ddim(bent, noise, plan)
    found = ddim_invert_exactly(bent, clean, plan, tolerance=1e-10)
    assert torch.allclose(found, noise, atol=1e-6)
    assert torch.allclose(ddim(bent, found, plan), clean, atol=1e-8)
    rough = ddim_invert(bent, clean, BARS, steps, variant=variant)
    assert float((rough - noise).abs().max()) > 1e-2


def test_an_inversion_that_does_not_settle_is_named() -> None:
    def steep(x: Tensor, time: int) -> Tensor:
        return -3 * x

    plan = ddim_plan(BARS, 5)
    with pytest.raises(WorkError, match=r"did not settle at time \d+ .* after 20 iterations\); take more than 5 steps"):
        ddim_invert_exactly(steep, start(3), plan, iterations=20)
    with pytest.raises(ConfigError, match="eta > 0"):
        ddim_invert_exactly(steep, start(3), ddim_plan(BARS, 5, eta=1.0))


def test_a_respaced_chain_has_the_levels_of_its_times() -> None:
    times = sampling_times(BARS, 20, spacing="karras")
    betas = respaced_betas(BETAS, times)
    assert torch.allclose(alpha_bars(betas), BARS[sorted(times)])
    assert bool((betas > 0).all() and (betas < 1).all())
    assert respaced_betas(BETAS, range(1000)) is BETAS


def test_a_plan_goes_through_any_times() -> None:
    times = (999, 700, 4, 0)
    plan = ddim_plan_through(BARS, times)
    assert torch.equal(plan.alpha_bar, BARS[list(times)])
    assert torch.equal(plan.alpha_bar_next, torch.cat([BARS[[700, 4, 0]], torch.ones(1).double()]))
    published = ddim_plan_through(BARS, times, variant="published")
    assert torch.equal(published.alpha_bar_next, torch.cat([BARS[[699, 3]], torch.ones(2).double()]))


def test_the_plan_keeps_the_stride_rule() -> None:
    plan = ddim_plan(BARS, 30)
    assert plan.times == tuple(range(990, -1, -33))
    assert len(plan.times) == 31, "30 does not divide 1000"
    assert torch.equal(plan.alpha_bar, BARS[list(plan.times)])
    assert torch.equal(plan.alpha_bar_next[:-1], plan.alpha_bar[1:])
    assert float(plan.alpha_bar_next[-1]) == 1.0
    assert not plan.sigma.any()


def test_every_step_is_shown() -> None:
    seen: list[Tensor] = []
    made = ddim(gaussian(0.5), start(3), ddim_plan(BARS, 10), on_step=seen.append)
    assert len(seen) == 10
    assert torch.equal(seen[-1], made)


def test_what_cannot_be_sampled_is_refused() -> None:
    for steps in (0, 1001):
        with pytest.raises(ConfigError, match=f"steps must be in 1 ... 1000, got {steps}"):
            ddim_plan(BARS, steps)
    with pytest.raises(ConfigError, match="exact or published, got 'Exact'"):
        ddim_plan(BARS, 10, variant="Exact")
    with pytest.raises(ConfigError, match="give noise="):
        ddim(gaussian(0.5), start(), ddim_plan(BARS, 10, eta=0.5))
