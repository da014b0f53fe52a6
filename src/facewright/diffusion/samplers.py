"""Samplers as pure functions of a noise estimate: DDIM, its inversion, and ancestral DDPM.

Euler's method in sigma space is DDIM with eta 0, and its ancestral form is DDIM with eta 1 (Song et al. 2021, Section
4.3); the solvers of higher order are in `samplers_dpm` and `samplers_unipc`.

DDIM, its inversion and ancestral DDPM have two variants: "exact", and "published", which repeats a slip of the public
IDiff-Face code so that its results can be reproduced. In the published DDIM every step aims one time index too low and
loses a little noise; the published ancestral sampler adds no noise in its last two steps, where only the last should
have none.

These are own code rather than schedulers of diffusers, although that library installs beside this one. Its schedulers
keep hidden state between calls, their tables are float32, and they draw the noise of a whole batch from one generator,
while here each picture's noise is its own and comes in as a function. Importing one takes three times as long as
importing torch, and brings twenty further packages, for some 30 lines a sampler. `tests/diffusion` compares every
sampler with its diffusers counterpart where that is installed.
"""

import logging
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from facewright.diffusion.schedules import sampling_times
from facewright.errors import ConfigError, WorkError

logger = logging.getLogger(__name__)

Predict = Callable[[Tensor, int], Tensor]
"""(x, time index) to the estimated noise, of the shape of x."""


@dataclass(frozen=True)
class DDIMPlan:
    """The levels a DDIM run passes through, from noisy to clean; all tensors float64, (S,)."""

    times: tuple[int, ...]  # time indices, high to low
    alpha_bar: Tensor  # at each time
    alpha_bar_next: Tensor  # aimed at by each step; 1 at the end
    sigma: Tensor  # of the noise added by each step


def ddim_plan(alpha_bars: Tensor, steps: int, *, eta: float = 0.0, variant: str = "exact") -> DDIMPlan:
    """Time indices T - stride, ..., stride, 0 with stride T // steps, and their noise levels.

    Where `steps` does not divide T this gives more steps than asked. eta 0 is deterministic, eta 1 adds the noise of
    ancestral sampling (Song et al. 2021, Eq. 16).
    """
    return ddim_plan_through(alpha_bars, sampling_times(alpha_bars, steps, spacing="stride"), eta=eta, variant=variant)


def ddim_plan_through(
    alpha_bars: Tensor, times: Sequence[int], *, eta: float = 0.0, variant: str = "exact"
) -> DDIMPlan:
    """As `ddim_plan`, through the given time indices, which fall."""
    _check_variant(variant)
    bars = alpha_bars.double()
    aimed = torch.tensor([*times[1:], -1]) - (1 if variant == "published" else 0)
    now = bars[list(times)]
    following = torch.where(aimed >= 0, bars[aimed.clamp_min(0)], 1.0)
    sigma = eta * torch.sqrt((1 - following) / (1 - now) * (1 - now / following))
    return DDIMPlan(tuple(times), now, following, sigma)


def ddim(
    predict: Predict,
    x: Tensor,
    plan: DDIMPlan,
    *,
    noise: Callable[[int], Tensor] | None = None,
    on_step: Callable[[Tensor], None] | None = None,
) -> Tensor:
    """Denoise x along the plan (Song et al. 2021, Eq. 12).

    Args:
        predict: the noise estimate.
        x: unit normal noise, any shape.
        noise: unit normal noise of step k; needed where the plan's sigma is not 0.
        on_step: sees x after every step.
    """
    if noise is None and bool((plan.sigma > 0).any()):
        raise ConfigError("this plan adds noise in its steps (eta > 0): give noise=")
    for k, time in enumerate(plan.times):
        now, following, sigma = float(plan.alpha_bar[k]), float(plan.alpha_bar_next[k]), float(plan.sigma[k])
        estimate = predict(x, time)
        clean = (x - (1 - now) ** 0.5 * estimate) / now**0.5
        x = following**0.5 * clean + max(0.0, 1 - following - sigma**2) ** 0.5 * estimate
        if sigma > 0 and noise is not None:
            x = x + sigma * noise(k)
        if on_step is not None:
            on_step(x)
    return x


def ddim_invert(
    predict: Predict,
    x: Tensor,
    alpha_bars: Tensor,
    steps: int,
    *,
    variant: str = "exact",
    first: int | None = None,
    on_step: Callable[[Tensor], None] | None = None,
) -> Tensor:
    """Run DDIM backwards, from a clean x to the noise that gives it.

    Step k goes from time k * stride to the next one; the last step ends at the last time of the plan in the exact
    variant, and at pure estimated noise in the published one, which also aims one index too high at every step.

    Args:
        predict: the noise estimate.
        x: clean, any shape.
        alpha_bars: (T,).
        steps: of the whole run.
        variant: exact or published.
        first: take only so many steps, which ends at a level between.
        on_step: sees x after every step.
    """
    _check_variant(variant)
    length = len(alpha_bars)
    stride = length // steps
    bars = alpha_bars.double()
    for time in range(0, length, stride)[:first]:
        aimed = time + stride + (1 if variant == "published" else 0)
        if aimed >= length and variant == "exact":
            break
        now, following = float(bars[time]), float(bars[aimed]) if aimed < length else 0.0
        estimate = predict(x, time)
        clean = (x - (1 - now) ** 0.5 * estimate) / now**0.5
        x = following**0.5 * clean + (1 - following) ** 0.5 * estimate
        if on_step is not None:
            on_step(x)
    return x


def ddim_invert_exactly(
    predict: Predict,
    x: Tensor,
    plan: DDIMPlan,
    *,
    tolerance: float = 1e-6,
    iterations: int = 100,
    on_step: Callable[[Tensor], None] | None = None,
) -> Tensor:
    """The noise from which `ddim` along the plan gives x, to within a tolerance.

    `ddim_invert` takes the noise estimate at the wrong end of each step, so its round trip is off by the size of a
    step. Here each step of `ddim` is undone as the fixed point of y = (x - b predict(y)) / a (Pan et al. 2023), which
    converges unless the steps are long for the estimate's slope.

    Args:
        predict: the noise estimate; called some 4 to 10 times a step by a trained generator.
        x: clean, any shape.
        plan: exact or published, without noise (eta 0).
        tolerance: a step is done once no value moves by more than this, x being about unit normal.
        iterations: of a step, at most.
        on_step: sees x after every step.

    Raises:
        WorkError: a step did not settle; more and thus shorter steps help.
    """
    if bool((plan.sigma > 0).any()):
        raise ConfigError("a plan that adds noise (eta > 0) cannot be inverted; make it with eta 0")
    for k in reversed(range(len(plan.times))):
        now, following = float(plan.alpha_bar[k]), float(plan.alpha_bar_next[k])
        kept = (following / now) ** 0.5
        added = (1 - following) ** 0.5 - kept * (1 - now) ** 0.5
        noisy, moved, calls = x, math.inf, 0
        while moved > tolerance:
            if calls == iterations or math.isnan(moved):
                raise WorkError(
                    f"DDIM inversion did not settle at time {plan.times[k]} (values still move by {moved:.1g} after"
                    f" {calls} iterations); take more than {len(plan.times)} steps"
                )
            last, noisy = noisy, (x - added * predict(noisy, plan.times[k])) / kept
            moved, calls = float((noisy - last).abs().max()), calls + 1
        logger.debug("inverted time %d in %d iterations", plan.times[k], calls)
        x = noisy
        if on_step is not None:
            on_step(x)
    return x


def ancestral(
    predict: Predict,
    x: Tensor,
    betas: Tensor,
    *,
    noise: Callable[[int], Tensor],
    variant: str = "exact",
    times: Iterable[int] | None = None,
    on_step: Callable[[Tensor], None] | None = None,
) -> Tensor:
    """Ancestral DDPM over all times with variance beta (Ho et al. 2020, Algorithm 2).

    Args:
        predict: the noise estimate.
        x: unit normal noise, or the state before the first of `times`.
        betas: (T,).
        noise: unit normal noise of time index i.
        variant: exact or published.
        times: time indices, falling one by one, for a part of the run; None: all of them.
        on_step: sees x after every step.

    A run through a subset of the times is a run of the chain of `schedules.respaced_betas`.
    """
    _check_variant(variant)
    betas = betas.double()
    bars = torch.cumprod(1 - betas, 0)
    quiet = 1 if variant == "published" else 0
    for time in reversed(range(len(betas))) if times is None else times:
        beta, bar = float(betas[time]), float(bars[time])
        x = (x - beta / (1 - bar) ** 0.5 * predict(x, time)) / (1 - beta) ** 0.5
        if time > quiet:
            x = x + beta**0.5 * noise(time)
        if on_step is not None:
            on_step(x)
    return x


def _check_variant(variant: str) -> None:
    if variant not in ("exact", "published"):
        raise ConfigError(f"variant must be exact or published, got {variant!r}")
