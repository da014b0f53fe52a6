"""Training the VQ autoencoder on drawn faces."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from tests.training.toys import toy_pack
from torch import Tensor

from facewright.diffusion import AutoencoderTraining, CriticTerms, VQAutoencoder, VQConfig, VQTerms, train_autoencoder
from facewright.diffusion.train_vq import codes_in_use, quantised
from facewright.errors import ConfigError
from facewright.training.trainer import Schedule

NETWORK = VQConfig(width=32, multipliers=(1, 1, 1), blocks=1, codes=32)
SCHEDULE = Schedule(
    images=12,
    batch=2,
    learning_rate=2e-3,
    ema_maximum=0.3,
    precision="fp32",
    clip_children=True,
    log_every=4,
    save_every=6,
)


def features(pictures: Tensor) -> list[Tensor]:
    return [torch.nn.functional.avg_pool2d(pictures, 8)]


def test_codes_and_latents_are_drawn_together_and_the_gradient_goes_straight() -> None:
    torch.manual_seed(0)
    network = VQAutoencoder(NETWORK)
    latents = torch.randn(2, 3, 4, 4, requires_grad=True)
    codes, pull = quantised(network, latents, commitment=0.25)
    table = network.decoder.quantize.embedding.weight
    rows = latents.detach().permute(0, 2, 3, 1).reshape(-1, 3)
    nearest = table.detach()[torch.cdist(rows, table.detach()).argmin(1)]
    torch.testing.assert_close(codes.detach().permute(0, 2, 3, 1).reshape(-1, 3), nearest)
    assert float(pull.detach()) == pytest.approx(1.25 * float((rows - nearest).square().mean()), rel=1e-5)
    (straight,) = torch.autograd.grad(codes.sum(), latents, retain_graph=True)
    assert torch.equal(straight, torch.ones_like(straight))
    (of_latents,) = torch.autograd.grad(pull, latents, retain_graph=True)
    wanted = 0.25 * 2 * (rows - nearest) / rows.numel()
    torch.testing.assert_close(of_latents.permute(0, 2, 3, 1).reshape(-1, 3), wanted)
    (of_table,) = torch.autograd.grad(pull, table)
    torch.testing.assert_close(of_table.sum(0), (2 * (nearest - rows) / rows.numel()).sum(0))


def test_codes_in_use_is_their_perplexity() -> None:
    assert codes_in_use(torch.zeros(10, dtype=torch.int64), 8) == 1
    assert codes_in_use(torch.arange(8).repeat(3), 8) == pytest.approx(8)


def test_it_learns_with_features_and_a_critic_and_can_be_resumed(tmp_path: Path) -> None:
    pack = toy_pack(tmp_path / "pack", people=3, poses=2)
    pack.held_out[:2] = True
    terms = VQTerms(NETWORK, critic=CriticTerms(width=8, layers=1, begin=6))
    config = AutoencoderTraining(SCHEDULE, vq=terms)

    def stop(done: int, total: int) -> None:
        if done == 8:
            raise KeyboardInterrupt

    whole = train_autoencoder(pack, config, out=tmp_path / "whole", features=features)
    assert isinstance(whole, VQAutoencoder)
    with pytest.raises(KeyboardInterrupt):
        train_autoencoder(pack, config, out=tmp_path / "broken", features=features, progress=stop)
    resumed = train_autoencoder(pack, config, out=tmp_path / "broken", features=features)
    assert all(torch.equal(value, resumed.state_dict()[name]) for name, value in whole.state_dict().items())
    rows = [json.loads(line) for line in (tmp_path / "whole" / "metrics.jsonl").read_text().splitlines()]
    assert {"pixels", "features", "codes", "critic"} <= rows[0].keys()
    assert "adversarial" in [row for row in rows if "pixels" in row][-1]
    measured = [row for row in rows if "held_out" in row]
    assert all(1 <= row["codes_in_use"] <= 32 for row in measured)
    images = torch.from_numpy(np.array(pack.images[2:4])).permute(0, 3, 1, 2) / 127.5 - 1
    with torch.inference_mode():
        latents = whole.encode(images)
        assert latents.shape == (2, 3, 32, 32)
        assert whole.decode(latents).shape == images.shape
    assert float(latents.std()) == pytest.approx(1, abs=0.5), "latents are made about unit normal"


def test_features_need_an_encoder_and_wrong_terms_are_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no encoder to take features from"):
        train_autoencoder(toy_pack(tmp_path / "p"), AutoencoderTraining(SCHEDULE, vq=VQTerms(NETWORK)), out=tmp_path)
    with pytest.raises(ConfigError, match="commitment and feature_weight must be at least 0"):
        VQTerms(commitment=-1)
