"""Training a recogniser on two processes, started as torchrun starts them: one run folder, written by the first."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
from tests.training.toys import toy_face, write_toy_pack

from facewright import encoders
from facewright.cli import app

CONFIG = """name = "toy"
[recipe]
data = "faces"
[recipe.head]
margin = 0.2
scale = 16.0
sharded = true
margin_warmup_images = 4
[recipe.schedule]
images = 8
batch = 4
parts = 2
precision = "fp32"
learning_rate = 1e-3
log_every = 4
save_every = 8
"""


def torchrun(count: int, *arguments: str) -> list[subprocess.CompletedProcess[str]]:
    """Start `count` processes of the command line that know each other by their environment, as torchrun does."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    place = {"WORLD_SIZE": str(count), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "OMP_NUM_THREADS": "1"}
    call = [sys.executable, "-m", "facewright.cli.app", *arguments]
    running = [
        subprocess.Popen(
            call,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={**os.environ, **place, "RANK": str(rank), "LOCAL_RANK": str(rank)},
        )
        for rank in range(count)
    ]
    ended = [process.communicate(timeout=280) for process in running]
    return [
        subprocess.CompletedProcess(call, process.returncode, out, error)
        for process, (out, error) in zip(running, ended, strict=True)
    ]


def test_two_processes_train_as_one_does(tmp_path: Path) -> None:
    write_toy_pack(tmp_path / "faces", people=4, poses=2, unknown=0)
    config = tmp_path / "r.toml"
    config.write_text(CONFIG)
    one, two = tmp_path / "one", tmp_path / "two"
    assert app.run(["train", "recogniser", str(config), "--out", str(one)]) == 0
    first, second = torchrun(2, "train", "recogniser", str(config), "--out", str(two))
    assert (first.returncode, second.returncode) == (0, 0), first.stderr + second.stderr
    assert f"weights in {two / 'recogniser.safetensors'}" in first.stdout
    assert (second.stdout, second.stderr) == ("", ""), "only the first process speaks"
    assert {file.name for file in two.iterdir()} == {file.name for file in one.iterdir()}
    rows = [json.loads(line) for line in (two / "metrics.jsonl").read_text().splitlines()]
    assert [row["images"] for row in rows] == [4, 8]
    crops = np.stack([toy_face(person, 0, size=112) for person in range(6)])
    by_one, by_two = (
        encoders.load(run / "recogniser.safetensors", precision="fp32").embed(crops) for run in (one, two)
    )
    assert (by_one * by_two).sum(1).min() > 0.999
    assert json.loads((one / "config.json").read_text()) == json.loads((two / "config.json").read_text())
