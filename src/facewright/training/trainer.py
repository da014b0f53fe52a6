"""The one training loop: every network of the toolkit is trained by it."""

import json
import logging
import math
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from facewright.errors import ConfigError, WorkError
from facewright.training.ema import EMA
from facewright.training.interrupts import held_interrupts
from facewright.training.optimisers import make_optimiser
from facewright.training.processes import current
from facewright.training.run_folder import BEST, LAST, RunFolder
from facewright.training.schedule import Schedule
from facewright.training.seeds import seed_of
from facewright.training.shards import RowTrained, Shards
from facewright.training.shuffle import EndlessShuffle

__all__ = ["LossOf", "Losses", "Schedule", "Trainer"]

log = logging.getLogger(__name__)

Losses = Mapping[str, Tensor]
LossOf = Callable[[Any, torch.Generator], Losses]
AHEAD = 2  # steps whose samples are loaded before they are needed


class Trainer:
    """Trains one module in a run folder that can be left and taken up again.

    The folder holds `config.json`, `metrics.jsonl`, `last.pt` and, where validation names the best, `best.pt`. A batch
    is computed in `schedule.parts` equal parts. The order of samples, the augmentations and the dropout masks of a part
    depend on the seed and the part's place in the run alone; on a CPU a resumed run gives the weights of the unbroken
    one bit for bit. Where torchrun started several processes (`training.processes.joined`) they share the parts, whose
    number theirs must divide; gradients and running statistics are averaged, so a run resumed on another number of
    processes differs by rounding and by the running statistics of batch norms.
    """

    def __init__(
        self, module: nn.Module, schedule: Schedule, *, out: Path, device: str = "cpu", config: Mapping[str, Any] = {}
    ) -> None:
        self.module = module.to(device)
        self.schedule = schedule
        self.device = torch.device(device)
        self.out = out
        self.images = 0
        self.best: dict[str, float] | None = None  # the best validation so far: images, value
        self.processes = current()
        self._check_shares()
        self._shards = Shards(module, self.processes)
        self._shared = [p for p in module.parameters() if p.requires_grad and id(p) not in self._shards.held]
        self._shared_ids = {id(p) for p in self._shared}
        self.optimiser = make_optimiser(module, schedule)
        skipped = self._shards.skipped
        self.ema = None if schedule.ema_maximum is None else EMA(module, maximum=schedule.ema_maximum, skipped=skipped)
        self.ema_more = {maximum: EMA(module, maximum=maximum, skipped=skipped) for maximum in schedule.ema_more}
        self._folder = RunFolder(out)
        if self.processes.first:
            self._folder.open(json.loads(json.dumps({"schedule": asdict(schedule), **config})))
        self.processes.wait()
        if self._folder.has(LAST):
            self._resume()

    @property
    def finished(self) -> bool:
        """Whether all images of the schedule have been seen."""
        return self.images >= self.schedule.images

    def averaged(self, maximum: float | None = None) -> dict[str, Tensor]:
        """The averaged weights, or the present ones where no average is kept.

        Args:
            maximum: one of `schedule.ema_more`, for that average instead of the main one.
        """
        if maximum is not None:
            return self.ema_more[maximum].averaged
        return self.module.state_dict() if self.ema is None else self.ema.averaged

    def best_averaged(self) -> dict[str, Tensor]:
        """The averaged weights of the best validation, or of now where there was none."""
        if self.best is None:
            return self.averaged()
        return self._shards.own_state(self._folder.load(BEST, self.device)["weights"])

    def step(self, loss_of: LossOf, indices: Tensor, *, loaded: Sequence[Any] | None = None) -> dict[str, float]:
        """One update on the samples `indices`; returns the losses of this process's parts and the gradient norm.

        Args:
            loss_of: as for `fit`.
            indices: of the whole batch, (B,), whichever process computes which part.
            loaded: what `loss_of` gets for each part of this process instead of its indices.
        """
        schedule, number = self.schedule, self.images // self.schedule.batch
        rate = schedule.rate_at(self.images)
        row_trained = self._shards.row_trained.values()
        for optimiser in (self.optimiser, *(table.optimiser for table in row_trained)):
            for group in optimiser.param_groups:
                group["lr"] = rate
        self.module.train()
        self.optimiser.zero_grad(set_to_none=True)
        losses: dict[str, Tensor] = {}
        own = self._own_parts(indices)
        for (offset, part), batch in zip(own, loaded or [part for _, part in own], strict=True):
            share = len(part) * self.processes.count / len(indices)
            for name, loss in self._backward(loss_of, batch, self.images + offset, share).items():
                losses[name] = losses[name] + loss if name in losses else loss
        self.processes.average_gradients(self._shared)
        norm = self._clip()
        *values, norm_value = torch.stack([*losses.values(), norm]).tolist()  # the one wait for the device
        report = dict(zip(losses, values, strict=True))
        self._check_finite(report, norm_value, number)
        self.optimiser.step()
        for table in row_trained:
            table.step()
        self._average_buffers()
        for average in (self.ema, *self.ema_more.values()):
            if average is not None:
                average.update(self.module)
        self.images += len(indices)
        return {**report, "grad_norm": norm_value}

    def fit(
        self,
        loss_of: LossOf,
        *,
        samples: int,
        load: Callable[[Tensor], Any] | None = None,
        loaders: int = 2,
        progress: Callable[[int, int], None] | None = None,
        validate: Callable[[], Mapping[str, float]] | None = None,
        validate_every: int | None = None,
        best_by: str | None = None,
        best_is_lowest: bool = False,
        on_save: Callable[[], None] | None = None,
    ) -> None:
        """Train to the end of the schedule; an interrupt ends the step, saves, then stops.

        Args:
            loss_of: gives the named losses (to be summed) of the samples with the given indices, (B,); draws its
                randomness from the generator it is given.
            samples: how many samples there are.
            load: reads the samples with the given indices, some steps ahead, in `loaders` threads; `loss_of` then gets
                what it returned instead of the indices. It must draw nothing at random.
            loaders: threads.
            progress: called with (images seen, images in all).
            validate: measures the present state, on every process; written to the metrics.
            validate_every: images between two validations.
            best_by: name of a measure of `validate`; the averaged weights with the best of it are kept in `best.pt`.
            best_is_lowest: whether lower is better.
            on_save: called on the first process after each save, to keep weights in use while a long run goes on.
        """
        schedule = self.schedule
        window: list[dict[str, float]] = []
        began, began_at = time.perf_counter(), self.images
        with held_interrupts() as interrupt:
            for indices, loaded in self._batches(samples, load, loaders):
                before = self.images
                window.append(self.step(loss_of, indices, loaded=loaded))
                if self._due(before, schedule.log_every):
                    speed = (self.images - began_at) / (time.perf_counter() - began)
                    rate = {"rate": schedule.rate_at(before), "images_per_s": speed}
                    self._write_metrics({**self._means(window), **rate, **self._memory()})
                    window.clear()
                    if progress is not None:
                        progress(self.images, schedule.images)
                if validate is not None and self._due(before, validate_every or schedule.save_every):
                    measured = dict(validate())
                    self._write_metrics(measured)
                    if best_by is not None:
                        self._keep_best(measured, best_by, -1.0 if best_is_lowest else 1.0)
                (stop,) = self.processes.any(interrupt.asked, device=self.device)
                if stop or self._due(before, schedule.save_every):
                    self.save()
                    if on_save is not None and self.processes.first and not stop:
                        on_save()
                if stop and not self.finished:
                    raise KeyboardInterrupt

    def save(self) -> None:
        """Write weights, optimiser, averages and position to `last.pt`, whole or not at all; on every process."""
        whole = self._shards.whole_state
        state = {
            "images": self.images,
            "module": whole(self.module.state_dict()),
            "optimiser": self._shards.whole_optimiser(self.optimiser),
            "ema": None if self.ema is None else whole(self.ema.state_dict()),
            "ema_more": {maximum: whole(average.state_dict()) for maximum, average in self.ema_more.items()},
            "rows": self._shards.whole_rows(),
            "best": self.best,
        }
        if self.processes.first:
            self._folder.save(LAST, state)
        self.processes.wait()

    def _resume(self) -> None:
        state = self._folder.load(LAST, self.device)
        try:
            self.module.load_state_dict(self._shards.own_state(state["module"]))
            self.optimiser.load_state_dict(self._shards.own_optimiser(self.optimiser, state["optimiser"]))
            if self.ema is not None:
                self.ema.load_state_dict(self._shards.own_state(state["ema"]))
            for maximum, average in self.ema_more.items():
                average.load_state_dict(self._shards.own_state(state["ema_more"][maximum]))
            self._shards.load_rows(state.get("rows", {}))
            self.best = state.get("best")
            self.images = int(state["images"])
        except (RuntimeError, KeyError, IndexError, ValueError) as error:
            raise self._folder.unfit(LAST, error) from error
        log.info("resumed %s at %d images", self.out, self.images)

    def _batches(
        self, samples: int, load: Callable[[Tensor], Any] | None, loaders: int
    ) -> Iterator[tuple[Tensor, list[Any] | None]]:
        """The batches from here to the end of the run, with what `load` made of this process's parts of each."""
        order, schedule = EndlessShuffle(samples, seed=self.schedule.seed), self.schedule
        starts = range(self.images, schedule.images, schedule.batch)
        batches = (order.take(start, min(schedule.batch, schedule.images - start)) for start in starts)
        if load is None:
            for indices in batches:
                yield indices, None
            return
        waiting: deque[tuple[Tensor, list[Future[Any]]]] = deque()
        pool = ThreadPoolExecutor(loaders, thread_name_prefix="loader")
        try:
            for indices in batches:
                waiting.append((indices, [pool.submit(load, part) for _, part in self._own_parts(indices)]))
                if len(waiting) > AHEAD:
                    ready, futures = waiting.popleft()
                    yield ready, [future.result() for future in futures]
            for ready, futures in waiting:
                yield ready, [future.result() for future in futures]
        finally:
            pool.shutdown(cancel_futures=True)

    def _own_parts(self, indices: Tensor) -> list[tuple[int, Tensor]]:
        """This process's parts of a batch, each with its place in it; a last, short batch has fewer parts."""
        size = self.schedule.batch // self.schedule.parts
        parts = torch.tensor_split(indices, max(1, len(indices) // size))
        places, place = [], 0
        for part in parts:
            places.append((place, part))
            place += len(part)
        return places[self.processes.rank :: self.processes.count]

    def _backward(self, loss_of: LossOf, batch: Any, position: int, share: float) -> dict[str, Tensor]:
        """Add a part's gradients, weighted by its share of the batch; the losses, weighted alike."""
        seed = seed_of("step", self.schedule.seed, position)
        with torch.random.fork_rng(devices=[self.device] if self.device.type == "cuda" else []):
            torch.manual_seed(seed)
            generator = torch.Generator().manual_seed(seed)
            with self._precision():
                losses = {name: loss.float() * share for name, loss in loss_of(batch, generator).items()}
            torch.stack(list(losses.values())).sum().backward()
        return {name: loss.detach() for name, loss in losses.items()}

    def _clip(self) -> Tensor:
        """Clip the gradients; returns their norm before."""
        limit = math.inf if self.schedule.clip_norm is None else self.schedule.clip_norm
        groups = [_with_gradients(self.module)]
        if self.schedule.clip_children:
            own: list[Tensor] = list(self.module.parameters(recurse=False))
            groups = [own, *(_with_gradients(child) for child in self.module.children())]
        norms = []
        for group in groups:
            norm = self._norm(group)
            nn.utils.clip_grads_with_norm_(group, limit, norm)
            norms.append(norm)
        return norms[0] if len(norms) == 1 else torch.stack(norms).norm()

    def _norm(self, group: Sequence[Tensor]) -> Tensor:
        """The norm of the group's gradients; rows that only one process has count once, all others once in all."""
        shared = self._shared_ids
        norm = nn.utils.get_total_norm([p.grad for p in group if p.grad is not None and id(p) in shared])
        rows = [p.grad for p in group if p.grad is not None and id(p) not in shared]
        norm = norm.to(self.device)
        if not self._shards.held:
            return norm
        squared = nn.utils.get_total_norm(rows).to(self.device).square().reshape(1)
        self.processes.average([squared])
        return (norm.square() + squared[0] * self.processes.count).sqrt()

    def _check_finite(self, report: Mapping[str, float], norm: float, number: int) -> None:
        """Stop every process where a loss or a gradient of one is not finite."""
        total = sum(report.values())
        bad_loss, bad_norm = self.processes.any(not math.isfinite(total), not math.isfinite(norm), device=self.device)
        if bad_loss or bad_norm:
            named = ", ".join(f"{name} {value:.4g}" for name, value in report.items())
            raise WorkError(
                f"the {'loss' if bad_loss else 'gradient'} is not finite at step {number} ({self.images} images, "
                f"{named}); what was saved before is kept in {self.out}: lower the learning rate and give another --out"
            )

    @torch.no_grad()
    def _average_buffers(self) -> None:
        """Give every process the mean of the running statistics."""
        if self.processes.count > 1:
            buffers = [b for b in self.module.buffers() if b.is_floating_point() and id(b) not in self._shards.held]
            self.processes.average(buffers)

    def _keep_best(self, measured: Mapping[str, float], name: str, sign: float) -> None:
        """Keep the averaged weights if the measure is the best so far, by the first process's figures."""
        value = self.processes.gathered(measured[name])[0]
        if self.best is not None and sign * value <= sign * self.best["value"]:
            return
        self.best = {"images": self.images, "value": value}
        weights = self._shards.whole_state(self.averaged())
        if self.processes.first:
            self._folder.save(BEST, {**self.best, "measure": name, "weights": weights})
        self.processes.wait()

    def _means(self, window: Sequence[Mapping[str, float]]) -> dict[str, float]:
        """The mean of each figure over the steps, and processes, that have it."""
        steps = [step for steps in self.processes.gathered(list(window)) for step in steps]
        names = list(dict.fromkeys(name for step in steps for name in step))
        return {
            name: math.fsum(found) / len(found) for name in names if (found := [s[name] for s in steps if name in s])
        }

    def _memory(self) -> dict[str, float]:
        if self.device.type != "cuda":
            return {}
        return {"peak_gib": torch.cuda.max_memory_allocated(self.device) / 2**30}

    def _precision(self) -> AbstractContextManager[Any]:
        if self.schedule.precision == "fp32":
            return nullcontext()
        return torch.autocast(self.device.type, dtype=torch.bfloat16)

    def _due(self, before: int, every: int) -> bool:
        return self.finished or self.images // every != before // every

    def _write_metrics(self, values: Mapping[str, float]) -> None:
        if self.processes.first:
            self._folder.add_metrics(self.images, values)

    def _check_shares(self) -> None:
        count, schedule = self.processes.count, self.schedule
        if schedule.parts % count:
            raise ConfigError(
                f"{count} processes cannot share a batch of {schedule.parts} parts; make schedule.parts a multiple of "
                f"{count}, or start another number of processes"
            )
        if count > 1 and schedule.images % schedule.batch:
            raise ConfigError(
                f"several processes train whole batches only; schedule.images of {schedule.images} is no multiple of "
                f"the batch of {schedule.batch}"
            )


def _with_gradients(module: nn.Module) -> list[Tensor]:
    """A module's parameters, and the rows that parts of it update themselves."""
    rows = [row for part in module.modules() if isinstance(part, RowTrained) for row in part.sampled_rows]
    return [*module.parameters(), *rows]
