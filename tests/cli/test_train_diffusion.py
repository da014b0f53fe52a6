"""Generators from the command line: checks and averages, and what is made of a generator afterwards."""

import json
from pathlib import Path

import pytest
import torch
from PIL import Image
from tests.cli.test_train import CARD, toy_encoder
from tests.diffusion.tiny import AUTOENCODER, tiny_autoencoder
from tests.training.toys import toy_face, write_toy_pack

from facewright import diffusion
from facewright.cli import app
from facewright.cli.configs import read_config
from facewright.cli.train_runs_diffusion import AutoencoderRun, GeneratorRun
from facewright.diffusion.generator import autoencoder_architecture
from facewright.weights import Card, read_card, save_weights

SCHEDULE = "[recipe.schedule]\nimages = 8\nbatch = 2\nlog_every = 8\nsave_every = 8\nprecision = 'fp32'\n"
NETWORK = (
    "[recipe.network]\nchannels = 4\nwidth = 32\nmultipliers = [1, 2]\nattention = [false, true]\nblocks = 1\n"
    "context_width = 32\n"
)
SAID = 'data = "my faces"\nlicence = "CC0-1.0"\n'
CHECKS = "pictures = 4\nshown = 2\nsteps = 1\nsampler = 'ddim'\n"


def faces(folder: Path) -> Path:
    """A set of 60 people as folders, of whom some are held out."""
    for person in range(60):
        (folder / f"{person:03d}").mkdir(parents=True)
        Image.fromarray(toy_face(person, 0, size=112)).save(folder / f"{person:03d}" / "0.png")
    return folder


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Faces, an encoder, an autoencoder and a generator trained on them."""
    faces(tmp_path / "faces")
    toy_encoder(tmp_path / "e.safetensors")
    card = Card("a", "autoencoder", autoencoder_architecture(AUTOENCODER), "drawn", "Apache-2.0", "by chance")
    save_weights(tmp_path / "a.safetensors", tiny_autoencoder().state_dict(), card)
    (tmp_path / "g.toml").write_text(
        'pack = "faces"\nautoencoder = "a.safetensors"\nencoder = "e.safetensors"\n'
        f"{CARD}[recipe]\nexport_all = true\nexported = 0.5\n[recipe.checks]\n{CHECKS}{NETWORK}{SCHEDULE}"
        "ema_more = [0.5]\n"
    )
    assert app.run(["train", "generator", str(tmp_path / "g.toml"), "--out", str(tmp_path / "g")]) == 0
    return tmp_path


def derived(folder: Path, kind: str, more: str) -> diffusion.Generator:
    (folder / f"{kind}.toml").write_text(
        'pack = "faces"\ngenerator = "g/generator.safetensors"\nencoder = "e.safetensors"\n' + more
    )
    assert app.run(["train", kind, str(folder / f"{kind}.toml"), "--out", str(folder / kind)]) == 0
    return diffusion.load(folder / kind / "generator.safetensors")


def test_a_generator_and_what_is_made_of_it(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = folder / "g"
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    [measured] = [row for row in rows if "held_out" in row]
    assert measured["frechet_toy 0"] > 0
    assert -1 <= measured["cosine_toy 0"] <= 1
    with Image.open(run / "previews" / "000000008.png") as preview:
        assert preview.size == (8 * 130 - 2, 128)
    shas = {name: read_card(run / f"generator{name}.safetensors").sha256 for name in ("", "-last", "-0.999")}
    assert len(set(shas.values())) == 3
    base = diffusion.load(run / "generator.safetensors")
    contexts, noise = torch.nn.functional.normalize(torch.randn(2, 512)), torch.randn(2, 4, 16, 16)

    few = derived(folder, "fewstep", f"[recipe]\nsteps = 2\nskips = 4\n{SCHEDULE}[checks]\npictures = 4\nshown = 4\n")
    assert few.sampling == diffusion.SamplerConfig("lcm", 2)
    assert few.card["architecture"]["sampling"] == {"sampler": "lcm", "steps": 2, "guidance": 1.0}
    assert "distilled to 2 steps of lcm with guidance 1 folded in" in few.card["recipe"]
    assert few.card["licence"] == base.card["licence"]
    assert base.sha256 in few.card["recipe"]
    calls: list[int] = []
    few.denoiser.register_forward_pre_hook(lambda module, inputs: calls.append(len(inputs[0])))
    assert few.sample(contexts, noise, step_noise=lambda k: noise).shape == (2, 3, 128, 128)
    assert calls == [2, 2]
    few.sample(contexts, noise, steps=1)
    assert len(calls) == 3
    assert (folder / "fewstep" / "previews").is_dir()
    call = ["train", "fewstep", str(folder / "fewstep.toml"), "--out", str(folder / "few-on")]
    assert app.run([*call, f"start={folder / 'fewstep' / 'generator.safetensors'}"]) == 0
    again = diffusion.load(folder / "few-on" / "generator.safetensors")
    assert f"begun as {few.name} (sha256 {few.sha256}: distilled to 2 steps of lcm" in again.card["recipe"]

    sizes = "[recipe.network]\nchannels = 4\nwidths = [8]\nblocks = [1]\n"
    fast = derived(folder, "decoder", f"[recipe]\nfeature_weight = 0.1\n{sizes}{SCHEDULE}")
    assert fast.decoder is not None
    assert all(torch.equal(p, q) for p, q in zip(fast.denoiser.parameters(), base.denoiser.parameters(), strict=True))
    assert fast.encoder_sha256 == base.encoder_sha256

    control = derived(folder, "control", f'hint = "colours"\n[recipe]\n{SCHEDULE}')
    hinted = control.sample(contexts, noise, steps=1, hints=torch.zeros(2, 3, 128, 128))
    assert hinted.shape == (2, 3, 128, 128)

    further = derived(folder, "finetune", f"{SAID}[recipe]\nexport_all = true\nidentity_weight = 0.1\n{SCHEDULE}")
    assert further.denoiser.config == base.denoiser.config
    assert further.sample(contexts, noise, steps=1).shape == (2, 3, 128, 128)
    before, after, last = (
        torch.cat([value.flatten() for value in generator.denoiser.parameters()])
        for generator in (base, further, diffusion.load(folder / "finetune" / "generator-last.safetensors"))
    )
    assert 0 < (after - before).norm() < 0.3 * before.norm(), "it begins as the generator"
    assert not torch.equal(after, last)
    assert "its denoiser was trained on; schedule.images 8" in further.card["recipe"]
    assert base.card["recipe"] in further.card["recipe"]
    assert (further.card["data"], further.card["licence"]) == ("drawn faces; then my faces", "Apache-2.0; then CC0-1.0")
    assert json.loads((folder / "finetune" / "config.json").read_text())["recipe"]["identity_weight"] == 0.1

    capsys.readouterr()
    for made in ("fewstep", "control"):
        start = [f"generator={folder / made / 'generator.safetensors'}", "--out", str(folder / "other")]
        assert app.run(["train", "finetune", str(folder / "finetune.toml"), *start]) == 2
        assert "name the one that it was made of" in capsys.readouterr().err
        assert not (folder / "other").exists()

    toy_encoder(folder / "e.safetensors", seed=1)
    call = ["train", "fewstep", str(folder / "fewstep.toml"), "--out", str(folder / "other")]
    assert app.run(call) == 2
    assert "was trained with the encoder" in capsys.readouterr().err
    assert not (folder / "other").exists()


def test_faces_of_nobody_and_damaged_latents(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_toy_pack(tmp_path / "faces")
    card = Card("a", "autoencoder", autoencoder_architecture(AUTOENCODER), "drawn", "Apache-2.0", "by chance")
    save_weights(tmp_path / "a.safetensors", tiny_autoencoder().state_dict(), card)
    (tmp_path / "u.toml").write_text(
        f'pack = "faces"\nautoencoder = "a.safetensors"\n{CARD}{NETWORK}context_inputs = "none"\n{SCHEDULE}'
    )
    call = ["train", "generator", str(tmp_path / "u.toml"), "--out", str(tmp_path / "u")]
    assert app.run(call) == 0
    generator = diffusion.load(tmp_path / "u" / "generator.safetensors")
    assert (generator.context_width, generator.encoder_sha256) == (0, None)
    assert generator.sample(torch.zeros(1, 0), torch.randn(1, 4, 16, 16), steps=1).shape == (1, 3, 128, 128)
    (tmp_path / "u" / "latents.npz").write_bytes(b"PK\x03\x04 cut short")
    capsys.readouterr()
    assert app.run(call) == 2
    assert "latents.npz: cannot be read" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("file", "shape"),
    [
        ("configs/autoencoder_vq.toml", AutoencoderRun),
        ("configs/generator_unconditional.toml", GeneratorRun),
        ("recipes/generator_casia_ca.toml", GeneratorRun),
        ("recipes/generator_ffhq_ca.toml", GeneratorRun),
    ],
)
def test_checked_in_configs_can_be_read(root: Path, file: str, shape: type) -> None:
    config = read_config(shape, root / file)
    if file.startswith("recipes/"):
        published = diffusion.published_config("cross-attention")
        assert config.recipe.network == published
        assert config.recipe.schedule.images % config.recipe.schedule.cycle_images == 0
