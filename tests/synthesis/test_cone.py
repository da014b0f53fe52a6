"""Contexts near an identity's own: at the cosine asked for, in every direction, each picture's its own."""

import math

import numpy as np
import pytest

from facewright.errors import ConfigError
from facewright.synthesis import tilt, uniform_contexts, within_cone

CONTEXTS = uniform_contexts(5, seed=0, width=64).embeddings


def test_a_tilted_context_is_at_its_cosine_towards_the_direction() -> None:
    directions = np.random.default_rng(0).standard_normal((5, 64))
    cosines = np.array([-1.0, -0.3, 0.0, 0.8, 1.0])
    turned = tilt(CONTEXTS, directions, cosines)
    assert turned.dtype == np.float32
    assert np.allclose(np.linalg.norm(turned, axis=1), 1, atol=1e-6)
    assert np.allclose((turned * CONTEXTS).sum(1), cosines, atol=1e-6)
    plane = directions - (directions * CONTEXTS).sum(1, keepdims=True) * CONTEXTS
    aside = (turned * plane).sum(1) / np.linalg.norm(plane, axis=1)
    assert np.allclose(aside, np.sqrt(1 - cosines**2), atol=1e-5), "in the plane of context and direction"


def test_cosines_fill_the_cone_evenly() -> None:
    seeds = range(2000)
    angle = 0.6
    near = within_cone(np.repeat(CONTEXTS[:1], 2000, axis=0), seeds, angle=angle)
    cosines = near @ CONTEXTS[0]
    assert cosines.min() >= math.cos(angle) - 1e-6
    shares = np.histogram(cosines, bins=5, range=(math.cos(angle), 1.0))[0] / 2000
    assert np.abs(shares - 0.2).max() < 0.04
    aside = near - cosines[:, None] * CONTEXTS[0]
    assert np.linalg.norm(aside.mean(axis=0)) < 0.05, "no direction is preferred"


def test_a_picture_has_its_context_in_any_batch() -> None:
    together = within_cone(CONTEXTS, [7, 8, 9, 10, 11], angle=0.5)
    alone = np.concatenate([within_cone(CONTEXTS[k : k + 1], [7 + k], angle=0.5) for k in range(5)])
    assert np.array_equal(together, alone)
    assert not np.allclose(within_cone(CONTEXTS, [12, 8, 9, 10, 11], angle=0.5)[0], together[0])


@pytest.mark.parametrize("angle", [0.0, -0.1, 1.6, float("nan")])
def test_what_is_no_cone_is_refused(angle: float) -> None:
    with pytest.raises(ConfigError, match=r"cone's angle must lie in \(0, pi / 2\] radians"):
        within_cone(CONTEXTS, range(5), angle=angle)
