"""`facewright personalise` on a small base model made here, with a face finder that needs no face."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from tests.cli.sides import Sides
from tests.personalise.tiny_base import TEXT_WIDTH, save_tiny

from facewright.align import read_photo
from facewright.cli.app import run
from facewright.personalise import Mapper, Mapping, MappingConfig, save_mapper
from facewright.weights import read_card
from facewright.weights.store import bundled_cards

pytest.importorskip("diffusers", reason="needs the extra personalise")

PROMPT = "alice and bob ride a tandem"


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny(tmp_path_factory.mktemp("base") / "tiny")


@pytest.fixture(scope="module")
def mapper(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("mapper") / "small.safetensors"
    network = Mapping(MappingConfig(identity_width=512, width=32, word_width=TEXT_WIDTH)).eval()
    facts = {"name": "small", "data": "none", "licence": "Apache-2.0", "recipe": "untrained"}
    save_mapper(path, Mapper(network), encoder_sha256=bundled_cards()["encoder"].sha256, **facts)
    return path


@pytest.fixture(autouse=True)
def _finder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("facewright.align.load_detector", lambda name: Sides())


@pytest.fixture
def photos(tmp_path: Path) -> dict[str, Path]:
    chance = np.random.default_rng(0)
    made = {}
    for name, width in (("a", 120), ("a2", 120), ("b", 120), ("pair", 240)):
        made[name] = tmp_path / f"{name}.png"
        Image.fromarray(chance.integers(0, 256, (120, width, 3), np.uint8)).save(made[name])
    return made


def arguments(base: Path, mapper: Path, photos: dict[str, Path], out: Path) -> list[str]:
    faces = [f"--face=alice={photos['a']}", f"--face=alice={photos['a2']}", f"--face=bob={photos['pair']}#2"]
    return ["personalise", PROMPT, *faces, "--base", str(base), "--mapper", str(mapper), "--out", str(out), "--steps=2"]


def test_two_people_are_drawn_and_scored(
    base: Path, mapper: Path, photos: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    call = arguments(base, mapper, photos, tmp_path / "out")
    more = ["--count=2", "--best-of=2", "--layout=columns", "--alpha=0.5", "--width=64", "--noun=bob=man"]
    assert run([*call, *more, "--json", str(tmp_path / "figures.json")]) == 0
    figures = json.loads((tmp_path / "out/pictures.json").read_text())
    assert figures == json.loads((tmp_path / "figures.json").read_text())
    assert [row["file"] for row in figures["pictures"]] == ["000.png", "001.png"]
    for row in figures["pictures"]:
        assert row["faces"] == 2
        assert set(row["cosines"]) == {"alice", "bob"}
        assert row["weakest"] == max(0, min(row["cosines"].values()))
        with Image.open(tmp_path / "out" / row["file"]) as picture:
            assert picture.size == (64, 32)
    assert figures["settings"]["alpha"] == 0.5
    assert figures["settings"]["safety_checker"] is False
    assert figures["text"] == "person and man ride a tandem"
    assert figures["left_to_right"] == ["alice", "bob"]
    assert [photo["face"] for photo in figures["people"]["bob"]["photos"]] == [2]
    assert "2 pictures, each the best of 2; faces for 4 of 4 people" in capsys.readouterr().out


def test_the_same_command_gives_the_same_pictures(
    base: Path, mapper: Path, photos: dict[str, Path], tmp_path: Path
) -> None:
    boxes = ["--box=alice=0,0,0.5,1", "--box=bob=0.5,0,1,1"]
    for name, more in (("one", []), ("two", []), ("three", boxes), ("four", ["--layout=columns"])):
        assert run([*arguments(base, mapper, photos, tmp_path / name), *more]) == 0
    one, two, three, four = (read_photo(tmp_path / name / "000.png") for name in ("one", "two", "three", "four"))
    assert np.array_equal(one, two)
    assert not np.array_equal(one, three)
    assert np.array_equal(three, four)


def test_left_out_words_are_said(
    base: Path, mapper: Path, photos: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    call = ["personalise", f"{'a ' * 73}night beach alice", "--face", f"alice={photos['a']}", "--base", str(base)]
    assert run([*call, "--mapper", str(mapper), "--steps=1", "--out", str(tmp_path / "out")]) == 0
    assert "the prompt is too long, left out: night beach" in capsys.readouterr().err
    assert json.loads((tmp_path / "out/pictures.json").read_text())["left_out"] == ["night", "beach"]


@pytest.mark.parametrize(
    ("more", "sentence"),
    [
        (["--face=carol=c.png"], "does not name 'carol'"),
        (["--face=alice"], "'alice' is not of the form --face NAME=PHOTO"),
        (["--face=alice=nowhere.png"], "nowhere.png: no such photo"),
        (["--noun=carol=cat"], "--noun names 'carol', who has no --face"),
        (["--box=alice=0,0,1,1"], "--box is needed for everybody or nobody"),
        (["--box=alice=0,0,1", "--box=bob=0,0,1,1"], "expected left,top,right,bottom"),
        (["--layout=rows"], "--layout must be columns or none"),
        (["--alpha=2"], "from 0 to 1; got 2"),
        (["--count=0"], "must be at least 1, got 0 and 1"),
        (["--base=nowhere"], "nowhere is no base model"),
        (["--mapper=nowhere.safetensors"], "nowhere.safetensors: no such weights file"),
        (["--scheduler=EulerScheduler"], "unknown scheduler 'EulerScheduler'"),
        (["--safety-checker"], "has no safety_checker"),
    ],
)
def test_a_wrong_call_is_one_sentence_and_writes_nothing(
    base: Path,
    mapper: Path,
    photos: dict[str, Path],
    tmp_path: Path,
    more: list[str],
    sentence: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert run([*arguments(base, mapper, photos, tmp_path / "out"), *more]) == 2
    said = capsys.readouterr().err.strip().splitlines()
    assert sentence in said[-1]
    assert not (tmp_path / "out").exists()


def test_photos_of_several_people_and_old_pictures_are_refused(
    base: Path, mapper: Path, photos: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    call = ["personalise", "alice on the beach", "--base", str(base), "--mapper", str(mapper)]
    assert run([*call, "--out", str(tmp_path / "out"), "--face", f"alice={photos['pair']}"]) == 2
    assert "shows 2 faces; choose one" in capsys.readouterr().err
    assert run([*call, "--out", str(tmp_path), "--face", f"alice={photos['a']}"]) == 2
    assert "is not an empty folder" in capsys.readouterr().err


def test_a_mapper_that_does_not_fit_is_refused(
    base: Path, mapper: Path, photos: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    facts = {"name": "other", "data": "none", "licence": "Apache-2.0", "recipe": "untrained"}
    sha256 = read_card(mapper).encoder_sha256
    for config, encoder, sentence in (
        (MappingConfig(512, width=16, word_width=16), sha256, "words 16 wide, the text encoders of"),
        (MappingConfig(512, width=16, word_width=TEXT_WIDTH), "cd" * 32, "is for the encoder cdcdcdcdcdcd"),
        (MappingConfig(64, width=16, word_width=TEXT_WIDTH), sha256, "takes embeddings 64 wide"),
    ):
        path = tmp_path / "other.safetensors"
        save_mapper(path, Mapper(Mapping(config)), encoder_sha256=str(encoder), **facts)
        assert run(arguments(base, path, photos, tmp_path / "out")) == 2
        assert sentence in capsys.readouterr().err
