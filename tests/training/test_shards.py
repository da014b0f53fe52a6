"""Tables of one row a class: with a head that updates its own rows, and taken apart and put together."""

import signal
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from facewright.recognition.heads import PartialFC, RowOptimiser, ShardedHead
from facewright.recognition.margins import ArcFace
from facewright.training.processes import Processes
from facewright.training.shards import RowTrained, Shards
from facewright.training.trainer import Losses, Schedule, Trainer

SCHEDULE = Schedule(
    images=96,
    batch=8,
    parts=2,
    learning_rate=0.05,
    ema_maximum=0.9,
    log_every=16,
    save_every=32,
    precision="fp32",
    seed=3,
)
INPUTS = torch.randn(20, 4, generator=torch.Generator().manual_seed(0))


class Recogniser(nn.Module):
    def __init__(self, kind: type[torch.optim.Optimizer] = torch.optim.SGD) -> None:
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(0)
            self.network = nn.Linear(4, 6)
        self.head = PartialFC(50, 6, margin=ArcFace(), optimiser=RowOptimiser(kind, lr=1.0), rate=0.3)


def train(out: Path, schedule: Schedule = SCHEDULE, *, stop_at: int | None = None) -> Trainer:
    module = Recogniser(torch.optim.AdamW)
    trainer = Trainer(module, schedule, out=out)
    stops = [] if stop_at is None else [stop_at]

    def losses(indices: Tensor, generator: torch.Generator) -> Losses:
        if stops == [trainer.images]:
            stops.clear()
            signal.raise_signal(signal.SIGINT)
        return {"arcface": module.head(module.network(INPUTS[indices]), indices * 2)}

    trainer.fit(losses, samples=len(INPUTS))
    return trainer


def test_a_head_with_its_own_rows_resumes_to_the_unbroken_run(tmp_path: Path) -> None:
    assert isinstance(Recogniser().head, RowTrained)
    whole = train(tmp_path / "whole", replace(SCHEDULE, images=96))
    with pytest.raises(KeyboardInterrupt):
        train(tmp_path / "broken", stop_at=40)
    resumed = train(tmp_path / "broken")
    one, other = whole.module.state_dict(), resumed.module.state_dict()
    assert all(torch.equal(value, other[name]) for name, value in one.items())
    assert not torch.equal(one["head.weight"], Recogniser().head.weight)
    assert whole.ema is not None
    assert "head.weight" not in whole.ema.averaged, "a table of a million rows is not copied at every step"
    assert "network.weight" in whole.ema.averaged


def test_the_rows_get_the_schedules_rate_and_are_clipped_with_the_rest(tmp_path: Path) -> None:
    module = Recogniser()
    before = module.head.weight.clone(), module.network.weight.detach().clone()
    schedule = replace(
        SCHEDULE, parts=1, optimiser="sgd", momentum=0.0, weight_decay=0.0, fall="constant", clip_norm=0.5
    )
    trainer = Trainer(module, schedule, out=tmp_path)
    report = trainer.step(lambda i, _: {"arcface": module.head(module.network(INPUTS[i]), i)}, torch.arange(8))
    assert report["grad_norm"] > 0.5
    after = module.head.weight, module.network.weight.detach()
    moved = [(now - then).norm() for now, then in zip(after, before, strict=True)]
    bias = module.network.bias.grad
    assert bias is not None
    total = torch.stack([*moved, schedule.learning_rate * bias.norm()]).norm()
    assert float(total) == pytest.approx(schedule.learning_rate * 0.5, rel=1e-3)
    assert module.head.optimiser.param_groups[0]["lr"] == schedule.learning_rate


@dataclass(frozen=True)
class Rows:
    classes: int
    start: int
    stop: int


def test_each_process_takes_its_rows_from_whole_tables() -> None:
    head = ShardedHead(5, 3, margin=ArcFace())
    module = nn.ModuleDict({"network": nn.Linear(3, 3), "head": head})
    whole = {**module.state_dict(), "averaged.head.weight": torch.arange(15.0).view(5, 3)}
    head.share = Rows(5, 2, 4)  # type: ignore[assignment]
    head.weight = nn.Parameter(head.weight.detach()[2:4])
    shards = Shards(module, Processes())
    assert shards.held == {id(head.weight)}
    own = shards.own_state(whole)
    assert torch.equal(own["head.weight"], whole["head.weight"][2:4])
    assert torch.equal(own["averaged.head.weight"], whole["averaged.head.weight"][2:4])
    assert torch.equal(own["network.weight"], whole["network.weight"])
    optimiser = torch.optim.AdamW(module.parameters())
    state = {"state": {2: {"step": torch.tensor(3.0), "exp_avg": whole["averaged.head.weight"]}}, "param_groups": []}
    found = shards.own_optimiser(optimiser, state)["state"][2]
    assert torch.equal(found["exp_avg"], whole["averaged.head.weight"][2:4])
    assert float(found["step"]) == 3.0
