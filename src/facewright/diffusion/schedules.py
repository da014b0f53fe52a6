"""Noise schedules, in float64 unless float32 betas are given, and the times of a short run through them."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from facewright.errors import ConfigError

SPACINGS = ("stride", "trailing", "log-snr", "karras")

KARRAS_RHO = 7.0

LAST_LINEAR_BETA = 20.0
"""Of the linear schedule, times T: what makes schedules of any length end equally noisy."""


def linear_betas(timesteps: int) -> Tensor:
    """Betas (T,) from 1e-4 * 1000 / T to 0.02 * 1000 / T in equal steps (Ho et al. 2020, scaled to T).

    Raises:
        ConfigError: T is 20 or less, so that the last beta, a share of the variance, would not be below 1.
    """
    _check(timesteps)
    if timesteps <= LAST_LINEAR_BETA:
        raise ConfigError(
            f"the linear schedule needs more than {LAST_LINEAR_BETA:.0f} timesteps, since its last beta is "
            f"{LAST_LINEAR_BETA:.0f} / timesteps and must be below 1; got {timesteps}"
        )
    scale = 1000.0 / timesteps
    return torch.linspace(1e-4 * scale, 0.02 * scale, timesteps, dtype=torch.float64)


def cosine_betas(
    timesteps: int,
    *,
    offset: float = 0.008,
    power: float = 1.0,
    beta_min: float = 0.0,
    beta_max: float = 0.1,
) -> Tensor:
    """Betas (T,) of alpha_bar(t) = cos^2(pi / 2 * (t + offset) / (1 + offset)^power) (Nichol & Dhariwal 2021, Eq. 17).

    Betas are clipped to [beta_min, beta_max]; the paper's beta_max is 0.999, IDiff-Face's 0.1.
    """
    _check(timesteps)

    def alpha_bar(time: Tensor) -> Tensor:
        return torch.cos(math.pi / 2 * (time + offset) / (1 + offset) ** power).square()

    edges = torch.arange(timesteps + 1, dtype=torch.float64) / timesteps
    values = alpha_bar(edges)
    return (1 - values[1:] / values[:-1]).clamp(beta_min, beta_max)


def alpha_bars(betas: Tensor) -> Tensor:
    """Cumulative products of 1 - beta, (T,)."""
    return torch.cumprod(1.0 - betas.double(), 0)


def sampling_times(alpha_bars: Tensor, steps: int, *, spacing: str = "trailing") -> tuple[int, ...]:
    """The time indices at which a run calls the network, from noisy to clean, all different.

    Every spacing but "stride" gives exactly `steps` of them, the first of which is T - 1. A rounded time keeps its own
    noise level, so no sampler loses exactness by it.

    Args:
        alpha_bars: (T,).
        steps: in 1 ... T.
        spacing: "stride", every (T // steps)-th time down to 0, the rule of the public DDIM code, which gives more than
            `steps` of them where T is no multiple; "trailing", even in time and without time 0 (Lin et al. 2024,
            Table 2); "log-snr", even in the logarithm of the signal-to-noise ratio (Lu et al. 2022); "karras", even in
            the seventh root of sigma / alpha (Karras et al. 2022, Eq. 5). The last two end at time 0.
    """
    length = len(alpha_bars)
    if not 1 <= steps <= length:
        raise ConfigError(f"steps must be in 1 ... {length}, got {steps}")
    if spacing == "stride":
        return tuple(range(0, length, length // steps))[::-1]
    if spacing == "trailing":
        return tuple(round(length * left / steps) - 1 for left in range(steps, 0, -1))
    if spacing not in SPACINGS:
        raise ConfigError(f"unknown spacing {spacing!r}; known: {', '.join(SPACINGS)}")
    bars = alpha_bars.double()
    ratio = ((1 - bars) / bars).sqrt()
    scale = ratio.log() if spacing == "log-snr" else ratio ** (1 / KARRAS_RHO)
    wanted = torch.linspace(float(scale[-1]), float(scale[0]), steps, dtype=torch.float64)
    times = (scale - wanted[:, None]).abs().argmin(1).tolist()
    for k in reversed(range(steps - 1)):  # two wanted levels may lie nearest to one time
        times[k] = max(times[k], times[k + 1] + 1)
    return tuple(min(time, length - 1 - k) for k, time in enumerate(times))


@dataclass(frozen=True)
class Levels:
    """Noise levels of a run, a noisy picture being signal * clean + noise * unit noise: one a time, then no noise."""

    times: tuple[int, ...]  # from noisy to clean, S of them
    signal: tuple[float, ...]  # S + 1, the last 1
    noise: tuple[float, ...]  # S + 1, the last 0
    log_snr: tuple[float, ...]  # log(signal / noise), S + 1, the last infinite


def levels(alpha_bars: Tensor, times: Sequence[int]) -> Levels:
    """The levels at `times` of the table (T,) and the clean end."""
    bars = alpha_bars.double()[list(times)]
    signal, noise = bars.sqrt(), (1 - bars).sqrt()
    return Levels(
        tuple(times),
        (*signal.tolist(), 1.0),
        (*noise.tolist(), 0.0),
        (*(signal / noise).log().tolist(), math.inf),
    )


def respaced_betas(betas: Tensor, times: Sequence[int]) -> Tensor:
    """Betas (S,) of the chain that visits only `times`, with the same noise level at each (Nichol & Dhariwal 2021).

    Args:
        betas: (T,).
        times: S time indices in any order; the new chain's index k is the k-th of them from the clean end.
    """
    if len(times) == len(betas):
        return betas
    bars = alpha_bars(betas)[sorted(times)]
    return 1 - bars / torch.cat([bars.new_ones(1), bars[:-1]])


def constants(betas: Tensor) -> dict[str, Tensor]:
    """The tables that samplers of public code keep, by name, each (T,) and of the type of `betas`.

    Public checkpoints were trained with tables computed in float32 throughout; `constants(betas.float())` gives those.
    """
    alphas = 1 - betas
    bars = torch.cumprod(alphas, 0)
    return {
        "betas": betas,
        "alphas": alphas,
        "sigmas": betas.sqrt(),
        "sqrt_alphas_inv": alphas.rsqrt(),
        "alpha_bars": bars,
        "sqrt_alpha_bars": bars.sqrt(),
        "sqrt_one_minus_alpha_bars": (1 - bars).sqrt(),
        "one_minus_alphas_over_sqrt_one_minus_alpha_bars": (1 - alphas) / (1 - bars).sqrt(),
    }


def _check(timesteps: int) -> None:
    if timesteps < 1:
        raise ConfigError(f"timesteps must be at least 1, got {timesteps}")
