"""The critic's terms against closed forms, and whose gradient goes where."""

import math

import pytest
import torch
from torch import nn

from facewright.diffusion.adversarial import (
    CriticTerms,
    PatchCritic,
    WithCritic,
    balance,
    critic_loss,
    feature_distance,
    step_errors,
)
from facewright.errors import ConfigError


def test_the_hinge_loss_is_0_where_both_sides_are_told_apart_by_a_margin() -> None:
    assert float(critic_loss(torch.tensor([1.0, 5.0]), torch.tensor([-1.0, -3.0]))) == 0
    assert float(critic_loss(torch.tensor([0.0]), torch.tensor([0.0]))) == 1
    assert float(critic_loss(torch.tensor([-1.0]), torch.tensor([2.0]))) == 2.5


def test_the_balance_makes_both_gradients_of_a_layer_equally_long() -> None:
    last = nn.Parameter(torch.tensor([1.0, 2.0]))
    rebuilding, fooling = (3 * last).sum(), (last * torch.tensor([0.6, 0.8])).sum()
    assert float(balance(rebuilding, fooling, last)) == pytest.approx(3 * math.sqrt(2), rel=1e-3)
    assert float(balance(rebuilding, 0 * fooling, last)) == 1e4


def test_feature_distance_is_of_directions() -> None:
    generator = torch.Generator().manual_seed(0)
    first, second = (torch.randn(2, 5, 3, 3, generator=generator) for _ in range(2))
    assert float(feature_distance([first], [3 * first])) == pytest.approx(0, abs=1e-6)
    assert float(feature_distance([first], [-first])) == pytest.approx(4)
    both = feature_distance([first, first], [second, first])
    cosine = torch.cosine_similarity(first, second, dim=1)
    assert float(both) == pytest.approx(float((2 - 2 * cosine).mean()) / 2, rel=1e-5)


def test_step_errors_see_no_constant_error() -> None:
    assert float(step_errors(torch.full((1, 3, 4, 4), 7.0))) == 0
    ramp = torch.arange(4.0).view(1, 1, 1, 4).expand(1, 1, 4, 4)
    assert float(step_errors(ramp)) == 0.5


def test_scores_are_of_patches() -> None:
    critic = PatchCritic(CriticTerms(width=8, layers=3))
    assert critic(torch.zeros(2, 3, 128, 128)).shape == (2, 1, 14, 14)


def test_each_side_gets_its_own_gradient_only() -> None:
    torch.manual_seed(0)
    pair = WithCritic(nn.Conv2d(3, 3, 1), CriticTerms(width=8, layers=1, begin=100))
    network, critic = pair.network, pair.critic
    assert isinstance(network, nn.Conv2d)
    assert critic is not None
    real = torch.rand(2, 3, 32, 32)
    made = network(torch.rand(2, 3, 32, 32))
    rebuilding = (made - real).abs().mean()
    assert pair.losses(made, real, rebuilding, network.weight, images=99).keys() == {"critic"}
    losses = pair.losses(made, real, rebuilding, network.weight, images=100)
    losses["critic"].backward(retain_graph=True)
    assert network.weight.grad is None
    alone = [parameter.grad.clone() for parameter in critic.parameters() if parameter.grad is not None]
    losses["adversarial"].backward()
    assert network.weight.grad is not None
    assert network.weight.grad.abs().sum() > 0
    assert all(torch.equal(p.grad, g) for p, g in zip(critic.parameters(), alone, strict=True))  # type: ignore[arg-type]


def test_without_a_critic_there_is_no_term_and_wrong_terms_are_named() -> None:
    pair, weight = WithCritic(nn.Linear(1, 1), None), torch.zeros(1)
    assert pair.losses(weight, weight, weight, weight, images=0) == {}
    assert pair.network_state(pair.state_dict()).keys() == {"weight", "bias"}
    with pytest.raises(ConfigError, match="width in multiples of 8"):
        CriticTerms(width=12)
