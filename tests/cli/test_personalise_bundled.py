"""`facewright personalise` without --base and --mapper: a small base model in the place of the bundled one."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tests.cli.sides import Sides
from tests.personalise.small_base import bundle, save_small, save_small_mapper

from facewright.cli.app import run

pytest.importorskip("diffusers", reason="needs the extra personalise")


@pytest.fixture(autouse=True)
def _finder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("facewright.align.load_detector", lambda name: Sides())


@pytest.fixture
def face(tmp_path: Path) -> str:
    path = tmp_path / "a.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (120, 120, 3), np.uint8)).save(path)
    return f"--face=alice={path}"


def test_one_photo_is_all_it_takes(
    face: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    bundle(tmp_path / "bundled", monkeypatch, drawing={"steps": 3})
    out = tmp_path / "out"
    assert run(["personalise", "a pencil drawing of alice", face, "--out", str(out)]) == 0
    assert "the base model" not in capsys.readouterr().err
    figures = json.loads((out / "pictures.json").read_text())
    assert (figures["settings"]["steps"], figures["settings"]["guidance"]) == (3, 3.0)
    with Image.open(out / "000.png") as picture:
        assert picture.size == (32, 32)
    said = ["--steps=2", "--guidance=1.5", "--out", str(tmp_path / "said")]
    assert run(["personalise", "a pencil drawing of alice", face, *said]) == 0
    settings = json.loads((tmp_path / "said/pictures.json").read_text())["settings"]
    assert (settings["steps"], settings["guidance"]) == (2, 1.5)


@pytest.mark.parametrize(
    ("more", "way", "size"),
    [
        (["--layout=columns"], "windows", (56, 32)),
        (["--layout=columns", "--regions=attention"], "attention", (32, 32)),
        (["--layout=columns", "--width=64"], "attention", (64, 32)),
        (["--box=alice=0,0,0.5,1", "--box=bob=0.5,0,1,1"], "attention", (32, 32)),
    ],
)
def test_columns_are_windows_unless_something_else_is_said(
    face: str, more: list[str], way: str, size: tuple[int, int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle(tmp_path / "bundled", monkeypatch, drawing={"steps": 1})
    out = tmp_path / "out"
    both = [face, face.replace("alice", "bob", 1)]
    assert run(["personalise", "alice and bob at night", *both, *more, "--out", str(out)]) == 0
    assert json.loads((out / "pictures.json").read_text())["settings"]["regional"] == way
    with Image.open(out / "000.png") as picture:
        assert picture.size == size


@pytest.mark.parametrize(
    ("more", "sentence"),
    [
        (["--layout=columns", "--box=alice=0,0,0.5,1", "--box=bob=0.5,0,1,1"], "--box and --layout both say where"),
        (["--regions=windows"], "--regions windows keeps columns or boxes apart; give --layout columns, or --box"),
    ],
)
def test_options_that_contradict_each_other_are_refused(
    face: str,
    more: list[str],
    sentence: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    bundle(tmp_path / "bundled", monkeypatch)
    call = ["personalise", "alice and bob", face, face.replace("alice", "bob", 1), "--out", str(tmp_path / "out")]
    assert run([*call, *more]) == 2
    assert sentence in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_two_people_by_words_alone_are_advised_of_columns(
    face: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    bundle(tmp_path / "bundled", monkeypatch, drawing={"steps": 1})
    call = ["personalise", "alice and bob", face, face.replace("alice", "bob", 1)]
    advice = "--layout columns draws them side by side"
    assert run([*call, "--out", str(tmp_path / "words")]) == 0
    assert advice in capsys.readouterr().err
    assert run([*call, "--layout=columns", "--out", str(tmp_path / "columns")]) == 0
    assert advice not in capsys.readouterr().err


def test_people_who_fit_no_windows_are_refused_before_anything_is_loaded(
    face: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    bundle(tmp_path / "bundled", monkeypatch)
    monkeypatch.setattr("facewright.align.load_detector", None)
    call = ["personalise", "alice behind bob", face, face.replace("alice", "bob", 1), "--layout=columns"]
    assert run([*call, "--out", str(tmp_path / "out")]) == 2
    assert "windows need people who are named one after another" in capsys.readouterr().err
    assert run([*call, "--regions=windows", "--width=64", "--out", str(tmp_path / "out")]) == 2
    assert "windows give the picture its size" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_an_install_without_it_says_so(
    face: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = bundle(tmp_path / "bundled", monkeypatch, filled=False)
    call = ["personalise", "alice at night", face, "--out", str(tmp_path / "out")]
    assert run(call) == 2
    said = capsys.readouterr().err.strip().splitlines()
    assert "this install has no bundled base model" in said[-1]
    save_small(folder / "base")
    assert run(call) == 2
    assert "this install has no bundled mapper" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_words_that_it_has_not_read_are_named(
    face: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    bundle(tmp_path / "bundled", monkeypatch)
    call = ["personalise", "alice, an Asian dentist on a beach", face, "--steps=1", "--negative=dogs"]
    assert run([*call, "--noun=alice=young lady", "--out", str(tmp_path / "out")]) == 0
    [line] = [line for line in capsys.readouterr().err.splitlines() if "has read no caption" in line]
    unread, known = line.split("; it knows the words ")
    assert unread.endswith("with 'lady', 'dentist', 'beach', 'dogs', so expect nothing of it")
    assert {"pencil", "yellow", "person"} <= set(known.split(", "))


def test_a_mapper_for_another_base_is_named(
    face: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = bundle(tmp_path / "bundled", monkeypatch)
    other = save_small(tmp_path / "other", seed=1)
    call = ["personalise", "alice", face, "--steps=1"]
    assert run([*call, "--base", str(other), "--out", str(tmp_path / "out")]) == 0
    warned = capsys.readouterr().err
    assert "the mapper bundled was trained for the base model" in warned
    assert f"{other} is" in warned
    silent = save_small_mapper(tmp_path / "silent.safetensors", None)
    for more in (["--mapper", str(silent)], ["--base", str(shutil.copytree(folder / "base", tmp_path / "same"))]):
        assert run([*call, *more, "--out", str(tmp_path / more[0])]) == 0
        assert "was trained for" not in capsys.readouterr().err


@pytest.mark.parametrize(
    ("drawing", "sentence"),
    [
        ({"step": 3}, "drawing is an object of steps, guidance, regional"),
        ("many", "drawing is an object of steps, guidance, regional"),
        ({"steps": 0}, "steps and batch must be at least 1, got 0"),
    ],
)
def test_a_card_that_says_something_else_is_named(
    face: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    drawing: object,
    sentence: str,
) -> None:
    bundle(tmp_path / "bundled", monkeypatch, drawing=drawing)
    assert run(["personalise", "alice", face, "--out", str(tmp_path / "out")]) == 2
    assert sentence in capsys.readouterr().err
