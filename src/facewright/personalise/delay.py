"""Delayed subject conditioning (FastComposer, Xiao et al. 2023, section 4.3): first the scene, then the people."""

from decimal import ROUND_CEILING, ROUND_HALF_UP, Decimal

from facewright.errors import ConfigError

ROUNDING = {"nearest": ROUND_HALF_UP, "up": ROUND_CEILING}


def text_only_steps(steps: int, alpha: float, *, rounding: str = "nearest") -> int:
    """How many steps at the start see the text without the people: (1 - alpha) * steps in decimal arithmetic.

    Args:
        steps: of the whole run, at least 1.
        alpha: share of the steps that see the people, in [0, 1].
        rounding: where the product is no whole number, "nearest" (halves up) or "up"; the paper does not say.
    """
    _check(steps, alpha)
    if rounding not in ROUNDING:
        raise ConfigError(f"rounding must be {' or '.join(ROUNDING)}, got {rounding!r}")
    return int(((1 - Decimal(str(float(alpha)))) * steps).to_integral_value(ROUNDING[rounding]))


def published_start(steps: int, alpha: float) -> float:
    """(1 - alpha) * steps in binary floating point, which the public code compares step numbers with."""
    _check(steps, alpha)
    return (1 - alpha) * steps


def published_text_only(steps: int, alpha: float) -> list[int]:
    """Numbers of the text-only steps by the public code: i <= (1 - alpha) * steps, mostly one more than asked.

    Args:
        steps, alpha: as of `text_only_steps`.
    """
    start = published_start(steps, alpha)
    return [step for step in range(steps) if step <= start]


def text_only_calls(steps: int, alpha: float, *, calls: int, order: int = 1) -> int:
    """The denoiser calls of `text_only_steps`, for schedulers that do not call it once a step.

    A scheduler of order 2 (Heun) calls it twice a step but once in the last; PNDM, as Stable Diffusion sets it, repeats
    its first step. A step is never split.

    Args:
        steps, alpha: as of `text_only_steps`.
        calls: length of the scheduler's list of timesteps.
        order: of the scheduler.
    """
    first = text_only_steps(steps, alpha)
    if first == 0:
        return 0
    repeated = max(0, calls - steps * order)
    return min(calls, first * order + repeated)


def _check(steps: int, alpha: float) -> None:
    if steps < 1:
        raise ConfigError(f"steps must be at least 1, got {steps}")
    if not 0 <= alpha <= 1:
        raise ConfigError(f"alpha is the share of the steps that see the people, from 0 to 1; got {alpha:g}")
