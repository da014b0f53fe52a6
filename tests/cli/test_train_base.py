"""`train prompts` and `train base`: what they write is a classifier and a base model that load and draw."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from tests.personalise.tiny_world import write_tiny

from facewright.cli import app
from facewright.errors import InputError
from facewright.personalise import PictureConfig, draw_pictures, load_base, read_base
from facewright.personalise.base_folder import CARD
from facewright.personalise.prompt_classifier import load_prompt_classifier
from facewright.weights import read_card

pytest.importorskip("diffusers", reason="needs the extra personalise")

TOP = 'pack = "faces"\ntables = "."\nname = "toy"\ndata = "drawn faces"\nlicence = "Apache-2.0"\n'
KNOWN = '[[manifest]]\nfile = "people.csv"\nsource = 1\nage = "age"\ngender = "gender"\ngroup = "race"\n'
WORLD = "[world]\nsize = 32\npeople = [0.6, 0.4]\nsides = [[0.75, 0.9], [0.5, 0.6]]\n"
SCHEDULE = "images = 16\nbatch = 8\nlog_every = 8\nsave_every = 8\n"
PROMPTS = f"{TOP}{KNOWN}{WORLD}[recipe]\nheld_out = 16\n[recipe.network]\nstem = 8\nwidths = [8]\n"
BASE = (
    f'{TOP.replace("toy", "toy base")}prompts = "p/prompts.safetensors"\nsure = 0.3\nscenes = 12\nheld_out = 4\n'
    f"{KNOWN}{WORLD}[checks]\nsteps = 1\n"
    f"[autoencoder.sizes]\nwidths = [8, 8, 16]\nchannels = 4\ngroups = 4\n[autoencoder.schedule]\n{SCHEDULE}"
    "[recipe.text]\nlength = 24\nwidth = 32\nlayers = 1\nhead_width = 16\n"
    "[recipe.denoiser]\nwidths = [16, 32]\nattention = [true, false]\nhead_width = 16\ngroups = 8\n"
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Faces, a classifier and a base model trained on them."""
    folder = write_tiny(tmp_path_factory.mktemp("base"))
    (folder / "prompts.toml").write_text(f"{PROMPTS}[recipe.schedule]\n{SCHEDULE}")
    (folder / "base.toml").write_text(f"{BASE}[recipe.schedule]\n{SCHEDULE}")
    assert app.run(["train", "prompts", str(folder / "prompts.toml"), "--out", str(folder / "p")]) == 0
    assert app.run(["train", "base", str(folder / "base.toml"), "--out", str(folder / "b")]) == 0
    return folder


def test_the_classifier_s_card_says_how_often_it_is_right(folder: Path) -> None:
    card = read_card(folder / "p" / "prompts.safetensors")
    assert card.data == "drawn faces"
    measured = {f"accuracy_{name}_of_held_out_people" for name in ("style_picture", "style_crop", "gender_crop")}
    assert measured <= card.measured.keys()
    assert all(0 <= float(value) <= 1 for value in card.measured.values())
    network = load_prompt_classifier(folder / "p" / "prompts.safetensors")
    assert network.judge(np.zeros((1, 32, 32, 3), np.uint8))["style"].shape == (1, 10)


@pytest.mark.filterwarnings(
    "ignore:__array__ implementation doesn't accept a copy keyword:DeprecationWarning"
)  # diffusers
def test_the_base_model_loads_and_draws(folder: Path) -> None:
    base = folder / "b" / "base"
    facts = read_base(base)
    assert (facts.pipeline, facts.word_width) == ("StableDiffusionPipeline", 32)
    pipe = load_base(base)
    drawn = draw_pictures(pipe, "a sepia photo of a boy and an old man", (), PictureConfig(steps=2, guidance=3.0))
    assert drawn.images.shape == (1, 32, 32, 3)
    assert not drawn.cut
    other = draw_pictures(pipe, "a photo of a girl at night", (), PictureConfig(steps=2, guidance=3.0), numbers=[1])
    assert not np.array_equal(drawn.images, other.images)
    assert pipe.scheduler.config.prediction_type == "v_prediction"
    card = json.loads((base / CARD).read_text())
    assert (card["name"], card["kind"], card["stored"]) == ("toy base", "base", "float16")
    assert len(card["sha256"]) == 64
    assert "# toy base" in (base / "README.md").read_text()
    assert sorted(path.name for path in base.parent.iterdir() if path.name.startswith(".")) == []


def test_the_run_says_how_it_went(folder: Path) -> None:
    rows = [json.loads(line) for line in (folder / "b" / "metrics.jsonl").read_text().splitlines()]
    measured = [row for row in rows if "held_out" in row]
    assert len(measured) == 2
    assert {"prompt_style", "prompt_gender", "prompt_age"} <= measured[0].keys()
    with Image.open(folder / "b" / "previews" / "000000016.png") as preview:
        assert preview.size == (8 * 34 - 2, 3 * 34 - 2)
    assert (folder / "b" / "autoencoder" / "metrics.jsonl").is_file()
    assert (folder / "b" / "curves.png").is_file()
    settings = json.loads((folder / "b" / "config.json").read_text())
    assert settings["made_with"].keys() == {"autoencoder", "prompts", "world"}


def test_a_finished_run_is_not_trained_again(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = (folder / "b" / "last.pt").stat().st_mtime_ns
    call = ["train", "base", str(folder / "base.toml"), "--out", str(folder / "b")]
    assert app.run(call) == 0
    assert (folder / "b" / "last.pt").stat().st_mtime_ns == before
    assert app.run([*call, "recipe.target=noise"]) == 2
    assert "holds a run with another recipe" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ("recipe.text.width=2048", "at most 30,000,000; make it smaller"),
        ("world.size=36", "size must be a multiple of 8"),
        ("prompts=no.safetensors", "no.safetensors: no such weights file"),
        ("tables=elsewhere", "people.csv does not exist"),
        ("scenes=0", "scenes must be at least 1"),
        ("recipe.denoiser.widths=[16]", "widths must be two or more"),
        ("recipe.targt=noise", "unknown key recipe.targt. Did you mean recipe.target?"),
    ],
)
def test_bad_settings_are_one_sentence(
    folder: Path, tmp_path: Path, setting: str, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert app.run(["train", "base", str(folder / "base.toml"), "--out", str(tmp_path / "b"), setting]) == 2
    shown = capsys.readouterr().err
    assert said in shown
    assert len(shown.strip().splitlines()) == 1
    assert not (tmp_path / "b").exists()


def test_without_the_libraries_one_sentence_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    from facewright.personalise import base_networks

    def missing(name: str) -> Any:
        raise ImportError(name)

    monkeypatch.setattr(base_networks, "import_module", missing)
    with pytest.raises(InputError, match=r"need the package diffusers; install facewright\[personalise\]"):
        base_networks.imported("diffusers")
