"""Learning curves of one run and of several."""

import json
from pathlib import Path
from typing import Any

import pytest

from facewright.cli import app
from facewright.cli.train_curves import draw_curves


def _run(folder: Path, rows: list[dict[str, Any]]) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "metrics.jsonl").write_text("".join(json.dumps({"unix_s": 1.0, **row}) + "\n" for row in rows))
    return folder


def test_the_later_row_counts_and_nothing_is_drawn_of_nothing(tmp_path: Path) -> None:
    out = tmp_path / "curves.png"
    assert draw_curves([tmp_path], out) == []
    assert not out.exists()
    rows = [{"images": 8, "loss": 3.0}, {"images": 16, "loss": 2.0}, {"images": 16, "loss": 1.0, "held_out": 0.5}]
    assert draw_curves([_run(tmp_path, rows)], out) == ["held_out", "loss"]
    first = out.read_bytes()
    del rows[1]
    draw_curves([_run(tmp_path, rows)], out)
    assert out.read_bytes() == first


def test_several_runs_share_a_picture(tmp_path: Path) -> None:
    a = _run(tmp_path / "real", [{"images": 8, "loss": 3.0, "eer": 0.2}, {"images": 16, "loss": 2.0}])
    b = _run(tmp_path / "generated", [{"images": 8, "loss": 4.0}, {"images": 16, "loss": 1.0}])
    out = tmp_path / "both.svg"
    assert app.run(["curves", str(a), str(b), "--only", "loss", "--out", str(out)]) == 0
    picture = out.read_text()
    assert ">real<" in picture
    assert ">generated<" in picture
    assert ">loss<" in picture
    assert ">eer<" not in picture
    assert app.run(["curves", str(a), str(b), "--only", "loss", "--out", str(tmp_path / "again.svg")]) == 0
    assert (tmp_path / "again.svg").read_text() == picture


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["{run}", "--out", "curves.gif"], "must end in .png or .svg, got curves.gif"),
        (["{run}/none", "--out", "curves.png"], "is no run folder"),
        (["{run}", "--only", "lose", "--out", "{run}/curves.png"], "no run has the figure lose"),
    ],
)
def test_bad_input(tmp_path: Path, arguments: list[str], words: str, capsys: pytest.CaptureFixture[str]) -> None:
    run = _run(tmp_path, [{"images": 8, "loss": 3.0}])
    assert app.run(["curves", *(argument.format(run=run) for argument in arguments)]) == 2
    assert words in capsys.readouterr().err
