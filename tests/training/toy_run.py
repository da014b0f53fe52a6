"""A tiny training run as a process of its own: `python toy_run.py OUT SECONDS_A_STEP STOP_AT`, alone or under torchrun.

The module has a batch norm, dropout and a table of class rows that is spread over the processes.
"""

import signal
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from facewright.training.processes import Processes, current, joined
from facewright.training.trainer import Losses, Schedule, Trainer

CLASSES = 5
INPUTS = torch.randn(40, 4, generator=torch.Generator().manual_seed(0))
WEIGHTS = torch.tensor([1.0, -2.0, 0.5, 3.0])


@dataclass(frozen=True)
class Rows:
    classes: int
    start: int
    stop: int


class Table(nn.Module):
    """Rows that only their process has; each row's gradient is its own."""

    is_table = True

    def __init__(self, processes: Processes) -> None:
        super().__init__()
        each, more = divmod(CLASSES, processes.count)
        start = processes.rank * each + min(processes.rank, more)
        self.share = Rows(CLASSES, start, start + each + (processes.rank < more))
        whole = torch.arange(CLASSES * 3, dtype=torch.float32).view(CLASSES, 3)
        self.weight = nn.Parameter(whole[self.share.start : self.share.stop].clone())

    def forward(self) -> Tensor:
        return 1e-3 * self.weight.square().sum()


class Toy(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        layers = nn.Linear(4, 16), nn.BatchNorm1d(16), nn.PReLU(), nn.Dropout(0.3), nn.Linear(16, 1)
        self.network = nn.Sequential(*layers)
        self.table = Table(current())


SCHEDULE = Schedule(  # in fp32, so that only the order of sums can differ between numbers of processes
    images=400,
    batch=8,
    parts=2,
    learning_rate=0.02,
    ema_maximum=0.9,
    precision="fp32",
    clip_norm=0.5,
    log_every=8,
    save_every=24,
    seed=3,
)


def train(out: Path, *, seconds: float = 0.0, stop_at: int = 0) -> Trainer:
    """Train here and now, up to `stop_at` images, where the first process is interrupted."""
    module = Toy()
    trainer = Trainer(module, SCHEDULE, out=out)
    interrupt_at = [stop_at - SCHEDULE.batch] if trainer.processes.first else []

    def losses(indices: Tensor, generator: torch.Generator) -> Losses:
        time.sleep(seconds)
        if interrupt_at == [trainer.images]:
            interrupt_at.clear()
            signal.raise_signal(signal.SIGINT)
        x = INPUTS[indices] + 0.1 * torch.randn(len(indices), 4, generator=generator)
        return {
            "squares": (module.network(x).squeeze(1) - x @ WEIGHTS).square().mean(),
            "table": module.table(),
        }

    trainer.fit(losses, samples=len(INPUTS))
    return trainer


if __name__ == "__main__":
    torch.set_num_threads(1)
    try:
        with joined("cpu"):
            train(Path(sys.argv[1]), seconds=float(sys.argv[2]), stop_at=int(sys.argv[3]))
    except KeyboardInterrupt:
        sys.exit(130)
