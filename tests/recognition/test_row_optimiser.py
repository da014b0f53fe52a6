"""Sparse updates: each row as if it were a parameter of its own that is stepped only when touched."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from facewright.errors import ConfigError
from facewright.recognition.heads import RowOptimiser

ROWS, WIDTH, STEPS = 9, 4, 12
KINDS: list[tuple[type[torch.optim.Optimizer], dict[str, Any]]] = [
    (torch.optim.SGD, {"lr": 0.1}),
    (torch.optim.SGD, {"lr": 0.1, "momentum": 0.9, "dampening": 0.1, "weight_decay": 0.01}),
    (torch.optim.SGD, {"lr": 0.1, "momentum": 0.9, "nesterov": True, "weight_decay": 0.01}),
    (torch.optim.AdamW, {"lr": 0.01, "weight_decay": 0.1}),
    (torch.optim.AdamW, {"lr": 0.01, "fused": True}),
    (torch.optim.NAdam, {"lr": 0.01}),
    (torch.optim.RAdam, {"lr": 0.01}),
    (torch.optim.Adagrad, {"lr": 0.1, "initial_accumulator_value": 0.3}),
    (torch.optim.RMSprop, {"lr": 0.01, "momentum": 0.5}),
    (torch.optim.Rprop, {"lr": 0.01}),
]


def steps(seed: int = 0) -> list[tuple[Tensor, Tensor]]:
    """Rows and their gradients of some steps; row 0 is never touched, row 8 first at the last step."""
    generator = torch.Generator().manual_seed(seed)
    out = []
    for step in range(STEPS):
        rows = (torch.rand(ROWS - 2, generator=generator) < 0.5).nonzero()[:, 0] + 1
        rows = torch.cat([rows, torch.tensor([ROWS - 1])]) if step == STEPS - 1 else rows
        out.append((rows, torch.randn(len(rows), WIDTH, generator=generator, dtype=torch.float64)))
    return out


@pytest.mark.parametrize(("kind", "settings"), KINDS, ids=lambda value: getattr(value, "__name__", None))
def test_each_row_is_a_parameter_of_its_own(kind: type[torch.optim.Optimizer], settings: dict[str, Any]) -> None:
    table = torch.randn(ROWS, WIDTH, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    alone = [nn.Parameter(row.clone()[None]) for row in table]
    optimisers = [kind([parameter], **settings) for parameter in alone]
    optimiser = RowOptimiser(kind, **settings)
    for rows, gradient in steps():
        optimiser.step(table, rows, gradient)
        for row, part in zip(rows.tolist(), gradient, strict=True):
            alone[row].grad = part.clone()[None]
            optimisers[row].step()
    assert torch.allclose(table, torch.cat([parameter.detach() for parameter in alone]), rtol=0, atol=1e-12)


def test_a_sleeping_row_and_its_state_stay_bit_for_bit() -> None:
    optimiser = RowOptimiser(torch.optim.AdamW, lr=0.1, weight_decay=0.5)
    table = torch.randn(ROWS, WIDTH, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    optimiser.step(table, torch.arange(ROWS), torch.ones_like(table))
    before = {**{name: state.clone() for name, state in optimiser.state_dict().items()}, "table": table.clone()}
    rows, others = torch.tensor([2, 5]), torch.tensor([0, 1, 3, 4, 6, 7, 8])
    optimiser.step(table, rows, torch.ones(2, WIDTH, dtype=torch.float64))
    after = {**optimiser.state_dict(), "table": table}
    assert before.keys() == after.keys()
    for name in before:
        assert torch.equal(before[name][others], after[name][others]), name
    assert not torch.equal(before["table"][rows], table[rows])
    assert after["step"].tolist() == [1, 1, 2, 1, 1, 2, 1, 1, 1]


def test_saved_and_restored_halfway() -> None:
    table = torch.zeros(ROWS, WIDTH, dtype=torch.float64)
    one = RowOptimiser(torch.optim.AdamW, lr=0.01)
    for rows, gradient in steps():
        one.step(table, rows, gradient)
    resumed = torch.zeros(ROWS, WIDTH, dtype=torch.float64)
    first, second = RowOptimiser(torch.optim.AdamW, lr=0.01), RowOptimiser(torch.optim.AdamW, lr=0.01)
    second.load_state_dict(first.state_dict())
    for rows, gradient in steps()[:5]:
        first.step(resumed, rows, gradient)
    second.load_state_dict(first.state_dict())
    for rows, gradient in steps()[5:]:
        second.step(resumed, rows, gradient)
    assert torch.equal(table, resumed)


def test_a_schedule_changes_the_rate() -> None:
    optimiser = RowOptimiser(torch.optim.SGD, lr=0.1)
    for group in optimiser.param_groups:
        group["lr"] = 0.5
    table = torch.zeros(2, 1)
    optimiser.step(table, torch.tensor([1]), torch.ones(1, 1))
    assert table.tolist() == [[0.0], [-0.5]]


def test_state_across_rows_is_refused() -> None:
    optimiser, table = RowOptimiser(torch.optim.Adafactor, lr=0.01), torch.ones(4, 3)
    with pytest.raises(ConfigError, match=r"Adafactor keeps '.*' across rows"):
        optimiser.step(table, torch.tensor([1]), torch.ones(1, 3))
    assert torch.equal(table, torch.ones(4, 3)), "nothing was changed"
