"""The identity term of a small base model."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from tests.personalise.tiny_world import AUTOENCODER, DENOISER, TEXT, tiny_world
from torch import Tensor

from facewright.errors import ConfigError
from facewright.personalise.base_autoencoder import means_of
from facewright.personalise.base_identity import FaceTerm
from facewright.personalise.base_latents import SceneLatents, scene_latents
from facewright.personalise.base_networks import make_autoencoder
from facewright.personalise.base_tokenizer import make_tokenizer
from facewright.personalise.train_base import BaseTraining, train_base
from facewright.personalise.world_captions import vocabulary
from facewright.training.trainer import Schedule

pytest.importorskip("diffusers", reason="needs the extra personalise")

CONFIG = BaseTraining(Schedule(images=24, batch=8, log_every=8, save_every=24), TEXT, DENOISER)


class Blocks:
    """An embedding that says what is where: means of 16 blocks of a crop, centred."""

    def __init__(self) -> None:
        self.seen: list[Tensor] = []

    def __call__(self, crops: Tensor) -> Tensor:
        self.seen.append(crops.detach())
        found = F.adaptive_avg_pool2d(crops, 4).flatten(1)
        return found - found.mean(1, keepdim=True)


@pytest.fixture(scope="module")
def autoencoder() -> Any:
    torch.manual_seed(0)
    return make_autoencoder(AUTOENCODER, picture=32).eval().requires_grad_(requires_grad=False)


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    return make_tokenizer(vocabulary(["asian"]), length=TEXT.length)


@pytest.fixture(scope="module")
def scenes(tmp_path_factory: pytest.TempPathFactory, autoencoder: Any, tokenizer: Any) -> SceneLatents:
    world = tiny_world(tmp_path_factory.mktemp("world"))
    made = scene_latents(world, means_of(autoencoder), tokenizer, made_by="a", count=16, cache=None)
    for number, points in enumerate(made.points):
        figures = world.scene(number).figures
        np.testing.assert_array_equal(points[: len(figures)], [figure.points() for figure in figures])
        assert np.isnan(points[len(figures) :]).all()
    return made


def decoded_by(autoencoder: Any) -> Callable[[torch.Tensor], torch.Tensor]:
    return lambda latents: autoencoder.decode(latents).sample  # type: ignore[no-any-return]


def test_it_is_nothing_for_the_scene_itself_and_pulls_a_guess_towards_it(
    autoencoder: Any, scenes: SceneLatents
) -> None:
    judge = Blocks()
    term = FaceTerm(judge, decoded_by(autoencoder))
    clean = torch.from_numpy(scenes.latents).float()
    draw = torch.Generator().manual_seed(0)
    same = term(clean, clean, scenes.points, generator=draw)
    assert same.shape == (16,)
    assert float(same.abs().max()) < 1e-5
    assert judge.seen[0].shape == (16, 3, 112, 112)
    guess = (clean + torch.randn(clean.shape, generator=draw)).requires_grad_()
    apart = term(guess, clean, scenes.points, generator=torch.Generator().manual_seed(0)).mean()
    apart.backward()
    assert guess.grad is not None
    nearer = term(
        guess.detach() - 5 * guess.grad, clean, scenes.points, generator=torch.Generator().manual_seed(0)
    ).mean()
    assert float(nearer) < apart.item()


def test_one_of_the_people_is_drawn(autoencoder: Any, scenes: SceneLatents) -> None:
    several = np.flatnonzero(~np.isnan(scenes.points[:, 1]).any((1, 2)))[:1]
    clean, points = torch.from_numpy(scenes.latents[several]).float(), scenes.points[several]
    judge = Blocks()
    term = FaceTerm(judge, decoded_by(autoencoder))
    for seed in range(8):
        term(clean, clean, points, generator=torch.Generator().manual_seed(seed))
    assert len({tuple(crop.flatten()[:500].tolist()) for crop in judge.seen}) == 2


def test_training_with_it(autoencoder: Any, scenes: SceneLatents, tokenizer: Any, tmp_path: Path) -> None:
    config = replace(CONFIG, identity_weight=1.0, identity_share=0.5)
    with pytest.raises(ConfigError, match="nothing to judge identities by"):
        train_base(scenes, scenes.first(0), tokenizer, config, out=tmp_path / "none")
    faces = FaceTerm(Blocks(), decoded_by(autoencoder))
    train_base(scenes, scenes.first(0), tokenizer, config, out=tmp_path / "run", faces=faces)
    lines = (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()
    assert all(0 < float(line.split('"identity": ')[1].split(",")[0]) < 2 for line in lines if "denoising" in line)
    with pytest.raises(ConfigError, match="identity_share in"):
        replace(CONFIG, identity_share=0.0)
