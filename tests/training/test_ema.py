"""The running average against the formula in a loop."""

import pytest
import torch
from torch import nn

from facewright.training.ema import EMA, decay_at


def test_decay_follows_the_formula_and_its_bounds() -> None:
    assert [decay_at(step) for step in (0, 1)] == [0.0, 0.0]
    for step in (2, 3, 10, 1000):
        assert decay_at(step, inv_gamma=2.0, power=0.6, maximum=1.0) == pytest.approx(1 - (1 + (step - 1) / 2) ** -0.6)
    assert decay_at(10**9, maximum=0.99) == 0.99
    assert decay_at(2, minimum=0.7) == 0.7


def test_average_of_a_walk() -> None:
    module = nn.Linear(2, 3)
    average = EMA(module, maximum=0.9)
    expected = module.weight.detach().double().clone()
    generator = torch.Generator().manual_seed(0)
    for update in range(50):
        with torch.no_grad():
            module.weight.add_(torch.randn(3, 2, generator=generator))
        average.update(module)
        decay = 0.0 if update < 2 else min(0.9, 1 - update**-0.75)
        expected = decay * expected + (1 - decay) * module.weight.detach().double()
    assert torch.allclose(average.averaged["weight"].double(), expected, atol=1e-5)
    assert not torch.allclose(average.averaged["weight"], module.weight, atol=0.1)


def test_buffers_are_copied_and_the_module_is_untouched() -> None:
    module = nn.BatchNorm1d(2)
    average = EMA(module)
    for _ in range(3):
        module(torch.randn(8, 2))
        average.update(module)
    assert int(average.averaged["num_batches_tracked"]) == 3
    assert torch.equal(average.averaged["running_mean"], module.running_mean)
    before = {name: value.clone() for name, value in module.state_dict().items()}
    average.averaged["weight"].add_(1.0)
    assert all(torch.equal(value, before[name]) for name, value in module.state_dict().items())


def test_state_survives_a_round_trip() -> None:
    module = nn.Linear(2, 2)
    first = EMA(module)
    for _ in range(4):
        with torch.no_grad():
            module.weight.mul_(1.5)
        first.update(module)
    second = EMA(nn.Linear(2, 2))
    second.load_state_dict(first.state_dict())
    for average in (first, second):
        average.update(module)
    assert second.updates == 5
    assert torch.equal(first.averaged["weight"], second.averaged["weight"])
