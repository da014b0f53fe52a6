"""The export command: another format, the figures, and what is refused."""

import json
import re
from pathlib import Path

import pytest
from tests.data.formats.toy_sets import Listed, content, drawn_jpeg, write

from facewright.cli import app
from facewright.data.formats import Record


@pytest.fixture
def faces(tmp_path: Path) -> Path:
    """Six pictures of three people with labels 0, 1 and 4, in a list."""
    records = Listed([Record(drawn_jpeg(n), (0, 1, 4)[n % 3], f"{n}.jpg") for n in range(6)])
    return write(records, tmp_path / "faces", "list")


def test_a_set_is_written_in_another_format(faces: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out, figures = tmp_path / "rec", tmp_path / "figures.json"
    call = ["set", "export", str(faces), "--to", "recordio", "--out", str(out), "--labels", "renumber"]
    assert app.run([*call, "--grouped", "--json", str(figures)]) == 0
    said = capsys.readouterr().out
    assert said == f"{out}: 6 pictures with 3 labels as recordio, from list; 0 damaged left out\n"
    assert content(out) == [(n // 2, drawn_jpeg((0, 3, 1, 4, 2, 5)[n])) for n in range(6)]
    written = json.loads(figures.read_text())
    assert (written["written"], written["labels"], written["skipped"]) == (6, 3, 0)
    assert app.run(call) == 2
    assert "already there; nothing is overwritten" in capsys.readouterr().err


def test_gaps_and_damage_are_refused_unless_asked(
    faces: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    call = ["set", "export", str(faces), "--to", "parquet", "--out", str(tmp_path / "out")]
    assert app.run(call) == 2
    assert "has label 4, but no record has label 2: 3 of 5 labels occur" in capsys.readouterr().err
    assert app.run([*call, "--labels", "drop"]) == 2
    assert "--labels is 'drop', expected refuse, keep, renumber" in capsys.readouterr().err
    picture = faces / "images" / "000001" / "000.jpg"
    picture.write_bytes(picture.read_bytes()[:-100])
    assert app.run([*call, "--labels", "keep", "--decode"]) == 2
    assert re.search(
        r"000001/000.jpg \(line 2 of .*; replace it, or skip damaged records \(--damaged skip, recipe\.damaged=skip\)$",
        capsys.readouterr().err,
    )
    assert not (tmp_path / "out").exists()
    assert app.run([*call, "--labels", "keep", "--decode", "--damaged", "skip"]) == 0
    said = capsys.readouterr()
    assert re.search(r"^skipped: .*000001/000.jpg .*; replace it$", said.err, re.MULTILINE)  # it was skipped already
    assert "5 pictures with 3 labels as parquet, from list; 1 damaged left out" in said.out


def test_pairs_are_told_from_people(faces: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pairs, figures = tmp_path / "faces.bin", tmp_path / "figures.json"
    records = Listed([Record(drawn_jpeg(n), int(n < 2), str(n)) for n in range(4)])
    write(records, pairs, "bin")
    call = ["set", "export", str(pairs), "--out", str(tmp_path / "out"), "--to"]
    assert app.run([*call, "folder"]) == 2
    assert "would make two people of them" in capsys.readouterr().err
    assert app.run([*call, "parquet", "--json", str(figures)]) == 0
    said = capsys.readouterr()
    assert "4 pictures in 2 pairs as parquet, from bin" in said.out
    assert "they name no people" in said.err
    assert json.loads(figures.read_text())["pairs"] == 2
    assert (
        app.run(["set", "export", str(faces), "--to", "bin", "--labels", "keep", "--out", str(tmp_path / "x.bin")]) == 2
    )
    assert f"facewright: {faces / 'img_list.txt'}: holds labelled people" in capsys.readouterr().err
