"""The training loop: resuming, interrupts, refusals, groups and rates."""

import json
import math
import os
import signal
from dataclasses import asdict, replace
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
    """Regression on noisy inputs, which can be made to fail at a step, or to stop the run as a user would."""

    def __init__(self, module: nn.Module) -> None:
        self.module = module
        self.calls = 0
        self.fail_at: int | None = None
        self.error: BaseException | None = None
        self.signals = 0

    def __call__(self, indices: Tensor, generator: torch.Generator) -> Losses:
        self.calls += 1
        if self.calls == self.fail_at:
            if self.error is not None:
                raise self.error
            if not self.signals:
                return {"good": torch.zeros(()), "bad": torch.tensor(math.nan, requires_grad=True)}
            for _ in range(self.signals):
                os.kill(os.getpid(), signal.SIGINT)
        x = INPUTS[indices] + 0.1 * torch.randn(len(indices), 4, generator=generator)
        return {"squares": (self.module(x).squeeze(1).float() - x @ WEIGHTS).square().mean()}


def train(
    out: Path,
    schedule: Schedule = SCHEDULE,
    *,
    fail_at: int | None = None,
    error: BaseException | None = None,
    signals: int = 0,
) -> Trainer:
    module = network()
    trainer = Trainer(module, schedule, out=out)
    task = Task(module)
    task.fail_at, task.error, task.signals = fail_at, error, signals
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
        train(tmp_path / "broken", schedule, fail_at=6, signals=1)
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


def test_an_interrupt_ends_the_step_and_saves(tmp_path: Path) -> None:
    handlers = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    with pytest.raises(KeyboardInterrupt):
        train(tmp_path, fail_at=6, signals=1)
    assert Trainer(network(), SCHEDULE, out=tmp_path).images == 48
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == handlers


def test_a_second_interrupt_stops_at_once_and_leaves_what_was_saved(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        train(tmp_path, fail_at=6, signals=2)
    assert Trainer(network(), SCHEDULE, out=tmp_path).images == 32


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


@pytest.mark.parametrize(
    ("held", "error", "said"),
    [
        ('{"generator": "x"}', ConfigError, "holds something other than a training run"),
        ('{"schedule"', DataError, "config.json cannot be read"),
    ],
)
def test_a_config_that_is_no_runs_is_left_alone(tmp_path: Path, held: str, error: type[Exception], said: str) -> None:
    (tmp_path / "config.json").write_text(held)
    with pytest.raises(error, match=said):
        Trainer(network(), SCHEDULE, out=tmp_path)
    assert (tmp_path / "config.json").read_text() == held


def test_a_run_of_a_version_with_fewer_settings_goes_on(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    def begin(schedule: Schedule, **recipe: object) -> Trainer:
        return Trainer(network(), schedule, out=tmp_path, config={"recipe": recipe})

    begin(SCHEDULE, width=8).save()
    file = tmp_path / "config.json"
    kept = json.loads(file.read_text())
    for new in ("parts", "ema_more", "fall"):
        del kept["schedule"][new]
    file.write_text(json.dumps(kept))
    with pytest.raises(ConfigError, match="another schedule"):
        begin(replace(SCHEDULE, parts=2), width=8)
    with pytest.raises(ConfigError, match="another recipe"):
        begin(SCHEDULE, width=9)
    begin(SCHEDULE, width=8, depth=3)
    assert "not known when it was begun: recipe.depth = 3" in caplog.text
    kept = json.loads(file.read_text())
    assert (kept["schedule"], kept["recipe"]) == (json.loads(json.dumps(asdict(SCHEDULE))), {"width": 8, "depth": 3})


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


def test_what_a_killed_process_left_half_written_is_removed(tmp_path: Path) -> None:
    for name in (".last.pt.abc.pt", ".best.pt.def.pt", "other.pt"):
        (tmp_path / name).touch()
    Trainer(network(), SCHEDULE, out=tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["config.json", "other.pt"]


@pytest.mark.parametrize(("lowest", "images"), [(False, 64), (True, 32)])
def test_the_best_validation_is_kept_over_a_resume(tmp_path: Path, lowest: bool, images: int) -> None:
    scores = {32: 0.5, 64: 0.9, 96: 0.7}
    averages: dict[int, dict[str, Tensor]] = {}

    def run(fail_at: int | None) -> Trainer:
        module = network()
        trainer = Trainer(module, SCHEDULE, out=tmp_path)
        task = Task(module)
        task.fail_at, task.signals = fail_at, 1

        def validate() -> dict[str, float]:
            averages[trainer.images] = {name: value.clone() for name, value in trainer.averaged().items()}
            return {"accuracy": scores[trainer.images]}

        trainer.fit(task, samples=len(INPUTS), validate=validate, best_by="accuracy", best_is_lowest=lowest)
        return trainer

    with pytest.raises(KeyboardInterrupt):
        run(9)
    best = run(None).best_averaged()
    kept = torch.load(tmp_path / "best.pt", weights_only=True)
    assert (kept["images"], kept["value"], kept["measure"]) == (images, scores[images], "accuracy")
    assert all(torch.equal(value, averages[images][name]) for name, value in best.items())
    assert not torch.equal(best["0.weight"], averages[96]["0.weight"])


def test_further_averages_are_those_of_runs_with_that_cap(tmp_path: Path) -> None:
    both = replace(SCHEDULE, ema_maximum=0.9, ema_more=(0.5,))
    with pytest.raises(KeyboardInterrupt):
        train(tmp_path / "both", both, fail_at=6, signals=1)
    one, alone = train(tmp_path / "both", both), train(tmp_path / "alone", replace(SCHEDULE, ema_maximum=0.5))
    assert all(torch.equal(value, one.averaged(0.5)[name]) for name, value in alone.averaged().items())
    assert not torch.equal(one.averaged()["0.weight"], one.averaged(0.5)["0.weight"])


def test_parts_of_a_batch_give_its_gradient(tmp_path: Path) -> None:
    def weights(parts: int) -> Tensor:
        module = nn.Linear(4, 1)
        nn.init.constant_(module.weight, 0.1)
        nn.init.zeros_(module.bias)
        schedule = replace(SCHEDULE, images=44, parts=parts, optimiser="sgd", precision="fp32")
        trainer = Trainer(module, schedule, out=tmp_path / f"{parts}")
        seen: list[int] = []

        def losses(indices: Tensor, generator: torch.Generator) -> Losses:
            seen.append(len(indices))
            return {"squares": (module(INPUTS[indices]).squeeze(1) - INPUTS[indices] @ WEIGHTS).square().mean()}

        trainer.fit(losses, samples=len(INPUTS))
        assert seen == {1: [8] * 5 + [4], 2: [4] * 11, 4: [2] * 22}[parts]
        return module.weight.detach()

    whole = weights(1)
    assert torch.allclose(whole, weights(2), atol=1e-6)
    assert torch.allclose(whole, weights(4), atol=1e-6)


def test_a_part_draws_by_its_place_in_the_run(tmp_path: Path) -> None:
    def draws(parts: int, batch: int) -> dict[int, list[float]]:
        module = nn.Linear(4, 1)
        schedule = replace(SCHEDULE, images=32, batch=batch, parts=parts)
        trainer = Trainer(module, schedule, out=tmp_path / f"{parts} {batch}")
        drawn: dict[int, list[float]] = {}
        seen = 0

        def losses(indices: Tensor, generator: torch.Generator) -> Losses:
            nonlocal seen
            drawn[seen] = [*torch.rand(2, generator=generator).tolist(), float(torch.rand(()))]
            seen += len(indices)
            return {"sum": module(INPUTS[indices]).sum()}

        trainer.fit(losses, samples=len(INPUTS))
        return drawn

    halves, alone = draws(2, 16), draws(1, 8)
    assert halves == alone
    assert len({tuple(values) for values in halves.values()}) == 4


def test_samples_are_loaded_ahead_in_the_same_order(tmp_path: Path) -> None:
    def run(name: str, *, ahead: bool) -> tuple[Trainer, list[list[int]]]:
        module = network()
        trainer = Trainer(module, replace(SCHEDULE, parts=2, images=100), out=tmp_path / name)
        task, seen = Task(module), []

        def losses(batch: Tensor, generator: torch.Generator) -> Losses:
            indices = batch - 1000 if ahead else batch
            seen.append(indices.tolist())
            return task(indices, generator)

        trainer.fit(losses, samples=len(INPUTS), load=(lambda indices: indices + 1000) if ahead else None)
        return trainer, seen

    (one, first), (other, second) = run("plain", ahead=False), run("ahead", ahead=True)
    assert first == second
    assert all(torch.equal(value, state(other)[name]) for name, value in state(one).items())


def test_an_error_while_loading_reaches_the_caller(tmp_path: Path) -> None:
    def load(indices: Tensor) -> Tensor:
        raise DataError("shard 3, record 7: damaged")

    with pytest.raises(DataError, match="record 7"):
        Trainer(network(), SCHEDULE, out=tmp_path).fit(lambda x, g: {}, samples=20, load=load)


def test_a_loss_that_some_steps_lack_is_averaged_over_the_others(tmp_path: Path) -> None:
    module = nn.Linear(4, 1)
    trainer = Trainer(module, SCHEDULE, out=tmp_path)

    def losses(indices: Tensor, generator: torch.Generator) -> Losses:
        always = module(INPUTS[indices]).mean()
        return {"always": always, "sometimes": 0 * always + 5} if trainer.images % 16 else {"always": always}

    trainer.fit(losses, samples=len(INPUTS))
    rows = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert [row["sometimes"] for row in rows] == [5.0] * 6


def test_each_child_is_clipped_by_its_own_norm(tmp_path: Path) -> None:
    module = nn.ModuleDict({"network": nn.Linear(4, 1, bias=False), "head": nn.Linear(4, 1, bias=False)})
    before = {name: child.weight.detach().clone() for name, child in module.items()}
    schedule = replace(
        SCHEDULE, warmup_images=0, optimiser="sgd", learning_rate=1.0, weight_decay=0.0, precision="fp32", clip_norm=0.5
    )
    trainer = Trainer(module, replace(schedule, clip_children=True), out=tmp_path)
    x = INPUTS[:8]
    report = trainer.step(
        lambda i, _: {"loss": (100 * module["network"](x) + module["head"](x)).sum()}, torch.arange(8)
    )
    moved = {name: float((child.weight.detach() - before[name]).norm()) for name, child in module.items()}
    assert moved["network"] == pytest.approx(0.5, rel=1e-4)
    assert moved["head"] == pytest.approx(0.5, rel=1e-4)
    gradient = x.sum(0).norm() * math.hypot(100, 1)
    assert report["grad_norm"] == pytest.approx(float(gradient), rel=1e-4)
