"""A set made by several processes of this machine, each with its own networks and its own share of the batches."""

import multiprocessing
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import torch

from facewright.align import load_detector
from facewright.data.embeddings import Embeddings
from facewright.errors import ConfigError, FaceError, WorkError
from facewright.synthesis.models import CropEncoder, FaceGenerator
from facewright.synthesis.sampling import SampleSummary, sample_set, summarise
from facewright.synthesis.shares import WHOLE, Share, read_listed, read_parts

Load = Callable[[int], tuple[FaceGenerator, CropEncoder | None]]

PATIENCE = 30.0
"""Seconds that workers are given to write their rows after an interrupt."""


def sample_with_workers(
    load: Load,
    contexts: Embeddings,
    *,
    workers: int,
    out: Path | str,
    per_identity: int,
    threads: int = 1,
    align: str | None = None,
    share: Share = WHOLE,
    progress: Callable[[int, int], None] | None = None,
    **options: Any,
) -> SampleSummary:
    """Do what `sample_set` does in several processes; the set is the same to the bit for any number of them.

    A worker that fails or is killed stops nobody else; the same call again, with as many workers as one likes,
    completes the set. Each worker imports the script that calls this, which therefore needs the usual
    `if __name__ == "__main__":`.

    Args:
        load: gives worker k, counted from 0, its networks. It runs in the worker's process and must be picklable: a
            function of a module, or an object of a class of one.
        contexts, out, per_identity: as in `sample_set`.
        workers: how many processes.
        threads: of each worker on the CPU. Sums may round differently with another number, so keep to one number.
        align: name of the detector that each worker loads, for `sample_set`'s argument of this name.
        share: divided further among the workers.
        progress: called with (images done, images in all) of the share.
        options: further arguments of `sample_set`.

    Raises:
        What `sample_set` raises, and WorkError where a worker ended before its work.
    """
    for what, number in (("workers", workers), ("threads", threads)):
        if number < 1:
            raise ConfigError(f"{what} must be at least 1, got {number}")
    out, started = Path(out), time.monotonic()
    options |= {"out": out, "per_identity": per_identity}
    context = multiprocessing.get_context("spawn")  # a forked process cannot use CUDA, nor OpenMP once it has run
    team: list[_Worker] = []
    try:
        for number in range(workers):
            ours, theirs = context.Pipe(duplex=False)
            task = _Task(load, number, contexts, share.split(number, workers), threads, align, options)
            process = context.Process(target=_work, args=(task, theirs), name=f"worker {number + 1} of {workers}")
            process.start()
            theirs.close()  # so that the end of the process is the end of the pipe
            team.append(_Worker(process, ours))
        _follow(team, progress)
    finally:
        _disband(team)
    failures = [worker.failure() for worker in team]
    if errors := [failure for failure in failures if failure is not None]:
        raise errors[0]
    rows = {**read_parts(out), **read_listed(out)}
    return summarise(
        out,
        rows.values(),
        identities=len(contexts),
        per_identity=per_identity,
        made=sum(worker.made for worker in team),
        seconds=time.monotonic() - started,
    )


@dataclass(frozen=True)
class _Task:
    """What a worker is told."""

    load: Load
    number: int
    contexts: Embeddings
    share: Share
    threads: int
    align: str | None
    options: Mapping[str, Any]


@dataclass
class _Worker:
    """What the parent knows of a worker."""

    process: BaseProcess
    pipe: Connection
    done: int = 0
    total: int = 0  # of its share; unknown before its first batch
    made: int = 0
    finished: bool = False
    error: FaceError | None = None

    def hear(self) -> bool:
        """Take one message; False when there will be none any more."""
        try:
            kind, value = self.pipe.recv()
        except (EOFError, OSError):
            return False
        if kind == "progress":
            self.done, self.total = value
        elif kind == "made":
            self.made, self.finished = value, True
        else:
            self.error = value
        return True

    def failure(self) -> FaceError | None:
        """Why the worker did not finish, if it did not."""
        if self.finished or self.error is not None:
            return self.error
        code = self.process.exitcode
        how = f"was ended by signal {-code}" if code is not None and code < 0 else f"ended with exit code {code}"
        return WorkError(
            f"{self.process.name} {how} after {self.done} images; what was made is kept, the same command again makes"
            " the rest"
        )


def _follow(team: list[_Worker], progress: Callable[[int, int], None] | None) -> None:
    """Listen until every pipe is closed."""
    talking = {worker.pipe: worker for worker in team}
    while talking:
        for pipe in wait(list(talking)):
            if isinstance(pipe, Connection) and not talking[pipe].hear():
                del talking[pipe]
        if progress is not None and all(worker.total or worker.finished for worker in team):
            progress(sum(worker.done for worker in team), sum(worker.total for worker in team))


def _disband(team: list[_Worker]) -> None:
    """Wait for the workers, who got the same interrupt, if any, and end those who do not come to an end."""
    for worker in team:
        worker.pipe.close()  # the next report of one still at work fails, which stops it
    for worker in team:
        worker.process.join(PATIENCE)
        if worker.process.is_alive():
            worker.process.kill()
            worker.process.join()


def _work(task: _Task, pipe: Connection) -> None:
    """The process of one worker."""
    torch.set_num_threads(task.threads)
    try:
        generator, encoder = task.load(task.number)
        made = sample_set(
            generator,
            task.contexts,
            encoder=encoder,
            share=task.share,
            align=None if task.align is None else load_detector(task.align),
            progress=lambda done, total: pipe.send(("progress", (done, total))),
            **task.options,
        )
        message: tuple[str, Any] = ("made", made.made)
    except KeyboardInterrupt:
        return
    except FaceError as error:
        message = ("error", error)
    with suppress(OSError):  # nobody listens any more
        pipe.send(message)
