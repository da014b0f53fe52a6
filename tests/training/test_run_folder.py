"""A run's files on a full disk, and a folder that is checked before anything is written into it."""

import errno
import json
import os
import resource
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.training.test_trainer import INPUTS, SCHEDULE, Task, network, state, train

from facewright.errors import ConfigError, DataError, WorkError
from facewright.training.run_folder import LAST, RunFolder
from facewright.training.trainer import Trainer

ROOM = 50_000  # bytes


@pytest.fixture
def little_room() -> Iterator[None]:
    """No file may grow beyond ROOM, whoever writes it: what a full disk does, from the first write or within a file."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (ROOM, hard))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_disk_that_fills_up_keeps_the_checkpoint_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    save, calls = torch.save, list[int]()

    def full(values: Any, stream: Any) -> None:
        calls.append(len(calls))
        if len(calls) == 2:
            stream.write(b"the first bytes")
            raise OSError(errno.ENOSPC, "No space left on device")
        save(values, stream)

    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(WorkError, match=r"last\.pt: could not be written \(No space left on device\); what was saved"):
        train(tmp_path)
    monkeypatch.undo()
    assert [path.name for path in sorted(tmp_path.iterdir())] == ["config.json", "last.pt", "metrics.jsonl"]
    kept = Trainer(network(), SCHEDULE, out=tmp_path)
    assert kept.images == 32  # of the first save
    kept.fit(Task(kept.module), samples=len(INPUTS))
    whole = state(train(tmp_path.with_name("whole")))
    assert all(torch.equal(value, whole[name]) for name, value in state(kept).items())


@pytest.mark.parametrize("numbers", [12_400, 20_000, 200_000])  # the last bytes, within a tensor, far beyond
def test_what_torch_says_of_a_full_disk_becomes_one_sentence(tmp_path: Path, numbers: int, little_room: None) -> None:
    folder = RunFolder(tmp_path)
    folder.save(LAST, {"most that fits": torch.ones(12_000)})
    before = (tmp_path / LAST).read_bytes()
    values = {"first": torch.ones(numbers // 2), "second": torch.ones(numbers // 2)}
    with pytest.raises(WorkError, match=r"last\.pt: could not be written \(File too large\); .* same command again$"):
        folder.save(LAST, values)
    assert (tmp_path / LAST).read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == [LAST]


def test_an_error_of_torch_that_is_not_the_disk_s_stays_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(values: Any, stream: Any) -> None:
        raise RuntimeError("a CUDA error")

    monkeypatch.setattr(torch, "save", broken)
    with pytest.raises(RuntimeError, match="a CUDA error"):
        RunFolder(tmp_path).save(LAST, {})
    assert not list(tmp_path.iterdir())


def test_a_row_of_metrics_is_written_whole_or_not_at_all(tmp_path: Path, little_room: None) -> None:
    folder, file = RunFolder(tmp_path), tmp_path / "metrics.jsonl"

    def fill() -> None:
        for images in range(2000):
            folder.add_metrics(images, {"loss": 0.5})

    with pytest.raises(WorkError, match=r"metrics\.jsonl: could not be written \(File too large\)"):
        fill()
    rows = [json.loads(line) for line in file.read_text().splitlines()]
    assert ROOM - 100 < file.stat().st_size <= ROOM
    assert [row["images"] for row in rows] == list(range(len(rows)))


def test_a_folder_is_checked_by_part_of_its_config_and_left_alone(tmp_path: Path) -> None:
    out = tmp_path / "run"
    folder = RunFolder(out)
    folder.check({"kind": "generator"})
    assert not out.exists()
    config = json.loads(json.dumps({"schedule": asdict(SCHEDULE), "kind": "generator", "made_with": {"encoder": "a"}}))
    folder.open(config)
    folder.check({"kind": "encoder"})  # nothing was saved yet
    folder.save(LAST, {})
    before = {path.name: path.read_bytes() for path in out.iterdir()}
    folder.check({"kind": "generator"})
    with pytest.raises(ConfigError, match=r"holds a run with another made_with; give the same config"):
        folder.check({"kind": "generator", "made_with": {"encoder": "b"}})
    with pytest.raises(ConfigError, match="holds a run with another made_with"):
        folder.open({key: config[key] for key in ("schedule", "kind")})
    (out / "config.json").write_text('{"generator": "x"}')
    with pytest.raises(ConfigError, match="something other than a training run"):
        folder.check({"kind": "generator"})
    before["config.json"] = b'{"generator": "x"}'
    assert {path.name: path.read_bytes() for path in out.iterdir()} == before


DAMAGED = (
    r"last\.pt cannot be resumed from: it is cut short, damaged or no checkpoint; delete it to start the run anew$"
)


@pytest.mark.parametrize("left", [0, 1, 500, -10, -1])
def test_a_checkpoint_that_is_cut_short_is_said_in_the_packages_own_words(tmp_path: Path, left: int) -> None:
    folder, file = RunFolder(tmp_path), tmp_path / LAST
    folder.save(LAST, {"images": 1, "weight": torch.ones(1000)})
    file.write_bytes(file.read_bytes()[:left])
    with pytest.raises(DataError, match=DAMAGED):
        folder.load(LAST, torch.device("cpu"))


def test_no_changed_byte_of_a_checkpoint_goes_unnoticed_or_unnamed(tmp_path: Path) -> None:
    folder, file = RunFolder(tmp_path), tmp_path / LAST
    weight = torch.arange(64.0)
    folder.save(LAST, {"images": 1, "weight": weight})
    whole = file.read_bytes()
    said = []
    for place in range(0, len(whole), 11):
        changed = bytearray(whole)
        changed[place] ^= 0x5A
        file.write_bytes(changed)
        try:
            assert torch.equal(folder.load(LAST, torch.device("cpu"))["weight"], weight), place
        except DataError as error:
            said.append(str(error))
    assert len(said) > 20
    assert all("cut short, damaged" in each for each in said)


class Calls:
    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, ("never made",)


def test_code_in_a_checkpoint_is_named_and_not_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save({"images": 1, "x": Calls()}, tmp_path / LAST)
    with pytest.raises(DataError, match=rf"it holds {os.mkdir.__module__}\.mkdir, which is code: refused, nothing was"):
        RunFolder(tmp_path).load(LAST, torch.device("cpu"))
    torch.save({"images": 1, "x": Calls()}, tmp_path / LAST, pickle_protocol=4)
    with pytest.raises(DataError, match="something other than tensors and plain values: refused, nothing was run"):
        RunFolder(tmp_path).load(LAST, torch.device("cpu"))
    assert not (tmp_path / "never made").exists()


def test_a_checkpoint_of_another_network_names_where_it_differs(tmp_path: Path) -> None:
    train(tmp_path)
    with pytest.raises(DataError, match="saved by another network, optimiser or version, first in 'weight'; delete it"):
        Trainer(torch.nn.Linear(4, 1), SCHEDULE, out=tmp_path)
