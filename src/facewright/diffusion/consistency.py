"""Consistency models in a few steps: what they are distilled to, and how they are sampled.

A consistency function takes a noisy latent at any time to the end of its path through the noise levels (Song et al.
2023). Here it is the denoiser's own estimate of the clean latent, signal * x - noise * output for a velocity, which is
x itself where there is no noise: the boundary condition holds exactly without the further coefficients of the paper's
Eq. 5 (Lu & Song 2024, Section 3.1, have the same form). So a distilled network is a denoiser like any other.

With several phases (Heek et al. 2024, "Multistep consistency models") the times are parted into so many stretches, and
a latent is only taken to the lower end of its own, by one step of DDIM along the estimate. One phase is the consistency
model of the paper.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from facewright.diffusion.samplers import Predict
from facewright.diffusion.samplers_dpm import clean_estimate
from facewright.diffusion.schedules import levels, sampling_times
from facewright.errors import ConfigError


@dataclass(frozen=True)
class Skips:
    """The steps that a student learns to leap over, from noisy to clean.

    times: (S,) int64, where each step starts.
    bars: (S,) alpha_bar there.
    next_times: (S,), where each step ends; 0 at the clean end, where the time does not matter.
    next_bars: (S,) alpha_bar there, 1 at the clean end.
    end_bars: (S,) alpha_bar of the lower end of the phase that the step lies in, 1 for the last.
    """

    times: Tensor
    bars: Tensor
    next_times: Tensor
    next_bars: Tensor
    end_bars: Tensor


def skip_plan(alpha_bars: Tensor, *, steps: int, phases: int = 1) -> Skips:
    """`steps` even steps through the table (T,) that end without noise, in `phases` stretches of as many steps.

    The stretches begin at the times of a run of `phases` steps with spacing "trailing".
    """
    if not 1 <= phases <= steps or steps % phases:
        raise ConfigError(f"skips must be a multiple of the phases, got {steps} and {phases}")
    times = torch.tensor(sampling_times(alpha_bars, steps, spacing="trailing"))
    bars = torch.cat([alpha_bars.double()[times], alpha_bars.new_ones(1).double()])
    ends = (torch.arange(steps) // (steps // phases) + 1) * (steps // phases)
    return Skips(times, bars[:-1], torch.cat([times[1:], times.new_zeros(1)]), bars[1:], bars[ends])


def ddim_to(x: Tensor, clean: Tensor, bars: Tensor, next_bars: Tensor) -> Tensor:
    """One step of DDIM along an estimate of the clean latent (Song et al. 2021, Eq. 12 without noise).

    Args:
        x: at level `bars`, (B, ...).
        clean: the estimate.
        bars, next_bars: alpha_bar now and after the step, of a shape that broadcasts over x; now below 1.
    """
    noise = (x - bars.sqrt() * clean) / (1 - bars).sqrt()
    return next_bars.sqrt() * clean + (1 - next_bars).sqrt() * noise


def clean_behind(x: Tensor, end: Tensor, bars: Tensor, end_bars: Tensor) -> Tensor:
    """The clean estimate along which a step of DDIM takes x to `end`: `ddim_to` solved for it."""
    kept = ((1 - end_bars) / (1 - bars)).sqrt()
    return (end - kept * x) / (end_bars.sqrt() - kept * bars.sqrt())


def consistency_target(
    teacher: Callable[[Tensor], Tensor],
    follower: Callable[[Tensor], Tensor],
    x: Tensor,
    bars: Tensor,
    next_bars: Tensor,
    end_bars: Tensor,
) -> Tensor:
    """The clean estimate that the student shall give at x: the one that leads where it leads from a step further on.

    The teacher takes x one step on, the follower from there to the end of the phase; where the step itself ends there,
    the teacher's estimate stands.

    Args:
        teacher: the clean estimate of the network that is distilled, at the step's start.
        follower: the student's own, of weights averaged over the last steps, at the step's end.
        x: noisy latents, (B, ...).
        bars, next_bars, end_bars: as of `Skips`, in float64 or float32, of a shape that broadcasts over x.
    """
    further = ddim_to(x, teacher(x), bars, next_bars)
    arrived = next_bars >= end_bars
    safe = torch.where(arrived, bars, next_bars)  # no division by zero where the result is not used
    end = torch.where(arrived, further, ddim_to(further, follower(further), safe, end_bars))
    return clean_behind(x, end, bars, end_bars)


def pseudo_huber(error: Tensor, *, width: float) -> Tensor:
    """sqrt(error^2 + width^2) - width for each number: square near 0, absolute beyond `width`; 0 is the square."""
    if width == 0:
        return error.square()
    return (error.square() + width**2).sqrt() - width


def consistency_steps(
    predict: Predict,
    x: Tensor,
    alpha_bars: Tensor,
    times: Sequence[int],
    *,
    noise: Callable[[int], Tensor] | None = None,
) -> Tensor:
    """Multistep consistency sampling: to the clean end, back to the next level with new noise, and again (Song et al.
    2023, Algorithm 1).

    Args:
        predict: the noise estimate of a distilled denoiser.
        x: unit normal noise, any shape.
        alpha_bars: (T,).
        times: time indices of the calls, falling.
        noise: unit normal noise of draw k; needed for more than one call.
    """
    run = levels(alpha_bars, times)
    for k in range(len(run.times)):
        x = clean_estimate(predict, x, run, k)
        if k + 1 < len(run.times):
            if noise is None:
                raise ConfigError("a consistency model in several steps adds noise between them: give noise=")
            x = run.signal[k + 1] * x + run.noise[k + 1] * noise(k)
    return x
