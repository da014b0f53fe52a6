"""Training the autoencoder on drawn faces."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from tests.diffusion.tiny import AUTOENCODER
from tests.training.toys import toy_pack

from facewright.data.images import to_tensor
from facewright.data.packs import FacePack
from facewright.diffusion import AutoencoderTraining, train_autoencoder
from facewright.training.trainer import Schedule

SCHEDULE = Schedule(images=240, batch=8, learning_rate=2e-2, ema_maximum=0.8, log_every=80, save_every=120)
CONFIG = AutoencoderTraining(SCHEDULE, AUTOENCODER)


@pytest.fixture
def pack(tmp_path: Path) -> FacePack:
    return toy_pack(tmp_path / "pack", people=6, poses=3)


def test_it_learns_to_rebuild_and_its_latents_are_unit_normal(pack: FacePack, tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = train_autoencoder(pack, CONFIG, out=tmp_path / "run")
    assert not network.training
    rows = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert rows[-1]["pixels"] < 0.7 * rows[0]["pixels"]
    assert {"pixels", "edges", "prior"} <= rows[0].keys()
    images = to_tensor(pack.images[pack.where(held_out=False)])
    with torch.inference_mode():
        latents = network.encode(images)
        error = (network.decode(latents) - images).abs().mean()
    assert torch.allclose(latents.mean((0, 2, 3)), torch.zeros(4), atol=1e-3)
    assert torch.allclose(latents.std((0, 2, 3)), torch.ones(4), atol=1e-3)
    assert float(error) < float((images - images.mean()).abs().mean())


def test_a_resumed_run_gives_the_same_network(pack: FacePack, tmp_path: Path) -> None:
    config = replace(CONFIG, schedule=replace(SCHEDULE, images=32, log_every=8, save_every=16))

    def stop(done: int, total: int) -> None:
        if done == 24:
            raise KeyboardInterrupt

    torch.manual_seed(0)
    whole = train_autoencoder(pack, config, out=tmp_path / "whole")
    torch.manual_seed(0)
    with pytest.raises(KeyboardInterrupt):
        train_autoencoder(pack, config, out=tmp_path / "broken", progress=stop)
    resumed = train_autoencoder(pack, config, out=tmp_path / "broken")
    assert all(torch.equal(value, resumed.state_dict()[name]) for name, value in whole.state_dict().items())


def test_held_out_faces_and_pixels_outside_the_photo_are_never_learnt_from(pack: FacePack, tmp_path: Path) -> None:
    config = replace(CONFIG, schedule=replace(SCHEDULE, images=16, save_every=16))

    def trained(changed: FacePack, name: str) -> torch.Tensor:
        torch.manual_seed(0)
        train_autoencoder(changed, config, out=tmp_path / name)
        kept = torch.load(tmp_path / name / "last.pt", weights_only=True)["module"]
        return torch.cat([kept[name].flatten() for name in sorted(kept) if name.startswith("decoder")])

    held_out = np.zeros(len(pack.labels), bool)
    held_out[:3] = True
    images = np.array(pack.images)
    before = trained(replace(pack, held_out=held_out, images=images), "before")
    hidden = images.copy()
    hidden[:3] = 255
    assert torch.equal(trained(replace(pack, held_out=held_out, images=hidden), "hidden"), before)
    nothing = replace(pack, held_out=held_out, images=images, masks=np.zeros_like(pack.masks))
    untouched = trained(nothing, "masked")
    assert not torch.allclose(untouched, before, atol=1e-4)
