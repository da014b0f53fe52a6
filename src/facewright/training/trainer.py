"""The one training loop: every network of the toolkit is trained by it."""

import json
import logging
import math
import pickle
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from facewright.errors import ConfigError, DataError, WorkError
from facewright.training.atomic import atomic_path
from facewright.training.ema import EMA
from facewright.training.muon import Muon
from facewright.training.seeds import seed_of
from facewright.training.shuffle import EndlessShuffle

log = logging.getLogger(__name__)

Losses = Mapping[str, Tensor]
LossOf = Callable[[Tensor, torch.Generator], Losses]


@dataclass(frozen=True)
class Schedule:
    """How long and how fast to train; lengths count images seen, so they survive a change of batch size."""

    images: int  # images seen in the whole run
    batch: int = 128  # images
    optimiser: str = "adamw"  # adamw, muon or sgd
    learning_rate: float = 1e-3  # at the top of the schedule
    weight_decay: float = 0.01  # on matrices and convolutions only, never on norms and biases
    momentum: float = 0.9  # sgd momentum
    betas: tuple[float, float] = (0.9, 0.99)  # AdamW
    warmup_images: int = 0
    clip_norm: float | None = 1.0
    ema_maximum: float | None = 0.999  # cap of the averaging decay; None: no average
    precision: str = "bf16"  # bf16 (autocast) or fp32
    seed: int = 0
    log_every: int = 5_000  # images
    save_every: int = 50_000  # images

    def __post_init__(self) -> None:
        if self.images < 1 or self.batch < 1:
            raise ConfigError(f"images and batch must be at least 1, got {self.images} and {self.batch}")
        if self.optimiser not in ("adamw", "muon", "sgd"):
            raise ConfigError(f"optimiser must be adamw, muon or sgd, got {self.optimiser!r}")
        if self.precision not in ("bf16", "fp32"):
            raise ConfigError(f"precision must be bf16 or fp32, got {self.precision!r}")
        if not 0 < self.learning_rate < 10:
            raise ConfigError(f"learning_rate must be in (0, 10), got {self.learning_rate}")

    def rate_at(self, images: int) -> float:
        """Learning rate after `images` images: linear warm-up, then half a cosine down to 0."""
        if images < self.warmup_images:
            return self.learning_rate * (images + self.batch) / (self.warmup_images + self.batch)
        done = (images - self.warmup_images) / max(1, self.images - self.warmup_images)
        return self.learning_rate * 0.5 * (1.0 + math.cos(math.pi * min(1.0, done)))


class Trainer:
    """Trains one module in a run folder that can be left and taken up again.

    The folder holds `config.json`, `metrics.jsonl` and `last.pt`. The order of samples, the augmentations and the
    dropout masks of a step depend on the seed and the step's place in the run alone; on a CPU a resumed run gives the
    weights of the unbroken one bit for bit.
    """

    def __init__(
        self, module: nn.Module, schedule: Schedule, *, out: Path, device: str = "cpu", config: Mapping[str, Any] = {}
    ) -> None:
        self.module = module.to(device)
        self.schedule = schedule
        self.device = torch.device(device)
        self.out = out
        self.images = 0
        self.optimiser = _optimiser(module, schedule)
        self.ema = None if schedule.ema_maximum is None else EMA(module, maximum=schedule.ema_maximum)
        self._config = json.loads(json.dumps({"schedule": asdict(schedule), **config}))
        self._open_run()

    @property
    def finished(self) -> bool:
        """Whether all images of the schedule have been seen."""
        return self.images >= self.schedule.images

    def averaged(self) -> dict[str, Tensor]:
        """The averaged weights, or the present ones where no average is kept."""
        return self.module.state_dict() if self.ema is None else self.ema.averaged

    def step(self, loss_of: LossOf, indices: Tensor) -> dict[str, float]:
        """One update on the samples `indices`; returns the losses and the gradient norm."""
        schedule, number = self.schedule, self.images // self.schedule.batch
        seed = seed_of("step", schedule.seed, self.images)
        rate = schedule.rate_at(self.images)
        for group in self.optimiser.param_groups:
            group["lr"] = rate
        self.module.train()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            generator = torch.Generator().manual_seed(seed)
            with self._precision():
                losses = loss_of(indices, generator)
            total = torch.stack([loss.float() for loss in losses.values()]).sum()
            if not torch.isfinite(total):
                raise self._not_finite("loss", number, losses)
            self.optimiser.zero_grad(set_to_none=True)
            total.backward()
        limit = math.inf if schedule.clip_norm is None else schedule.clip_norm
        norm = nn.utils.clip_grad_norm_(self.module.parameters(), limit)
        if not torch.isfinite(norm):
            raise self._not_finite("gradient", number, losses)
        self.optimiser.step()
        if self.ema is not None:
            self.ema.update(self.module)
        self.images += len(indices)
        return {**{name: float(loss.detach()) for name, loss in losses.items()}, "grad_norm": float(norm)}

    def fit(
        self,
        loss_of: LossOf,
        *,
        samples: int,
        progress: Callable[[int, int], None] | None = None,
        validate: Callable[[], Mapping[str, float]] | None = None,
        validate_every: int | None = None,
        on_save: Callable[[], None] | None = None,
    ) -> None:
        """Train to the end of the schedule; an interrupt saves first, then stops.

        Args:
            loss_of: gives the named losses (to be summed) of the samples with the given indices, (B,); draws its
                randomness from the generator it is given.
            samples: how many samples there are.
            progress: called with (images seen, images in all).
            validate: measures the present state; written to the metrics.
            validate_every: images between two validations.
            on_save: called after each save, to keep weights in use while a long run goes on.
        """
        schedule = self.schedule
        order = EndlessShuffle(samples, seed=schedule.seed)
        window: list[dict[str, float]] = []
        began, began_at = time.perf_counter(), self.images
        try:
            while not self.finished:
                count = min(schedule.batch, schedule.images - self.images)
                before = self.images
                window.append(self.step(loss_of, order.take(before, count)))
                if self._due(before, schedule.log_every):
                    speed = (self.images - began_at) / (time.perf_counter() - began)
                    means = {name: sum(w[name] for w in window) / len(window) for name in window[0]}
                    self._write_metrics({**means, "rate": schedule.rate_at(before), "images_per_s": speed})
                    window.clear()
                    if progress is not None:
                        progress(self.images, schedule.images)
                if validate is not None and self._due(before, validate_every or schedule.save_every):
                    self._write_metrics(dict(validate()))
                if self._due(before, schedule.save_every):
                    self.save()
                    if on_save is not None:
                        on_save()
        except KeyboardInterrupt:
            self.save()
            raise

    def save(self) -> None:
        """Write weights, optimiser, average and position to `last.pt`, whole or not at all."""
        state = {
            "images": self.images,
            "module": self.module.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "ema": None if self.ema is None else self.ema.state_dict(),
        }
        with atomic_path(self.out / "last.pt") as path:
            torch.save(state, path)

    def _open_run(self) -> None:
        self.out.mkdir(parents=True, exist_ok=True)
        config, last = self.out / "config.json", self.out / "last.pt"
        if config.exists():
            earlier = json.loads(config.read_text())
            changed = sorted(
                f"{key}" for key in earlier.keys() | self._config.keys() if earlier.get(key) != self._config.get(key)
            )
            if changed and last.exists():
                raise ConfigError(
                    f"{self.out} holds a run with another {', '.join(changed)}; give the same config to resume it, or "
                    "another --out"
                )
        with atomic_path(config) as path:
            path.write_text(json.dumps(self._config, indent=2) + "\n")
        if last.exists():
            try:
                state = torch.load(last, map_location=self.device, weights_only=True)
                self.module.load_state_dict(state["module"])
                self.optimiser.load_state_dict(state["optimiser"])
                if self.ema is not None:
                    self.ema.load_state_dict(state["ema"])
                self.images = int(state["images"])
            except pickle.UnpicklingError as error:
                raise DataError(f"{last} is no checkpoint; delete it to start the run anew") from error
            except (RuntimeError, KeyError, ValueError, EOFError) as error:
                reason = str(error).splitlines()[0]
                raise DataError(f"{last} cannot be resumed from ({reason}); delete it to start the run anew") from error
            log.info("resumed %s at %d images", self.out, self.images)

    def _precision(self) -> AbstractContextManager[Any]:
        if self.schedule.precision == "fp32":
            return nullcontext()
        return torch.autocast(self.device.type, dtype=torch.bfloat16)

    def _due(self, before: int, every: int) -> bool:
        return self.finished or self.images // every != before // every

    def _write_metrics(self, values: Mapping[str, float]) -> None:
        row = {"images": self.images, "unix_s": round(time.time(), 1), **values}
        with (self.out / "metrics.jsonl").open("a") as stream:
            stream.write(json.dumps(row) + "\n")

    def _not_finite(self, what: str, number: int, losses: Losses) -> WorkError:
        named = ", ".join(f"{name} {float(loss.detach()):.4g}" for name, loss in losses.items())
        return WorkError(
            f"the {what} is not finite at step {number} ({self.images} images, {named}); what was saved before is kept "
            f"in {self.out}: lower the learning rate and give another --out"
        )


def _optimiser(module: nn.Module, schedule: Schedule) -> torch.optim.Optimizer:
    """Weight decay on weights of two or more dimensions only: not on norms, biases and PReLU slopes."""
    trained = [p for p in module.parameters() if p.requires_grad]
    groups = [
        {"params": [p for p in trained if p.ndim > 1], "weight_decay": schedule.weight_decay},
        {"params": [p for p in trained if p.ndim <= 1], "weight_decay": 0.0},
    ]
    groups = [group for group in groups if group["params"]]
    if schedule.optimiser == "muon":
        return Muon(_muon_groups(module, schedule), lr=schedule.learning_rate, betas=schedule.betas)
    if schedule.optimiser == "sgd":
        return torch.optim.SGD(groups, lr=schedule.learning_rate, momentum=schedule.momentum, fused=True)
    return torch.optim.AdamW(groups, lr=schedule.learning_rate, betas=schedule.betas, fused=True)


def _muon_groups(module: nn.Module, schedule: Schedule) -> list[dict[str, Any]]:
    """Matrices and kernels for Muon; vectors and tables (class centres, one row a class) for AdamW."""
    tables = {id(p) for part in module.modules() if getattr(part, "is_table", False) for p in part.parameters()}
    trained = [p for p in module.parameters() if p.requires_grad]
    matrices = [p for p in trained if p.ndim > 1 and id(p) not in tables]
    others = [p for p in trained if p.ndim <= 1]
    rows = [p for p in trained if id(p) in tables]
    groups = [
        {"params": matrices, "weight_decay": schedule.weight_decay, "orthogonal": True},
        {"params": rows, "weight_decay": schedule.weight_decay},
        {"params": others, "weight_decay": 0.0},
    ]
    return [group for group in groups if group["params"]]
