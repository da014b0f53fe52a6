"""The autoencoder of latent diffusion: a whole checkpoint, or its two halves, to what a generator is trained on."""

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
import torch
from tests.checkpoints.conftest import State
from tests.golden.fill import fill
from tests.training.toys import write_toy_pack
from torch import Tensor

from facewright import checkpoints, diffusion
from facewright.checkpoints import LAYOUTS, Generation, Layout, importing
from facewright.checkpoints.table import VQ_F4, unscaled, without_half
from facewright.cli import app
from facewright.cli.train_runs_diffusion import load_autoencoder
from facewright.diffusion import VQAutoencoder, VQConfig
from facewright.diffusion.generator import autoencoder_architecture
from facewright.errors import DataError, InputError

GOLDEN = Path(__file__).resolve().parents[1] / "golden" / "data" / "nets"
TOLERANCE = 4e-5  # of both halves, in the README there
SMALL = VQConfig(width=32, multipliers=(1, 1, 1), blocks=1, codes=64)


def golden_half(name: str) -> tuple[State, Mapping[str, np.ndarray]]:
    """State dict and case of a golden half."""
    with np.load(GOLDEN / f"ldm__vq-{name}.npz", allow_pickle=False) as opened:
        case = {key: opened[key] for key in opened.files}
    shapes = {
        str(key): tuple(int(length) for length in str(shape).split(",") if length)
        for key, shape in zip(case["keys"], case["shapes"], strict=True)
    }
    return {key: torch.from_numpy(value) for key, value in fill(shapes, int(case["seed"])).items()}, case


def test_golden_weights_make_an_autoencoder(tmp_path: Path) -> None:
    (encoder, encoded), (decoder, decoded) = golden_half("encoder"), golden_half("decoder")
    whole: dict[str, Tensor] = {f"first_stage_model.{key}": value for key, value in {**encoder, **decoder}.items()}
    whole |= {"betas": torch.zeros(1000), "first_stage_model.loss.discriminator.main.0.weight": torch.zeros(3)}
    torch.save({"state_dict": whole, "epoch": 3}, tmp_path / "model.ckpt")
    out = tmp_path / "vq.safetensors"
    card = checkpoints.import_checkpoint(tmp_path / "model.ckpt", out)  # found: the whole, of which the halves are part
    assert (card.name, card.kind) == ("ldm/vq-f4", "autoencoder")
    network, read = load_autoencoder(out)
    assert isinstance(network, VQAutoencoder)
    assert read.architecture == json.loads(json.dumps(autoencoder_architecture(VQConfig())))
    with torch.inference_mode():
        latents = network.encode(torch.from_numpy(encoded["in_images"][:1]))
        pictures = network.decode(torch.from_numpy(decoded["in_latent"][:1]))
    np.testing.assert_allclose(latents, encoded["out_latent"][:1], rtol=0, atol=TOLERANCE)
    np.testing.assert_allclose(pictures, decoded["out_image_quantized"][:1].clip(-1, 1), rtol=0, atol=TOLERANCE)


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> State:
    """A checkpoint's tensors; the layouts are those of a network of the same form that is quick to run."""
    state = {without_half(key): value for key, value in VQAutoencoder(SMALL).state_dict().items()}
    del state[""]  # mean and std, which no file has
    sizes = 32, len(state), sum(value.numel() for value in state.values())
    generation = Generation(
        "vq-f4",
        lambda: VQAutoencoder(SMALL),
        *sizes[1:],
        public=without_half,
        added=lambda: unscaled(SMALL.channels),
        architecture=autoencoder_architecture(SMALL),
    )
    monkeypatch.setitem(LAYOUTS, "ldm/vq-f4", Layout("ldm/vq-f4", "VQ-f4 autoencoder", VQ_F4, (generation,)))
    return state


def halves(state: State) -> tuple[State, State]:
    """The encoder's tensors and the decoder's."""
    encoder = {key: value for key, value in state.items() if key.startswith(("encoder.", "quant_conv."))}
    return encoder, {key: value for key, value in state.items() if key not in encoder}


def test_two_halves_make_the_same_as_the_whole(tmp_path: Path, small: State) -> None:
    first, second = halves(small)
    for name, state in (("whole", small), ("first", first), ("second", second)):
        torch.save(state, tmp_path / f"{name}.pt")
    one = checkpoints.import_checkpoint(tmp_path / "whole.pt", tmp_path / "one.safetensors")
    assert checkpoints.import_checkpoint(tmp_path / "whole.pt", tmp_path / "one.safetensors").sha256 == one.sha256
    call = ["import", str(tmp_path / "first.pt"), "--decoder", str(tmp_path / "second.pt")]
    assert app.run([*call, "--out", str(tmp_path / "two.safetensors")]) == 0
    network, card = load_autoencoder(tmp_path / "two.safetensors")
    assert card.sha256 == one.sha256
    assert "first.pt (sha256" in card.recipe
    assert "second.pt (sha256" in card.recipe
    assert (float(network.mean.abs().max()), float(network.std.min())) == (0.0, 1.0)
    loaded = checkpoints.load(small, layout="ldm/vq-f4").state_dict()
    assert all(torch.equal(value, loaded[key]) for key, value in network.state_dict().items())
    with pytest.raises(DataError, match=r"both hold '.*'; give the two halves"):
        checkpoints.import_checkpoint(tmp_path / "first.pt", tmp_path / "x.safetensors", decoder=tmp_path / "first.pt")
    with pytest.raises(InputError, match="is the checkpoint itself"):
        checkpoints.import_checkpoint(
            tmp_path / "first.pt", tmp_path / "two.safetensors", decoder=tmp_path / "two.safetensors"
        )
    with pytest.raises(DataError, match=r"does not fit ldm/vq-f4: missing: quantize"):
        checkpoints.import_checkpoint(tmp_path / "first.pt", tmp_path / "x.safetensors", layout="ldm/vq-f4")
    assert not (tmp_path / "x.safetensors").exists()


def test_an_imported_half_says_what_a_generator_takes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    half = importing.Card("ldm/vq-encoder", "vq-encoder", {}, "drawn", "MIT", "by hand")
    monkeypatch.setattr(checkpoints, "import_checkpoint", lambda *_, **__: half)
    assert app.run(["import", "model.ckpt", "--out", str(tmp_path / "half.safetensors")]) == 0
    assert "half of an autoencoder; train generator takes a whole one" in capsys.readouterr().out


CONFIG = """
name = "tiny"
[recipe]
context_dropout = 0.1
[recipe.network]
channels = 3
width = 32
multipliers = [1]
attention = [false]
blocks = 1
context_width = 16
context_inputs = 512
head_width = 16
[recipe.schedule]
images = 8
batch = 4
learning_rate = 1e-3
"""


def test_a_generator_is_trained_on_an_imported_autoencoder(
    tmp_path: Path, small: State, capsys: pytest.CaptureFixture[str]
) -> None:
    torch.save(small, tmp_path / "model.pt")
    assert app.run(["import", str(tmp_path / "model.pt"), "--out", str(tmp_path / "vq.safetensors")]) == 0
    (tmp_path / "tiny.toml").write_text(CONFIG)
    pack = write_toy_pack(tmp_path / "pack", people=3, poses=2, unknown=0)
    given = [f"pack={pack}", f"autoencoder={tmp_path / 'vq.safetensors'}"]
    trained = app.run(["train", "generator", str(tmp_path / "tiny.toml"), "--out", str(tmp_path / "run"), *given])
    assert trained == 0, capsys.readouterr().err
    generator = diffusion.load(tmp_path / "run" / "generator.safetensors")
    assert generator.latent_shape == (3, 32, 32)
    kept = generator.autoencoder.state_dict()
    for key, value in load_autoencoder(tmp_path / "vq.safetensors")[0].state_dict().items():
        torch.testing.assert_close(kept[key], value, rtol=1e-3, atol=1e-7)  # a generator's weights are kept in float16
    people = tmp_path / "people.npz"
    assert app.run(["contexts", "uniform", "--count", "2", "--out", str(people)]) == 0
    sampled = ["sample", "--generator", str(tmp_path / "run" / "generator.safetensors"), "--contexts", str(people)]
    assert app.run([*sampled, "--per-identity", "1", "--steps", "2", "--out", str(tmp_path / "set")]) == 0
    assert len(list((tmp_path / "set").rglob("*.png"))) == 2
