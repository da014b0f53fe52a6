"""Contexts near an identity's own, so that its pictures vary more."""

import math
from collections.abc import Sequence

import numpy as np

from facewright.errors import ConfigError
from facewright.training.seeds import seed_of


def tilt(contexts: np.ndarray, directions: np.ndarray, cosines: np.ndarray) -> np.ndarray:
    """Turn each context towards a direction until it has the given cosine to where it was.

    Args:
        contexts: unit rows, (B, D).
        directions: (B, D), not along the contexts; only what is at a right angle to them counts.
        cosines: (B,), in [-1, 1].

    Returns:
        Unit float32 (B, D).
    """
    base = contexts.astype(np.float64)
    aside = directions - np.einsum("nd,nd->n", directions, base)[:, None] * base
    aside /= np.linalg.norm(aside, axis=1, keepdims=True)
    turned = cosines[:, None] * base + np.sqrt(1 - cosines**2)[:, None] * aside
    return (turned / np.linalg.norm(turned, axis=1, keepdims=True)).astype(np.float32)


def within_cone(contexts: np.ndarray, seeds: Sequence[int], *, angle: float) -> np.ndarray:
    """A context for each picture, drawn from the cone around its identity's (IDperturb, Boutros et al. 2026).

    The direction is even over the sphere and the cosine even in [cos(angle), 1]: drawn evenly over the cone's area in
    512 dimensions, nearly all would lie at its rim.

    Args:
        contexts: of the identity of each picture, unit rows, (B, D).
        seeds: of each picture's noise, (B,); a picture's context depends on its own seed alone.
        angle: radians, half the cone's opening, in (0, pi / 2].

    Returns:
        Unit float32 (B, D).
    """
    check_angle(angle)
    drawn = [np.random.Generator(np.random.PCG64(seed_of(seed, "cone"))) for seed in seeds]
    cosines = np.array([random.uniform(math.cos(angle), 1.0) for random in drawn])
    directions = np.stack([random.standard_normal(contexts.shape[1]) for random in drawn])
    return tilt(contexts, directions, cosines)


def check_angle(angle: float) -> None:
    """Refuse what is no angle of a cone."""
    if not 0 < angle <= math.pi / 2:
        raise ConfigError(f"the cone's angle must lie in (0, pi / 2] radians, got {angle}")
