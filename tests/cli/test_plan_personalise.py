"""What is planned of personalised pictures, against the trainings themselves and against published sizes."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.personalise.drawn_subjects import PixelEncoder, no_detector, write_drawn
from tests.personalise.tiny_base import save_tiny, tiny_pipeline
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from facewright.cli import app
from facewright.cli.plan_base import STABLE_DIFFUSION_1, read_shapes
from facewright.cli.plan_named import Named
from facewright.cli.plan_personalise import base_parameters, personaliser
from facewright.cli.plan_recipe import read_stages
from facewright.cli.plan_work import read_work
from facewright.cli.train_runs_personalise import PersonaliserRun
from facewright.personalise import BaseModel, PersonaliserTraining, read_people, train_personaliser
from facewright.training.cost import network_cost, plan_of
from facewright.training.trainer import Schedule

pytest.importorskip("diffusers", reason="needs the extra personalise")

SCHEDULE = Schedule(images=4, batch=4, parts=1, precision="fp32", log_every=4, save_every=4, ema_maximum=None)
RECIPE = PersonaliserTraining(SCHEDULE, size=16, width=32, expression_width=4, held_out=0.0)
CARD = 'name = "toy"\ndata = "drawn"\nlicence = "Apache-2.0"\n'
SHORT = "[recipe.schedule]\nimages = 64\nbatch = 8\nprecision = 'fp32'\n"


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny(tmp_path_factory.mktemp("base") / "tiny")


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"cgdr": False},
        {"mode": "fuse", "cgdr": False, "trained": "denoiser"},
        {"trained": "attention", "localisation": 0.01},
    ],
    ids=["cgdr", "plain", "fastcomposer", "attention"],
)
def test_as_many_operations_as_the_training_carries_out(changes: dict[str, Any], base: Path, tmp_path: Path) -> None:
    folder = write_drawn(tmp_path / "subjects", people=2, photos=2, pairs=0, held_out=0)
    people = read_people(
        folder, PixelEncoder(), no_detector, cache=tmp_path / "cache", expression_width=4, held_out=0.0
    )
    recipe = replace(RECIPE, **changes)
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:  # others are not counted on a CPU
        train_personaliser(people, BaseModel(tiny_pipeline(), size=recipe.size), recipe, out=tmp_path / "run")
    run = PersonaliserRun(
        subjects=tmp_path / "subjects",
        base=base,
        recipe=recipe,
        data="drawn",
        licence="none",
        encoder=Path("pixels.safetensors"),
    )
    named = personaliser(run, {Path("pixels.safetensors"): {"network": "slimfacenet"}})
    planned = plan_of(named.work).training_flops
    wider = 2 * 2 * 2 * (512 - PixelEncoder.width) * recipe.width  # first layer of both branches; forward and weights
    assert planned - wider == pytest.approx(counter.get_total_flops() / SCHEDULE.images, rel=0.01)


def test_the_published_shapes_of_stable_diffusion(root: Path, tmp_path: Path) -> None:
    """Sizes as the public weights have them; the mapping as Face2Diffusion's."""
    assert base_parameters(STABLE_DIFFUSION_1) == 859_520_964 + 83_653_863 + 123_060_480
    figures = tmp_path / "plan.json"
    recipe = root / "recipes" / "ffhq_sd15_personaliser.toml"
    assert app.run(["plan", str(recipe), "--device", "a100-8", "--json", str(figures)]) == 0
    found = json.loads(figures.read_text())
    assert found["kind"] == "personaliser"
    assert found["frozen_parameters"] == base_parameters(STABLE_DIFFUSION_1)
    assert found["frozen_gib"] == pytest.approx(2 * 1.0662 / 1.073741824, rel=1e-3)
    branch = 1600 * 1536 + 1536 + 1536 * 1536 + 1536 + 1536 * 768 + 768
    assert found["parameters"] == 2 * branch + 64
    denoiser, text, encoder = 803.3, 13.3, 1116.7  # GFLOP of a pass
    assert found["forward_gflop_an_image"] == pytest.approx(2 * denoiser + 2 * text + encoder, rel=1e-3)
    assert (found["images"], found["steps"]) == (3_200_000, 100_000)
    assert found["hours"] == pytest.approx(found["images"] / found["images_per_s"] / 3600)


def test_checkpointing_saves_memory_and_costs_time(base: Path, tmp_path: Path) -> None:
    run = PersonaliserRun(subjects=tmp_path, base=base, recipe=RECIPE, data="d", licence="l")
    subjects = write_drawn(tmp_path, people=2, photos=2, pairs=0, held_out=1)
    plain = personaliser(run, {})
    assert plain.work.images == len(subjects.ids) - 2, "the list of the folder's photos counts the epochs"
    kept = personaliser(replace(run, recipe=replace(RECIPE, checkpointing=True)), {})
    one, other = plan_of(plain.work), plan_of(kept.work)
    assert other.forward_flops == one.forward_flops
    assert other.training_flops > 1.1 * one.training_flops
    assert other.activation_bytes < 0.7 * one.activation_bytes
    assert "memory without the block that is computed again" in kept.what
    assert plain.frozen_bytes == 4 * plain.frozen
    assert personaliser(replace(run, base_precision="float16"), {}).frozen_bytes == 2 * plain.frozen


def test_of_xl_both_text_encoders_count(tmp_path: Path) -> None:
    run = PersonaliserRun(
        subjects=tmp_path / "none",
        base=save_tiny(tmp_path / "xl", large=True),
        recipe=replace(RECIPE, size=None),
        data="d",
        licence="l",
    )
    named = personaliser(run, {})
    shapes = read_shapes(run.base, {})
    pipe = tiny_pipeline(large=True)
    parts = (pipe.unet, pipe.vae, pipe.text_encoder, pipe.text_encoder_2)
    assert named.frozen == sum(p.numel() for part in parts for p in part.parameters())
    assert (shapes.word_width, shapes.picture) == (48, 32)
    assert "pictures of 32 px" in named.what
    assert plan_of(named.work).training_flops > 0


def test_the_base_model_and_its_classifier(root: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    figures = tmp_path / "plan.json"
    call = ["plan", str(root / "configs" / "base.toml"), "--device", "a100-8", "recipe.schedule.parts=8"]
    call += ["autoencoder.schedule.parts=8", "text.schedule.parts=8"]
    assert app.run([*call, "--json", str(figures)]) == 0
    found = json.loads(figures.read_text())
    assert [part["network"] for part in found["parts"]] == ["base-autoencoder", "base-text", "base-denoiser"]
    named = read_work(root / "configs" / "base.toml")
    with torch.device("meta"):
        sizes = [sum(p.numel() for p in part.work.build().parameters()) for part in (*named.before, named)]
    assert [part["parameters"] for part in found["parts"]] == sizes
    assert found["hours"] == pytest.approx(sum(part["hours"] for part in found["parts"]))
    assert found["run_flop"] == pytest.approx(sum(part["run_flop"] for part in found["parts"]))
    assert found["parts"][2]["epochs"] == pytest.approx(named.work.schedule.images / (named.work.images or 0))
    assert "without drawing and encoding the scenes" in capsys.readouterr().out

    assert app.run(["plan", str(root / "configs" / "prompts.toml"), "--json", str(figures)]) == 0
    found = json.loads(figures.read_text())
    assert found["kind"] == "prompts"
    work = read_work(root / "configs" / "prompts.toml").work
    assert found["forward_gflop_an_image"] * 1e9 == network_cost(work.build, work.inputs, "fp32").forward_flops


def test_a_base_model_that_an_earlier_stage_makes(root: Path, tmp_path: Path) -> None:
    (tmp_path / "r.toml").write_text(
        f'[[stage]]\nname = "base"\ncommand = "train base"\nconfig = "{root}/configs/base.toml"\n'
        f'[[stage]]\nname = "words"\ncommand = "train personaliser"\nconfig = "{root}/configs/personaliser.toml"\n'
        'settings = {base = "{base}"}\n'
    )
    autoencoder, _, denoiser, words = (stage.cost for stage in read_stages(tmp_path / "r.toml"))
    assert isinstance(autoencoder, Named)
    assert isinstance(denoiser, Named)
    assert isinstance(words, Named)
    whole = plan_of(autoencoder.work).parameters + plan_of(denoiser.work).parameters
    assert words.frozen == whole
    assert "pictures of 128 px" in words.what


def test_measuring_here(base: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config, figures = tmp_path / "p.toml", tmp_path / "plan.json"
    config.write_text(f'subjects = "none"\nbase = "{base}"\n{CARD}[recipe]\nsize = 16\nwidth = 16\n{SHORT}')
    assert app.run(["plan", str(config), "--measure", "--seconds", "0", "--json", str(figures)]) == 0
    assert json.loads(figures.read_text())["measured"]["batch"] == 8
    assert "frozen parameters" in capsys.readouterr().out


def test_a_base_model_that_is_not_there(base: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = tmp_path / "p.toml"
    config.write_text(f'subjects = "none"\nbase = "models/own"\n{CARD}[recipe]\n{SHORT}')
    assert app.run(["plan", str(config)]) == 2
    said = capsys.readouterr().err
    assert "models/own: the base model is not there" in said
    assert "base=stable-diffusion-v1-5, which is known by its name" in said
    assert said.count("\n") == 1
    assert read_work(config, [f"base={base}"]).kind == "personaliser"
    assert read_work(config, ["base=models/stable-diffusion-v1-4"]).frozen > 1e9
    (tmp_path / "models" / "own").mkdir(parents=True)
    assert app.run(["plan", str(config)]) == 2
    assert "is no base model" in capsys.readouterr().err
