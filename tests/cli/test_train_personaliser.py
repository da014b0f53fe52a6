"""From photos to a personaliser and its pictures, by the commands, on small drawn people and a small base model."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tests.align.drawn import draw_face
from tests.cli.test_train import toy_encoder
from tests.personalise.drawn_subjects import write_drawn
from tests.personalise.small_base import bundle, save_small
from tests.personalise.tiny_base import TEXT_WIDTH, save_tiny

from facewright.cli.app import run
from facewright.cli.configs import read_config
from facewright.cli.train_runs_personalise import PersonaliserRun
from facewright.personalise import load_base, load_mapper, read_base, read_mapper_card
from facewright.personalise.base_folder import pipeline_sha256
from facewright.personalise.prompt_classifier import PromptClassifier, PromptClassifierConfig, save_prompt_classifier
from facewright.weights import read_card

pytest.importorskip("diffusers", reason="needs the extra personalise")

RECIPE = (
    "[recipe]\nwidth = 16\nexpression_width = 4\nsize = 16\n[recipe.schedule]\nimages = 8\nbatch = 4\n"
    "log_every = 4\nsave_every = 8\nprecision = 'fp32'\nlearning_rate = 0.01\n"
)
CHECKS = (
    "[checks]\npeople = 1\nprompts = ['{person} on the beach', 'a sepia photo of {person}']\nsteps = 2\n"
    "encoder = 'e.safetensors'\nclassifier = 'c.safetensors'\n"
)
CARD = 'name = "toy"\ndata = "drawn faces"\nlicence = "Apache-2.0"\n'


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny(tmp_path_factory.mktemp("base") / "tiny")


def config(folder: Path, base: Path, *, more: str = "", recipe: str = RECIPE) -> Path:
    path = folder / "p.toml"
    path.write_text(f'subjects = "subjects"\nbase = "{base}"\nencoder = "e.safetensors"\n{CARD}{more}{recipe}')
    return path


def test_a_run_makes_a_mapper_that_draws(base: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_drawn(tmp_path / "subjects")
    encoder = toy_encoder(tmp_path / "e.safetensors")
    facts = {"name": "toy judge", "data": "none", "licence": "Apache-2.0", "recipe": "untrained"}
    classifier = PromptClassifier(PromptClassifierConfig(stem=4, widths=(4,)))
    save_prompt_classifier(tmp_path / "c.safetensors", classifier, **facts)
    out = tmp_path / "run"
    call = ["train", "personaliser", str(config(tmp_path, base, recipe=RECIPE + CHECKS)), "--out", str(out)]
    assert run(call) == 0
    assert f"weights in {out / 'mapper.safetensors'}" in capsys.readouterr().out
    card, fits = read_card(out / "mapper.safetensors"), read_mapper_card(out / "mapper.safetensors")
    assert (card.name, card.data, card.licence) == ("toy", "drawn faces", "Apache-2.0")
    assert card.recipe.startswith("words of toy 0 (sha256 ")
    assert "for the base model tiny, 3 people on 8 photos; schedule.images 8" in card.recipe
    assert str(tmp_path) not in card.recipe
    assert (fits.mode, fits.config.word_width, fits.encoder_sha256) == (
        "replace",
        TEXT_WIDTH,
        read_card(encoder).sha256,
    )
    found = {name for line in (out / "metrics.jsonl").read_text().splitlines() for name in json.loads(line)}
    assert {"denoising", "held_out", "held_out_around", "identity_toy_0", "without_face", "prompt_toy_judge"} <= found
    assert [path.name for path in (out / "previews").iterdir()] == ["000000008.png"]
    assert (out / "curves.png").is_file()

    before = load_mapper(out / "mapper.safetensors").sha256
    assert run(call) == 0, "a run that has ended ends again"
    assert load_mapper(out / "mapper.safetensors").sha256 == before
    Image.fromarray(draw_face()).save(tmp_path / "a.png")
    drawn = ["personalise", "anna on the beach", f"--face=anna={tmp_path / 'a.png'}", f"--encoder={encoder}"]
    drawn += [f"--base={base}", f"--mapper={out / 'mapper.safetensors'}", "--steps=2", f"--scorer={encoder}"]
    assert run([*drawn, "--out", str(tmp_path / "pictures")]) == 0
    with Image.open(tmp_path / "pictures" / "000.png") as picture:
        assert picture.size == (32, 32)


def test_a_trained_denoiser_is_written_as_a_base_model(base: Path, tmp_path: Path) -> None:
    write_drawn(tmp_path / "subjects", people=2, photos=1, pairs=0, held_out=0)
    toy_encoder(tmp_path / "e.safetensors")
    settings = ["recipe.trained=attention", "recipe.mode=fuse", "recipe.held_out=0", "recipe.localisation=0.001"]
    out = tmp_path / "run"
    assert run(["train", "personaliser", str(config(tmp_path, base)), *settings, "--out", str(out)]) == 0
    fits, facts = read_mapper_card(out / "mapper.safetensors"), read_base(out / "base")
    assert (fits.mode, facts.word_width) == ("fuse", TEXT_WIDTH)
    assert facts.card is not None
    assert (fits.base_sha256, pipeline_sha256(load_base(out / "base", precision="float16"))) == (facts.sha256,) * 2
    assert (facts.card.name, facts.is_small, facts.drawing) == ("toy-base", False, {})
    assert facts.card.data == "drawn faces; before that, what the base model tiny was trained on"
    assert facts.card.recipe.startswith("the cross-attention trained with words of toy 0")
    files = [folder / "unet" / "diffusion_pytorch_model.safetensors" for folder in (base, out / "base")]
    assert files[0].read_bytes() != files[1].read_bytes()
    assert sorted(path.name for path in out.iterdir() if path.name.startswith(".base")) == []
    before = read_mapper_card(out / "mapper.safetensors").base_sha256
    assert run(["train", "personaliser", str(config(tmp_path, base)), *settings, "--out", str(out)]) == 0
    assert read_mapper_card(out / "mapper.safetensors").base_sha256 == read_base(out / "base").sha256 == before


def test_without_a_base_the_mapper_is_for_the_bundled_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bundled = bundle(tmp_path / "bundled", monkeypatch) / "base"
    write_drawn(tmp_path / "subjects", people=2, photos=1, pairs=0, held_out=0)
    toy_encoder(tmp_path / "e.safetensors")
    path = config(tmp_path, bundled)
    path.write_text(path.read_text().replace(f'base = "{bundled}"\n', ""))
    out = tmp_path / "run"
    assert run(["train", "personaliser", str(path), "recipe.held_out=0", "recipe.size=32", "--out", str(out)]) == 0
    assert read_mapper_card(out / "mapper.safetensors").base_sha256 == read_base(bundled).sha256


def test_a_small_base_that_is_trained_further_stays_a_small_one(tmp_path: Path) -> None:
    write_drawn(tmp_path / "subjects", people=2, photos=1, pairs=0, held_out=0)
    toy_encoder(tmp_path / "e.safetensors")
    base = save_small(tmp_path / "small", drawing={"steps": 7})
    settings = ["recipe.trained=denoiser", "recipe.held_out=0", "recipe.size=32"]
    out = tmp_path / "run"
    assert run(["train", "personaliser", str(config(tmp_path, base)), *settings, "--out", str(out)]) == 0
    old, new = read_base(base), read_base(out / "base")
    assert old.card is not None
    assert new.card is not None
    assert read_mapper_card(out / "mapper.safetensors").base_sha256 == new.sha256 != old.sha256
    assert (new.is_small, new.drawing) == (True, {"steps": 7, "guidance": 3.0, "regional": "windows"})
    assert (new.card.data, new.card.licence) == ("drawn faces; before that: none", "Apache-2.0")
    assert new.card.recipe.endswith("Before that: untrained")


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        (["subjects=nowhere"], "nowhere is no folder of subjects"),
        (["base=nowhere"], "nowhere is no base model"),
        (["recipe.mode=add"], "mode must be replace or fuse, got 'add'"),
        (["recipe.sise=3"], "unknown key recipe.sise. Did you mean recipe.size?"),
        (["start=no.safetensors"], "no.safetensors: no such weights file"),
        (["recipe.trained=denoiser", "base_precision=float16"], "a denoiser is trained in float32"),
        (["recipe.size=30"], "a multiple of 4 px wide, got 30"),
    ],
)
def test_bad_input_is_one_sentence(
    settings: list[str], said: str, base: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_drawn(tmp_path / "subjects", people=2, photos=1, pairs=0, held_out=0)
    toy_encoder(tmp_path / "e.safetensors")
    out = tmp_path / "run"
    assert run(["train", "personaliser", str(config(tmp_path, base)), *settings, "--out", str(out)]) == 2
    shown = capsys.readouterr().err
    assert said in shown
    assert not (out / "last.pt").exists()


def test_checked_in_configs_can_be_read(root: Path) -> None:
    for file in ("configs/personaliser.toml", "recipes/ffhq_sd15_personaliser.toml"):
        assert isinstance(read_config(PersonaliserRun, root / file), PersonaliserRun)


def test_subjects_from_photos(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for person in range(2):
        (tmp_path / "photos" / f"p{person}").mkdir(parents=True)
        Image.fromarray(np.roll(draw_face(), person, 2)).save(tmp_path / "photos" / f"p{person}" / "a.png")
    call = ["subjects", str(tmp_path / "photos"), str(tmp_path / "out"), "--people=folder", "--held-out=0"]
    assert run([*call, "--json", str(tmp_path / "figures.json")]) == 0
    figures = json.loads((tmp_path / "figures.json").read_text())
    assert (figures["photos"], figures["segmenter"], figures["detector"]) == (2, "grabcut", "mtcnn")
    assert figures["kept"] >= 1
    assert "masked by grabcut" in capsys.readouterr().out
    labels = np.load(next((tmp_path / "out").rglob("*.npy")))
    assert 0.15 < (labels > 0).mean() < 0.95
    assert run([*call, "--segmenter=grabkut"]) == 2
    assert "Did you mean 'grabcut'?" in capsys.readouterr().err
