"""The train command: the config reaches the run, a wrong one writes nothing, each kind leaves a file that loads."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from tests.diffusion.tiny import AUTOENCODER, DENOISER, tiny_autoencoder
from tests.encoders.onnx_net import write_teacher
from tests.training.toys import toy_face, write_toy_pack

from facewright import diffusion, encoders
from facewright.cli import app, train_runs
from facewright.cli.configs import read_config
from facewright.cli.train import KINDS
from facewright.diffusion.generator import architecture
from facewright.weights import Card, read_card, save_weights

SCHEDULE = "[recipe.schedule]\nimages = 16\nbatch = 8\nlog_every = 8\nsave_every = 8\n"
CARD = 'name = "toy"\ndata = "drawn faces"\nlicence = "Apache-2.0"\n'


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "encoder.toml"
    path.write_text('pack = "faces"\nteacher = "t.onnx"\n[recipe.schedule]\nimages = 100\n')
    return path


def test_every_kind_has_a_run_and_a_config(root: Path) -> None:
    assert KINDS.keys() == train_runs.RUNS.keys()
    for kind, (shape, _) in train_runs.RUNS.items():
        assert isinstance(read_config(shape, root / "configs" / f"{kind}.toml"), shape)


def test_file_and_settings_reach_the_run(
    config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    seen = []

    def run(resolved: train_runs.EncoderRun, out: Path, device: str) -> Path:
        seen.append((resolved, out, device))
        return out / "written"

    monkeypatch.setitem(train_runs.RUNS, "encoder", (train_runs.EncoderRun, run))
    out = tmp_path / "a"
    call = ["train", "encoder", str(config), "recipe.schedule.images=7", "recipe.shift=2", "--out", str(out)]
    assert app.run(call) == 0
    [(resolved, given, device)] = seen
    assert resolved.pack == tmp_path / "faces"
    assert resolved.recipe.schedule.images == 7
    assert resolved.recipe.shift == 2
    assert (given, device) == (out, "cpu")
    assert capsys.readouterr().out == f"weights in {out / 'written'}\nthe run is in {out}\n"


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ("recipe.shfit=2", "unknown key recipe.shfit. Did you mean recipe.shift?"),
        ("recipe.schedule.batch=0", "images and batch must be at least 1"),
    ],
)
def test_a_wrong_config_writes_nothing(
    setting: str, said: str, config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert app.run(["train", "encoder", str(config), setting, "--out", str(tmp_path / "run")]) == 2
    shown = capsys.readouterr().err
    assert said in shown
    assert str(config) in shown
    assert not (tmp_path / "run").exists()


def test_a_missing_pack_is_named(config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert app.run(["train", "encoder", str(config), "--out", str(tmp_path / "run")]) == 2
    assert f"{tmp_path / 'faces'} is not a face pack" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def toy_encoder(path: Path, *, seed: int = 0) -> Path:
    torch.manual_seed(seed)
    card = Card(f"toy {seed}", "encoder", {"network": "slimfacenet"}, "drawn", "Apache-2.0", "by chance")
    save_weights(path, encoders.SlimFaceNet().state_dict(), card)
    return path


def test_an_encoder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "compile", lambda module: module)
    write_toy_pack(tmp_path / "faces")
    write_teacher(tmp_path / "t.onnx")
    (tmp_path / "c.toml").write_text(f'pack = "faces"\nteacher = "t.onnx"\n{CARD}{SCHEDULE}')
    run = tmp_path / "run"
    assert app.run(["train", "encoder", str(tmp_path / "c.toml"), "--out", str(run)]) == 0
    embeddings = encoders.load(run / "encoder.safetensors").embed(toy_face(0, 0, size=112)[None])
    assert embeddings.shape == (1, 512)
    card = read_card(run / "encoder.safetensors")
    assert (card.name, card.data, card.licence) == ("toy", "drawn faces", "Apache-2.0")
    assert card.recipe.startswith("distilled from t.onnx (sha256 ")
    assert "schedule.images 16, schedule.batch 8" in card.recipe
    assert str(tmp_path) not in card.recipe
    kept = json.loads((run / "config.json").read_text())
    assert (kept["pack"], kept["data"]) == (str((tmp_path / "faces").resolve()), "drawn faces")
    assert kept["recipe"]["map_weight"] == 0.3
    assert (run / "curves.png").read_bytes().startswith(b"\x89PNG")


def test_an_autoencoder_and_then_a_generator(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    write_toy_pack(tmp_path / "faces")
    encoder = toy_encoder(tmp_path / "e.safetensors")
    (tmp_path / "a.toml").write_text(
        f'pack = "faces"\n{CARD}{SCHEDULE}'
        "[recipe.network]\nchannels = 4\nencoder_widths = [8, 8, 16]\ndecoder_widths = [8, 8, 16]\n"
    )
    first = tmp_path / "autoencoder"
    assert app.run(["train", "autoencoder", str(tmp_path / "a.toml"), "--out", str(first)]) == 0
    assert read_card(first / "autoencoder.safetensors").input.height == 128  # type: ignore[union-attr]

    (tmp_path / "g.toml").write_text(
        'pack = "faces"\nautoencoder = "autoencoder/autoencoder.safetensors"\nencoder = "e.safetensors"\n'
        f"{CARD}{SCHEDULE}[recipe.network]\nchannels = 4\nwidth = 32\nmultipliers = [1, 2]\n"
        "attention = [false, true]\nblocks = 1\ncontext_width = 32\n"
    )
    run = tmp_path / "generator"
    call = ["train", "generator", str(tmp_path / "g.toml"), "--out", str(run)]
    assert app.run(call) == 0
    generator = diffusion.load(run / "generator.safetensors")
    assert generator.encoder_sha256 == read_card(encoder).sha256
    pictures = generator.sample(torch.nn.functional.normalize(torch.randn(2, 512)), torch.randn(2, 4, 16, 16), steps=2)
    assert pictures.shape == (2, 3, 128, 128)
    card = read_card(run / "generator.safetensors")
    assert card.architecture["unit_embeddings"] is True
    assert "diffusion.target velocity" in card.recipe
    assert read_card(first / "autoencoder.safetensors").sha256 in card.recipe
    assert "Its autoencoder: absolute error" in card.recipe

    before = (run / "generator.safetensors").read_bytes()
    monkeypatch.setattr(diffusion, "cache_latents", None)
    assert app.run(call) == 0, "the latents are encoded once"
    after = diffusion.load(run / "generator.safetensors")
    assert after.sha256 == generator.sha256
    assert len(before) == (run / "generator.safetensors").stat().st_size
    toy_encoder(encoder, seed=1)
    capsys.readouterr()
    assert app.run(call) == 2
    assert "latents.npz was made with another encoder; give the same, or another --out" in capsys.readouterr().err


def test_an_autoencoder_that_does_not_fit_its_card_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_toy_pack(tmp_path / "faces")
    (tmp_path / "g.toml").write_text(f'pack = "faces"\nautoencoder = "a.safetensors"\n{SCHEDULE}')
    call = ["train", "generator", str(tmp_path / "g.toml"), "--out", str(tmp_path / "run")]
    assert app.run(call) == 2
    assert "a.safetensors: no such weights file" in capsys.readouterr().err
    for sizes in ({"channels": 8}, {"width": 8}):
        card = Card("odd", "autoencoder", sizes, "drawn", "Apache-2.0", "by chance")
        save_weights(tmp_path / "a.safetensors", tiny_autoencoder().state_dict(), card)
        assert app.run(call) == 2
        assert "a.safetensors: its card and its tensors do not fit each other" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_a_recogniser_is_an_encoder(tmp_path: Path) -> None:
    write_toy_pack(tmp_path / "faces", people=4, poses=4)
    (tmp_path / "r.toml").write_text(f'{CARD}[recipe]\ndata = "faces"\n{SCHEDULE}')
    run = tmp_path / "run"
    assert app.run(["train", "recogniser", str(tmp_path / "r.toml"), "--out", str(run)]) == 0
    encoder = encoders.load(run / "recogniser.safetensors")
    assert np.allclose(np.linalg.norm(encoder.embed(toy_face(0, 0, size=112)[None])), 1, atol=1e-5)
    card = read_card(run / "recogniser.safetensors")
    assert card.recipe.startswith("arcface from scratch on 16 faces of 4 people; data faces, schedule.images 16")
    assert str(tmp_path) not in card.recipe
    assert (card.architecture["network"], card.measured) == ("slimfacenet", {})
    assert not (run / "recogniser-last.safetensors").exists(), "nobody was held out"
    kept = json.loads((run / "config.json").read_text())
    assert (kept["licence"], kept["recipe"]["network"]) == ("Apache-2.0", "slimfacenet")


def test_a_recogniser_by_a_recipe_with_people_held_out(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for person in range(6):
        for pose in range(3):
            file = tmp_path / "faces" / f"{person}" / f"{pose}.png"
            file.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(toy_face(person, pose, size=112)).save(file)
    (tmp_path / "faces" / "5" / "9.jpg").write_bytes(b"no picture")
    (tmp_path / "r.toml").write_text(
        f'{CARD}[recipe]\ndata = "faces"\nnetwork = "mobilefacenet"\nheld_out_people = 3\ndamaged = "skip"\n'
        'people = 6\n[recipe.head]\nname = "cosface"\nmargin_warmup_images = 8\nsample_rate = 0.5\n'
        f"{SCHEDULE}optimiser = 'sgd'\nlearning_rate = 0.01\nepoch = 8\n"
    )
    run = tmp_path / "run"
    call = ["train", "recogniser", str(tmp_path / "r.toml"), "--out", str(run)]
    assert app.run(call) == 0
    best, last = (read_card(run / f"{name}.safetensors") for name in ("recogniser", "recogniser-last"))
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    measured = [row["validation_eer"] for row in rows if "validation_eer" in row]
    assert len(measured) == 2
    assert best.measured == {"validation_eer": min(measured)}
    assert "The best of the validation, after " in best.recipe
    assert last.measured == {}
    assert encoders.load(run / "recogniser.safetensors").sha256 == best.sha256
    assert "damaged pictures left out: 1" in capsys.readouterr().err
    assert app.run([*call, "recipe.people=7"]) == 2
    assert "is for 7 people, and" in capsys.readouterr().err


def test_the_architecture_on_a_card_is_plain_json() -> None:
    text = json.dumps(architecture(AUTOENCODER, DENOISER, diffusion.DiffusionConfig()))
    assert json.loads(text)["denoiser"]["multipliers"] == [1, 2]
