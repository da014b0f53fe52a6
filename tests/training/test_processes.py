"""Two real processes over gloo: the weights of one process, whichever number began or ended the run."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import warnings
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from tests.training import toy_run

from facewright.errors import ConfigError
from facewright.training.processes import Processes, current, joined
from facewright.training.trainer import Trainer

SCRIPT = Path(toy_run.__file__)


def torchrun(out: Path, *, count: int, stop_at: int, tries: int = 3) -> list[int]:
    """What torchrun does: start `count` processes that know each other by their environment; gives their exit codes.

    Seen once, in CI, and not again in several hundred tries: one process is aborted (SIGABRT, no Python traceback) as
    the other leaves. The cause was not found. Such a try is told and made again from the same folder.
    """
    before = out.with_name(f"{out.name}-before")
    for left in reversed(range(tries)):
        shutil.rmtree(before, ignore_errors=True)
        shutil.copytree(out, before)
        codes, told = started(out, count=count, stop_at=stop_at)
        assert "Traceback" not in told, told
        if -signal.SIGABRT not in codes:
            break
        assert left, f"aborted {tries} times: {told}"
        warnings.warn(UserWarning(f"processes left with {codes} and were started again: {told}"), stacklevel=1)
        shutil.rmtree(out)
        before.rename(out)
    return codes


def started(out: Path, *, count: int, stop_at: int) -> tuple[list[int], str]:
    """One try: exit codes, and what the processes said on stderr."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    place = {"WORLD_SIZE": str(count), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    running = [
        subprocess.Popen(
            [sys.executable, str(SCRIPT), str(out), "0", str(stop_at)],
            cwd=SCRIPT.parents[2],
            stderr=subprocess.PIPE,
            env={**os.environ, **place, "RANK": str(rank), "LOCAL_RANK": str(rank)},
        )
        for rank in range(count)
    ]
    told = [process.communicate(timeout=120)[1].decode(errors="replace") for process in running]
    return [process.returncode for process in running], "\n".join(told)


def saved(folder: Path) -> dict[str, torch.Tensor]:
    """Everything in last.pt, under flat names."""
    state = torch.load(folder / "last.pt", weights_only=True)
    optimiser = state["optimiser"]["state"]
    return {
        "images": torch.tensor(state["images"]),
        **{f"module {name}": value for name, value in state["module"].items()},
        **{f"average {name}": torch.as_tensor(value) for name, value in state["ema"].items()},
        **{f"optimiser {n} {key}": value for n, values in optimiser.items() for key, value in values.items()},
    }


@pytest.mark.filterwarnings("default:processes left with")
def test_a_run_on_one_then_two_then_one_process_is_the_run_on_one(tmp_path: Path) -> None:
    toy_run.train(tmp_path / "one")
    run = tmp_path / "several"
    with pytest.raises(KeyboardInterrupt):
        toy_run.train(run, stop_at=104)
    assert int(saved(run)["images"]) == 104
    assert torchrun(run, count=2, stop_at=200) == [130, 130], "both stop when one is interrupted"
    between = saved(run)
    assert int(between["images"]) == 200
    assert between["module table.weight"].shape == (toy_run.CLASSES, 3), "the rows of both processes"
    toy_run.train(run)
    whole, several = saved(tmp_path / "one"), saved(run)
    assert whole.keys() == several.keys()
    own = ("running_mean", "running_var", "num_batches_tracked")  # two updates a step, or one of the mean of two
    for name in [name for name in whole if not name.endswith(own)]:
        assert whole[name].shape == several[name].shape, name
        assert torch.allclose(whole[name].float(), several[name].float(), atol=1e-4, rtol=1e-4), name
    assert len((run / "metrics.jsonl").read_text().splitlines()) == 50, "only the first process writes"


def test_alone_there_is_nothing_to_exchange(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    with joined("cuda:3") as device:
        assert device == "cuda:3"
        assert current() == Processes(0, 1)
    gradient = torch.nn.Parameter(torch.ones(2))
    Processes().average_gradients([gradient])
    assert gradient.grad is None
    flags = (True, False)
    assert Processes().any(*flags, device=torch.device("cpu")) == flags
    assert Processes().gathered("x") == ["x"]


def test_several_processes_cannot_share_one_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(ConfigError, match="2 processes cannot share cuda:0; give the device as cuda"), joined("cuda:0"):
        pass


def test_the_processes_must_divide_the_parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("facewright.training.trainer.current", lambda: Processes(1, 3))
    with pytest.raises(ConfigError, match=r"3 processes cannot share a batch of 2 parts; .* a multiple of 3"):
        Trainer(torch.nn.Linear(2, 1), toy_run.SCHEDULE, out=tmp_path)
    schedule = replace(toy_run.SCHEDULE, parts=1, batch=9)
    monkeypatch.setattr("facewright.training.trainer.current", lambda: Processes(1, 1))
    assert not Trainer(torch.nn.Linear(2, 1), schedule, out=tmp_path).finished
    monkeypatch.setattr("facewright.training.trainer.current", lambda: Processes(1, 3))
    with pytest.raises(ConfigError, match="400 is no multiple of the batch of 9"):
        Trainer(torch.nn.Linear(2, 1), replace(schedule, parts=3), out=tmp_path)
