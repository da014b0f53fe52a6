"""`train base` that begins as a generator: what it writes is the generator's denoiser, trained on."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from tests.cli.test_train_base import KNOWN, SCHEDULE, TOP
from tests.diffusion.tiny import AUTOENCODER, DENOISER, tiny_autoencoder, tiny_card, tiny_unet
from tests.personalise.drawn_subjects import write_drawn
from tests.personalise.tiny_world import write_tiny

from facewright import diffusion
from facewright.cli import app
from facewright.diffusion import DiffusionConfig, Generator
from facewright.diffusion.generator import architecture
from facewright.personalise import PictureConfig, draw_pictures, load_base, read_base
from facewright.personalise.base_folder import CARD
from facewright.weights import read_card, save_weights

pytest.importorskip("diffusers", reason="needs the extra personalise")

SIZES = replace(DENOISER, context_inputs=512, multipliers=(1, 1))
BASE = (
    f'{TOP}generator = "g.safetensors"\nscenes = 8\nheld_out = 2\n{KNOWN}'
    "[world]\nsize = 128\npeople = [0.6, 0.4]\nsides = [[0.75, 0.9], [0.5, 0.6]]\n[world.said]\nnamed = 0.5\n"
    "[names]\nwords = 4\n[checks]\nsteps = 1\n"
    f"[autoencoder.sizes]\nwidths = [8, 8, 8, 16]\nchannels = 4\ngroups = 4\n[autoencoder.schedule]\n{SCHEDULE}"
    f"[text.schedule]\n{SCHEDULE}[recipe]\nidentity_weight = 1.0\n"
    "[recipe.text]\nlength = 24\nwidth = 32\nlayers = 1\nhead_width = 16\n"
    f"[recipe.schedule]\n{SCHEDULE}learning_rate = 1e-5\n"
)


def saved(path: Path, encoder: str | None) -> Generator:
    card = replace(
        tiny_card(), encoder_sha256=encoder, architecture=architecture(AUTOENCODER, SIZES, DiffusionConfig())
    )
    generator = Generator(tiny_autoencoder(), tiny_unet(SIZES), DiffusionConfig(), card)
    save_weights(path, generator.state_dict(), card)
    return generator


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = write_tiny(tmp_path_factory.mktemp("begun"))
    (folder / "base.toml").write_text(BASE)
    saved(folder / "other.safetensors", "e" * 64)
    saved(folder / "g.safetensors", None)
    assert app.run(["train", "base", str(folder / "base.toml"), "--out", str(folder / "b")]) == 0
    return folder


@pytest.mark.filterwarnings(
    "ignore:__array__ implementation doesn't accept a copy keyword:DeprecationWarning"
)  # diffusers
def test_it_begins_as_the_generator_and_draws(folder: Path) -> None:
    generator = diffusion.load(folder / "g.safetensors")
    pipe = load_base(folder / "b" / "base")
    assert pipe.unet.config.block_out_channels == [32, 32]
    begun = torch.nn.functional.cosine_similarity(
        pipe.unet.conv_in.weight.flatten(), generator.denoiser.image_proj.weight.flatten(), 0
    )
    assert begun > 0.99
    drawn = draw_pictures(pipe, "a sepia photo of a man", (), PictureConfig(steps=2, guidance=3.0))
    assert drawn.images.shape == (1, 128, 128, 3)
    card = json.loads((folder / "b" / "base" / CARD).read_text())
    assert card["architecture"]["denoiser"]["pooled"] is True
    assert f"begins as {generator.name}" in card["recipe"]
    settings = json.loads((folder / "b" / "config.json").read_text())
    assert settings["made_with"].keys() == {"autoencoder", "generator", "world"}
    assert {path.name for path in (folder / "b").iterdir()} >= {"people.npz", "names.npz", "text", "latents"}
    before = (folder / "b" / "last.pt").stat().st_mtime_ns
    assert app.run(["train", "base", str(folder / "base.toml"), "--out", str(folder / "b")]) == 0
    assert (folder / "b" / "last.pt").stat().st_mtime_ns == before


def test_a_base_model_is_trained_on(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """With another world and a decoder alone; what it began as is in the record, and text is not taught again."""
    call = ["train", "base", str(folder / "base.toml"), f"begin={folder / 'b' / 'base'}", "world.whole=1.0"]
    more = ["autoencoder.decoder_alone=true", "autoencoder.identity_weight=0.1", "recipe.schedule.learning_rate=1e-9"]
    assert app.run([*call, *more, "recipe.frozen_text=true", "--out", str(folder / "more")]) == 0
    old, new = (load_base(folder / run / "base") for run in ("b", "more"))
    for part in ("text_encoder", "unet"):
        before, after = (getattr(pipe, part).state_dict() for pipe in (old, new))
        assert max(float((after[name] - before[name]).abs().max()) for name in before) < 1e-3
    assert torch.equal(old.vae.encoder.conv_in.weight, new.vae.encoder.conv_in.weight)
    assert not torch.equal(old.vae.decoder.conv_in.weight, new.vae.decoder.conv_in.weight)
    assert not (folder / "more" / "text").exists()
    sha256 = read_base(folder / "b" / "base").sha256
    assert sha256 is not None
    settings = json.loads((folder / "more" / "config.json").read_text())
    assert settings["made_with"]["begin"] == sha256
    before, recipe = (json.loads((folder / run / "base" / CARD).read_text())["recipe"] for run in ("b", "more"))
    assert f"begin as those of a base model (sha256 {sha256})" in recipe
    assert recipe.endswith(f". Before that: {before}")
    capsys.readouterr()
    for setting, said in (
        ("names.words=5", "reads other words than captions and names here"),
        ("autoencoder.sizes.widths=[8,8,16,16]", "the autoencoder of"),
        ("recipe.text.layers=2", "the text encoder or denoiser of"),
        (f"begin={folder / 'none'}", "is no base model"),
    ):
        assert app.run([*call, setting, "--out", str(folder / "unfit")]) == 2
        shown = capsys.readouterr().err
        assert said in shown
        assert "Traceback" not in shown


PERSONALISER = (
    'subjects = "subjects"\nbase = "b/base"\ngenerator = "g.safetensors"\nname = "toy"\ndata = "drawn faces"\n'
    f'licence = "Apache-2.0"\n[words.schedule]\n{SCHEDULE}'
    "[recipe]\nwidth = 16\nexpression_width = 4\n[recipe.schedule]\nimages = 4\nbatch = 4\nlog_every = 4\n"
    "save_every = 4\n"
)


@pytest.mark.filterwarnings(
    "ignore:__array__ implementation doesn't accept a copy keyword:DeprecationWarning"
)  # diffusers
def test_a_mapping_is_taught_words_first(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_drawn(folder / "subjects")
    (folder / "p.toml").write_text(PERSONALISER)
    call = ["train", "personaliser", str(folder / "p.toml"), "--out", str(folder / "p")]
    assert app.run(call) == 0
    rows = [json.loads(line) for line in (folder / "p" / "words" / "metrics.jsonl").read_text().splitlines()]
    assert [row["images"] for row in rows] == [8, 16]
    recipe = read_card(folder / "p" / "mapper.safetensors").recipe
    assert "taught words first" in recipe
    assert "words.schedule.images 16" in recipe
    capsys.readouterr()
    assert app.run([*call, "recipe.mode=fuse"]) == 2
    assert "words are taught to a new mapping of mode replace" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        (["recipe.target=noise"], "the target must be the generator's: velocity, got noise"),
        (["autoencoder.sizes.channels=8"], "the latents' channels must be the generator's: 4, got 8"),
        (["generator={folder}/other.safetensors"], "tiny was trained with another encoder than"),
        (["generator=no.safetensors"], "no.safetensors: no such weights file"),
        (["text.empty=2"], "empty must be in [0, 1)"),
    ],
)
def test_what_does_not_fit_is_one_sentence(
    folder: Path, tmp_path: Path, settings: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    given = [setting.format(folder=folder) for setting in settings]
    assert app.run(["train", "base", str(folder / "base.toml"), "--out", str(tmp_path / "b"), *given]) == 2
    shown = capsys.readouterr().err
    assert said in shown
    assert len(shown.strip().splitlines()) == 1
    assert not (tmp_path / "b").exists()
