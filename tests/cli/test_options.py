"""Devices and places of results are refused before any work."""

import os
from pathlib import Path

import pytest
import torch

from facewright.cli import app, options
from facewright.errors import InputError


@pytest.mark.parametrize(
    ("device", "count", "said"),
    [
        ("tpu", 1, "unknown device 'tpu'; give cpu, cuda or cuda:N"),
        ("cuda:x", 1, "unknown device 'cuda:x'"),
        ("cuda", 0, "device cuda is not there: torch .* sees no GPU; run facewright doctor"),
        ("cuda:9", 2, "device cuda:9 is not there: .* those from cuda:0 to cuda:1"),
    ],
)
def test_a_device_that_is_not_there(device: str, count: int, said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: count)
    with pytest.raises(InputError, match=said):
        options.check_device(device)


def test_devices_that_are_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    for device in ("cpu", "cuda", "cuda:1"):
        options.check_device(device)


def test_an_output_must_be_writable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "text").write_text("")
    options.check_output(tmp_path / "text", folder=False)
    options.check_output(tmp_path / "new" / "deep", folder=True)
    for path, folder, said in (
        (tmp_path / "text", True, "text is a file; name a folder"),
        (tmp_path, False, "is a folder; name a file"),
        (tmp_path / "text" / "a.npz", False, "a.npz cannot be made, .*text is a file"),
    ):
        with pytest.raises(InputError, match=said):
            options.check_output(path, folder=folder)
    monkeypatch.setattr(os, "access", lambda *_: False)
    with pytest.raises(InputError, match=r"cannot be written, .* allows no writing"):
        options.check_output(tmp_path / "new", folder=True)


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (["demo", "--out", "FILE"], "is a file; name a folder"),
        (["train", "encoder", "a.toml", "--out", "FILE"], "is a file; name a folder"),
        (["align", "a", "FILE"], "is a file; name a folder"),
        (["embed", "a", "--out", "FOLDER"], "--out must end in .npz"),
        (["set", "check", "a", "--json", "FOLDER"], "is a folder; name a file"),
        (["evaluate", "set", "a", "--device", "tpu"], "unknown device 'tpu'"),
        (["plan", "a.toml", "--device", "tpu", "--measure"], "unknown device 'tpu'"),
        (["plan", "a.toml", "--device", "a100-9"], "unknown device 'a100-9'. Did you mean"),
    ],
)
def test_every_command_looks_at_its_options_first(
    call: list[str], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "text").write_text("")
    given = {"FILE": str(tmp_path / "text"), "FOLDER": str(tmp_path)}
    assert app.run([given.get(word, word) for word in call]) == 2
    shown = capsys.readouterr()
    assert said in shown.err
    assert shown.err.count("\n") == 1
