"""The doctor says what is here, what is missing, and the cure."""

import json
from pathlib import Path

import pytest
import torch
from tests.personalise.small_base import bundle

from facewright.cli import doctor
from facewright.weights import Card


@pytest.fixture
def cards(monkeypatch: pytest.MonkeyPatch) -> dict[str, Card]:
    card = Card(
        name="tiny",
        kind="encoder",
        architecture={"width": 512},
        data="drawn faces",
        licence="research only",
        recipe="none",
        measured={"lfw_accuracy": 0.971},
        sha256="ab" * 32,
    )
    monkeypatch.setattr("facewright.weights.bundled_cards", lambda: {"encoder": card})
    monkeypatch.setattr("facewright.personalise.base.bundled_base", lambda: Path("nowhere"))
    return {"encoder": card}


def test_findings_are_json_and_true(cards: dict[str, Card]) -> None:
    found = json.loads(json.dumps(doctor.examine()))
    assert found["packages"]["torch"] == torch.__version__
    assert found["models"]["encoder"]["sha256"] == "ab" * 32
    assert found["missing_models"] == ["generator"]
    assert found["device"] == "cpu"
    assert found["precision"]["train"] in ("bf16", "fp32")
    assert len(found["devices"]) == torch.cuda.device_count()
    assert set(found["extras"]) == {"dlib", "face-alignment", "insightface", "mediapipe", "personalise"}


def test_lines_name_models_and_cures(cards: dict[str, Card]) -> None:
    found = doctor.examine()
    found["extras"] = {"insightface": False, "dlib": True}
    text = "\n".join(doctor.describe(found))
    for said in ("research only", "lfw_accuracy: 0.971", "generator: missing", "pip install 'facewright[insightface]'"):
        assert said in text
    assert all(f"  {kind}: not bundled; " in text for kind in ("base", "mapper"))
    assert "facewright[dlib]" not in text


def test_bundled_base_and_mapper_are_listed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("diffusers", reason="needs the extra personalise")
    folder = bundle(tmp_path / "bundled", monkeypatch)
    found = json.loads(json.dumps(doctor.examine()))
    sha256 = json.loads((folder / "base" / "facewright_card.json").read_text())["sha256"]
    assert found["models"]["base"]["sha256"] == sha256
    assert {"base", "mapper", "encoder", "generator"} <= found["models"].keys()
    assert (found["missing_models"], found["not_bundled"]) == ([], [])
    text = "\n".join(doctor.describe(found))
    assert f"  base: small base, sha256 {sha256[:12]}" in text
    assert "not bundled" not in text


def test_command_prints_and_writes(cards: dict[str, Card], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    doctor.doctor(json_file=tmp_path / "d.json")
    assert "Bundled models" in capsys.readouterr().out
    assert json.loads((tmp_path / "d.json").read_text())["facewright"]
