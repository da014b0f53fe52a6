"""What the denoiser is asked at each time: with the identity, without it, or both and extrapolated.

Classifier-free guidance (Ho & Salimans 2022), a negative identity in place of the missing one (NegFaceDiff, Caldeira et
al. 2025), guidance in an interval of times (Kynkaanniemi et al. 2024) and the two stages of UIFace (Lin et al. 2025)
are one function of the time. A part that does not count is not computed.
"""

import math
from collections.abc import Callable

import torch
from torch import Tensor

from facewright.errors import ConfigError, InputError

Denoise = Callable[[Tensor, int, Tensor, Tensor | None], Tensor]
"""(x (B, ...), time index, contexts (B, D), rows (B,) bool that get the empty context, or None) to its output."""


def guided(
    denoise: Denoise,
    contexts: Tensor,
    *,
    timesteps: int,
    weight: float = 1.0,
    interval: tuple[float, float] = (0.0, 1.0),
    identity_from: float = 1.0,
    negative: Tensor | None = None,
) -> Callable[[Tensor, int], Tensor]:
    """The output of a denoiser under guidance, as a function of x and the time alone.

    Times are given as shares of the schedule in (0, 1], 1 being all noise: time index i has the share (i + 1) / T.

    Args:
        denoise: a network of any target: guidance is the same for noise and for velocity.
        contexts: identity embeddings, (B, D).
        timesteps: T.
        weight: w of other + w (identity - other), where the other is the empty or the negative context. 1 is off and
            0 forgets the identity; each costs half. NegFaceDiff's scale is w - 1.
        interval: shares of time, lowest and highest, where the weight holds; it is 1 elsewhere.
        identity_from: share of time down to which the empty context stands alone, which leaves pose, light and
            expression to chance before the identity is put in (UIFace's first stage; UIFace finds the switch for each
            picture, here it is given). 1: the identity holds from the start.
        negative: embeddings of other identities to move away from, (B, D); None: the empty context.
    """
    check_guidance(weight, interval, identity_from)
    if negative is not None and negative.shape != contexts.shape:
        raise InputError(
            f"negative contexts must have the shape of the contexts, {tuple(contexts.shape)}, got"
            f" {tuple(negative.shape)}"
        )
    count = len(contexts)
    every = torch.ones(count, dtype=torch.bool, device=contexts.device)
    other = contexts if negative is None else negative
    other_drop = every if negative is None else None
    both = torch.cat([contexts, other])
    both_drop = torch.cat([~every, every]) if negative is None else None

    def estimate(x: Tensor, time: int) -> Tensor:
        share = (time + 1) / timesteps
        if share > identity_from:
            return denoise(x, time, contexts, every)
        scale = weight if interval[0] <= share <= interval[1] else 1.0
        if scale == 1:
            return denoise(x, time, contexts, None)
        if scale == 0:
            return denoise(x, time, other, other_drop)
        with_identity, without = denoise(torch.cat([x, x]), time, both, both_drop).chunk(2)
        return without + scale * (with_identity - without)

    return estimate


def check_guidance(weight: float, interval: tuple[float, float], identity_from: float) -> None:
    """Refuse settings of `guided` that are out of range."""
    if not math.isfinite(weight):
        raise ConfigError(f"guidance must be a finite number, got {weight}")
    if len(interval) != 2 or not 0 <= interval[0] < interval[1] <= 1:
        raise ConfigError(f"guidance_interval must be two shares of time, 0 <= low < high <= 1, got {interval}")
    if not 0 < identity_from <= 1:
        raise ConfigError(f"identity_from must be a share of time in (0, 1], got {identity_from}")
