"""Which parameters decay, by the type of the module that owns them."""

import pytest
import torch
from torch import nn

from facewright.training.optimisers import decaying, make_optimiser
from facewright.training.schedule import Schedule


class Tokens(nn.Module):
    """A layer of everything: a token and positions beside layers, a norm whose weight is a matrix, a table."""

    def __init__(self) -> None:
        super().__init__()
        self.token = nn.Parameter(torch.zeros(1, 1, 4))
        self.stem = nn.Conv2d(3, 4, 3)
        self.norm = nn.LayerNorm((2, 4))
        self.batch_norm = nn.BatchNorm2d(4)
        self.slope = nn.PReLU(4)
        self.attention = nn.MultiheadAttention(4, 2)
        self.table = nn.Embedding(5, 4)
        self.table.is_table = True  # type: ignore[assignment]


LAYERS = {"stem.weight", "attention.in_proj_weight", "attention.out_proj.weight", "table.weight"}


def named(module: nn.Module, ids: set[int]) -> set[str]:
    return {name for name, parameter in module.named_parameters() if id(parameter) in ids}


def test_weights_of_layers_decay_and_nothing_else() -> None:
    module = Tokens()
    assert named(module, decaying(module, "weights")) == LAYERS
    assert named(module, decaying(module, "all")) == {name for name, _ in module.named_parameters()}


@pytest.mark.parametrize("kind", ["adamw", "sgd", "muon"])
@pytest.mark.parametrize("rule", ["weights", "all"])
def test_every_optimiser_keeps_the_rule(kind: str, rule: str) -> None:
    module = Tokens()
    schedule = Schedule(images=8, batch=4, optimiser=kind, weight_decay=0.5, decayed=rule)
    optimiser = make_optimiser(module, schedule)
    decays = {id(p): group["weight_decay"] for group in optimiser.param_groups for p in group["params"]}
    assert len(decays) == len(list(module.parameters()))
    expected = decaying(module, rule)
    assert {key for key, decay in decays.items() if decay == 0.5} == expected
    assert {decay for key, decay in decays.items() if key not in expected} <= {0.0}


def test_muon_makes_neither_tables_nor_tokens_orthogonal() -> None:
    module = Tokens()
    optimiser = make_optimiser(module, Schedule(images=8, batch=4, optimiser="muon", decayed="all"))
    found = {id(p) for group in optimiser.param_groups if group["orthogonal"] for p in group["params"]}
    assert named(module, found) == LAYERS - {"table.weight"}
