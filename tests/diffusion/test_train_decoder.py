"""A small decoder: its sizes, its distillation on drawn latents, its place in a generator."""

import json
from dataclasses import asdict, replace
from pathlib import Path

import pytest
import torch
from tests.diffusion.tiny import AUTOENCODER, DENOISER, tiny_autoencoder, tiny_cache, tiny_card, tiny_unet
from torch import Tensor

from facewright import diffusion
from facewright.diffusion import (
    CriticTerms,
    DecoderTraining,
    DiffusionConfig,
    FastDecoder,
    FastDecoderConfig,
    Generator,
    train_decoder,
)
from facewright.diffusion.generator import architecture
from facewright.errors import ConfigError
from facewright.training.trainer import Schedule
from facewright.weights import save_weights

NETWORK = FastDecoderConfig(channels=4, factor=8, widths=(16, 8), blocks=(1, 1))
SCHEDULE = Schedule(
    images=96,
    batch=8,
    learning_rate=5e-3,
    ema_maximum=0.3,
    precision="fp32",
    clip_children=True,
    log_every=32,
    save_every=96,
)
CONFIG = DecoderTraining(SCHEDULE, NETWORK)


def features(pictures: Tensor) -> list[Tensor]:
    return [torch.nn.functional.avg_pool2d(pictures, 8)]


def metrics(run: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


@pytest.mark.parametrize(("factor", "levels"), [(8, 2), (4, 2), (4, 1), (8, 4)])
def test_any_factor_and_number_of_levels_gives_pixels(factor: int, levels: int) -> None:
    network = FastDecoder(FastDecoderConfig(3, factor, (8,) * levels, (1,) * levels))
    pictures = network.decode(torch.full((2, 3, 8, 8), 100.0))
    assert pictures.shape == (2, 3, 8 * factor, 8 * factor)
    assert float(pictures.detach().abs().max()) <= 1
    assert network.last.shape[0] == 3 * (factor // 2 ** (levels - 1)) ** 2


def test_it_learns_the_given_decoders_pictures(tmp_path: Path) -> None:
    cache, teacher = tiny_cache(side=16), tiny_autoencoder()
    student = train_decoder(cache, teacher, CONFIG, out=tmp_path)
    rows = metrics(tmp_path)
    pixels = [row["pixels"] for row in rows if "pixels" in row]
    assert pixels[-1] < 0.9 * pixels[0]
    latents = torch.from_numpy(cache.latents[:4, 0]).float()
    with torch.inference_mode():
        error = float((student.decode(latents) - teacher.decode(latents)).abs().mean())
    assert error == pytest.approx([row["held_out"] for row in rows if "held_out" in row][-1], abs=1e-4)


def test_with_features_and_a_critic_a_resumed_run_gives_the_same_decoder(tmp_path: Path) -> None:
    config = replace(
        CONFIG,
        schedule=replace(SCHEDULE, images=32, log_every=8, save_every=8),
        feature_weight=0.5,
        critic=CriticTerms(width=8, layers=1, begin=16),
    )

    def stop(done: int, total: int) -> None:
        if done == 24:
            raise KeyboardInterrupt

    arguments = (tiny_cache(side=16), tiny_autoencoder(), config)
    whole = train_decoder(*arguments, out=tmp_path / "whole", features=features)
    with pytest.raises(KeyboardInterrupt):
        train_decoder(*arguments, out=tmp_path / "broken", features=features, progress=stop)
    resumed = train_decoder(*arguments, out=tmp_path / "broken", features=features)
    assert all(torch.equal(value, resumed.state_dict()[name]) for name, value in whole.state_dict().items())
    rows = [row for row in metrics(tmp_path / "whole") if "critic" in row]
    assert ["adversarial" in row for row in rows] == [False, False, True, True]
    assert all("features" in row for row in rows)


def test_a_generator_uses_it_and_its_file_holds_it(tmp_path: Path) -> None:
    torch.manual_seed(0)
    decoder = FastDecoder(NETWORK)
    card = replace(tiny_card(), architecture=architecture(AUTOENCODER, DENOISER, DiffusionConfig(), decoder=NETWORK))
    generator = Generator(tiny_autoencoder(), tiny_unet(), DiffusionConfig(), card, decoder=decoder).eval()
    noise = torch.randn(2, 4, 16, 16)
    with torch.inference_mode():
        assert torch.equal(generator.decode(noise), decoder.decode(noise))
    save_weights(tmp_path / "g.safetensors", generator.state_dict(), card)
    loaded = diffusion.load(tmp_path / "g.safetensors")
    contexts = torch.nn.functional.normalize(torch.randn(2, 16))
    torch.testing.assert_close(
        loaded.sample(contexts, noise, steps=2), generator.sample(contexts, noise, steps=2), atol=0.02, rtol=0.0
    )
    assert loaded.card["architecture"]["decoder"]["widths"] == [16, 8]
    assert asdict(loaded.decoder.config) == asdict(NETWORK)  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"network": replace(NETWORK, factor=4)}, "has 8 px to one of the latent, the decoder 4"),
        ({"network": replace(NETWORK, channels=3)}, "the latents have 4 channels"),
        ({"feature_weight": 1.0}, "no encoder to take features from"),
    ],
)
def test_what_does_not_fit_is_named(tmp_path: Path, changes: dict[str, object], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        train_decoder(tiny_cache(side=16), tiny_autoencoder(), replace(CONFIG, **changes), out=tmp_path)  # type: ignore[arg-type]
    assert not list(tmp_path.iterdir())


def test_wrong_sizes_are_named() -> None:
    with pytest.raises(ConfigError, match="power of 2 that 2 levels do not pass, got 6"):
        FastDecoderConfig(factor=6)
    with pytest.raises(ConfigError, match="one entry a level"):
        FastDecoderConfig(widths=(8,))
    with pytest.raises(ConfigError, match="must be at least 0, got -1"):
        replace(CONFIG, noise=-1.0)
