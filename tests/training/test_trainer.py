"""The training loop: resuming, interrupts, refusals, groups and rates."""

import json
import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from facewright.errors import ConfigError, DataError, WorkError
from facewright.training.trainer import Losses, Schedule, Trainer

SCHEDULE = Schedule(
    images=96, batch=8, learning_rate=0.05, warmup_images=16, ema_maximum=0.9, log_every=16, save_every=32, seed=3
)
INPUTS = torch.randn(20, 4, generator=torch.Generator().manual_seed(0))
WEIGHTS = torch.tensor([1.0, -2.0, 0.5, 3.0])


def network() -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return nn.Sequential(nn.Linear(4, 16), nn.BatchNorm1d(16), nn.PReLU(), nn.Dropout(0.3), nn.Linear(16, 1))


class Task:
    """Regression on noisy inputs, which can be made to fail at a step."""

    def __init__(self, module: nn.Module) -> None:
        self.module = module
        self.calls = 0
        self.fail_at: int | None = None
        self.error: BaseException | None = None

    def __call__(self, indices: Tensor, generator: torch.Generator) -> Losses:
        self.calls += 1
        if self.calls == self.fail_at:
            if self.error is not None:
                raise self.error
            return {"good": torch.zeros(()), "bad": torch.tensor(math.nan, requires_grad=True)}
        x = INPUTS[indices] + 0.1 * torch.randn(len(indices), 4, generator=generator)
        return {"squares": (self.module(x).squeeze(1).float() - x @ WEIGHTS).square().mean()}


def train(out: Path, schedule: Schedule = SCHEDULE, *, fail_at: int | None = None, error: BaseException | None = None):
    module = network()
    trainer = Trainer(module, schedule, out=out)
    task = Task(module)
    task.fail_at, task.error = fail_at, error
    trainer.fit(task, samples=len(INPUTS))
    return trainer


def state(trainer: Trainer) -> dict[str, Tensor]:
    assert trainer.ema is not None
    return {**trainer.module.state_dict(), **{f"average {k}": v for k, v in trainer.ema.averaged.items()}}


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("optimiser", ["adamw", "muon", "sgd"])
def test_a_resumed_run_has_the_weights_of_the_unbroken_one(tmp_path: Path, precision: str, optimiser: str) -> None:
    schedule = replace(SCHEDULE, precision=precision, optimiser=optimiser, learning_rate=0.01)
    whole = train(tmp_path / "whole", schedule)
    with pytest.raises(KeyboardInterrupt):
        train(tmp_path / "broken", schedule, fail_at=6, error=KeyboardInterrupt())
    torch.manual_seed(99)  # a new process starts with another state of the global generator
    resumed = train(tmp_path / "broken", schedule)
    assert resumed.images == whole.images == 96
    one, other = state(whole), state(resumed)
    assert one.keys() == other.keys()
    assert all(torch.equal(one[name], other[name]) for name in one)
    assert not all(
        torch.equal(value, network().state_dict()[name]) for name, value in whole.module.state_dict().items()
    )


def test_training_learns_and_leaves_the_global_generator_alone(tmp_path: Path) -> None:
    torch.manual_seed(5)
    before = torch.random.get_rng_state()
    train(tmp_path, replace(SCHEDULE, images=1600))
    assert torch.equal(before, torch.random.get_rng_state())
    rows = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert rows[-1]["squares"] < 0.5 * rows[0]["squares"]
    assert [row["images"] for row in rows] == list(range(16, 1601, 16))
    assert rows[0]["grad_norm"] > 0


def test_an_interrupt_saves_where_it_is(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        train(tmp_path, fail_at=4, error=KeyboardInterrupt())
    assert Trainer(network(), SCHEDULE, out=tmp_path).images == 24


def test_a_loss_that_is_not_finite_stops_the_run_and_names_the_step(tmp_path: Path) -> None:
    with pytest.raises(WorkError, match=r"not finite at step 6 \(48 images, good 0, bad nan\).*another --out"):
        train(tmp_path, fail_at=7)
    kept = Trainer(network(), SCHEDULE, out=tmp_path)
    assert kept.images == 32
    assert all(bool(torch.isfinite(value).all()) for value in state(kept).values())


def test_a_gradient_that_is_not_finite_leaves_the_weights_alone(tmp_path: Path) -> None:
    module = nn.Linear(4, 1)
    before = module.weight.detach().clone()
    trainer = Trainer(module, SCHEDULE, out=tmp_path)
    with pytest.raises(WorkError, match="the gradient is not finite at step 0"):
        trainer.step(lambda i, _: {"root": (module.weight * 0).abs().sqrt().sum()}, torch.arange(8))
    assert torch.equal(module.weight, before)


def test_another_config_in_the_folder_is_refused(tmp_path: Path) -> None:
    train(tmp_path)
    before = (tmp_path / "config.json").read_bytes()
    with pytest.raises(ConfigError, match="another schedule"):
        Trainer(network(), replace(SCHEDULE, seed=4), out=tmp_path)
    with pytest.raises(ConfigError, match="another kind"):
        Trainer(network(), SCHEDULE, out=tmp_path, config={"kind": "encoder"})
    assert (tmp_path / "config.json").read_bytes() == before
    assert json.loads(before)["schedule"]["betas"] == [0.9, 0.99]


def test_a_run_that_saved_nothing_may_be_begun_anew(tmp_path: Path) -> None:
    with pytest.raises(WorkError):
        train(tmp_path, fail_at=1)
    other = replace(SCHEDULE, learning_rate=0.01)
    assert train(tmp_path, other).images == 96
    assert json.loads((tmp_path / "config.json").read_text())["schedule"]["learning_rate"] == 0.01


@pytest.mark.parametrize("damage", ["cut", "other bytes", "another network"])
def test_a_checkpoint_that_does_not_fit_is_named(tmp_path: Path, damage: str) -> None:
    train(tmp_path)
    if damage == "cut":
        (tmp_path / "last.pt").write_bytes((tmp_path / "last.pt").read_bytes()[:500])
    elif damage == "other bytes":
        (tmp_path / "last.pt").write_bytes(b"no checkpoint at all")
    module = nn.Linear(4, 1) if damage == "another network" else network()
    with pytest.raises(DataError, match=r"last\.pt (cannot be resumed from|is no checkpoint).*delete it"):
        Trainer(module, SCHEDULE, out=tmp_path)


def test_weight_decay_spares_norms_biases_and_slopes(tmp_path: Path) -> None:
    module = network()
    trainer = Trainer(module, replace(SCHEDULE, weight_decay=0.25), out=tmp_path)
    decays = {id(p): group["weight_decay"] for group in trainer.optimiser.param_groups for p in group["params"]}
    found = {name: decays[id(value)] for name, value in module.named_parameters()}
    assert {name for name, decay in found.items() if decay == 0.25} == {"0.weight", "4.weight"}
    assert {decay for name, decay in found.items() if name not in ("0.weight", "4.weight")} == {0.0}


def test_frozen_weights_stay(tmp_path: Path) -> None:
    module = network()
    module[0].weight.requires_grad_(requires_grad=False)
    before = module[0].weight.clone()
    trainer = Trainer(module, SCHEDULE, out=tmp_path)
    trainer.fit(Task(module), samples=len(INPUTS))
    assert torch.equal(module[0].weight, before)


def test_gradients_are_clipped_to_the_norm(tmp_path: Path) -> None:
    def moved(out: Path, clip: float | None) -> float:
        module = nn.Linear(4, 1, bias=False)
        before = module.weight.detach().clone()
        schedule = replace(
            SCHEDULE, warmup_images=0, optimiser="sgd", learning_rate=1.0, weight_decay=0.0, clip_norm=clip
        )
        trainer = Trainer(module, schedule, out=out)
        report = trainer.step(lambda i, _: {"loss": 100 * module(INPUTS[i]).sum()}, torch.arange(8))
        assert report["grad_norm"] > 10
        return float((module.weight.detach() - before).norm()) / report["grad_norm"]

    assert moved(tmp_path / "a", None) == pytest.approx(1.0, rel=0.01)  # bf16 gradients
    assert moved(tmp_path / "b", 0.5) < 0.05


def test_learning_rate_rises_in_a_line_and_falls_along_a_cosine() -> None:
    schedule = Schedule(images=1000, batch=10, learning_rate=0.4, warmup_images=200)
    assert schedule.rate_at(0) == pytest.approx(0.4 * 10 / 210)
    assert schedule.rate_at(100) == pytest.approx(0.4 * 110 / 210)
    assert schedule.rate_at(200) == pytest.approx(0.4)
    assert schedule.rate_at(600) == pytest.approx(0.2)
    assert schedule.rate_at(1000) == pytest.approx(0.0)
    rates = [schedule.rate_at(images) for images in range(200, 1000, 10)]
    assert rates == sorted(rates, reverse=True)
    assert min(rates) > 0


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ({"images": 0}, "at least 1"),
        ({"batch": 0}, "at least 1"),
        ({"optimiser": "lion"}, "adamw, muon or sgd, got 'lion'"),
        ({"precision": "fp16"}, "bf16 or fp32"),
        ({"learning_rate": 0.0}, r"\(0, 10\)"),
    ],
)
def test_a_schedule_refuses_what_is_out_of_range(setting: dict[str, object], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        Schedule(**{"images": 10, **setting})


def test_without_an_average_the_present_weights_are_given(tmp_path: Path) -> None:
    trainer = train(tmp_path, replace(SCHEDULE, ema_maximum=None))
    assert trainer.ema is None
    assert all(torch.equal(value, trainer.module.state_dict()[name]) for name, value in trainer.averaged().items())


def test_validation_and_progress_are_called_when_due(tmp_path: Path) -> None:
    module = network()
    trainer = Trainer(module, SCHEDULE, out=tmp_path)
    seen: list[tuple[int, int]] = []
    trainer.fit(
        Task(module),
        samples=len(INPUTS),
        progress=lambda done, total: seen.append((done, total)),
        validate=lambda: {"held_out": 0.5},
        validate_every=48,
    )
    assert seen == [(images, 96) for images in range(16, 97, 16)]
    rows = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert [row["images"] for row in rows if "held_out" in row] == [48, 96]


def test_a_finished_run_does_nothing_more(tmp_path: Path) -> None:
    train(tmp_path)
    before = (tmp_path / "last.pt").read_bytes()
    again = train(tmp_path, fail_at=1, error=AssertionError("a finished run must not step"))
    assert again.finished
    assert (tmp_path / "last.pt").read_bytes() == before
