"""Caching latents and training the denoiser on drawn faces."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from tests.diffusion.tiny import DENOISER, tiny_autoencoder, tiny_cache, tiny_generator
from tests.training.toys import toy_pack

from facewright.data.images import to_tensor
from facewright.data.packs import FacePack
from facewright.diffusion import (
    DiffusionConfig,
    GeneratorTraining,
    LatentCache,
    SampleChecks,
    SamplerConfig,
    cache_latents,
    decode_and_embed,
    held_out_pictures,
    held_out_rows,
    kept_averages,
    picture_grid,
    train_generator,
)
from facewright.errors import ConfigError, DataError
from facewright.training.trainer import Schedule

SCHEDULE = Schedule(images=320, batch=16, learning_rate=2e-3, ema_maximum=0.8, log_every=80, save_every=160)
CONFIG = GeneratorTraining(SCHEDULE, network=DENOISER)


def embed(faces: np.ndarray) -> np.ndarray:
    """Means of a 4 x 4 board in red, of unit length."""
    means = faces[:, :, :, 0].reshape(-1, 4, 32, 4, 32).mean((2, 4)).reshape(-1, 16) + 1
    return (means / np.linalg.norm(means, axis=1, keepdims=True)).astype(np.float32)


@pytest.fixture
def pack(tmp_path: Path) -> FacePack:
    pack = toy_pack(tmp_path / "pack", people=6, poses=3)
    held_out = np.zeros(len(pack.labels), bool)
    held_out[:3] = True
    sources = pack.sources.copy()
    sources[4] = -1
    masks = pack.masks.copy()
    masks[5, :, :4] = 0
    return replace(pack, held_out=held_out, sources=sources, masks=masks)


@pytest.fixture
def cache(pack: FacePack) -> LatentCache:
    return cache_latents(pack, tiny_autoencoder(), embed, batch=7)


def test_the_cache_holds_every_kept_face_and_its_mirror(pack: FacePack, cache: LatentCache) -> None:
    rows = [row for row in range(len(pack.labels)) if row != 4]
    assert cache.latents.shape == (19, 2, 4, 16, 16)
    assert cache.latents.dtype == np.float16
    faces = pack.images[rows]
    mirrored = np.ascontiguousarray(faces[:, :, ::-1])
    assert np.array_equal(cache.embeddings, np.stack([embed(faces), embed(mirrored)], 1))
    assert np.array_equal(cache.masks, pack.masks[rows])
    assert np.array_equal(cache.held_out, pack.held_out[rows])
    with torch.inference_mode():
        for view, images in enumerate((faces, mirrored)):
            exact = tiny_autoencoder().encode(to_tensor(images)).numpy()
            assert np.abs(cache.latents[:, view] - exact).max() < 0.05 * np.abs(exact).max()  # bfloat16


def test_progress_of_the_cache_ends_at_the_number_of_faces(pack: FacePack) -> None:
    seen: list[tuple[int, int]] = []
    cache_latents(pack, tiny_autoencoder(), embed, batch=8, progress=lambda done, total: seen.append((done, total)))
    assert seen == [(8, 19), (16, 19), (19, 19)]


@pytest.mark.parametrize("target", ["noise", "velocity"])
def test_the_loss_falls_and_held_out_people_are_measured(cache: LatentCache, tmp_path: Path, target: str) -> None:
    config = replace(CONFIG, diffusion=DiffusionConfig(target=target))
    torch.manual_seed(0)
    network = train_generator(cache, config, out=tmp_path / "run")
    assert not network.training
    rows = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    losses = [row["denoising"] for row in rows if "denoising" in row]
    held_out = [row["held_out"] for row in rows if "held_out" in row]
    assert losses[-1] < losses[0] < 3
    assert len(held_out) == 2
    assert held_out[-1] < held_out[0]
    x = torch.randn(2, 4, 16, 16)
    assert network(x, torch.tensor([5, 900]), torch.from_numpy(cache.embeddings[:2, 0])).abs().sum() > 0


def test_a_resumed_run_gives_the_same_denoiser(cache: LatentCache, tmp_path: Path) -> None:
    config = replace(CONFIG, schedule=replace(SCHEDULE, images=64, log_every=16, save_every=32))

    def stop(done: int, total: int) -> None:
        if done == 48:
            raise KeyboardInterrupt

    torch.manual_seed(0)
    whole = train_generator(cache, config, out=tmp_path / "whole")
    torch.manual_seed(0)
    with pytest.raises(KeyboardInterrupt):
        train_generator(cache, config, out=tmp_path / "broken", progress=stop)
    resumed = train_generator(cache, config, out=tmp_path / "broken")
    assert all(torch.equal(value, resumed.state_dict()[name]) for name, value in whole.state_dict().items())


def test_held_out_latents_and_cells_outside_the_photo_are_never_learnt_from(cache: LatentCache, tmp_path: Path) -> None:
    config = replace(CONFIG, schedule=replace(SCHEDULE, images=32, save_every=32))

    def trained(changed: LatentCache, name: str) -> torch.Tensor:
        torch.manual_seed(0)
        return torch.cat([p.flatten() for p in train_generator(changed, config, out=tmp_path / name).parameters()])

    before = trained(cache, "before")
    latents = cache.latents.copy()
    latents[cache.held_out] = 7
    assert torch.equal(trained(replace(cache, latents=latents), "held out"), before)
    nobody = replace(cache, masks=np.zeros_like(cache.masks))
    assert not torch.equal(trained(nobody, "masked"), before)
    assert trained(nobody, "masked again").isfinite().all(), "a batch without a real cell must not divide by zero"


def test_whole_contexts_are_dropped_for_guidance(cache: LatentCache, tmp_path: Path) -> None:
    """With every context dropped the embeddings cannot matter."""
    schedule = replace(SCHEDULE, images=32, save_every=32)
    config = replace(CONFIG, schedule=schedule, context_dropout=1.0)
    shuffled = replace(cache, embeddings=cache.embeddings[::-1].copy())
    nets = []
    for name, each in (("a", cache), ("b", shuffled)):
        torch.manual_seed(0)
        nets.append(train_generator(each, config, out=tmp_path / name))
    assert all(torch.equal(p, q) for p, q in zip(nets[0].parameters(), nets[1].parameters(), strict=True))


def embed_tensor(crops: torch.Tensor) -> torch.Tensor:
    """Means of a 4 x 4 board in red, with a gradient; the contexts of the cache are where all are positive."""
    return torch.nn.functional.normalize(torch.nn.functional.adaptive_avg_pool2d(crops[:, :1], 4).flatten(1))


def test_the_identity_term_brings_the_guessed_faces_near_their_contexts(cache: LatentCache, tmp_path: Path) -> None:
    def cosine_lack(weight: float) -> float:
        config = replace(CONFIG, identity_weight=weight, identity_share=0.5)
        out = tmp_path / str(weight)
        train_generator(cache, config, out=out, identify=decode_and_embed(tiny_autoencoder(), embed_tensor))
        rows = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
        return float([row["identity"] for row in rows if "identity" in row][-1] / weight)

    assert cosine_lack(30.0) < 0.97 * cosine_lack(1e-6)


def test_an_identity_term_needs_a_judge(cache: LatentCache, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no encoder to judge"):
        train_generator(cache, replace(CONFIG, identity_weight=1.0), out=tmp_path / "run")


def test_the_judge_is_differentiable_and_shifts_the_crop_alike_for_one_seed() -> None:
    identify = decode_and_embed(tiny_autoencoder(), embed_tensor)
    latents = torch.randn(2, 4, 16, 16, generator=torch.Generator().manual_seed(0)).requires_grad_()
    first = identify(latents, torch.Generator().manual_seed(1))
    assert torch.equal(first, identify(latents, torch.Generator().manual_seed(1)))
    assert not torch.equal(first, identify(latents, torch.Generator().manual_seed(2)))
    first[:, 0].sum().backward()
    assert latents.grad is not None
    assert latents.grad.abs().sum() > 0


SHORT = replace(SCHEDULE, images=32, log_every=16, save_every=32)


def rows_of(run: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


def test_every_average_is_kept_and_measured_and_one_of_them_is_exported(tmp_path: Path) -> None:
    schedule = replace(SHORT, batch=4, ema_more=(0.2, 0.1))
    config = GeneratorTraining(schedule, network=DENOISER, exported=0.2, min_snr=5.0)
    measured: list[int] = []

    def measure(denoiser: torch.nn.Module, images: int) -> dict[str, float]:
        measured.append(images)
        return {"beauty": float(denoiser.state_dict()["final.bias"].sum())}

    network = train_generator(tiny_cache(), config, out=tmp_path, measure=measure)
    kept = kept_averages(tmp_path, config)
    assert kept.keys() == {"last", "0.8", "0.2", "0.1"}
    exported = network.state_dict()
    same = {
        name: all(torch.equal(value, exported[key]) for key, value in other.state_dict().items())
        for name, other in kept.items()
    }
    assert same == {"last": False, "0.8": False, "0.2": True, "0.1": False}
    [row] = [row for row in rows_of(tmp_path) if "held_out" in row]
    assert {"held_out", "held_out_0.8", "held_out_0.1", "beauty"} <= row.keys()
    assert measured == [32]


def test_a_network_without_context_learns_of_latents_alone(tmp_path: Path) -> None:
    cache = replace(tiny_cache(), embeddings=np.empty((24, 2, 0), np.float32))
    schedule = replace(SHORT, images=128, log_every=64, save_every=64)
    network = train_generator(
        cache, GeneratorTraining(schedule, network=replace(DENOISER, context_inputs=None)), out=tmp_path
    )
    losses = [row["held_out"] for row in rows_of(tmp_path) if "held_out" in row]
    assert losses[-1] < losses[0]
    assert network(torch.zeros(1, 4, 8, 8), torch.tensor([9])).shape == (1, 4, 8, 8)


def test_a_recipe_that_an_older_run_did_not_know_all_of_resumes_it(tmp_path: Path) -> None:
    recipe = {"context_dropout": 0.1, "network": {"width": 32}}
    settings = {"name": "a", "recipe": {**recipe, "min_snr": None, "exported": None, "checks": None}}
    config = GeneratorTraining(replace(SHORT, save_every=16), network=DENOISER)

    def stop(done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train_generator(tiny_cache(), config, out=tmp_path, progress=stop, settings={"name": "a", "recipe": recipe})
    train_generator(tiny_cache(), config, out=tmp_path, settings=settings)
    assert rows_of(tmp_path)[-1]["images"] == 32


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"exported": 0.5}, "exported must be one of the averages"),
        ({"min_snr": 0.0}, "min_snr must be above 0"),
        ({"context_dropout": 1.5}, r"context_dropout must be in \[0, 1\]"),
        ({"network": replace(DENOISER, context_inputs=None), "identity_weight": 1.0}, "has no identity to hold"),
        ({"identity_share": 0.0}, "identity_share"),
    ],
)
def test_wrong_recipes_are_named(changes: dict[str, object], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        replace(CONFIG, **changes)  # type: ignore[arg-type]


def test_latents_of_another_size_are_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="have 4 channels and the embeddings 16 numbers, the network is for 8 and 16"):
        train_generator(tiny_cache(), GeneratorTraining(SHORT, network=replace(DENOISER, channels=8)), out=tmp_path)
    with pytest.raises(DataError, match="need as many masks"):
        replace(tiny_cache(), masks=np.ones((3, 16, 16), np.uint8))
    assert not list(tmp_path.iterdir())


def test_checks_ask_for_the_same_held_out_people_by_the_same_noise() -> None:
    cache, generator = tiny_cache(held_out=3), tiny_generator()
    checks = SampleChecks(pictures=5, steps=2, shown=2)
    assert held_out_rows(cache, 5).tolist() == [0, 0, 1, 1, 2]
    pictures = held_out_pictures(generator, cache, checks, batch=2)
    assert pictures.shape == (5, 128, 128, 3)
    assert np.array_equal(pictures, held_out_pictures(generator, cache, checks, batch=2))
    assert not np.array_equal(pictures[0], pictures[1])
    generator.sampling = SamplerConfig("lcm", 2)
    advised = held_out_pictures(generator, cache, replace(checks, sampler=None))
    assert not np.array_equal(advised, pictures)
    with pytest.raises(ConfigError, match="checks need 2 faces that are held out, there are 0"):
        held_out_rows(tiny_cache(held_out=0), 5)
    with pytest.raises(ConfigError, match="pictures must be at least 2 and shown in"):
        SampleChecks(pictures=5, shown=6)


def test_a_grid_has_white_gaps() -> None:
    grid = picture_grid(np.zeros((3, 4, 4, 3), np.uint8), columns=2)
    assert grid.shape == (10, 10, 3)
    assert not grid[:4, :4].any()
    assert (grid[4:6] == 255).all()
    assert (grid[6:, 6:] == 255).all()
