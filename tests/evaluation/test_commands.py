"""`facewright set check`, with an encoder that measures colours."""

import json
from pathlib import Path

import numpy as np
import pytest
import typer
from tests.evaluation.drawn import WIDTH, call, write_named

from facewright.cli import evaluate_inputs
from facewright.errors import DataError, FaceError


def test_check_measures_what_was_kept(app: typer.Typer, faces: Path, people: Path, tmp_path: Path) -> None:
    arguments = ["--contexts", people, "--training", people, "--detector", "bright"]
    out, plots = tmp_path / "out.json", tmp_path / "plots"
    shown = call(app, "set", "check", faces, *arguments, "--json", out, "--plots", plots).output
    figures = json.loads(out.read_text())
    assert (figures["images"], figures["identities"], figures["dropped"]) == (31, 8, 1)
    assert figures["scores"]["genuine"] == 7 * 6 + 3
    assert figures["scores"]["impostor"] == 31 * 30 // 2 - 45
    assert figures["scores"]["eer"] < 0.2
    assert figures["similarity_to_context"]["median"] > 0.9
    assert figures["similarity_to_nearest_training_identity"]["median"] > 0.9
    assert (figures["detector"], figures["share_with_face"]) == ("bright", pytest.approx(30 / 31))
    assert sorted(path.name for path in plots.iterdir()) == ["det.svg", "histograms.svg", "roc.svg"]
    for word in ("31 images of 8 identities, 1 dropped", "EER", "to context", "nearest training", "by bright"):
        assert word in shown


def test_check_works_without_any_extra(app: typer.Typer, faces: Path) -> None:
    shown = call(app, "set", "check", faces).output
    assert "FMR1000" in shown
    assert "to context" not in shown
    assert "faces found" not in shown


def test_check_embeds_in_chunks_of_any_size(
    app: typer.Typer, faces: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    call(app, "set", "check", faces, "--json", tmp_path / "one.json")
    monkeypatch.setattr(evaluate_inputs, "CHUNK", 5)
    call(app, "set", "check", faces, "--json", tmp_path / "two.json")
    assert (tmp_path / "one.json").read_text() == (tmp_path / "two.json").read_text()


def test_embeddings_of_another_encoder_are_refused(app: typer.Typer, faces: Path, tmp_path: Path) -> None:
    other = write_named(tmp_path / "other.npz", np.eye(8, WIDTH, dtype=np.float32), sha256="beef" * 16)
    with pytest.raises(DataError, match=r"other\.npz: made with encoder colours beefbeefbeef, not with colours c0ffee"):
        call(app, "set", "check", faces, "--training", other)
    few = write_named(tmp_path / "few.npz", np.eye(3, WIDTH, dtype=np.float32))
    with pytest.raises(DataError, match=r"few\.npz: holds no context named 'person-3'"):
        call(app, "set", "check", faces, "--contexts", few)
    narrow = write_named(tmp_path / "narrow.npz", np.eye(8, dtype=np.float32))
    with pytest.raises(FaceError, match="expected 16"):
        call(app, "set", "check", faces, "--training", narrow)


def test_help_shows_an_example(app: typer.Typer) -> None:
    for command in [("set", "check")]:
        assert "Example: facewright " + " ".join(command) in " ".join(call(app, *command, "--help").output.split())
