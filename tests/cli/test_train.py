"""The train command: the config reaches the run, a wrong one writes nothing."""

from pathlib import Path

import pytest

from facewright.cli import app, train_runs
from facewright.cli.console import Progress
from facewright.cli.train import KINDS


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "encoder.toml"
    path.write_text('pack = "faces"\nteacher = "t.onnx"\n[recipe.schedule]\nimages = 100\n')
    return path


def test_every_kind_has_a_run() -> None:
    assert KINDS.keys() == train_runs.RUNS.keys()


def test_file_and_settings_reach_the_run(
    config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    seen = []

    def run(resolved: train_runs.EncoderRun, out: Path, device: str, progress: Progress) -> list[str]:
        progress(7, 7)
        seen.append((resolved, out, device))
        return ["done"]

    monkeypatch.setitem(train_runs.RUNS, "encoder", (train_runs.EncoderRun, run))
    call = ["train", "encoder", str(config), "recipe.schedule.images=7", "recipe.shift=2", "--out", str(tmp_path / "a")]
    assert app.run(call) == 0
    [(resolved, out, device)] = seen
    assert resolved.pack == tmp_path / "faces"
    assert resolved.recipe.schedule.images == 7
    assert resolved.recipe.shift == 2
    assert (out, device) == (tmp_path / "a", "cpu")
    assert capsys.readouterr().out == f"done\nthe run is in {tmp_path / 'a'}\n"


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ("recipe.shfit=2", "unknown key recipe.shfit. Did you mean recipe.shift?"),
        ("recipe.schedule.batch=0", "images and batch must be at least 1"),
    ],
)
def test_a_wrong_config_writes_nothing(
    setting: str, said: str, config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert app.run(["train", "encoder", str(config), setting, "--out", str(tmp_path / "run")]) == 2
    shown = capsys.readouterr().err
    assert said in shown
    assert str(config) in shown
    assert not (tmp_path / "run").exists()


def test_a_missing_pack_is_named(config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert app.run(["train", "encoder", str(config), "--out", str(tmp_path / "run")]) == 2
    assert f"{tmp_path / 'faces'} is not a face pack" in capsys.readouterr().err
