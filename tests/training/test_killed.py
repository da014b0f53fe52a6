"""A run whose process is killed with SIGKILL at a random step ends with the weights of the unbroken run."""

import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from tests.training import toy_run

from facewright.training.trainer import Trainer

SCRIPT = Path(toy_run.__file__)


def kill_at(out: Path, rows: int) -> None:
    """Start the run and kill its process once its metrics have so many rows."""
    metrics = out / "metrics.jsonl"
    call = [sys.executable, str(SCRIPT), str(out), "0.02", "0"]
    process = subprocess.Popen(call, cwd=SCRIPT.parents[2], stderr=subprocess.PIPE)
    until = time.monotonic() + 120
    while not metrics.exists() or len(metrics.read_text().splitlines()) < rows:
        if process.poll() is not None or time.monotonic() > until:
            process.kill()
            pytest.fail(f"the run ended by itself: {process.communicate()[1].decode()}")
        time.sleep(0.001)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert process.returncode == -signal.SIGKILL


def everything(trainer: Trainer) -> dict[str, torch.Tensor]:
    assert trainer.ema is not None
    optimiser = trainer.optimiser.state_dict()["state"]
    return {
        **trainer.module.state_dict(),
        **{f"average {name}": value for name, value in trainer.ema.averaged.items()},
        **{f"optimiser {n} {key}": value for n, values in optimiser.items() for key, value in values.items()},
    }


def test_bit_for_bit(tmp_path: Path) -> None:
    whole = toy_run.train(tmp_path / "whole")
    rows = random.SystemRandom().randint(4, 40)  # of 50 steps
    kill_at(tmp_path / "killed", rows)
    saved = torch.load(tmp_path / "killed" / "last.pt", weights_only=True)["images"]
    assert 0 < saved <= 8 * (rows + 3)
    torch.manual_seed(99)
    resumed = toy_run.train(tmp_path / "killed")
    one, other = everything(whole), everything(resumed)
    assert resumed.images == 400
    assert one.keys() == other.keys()
    assert all(torch.equal(one[name], other[name]) for name in one), f"killed after {rows} steps, saved at {saved}"
