"""Noise schedules: beta and cumulative alpha tables, in float64 unless float32 betas are given."""

import math

import torch
from torch import Tensor

from facewright.errors import ConfigError


def linear_betas(timesteps: int) -> Tensor:
    """Betas (T,) from 1e-4 * 1000 / T to 0.02 * 1000 / T in equal steps (Ho et al. 2020, scaled to T)."""
    _check(timesteps)
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
