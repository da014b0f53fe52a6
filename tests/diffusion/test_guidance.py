"""Guidance against its formula, and what is not computed where it does not count."""

import pytest
import torch
from torch import Tensor

from facewright.diffusion.guidance import guided
from facewright.errors import ConfigError, InputError

CONTEXTS = torch.nn.functional.normalize(torch.randn(3, 4, generator=torch.Generator().manual_seed(0)))
OTHERS = torch.nn.functional.normalize(torch.randn(3, 4, generator=torch.Generator().manual_seed(1)))
X = torch.randn(3, 4, generator=torch.Generator().manual_seed(2))


class Network:
    """A made-up denoiser that remembers what it was asked."""

    def __init__(self) -> None:
        self.rows: list[int] = []

    def __call__(self, x: Tensor, time: int, contexts: Tensor, drop: Tensor | None) -> Tensor:
        self.rows.append(len(x))
        known = contexts if drop is None else torch.where(drop[:, None], 0.0, contexts)
        return torch.sin(x + time) + known**2


def identity(time: int) -> Tensor:
    return torch.sin(X + time) + CONTEXTS**2


def empty(time: int) -> Tensor:
    return torch.sin(X + time)


def test_weight_1_is_no_guidance_at_half_the_cost() -> None:
    network = Network()
    assert torch.equal(guided(network, CONTEXTS, timesteps=10)(X, 4), identity(4))
    assert torch.equal(guided(network, CONTEXTS, timesteps=10, weight=1.0, negative=OTHERS)(X, 4), identity(4))
    assert network.rows == [3, 3]


@pytest.mark.parametrize("weight", [-0.5, 1.5, 4.0])
def test_both_contexts_are_asked_in_one_call(weight: float) -> None:
    network = Network()
    made = guided(network, CONTEXTS, timesteps=10, weight=weight)(X, 4)
    assert torch.allclose(made, empty(4) + weight * (identity(4) - empty(4)))
    assert network.rows == [6]


def test_weight_0_asks_for_the_other_alone() -> None:
    network = Network()
    assert torch.equal(guided(network, CONTEXTS, timesteps=10, weight=0.0)(X, 4), empty(4))
    away = guided(network, CONTEXTS, timesteps=10, weight=0.0, negative=OTHERS)(X, 4)
    assert torch.equal(away, torch.sin(X + 4) + OTHERS**2)
    assert network.rows == [3, 3]


def test_a_negative_identity_takes_the_place_of_the_empty_context() -> None:
    """NegFaceDiff: (1 + w) with the identity - w with the negative one, w being weight - 1."""
    made = guided(Network(), CONTEXTS, timesteps=10, weight=1.5, negative=OTHERS)(X, 4)
    assert torch.allclose(made, 1.5 * identity(4) - 0.5 * (torch.sin(X + 4) + OTHERS**2))


def test_the_weight_holds_inside_its_interval() -> None:
    network = Network()
    estimate = guided(network, CONTEXTS, timesteps=10, weight=2.0, interval=(0.3, 0.7))
    for time in range(10):
        inside = 0.3 <= (time + 1) / 10 <= 0.7
        expected = 2 * identity(time) - empty(time) if inside else identity(time)
        assert torch.allclose(estimate(X, time), expected)
    assert network.rows == [3, 3, 6, 6, 6, 6, 6, 3, 3, 3]


def test_the_empty_context_stands_alone_until_the_identity_takes_over() -> None:
    network = Network()
    estimate = guided(network, CONTEXTS, timesteps=10, weight=2.0, identity_from=0.6, negative=OTHERS)
    for time in reversed(range(10)):
        negative = torch.sin(X + time) + OTHERS**2
        expected = empty(time) if time >= 6 else 2 * identity(time) - negative
        assert torch.allclose(estimate(X, time), expected, atol=1e-6)
    assert network.rows == [3] * 4 + [6] * 6


def test_what_cannot_guide_is_refused() -> None:
    for weight in (float("nan"), float("inf")):
        with pytest.raises(ConfigError, match="guidance must be a finite number"):
            guided(Network(), CONTEXTS, timesteps=10, weight=weight)
    for interval in ((0.5, 0.5), (-0.1, 1.0), (0.0, 1.1), (0.9, 0.2)):
        with pytest.raises(ConfigError, match="two shares of time"):
            guided(Network(), CONTEXTS, timesteps=10, interval=interval)
    for share in (0.0, 1.5, float("nan")):
        with pytest.raises(ConfigError, match=r"identity_from must be a share of time in \(0, 1\]"):
            guided(Network(), CONTEXTS, timesteps=10, identity_from=share)
    with pytest.raises(InputError, match=r"shape of the contexts, \(3, 4\), got \(2, 4\)"):
        guided(Network(), CONTEXTS, timesteps=10, weight=2.0, negative=OTHERS[:2])
