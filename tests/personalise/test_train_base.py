"""Autoencoder, latents, then text encoder and denoiser, on drawn faces."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tests.personalise.tiny_world import AUTOENCODER, DENOISER, TEXT, tiny_world

from facewright.errors import ConfigError, DataError
from facewright.personalise.base_autoencoder import (
    BaseAutoencoderTraining,
    encode_pictures,
    means_of,
    train_base_autoencoder,
)
from facewright.personalise.base_identity import FaceTerm
from facewright.personalise.base_latents import SceneLatents, scene_latents, token_ids
from facewright.personalise.base_networks import make_autoencoder
from facewright.personalise.base_own_words import SaidByName
from facewright.personalise.base_tokenizer import make_tokenizer
from facewright.personalise.train_base import BaseTraining, make_text_to_image, train_base
from facewright.personalise.world_captions import vocabulary
from facewright.personalise.world_scenes import World
from facewright.training.trainer import Schedule

pytest.importorskip("diffusers", reason="needs the extra personalise")

SCHEDULE = Schedule(images=96, batch=8, learning_rate=3e-3, ema_maximum=0.8, log_every=16, save_every=48)
CODING = BaseAutoencoderTraining(SCHEDULE, AUTOENCODER)
CONFIG = BaseTraining(SCHEDULE, TEXT, DENOISER)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return tiny_world(tmp_path_factory.mktemp("world"))


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    return make_tokenizer(vocabulary(["asian"]), length=TEXT.length)


@pytest.fixture(scope="module")
def autoencoder() -> Any:
    torch.manual_seed(0)
    return make_autoencoder(AUTOENCODER, picture=32).eval()


@pytest.fixture(scope="module")
def scenes(world: World, autoencoder: Any, tokenizer: Any) -> SceneLatents:
    made = scene_latents(world, means_of(autoencoder), tokenizer, made_by="a", count=24, cache=None)
    return replace(made, latents=made.latents / made.latents.std())


def weights(network: torch.nn.Module) -> torch.Tensor:
    return torch.cat([value.flatten().float() for value in network.state_dict().values()])


def losses(run: Path, name: str) -> list[float]:
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [row[name] for row in rows if name in row]


def resumed(train: Callable[..., torch.nn.Module], folder: Path) -> None:
    """A run that was stopped and taken up again gives what the unbroken one gives."""

    def stop(done: int, total: int) -> None:
        if done == 64:
            raise KeyboardInterrupt

    whole = train(out=folder / "whole")
    with pytest.raises(KeyboardInterrupt):
        train(out=folder / "broken", progress=stop)
    assert torch.equal(weights(train(out=folder / "broken")), weights(whole))


def test_the_autoencoder_learns_and_resumes(world: World, tmp_path: Path) -> None:
    resumed(lambda **where: train_base_autoencoder(world, CODING, **where), tmp_path)
    pixels = losses(tmp_path / "whole", "pixels")
    assert pixels[-1] < 0.97 * pixels[0]
    network = train_base_autoencoder(world, CODING, out=tmp_path / "whole")
    latents = encode_pictures(means_of(network), world.images(range(96))).astype(np.float32)
    assert np.abs(latents.mean((0, 2, 3))).max() < 0.05
    assert np.abs(latents.std((0, 2, 3)) - 1).max() < 0.05
    assert network.config.scaling_factor == 1


def test_the_autoencoder_learns_the_latents_of_another(world: World, tmp_path: Path) -> None:
    def given(pictures: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.avg_pool2d(pictures, 4)[:, [0, 1, 2, 0]]

    coding = replace(CODING, given_weight=4.0, schedule=replace(SCHEDULE, images=256))
    network = train_base_autoencoder(world, coding, out=tmp_path / "run", given=given)
    found = losses(tmp_path / "run", "given")
    assert found[-1] < 0.6 * found[0]
    shown = torch.from_numpy(world.images(range(32))).permute(0, 3, 1, 2) / 127.5 - 1
    with torch.no_grad():
        apart = (network.encode(shown).latent_dist.mean - given(shown)).square().mean()
    assert apart < 0.5 * given(shown).square().mean()  # what the run wrote is what learnt, not a standardised one


def test_a_decoder_alone_learns_from_where_it_began(world: World, tmp_path: Path) -> None:
    """What it learns is to rebuild faces: the encoder stays, pixels and faces come nearer."""

    def given(pictures: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.avg_pool2d(pictures, 4)[:, [0, 1, 2, 0]]

    schedule = replace(SCHEDULE, images=256)
    first = train_base_autoencoder(world, replace(CODING, schedule=schedule), out=tmp_path / "first", given=given)
    coding = replace(CODING, schedule=schedule, decoder_alone=True, identity_weight=1.0)
    faces = FaceTerm(lambda crops: torch.nn.functional.adaptive_avg_pool2d(crops, 7).flatten(1))
    begun = {name: value.clone() for name, value in first.state_dict().items()}
    trained = train_base_autoencoder(
        world, coding, out=tmp_path / "second", given=given, faces=faces, begun=begun
    ).state_dict()
    kept = {name for name in begun if torch.equal(trained[name], begun[name])}
    assert {name for name in begun if name.startswith(("encoder.", "quant_conv."))} <= kept
    assert not any(name.startswith("decoder.conv") for name in kept)
    assert losses(tmp_path / "second", "identity")[-1] < losses(tmp_path / "second", "identity")[0]
    assert losses(tmp_path / "second", "pixels")[-1] < losses(tmp_path / "first", "pixels")[-1]
    assert "given" not in (tmp_path / "second" / "metrics.jsonl").read_text()


def test_latents_are_those_of_the_scenes_and_are_kept(
    world: World, autoencoder: Any, tokenizer: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("facewright.personalise.base_latents.PART", 8)
    seen: list[tuple[int, int]] = []
    first = scene_latents(
        world,
        means_of(autoencoder),
        tokenizer,
        made_by="a",
        count=20,
        cache=tmp_path / "l",
        progress=lambda *done: seen.append(done),
    )
    assert seen == [(8, 20), (16, 20), (20, 20)]
    assert first.latents.shape == (20, 4, 8, 8)
    again = encode_pictures(means_of(autoencoder), world.images([17]))
    assert np.abs(first.latents[17:18] - again).max() <= 0.02 * np.abs(again).max()  # another batch in bfloat16
    words = tokenizer.decode([i for i in first.ids[17] if i not in (tokenizer.bos_token_id, tokenizer.eos_token_id)])
    assert words.replace(" ,", ",").strip() == world.scene(17).caption

    kept = (tmp_path / "l" / "00000.npy").stat().st_mtime_ns

    def kept_latents(world: World = world, *, made_by: str = "a") -> SceneLatents:
        return scene_latents(world, means_of(autoencoder), tokenizer, made_by=made_by, count=24, cache=tmp_path / "l")

    more = kept_latents()
    assert (tmp_path / "l" / "00000.npy").stat().st_mtime_ns == kept
    assert np.array_equal(more.latents[:16], first.latents[:16])
    assert len(more.latents) == 24
    other = World(world.faces, world.rows, world.config, seed=1)
    with pytest.raises(ConfigError, match="was made with another world; give the same, or another --out"):
        kept_latents(other)
    with pytest.raises(ConfigError, match="was made with another autoencoder"):
        kept_latents(made_by="b")
    (tmp_path / "l" / "00001.npy").write_bytes(b"cut short")
    with pytest.raises(DataError, match=r"00001.npy cannot be read .* delete it to encode its scenes anew"):
        kept_latents()


def test_captions_are_padded_and_cut(tokenizer: Any) -> None:
    ids = token_ids(["a man", "a man " * 40, "", "a man"], tokenizer)
    assert ids.shape == (4, TEXT.length)
    assert (ids[:, 0] == tokenizer.bos_token_id).all()
    assert (ids[:, -1] == tokenizer.eos_token_id).all()
    assert np.array_equal(ids[0], ids[3])


@pytest.mark.parametrize("target", ["velocity", "noise"])
def test_text_to_image_learns_and_held_out_scenes_are_measured(
    scenes: SceneLatents, tokenizer: Any, tmp_path: Path, target: str
) -> None:
    config = replace(CONFIG, target=target, min_snr=5.0 if target == "noise" else None)
    saved: list[torch.Tensor] = []
    network = train_base(
        scenes, scenes, tokenizer, config, out=tmp_path, on_save=lambda network: saved.append(weights(network))
    )
    assert not network.training
    assert losses(tmp_path, "denoising")[-1] < losses(tmp_path, "denoising")[0]
    held_out = losses(tmp_path, "held_out")
    assert held_out[1] < held_out[0] < 1.5
    assert len(saved) == 2
    assert torch.equal(saved[1], weights(network))


def test_text_to_image_resumes_bit_for_bit(scenes: SceneLatents, tokenizer: Any, tmp_path: Path) -> None:
    resumed(lambda **where: train_base(scenes, scenes.first(0), tokenizer, CONFIG, **where), tmp_path)
    assert not losses(tmp_path / "whole", "held_out")


def test_the_text_encoder_learns_from_captions_alone(scenes: SceneLatents, tokenizer: Any, tmp_path: Path) -> None:
    """Tokens that no caption holds keep their first vectors, but for the decay; those of captions move."""
    network = train_base(scenes, scenes, tokenizer, CONFIG, out=tmp_path)
    first = make_text_to_image(CONFIG, tokenizer, channels=4, latent=8)
    before, after = (each.text_encoder.get_input_embeddings().weight.detach() for each in (first, network))
    held = torch.from_numpy(np.unique(scenes.ids))
    moved = (after - before).abs().amax(1)
    others = torch.ones(len(moved), dtype=torch.bool)
    others[held] = False
    assert moved[held].min() > 10 * moved[others].max()


def test_dropped_captions_are_empty_ones(scenes: SceneLatents, tokenizer: Any, tmp_path: Path) -> None:
    """With every caption dropped, which captions there are makes no difference."""
    config = replace(CONFIG, caption_dropout=0.999, schedule=replace(SCHEDULE, images=16))
    shuffled = replace(scenes, ids=scenes.ids[::-1].copy())
    one, other = (
        train_base(each, each.first(0), tokenizer, config, out=tmp_path / name)
        for name, each in (("a", scenes), ("b", shuffled))
    )
    assert torch.equal(weights(one), weights(other))


def test_where_a_photo_ends_nothing_is_learnt(scenes: SceneLatents, tokenizer: Any, tmp_path: Path) -> None:
    """Other latents there change nothing but what the network sees; with no real place nothing is learnt at all."""
    nowhere = replace(scenes, real=np.zeros_like(scenes.real))
    config = replace(CONFIG, schedule=replace(SCHEDULE, weight_decay=0.0))
    network = train_base(nowhere, scenes.first(0), tokenizer, config, out=tmp_path)
    assert torch.equal(weights(network), weights(make_text_to_image(config, tokenizer, channels=4, latent=8)))
    assert set(losses(tmp_path, "denoising")) == {0.0}


def test_a_compiled_denoiser_is_captured_whole(scenes: SceneLatents, tokenizer: Any) -> None:
    network = make_text_to_image(CONFIG, tokenizer, channels=4, latent=8).eval()
    given = torch.randn(2, 4, 8, 8), torch.tensor([1, 500]), torch.from_numpy(scenes.ids[:2])
    with torch.no_grad():
        plain = network(*given)
        network.denoiser.compile(backend="eager", fullgraph=True)
        torch.testing.assert_close(network(*given), plain)


def test_bad_settings_are_named(world: World, tokenizer: Any, tmp_path: Path) -> None:
    for settings, sentence in (
        ({"target": "picture"}, "target must be noise or velocity"),
        ({"caption_dropout": 1.0}, "caption_dropout must be in"),
        ({"min_snr": 0.0}, "min_snr must be above 0"),
    ):
        with pytest.raises(ConfigError, match=sentence):
            BaseTraining(SCHEDULE, **settings)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="edge_weight must be at least 0, got -1"):
        BaseAutoencoderTraining(SCHEDULE, edge_weight=-1)
    for coding, sentence in (
        (replace(CODING, identity_weight=1.0), "there is nothing to judge identities by"),
        (replace(CODING, decoder_alone=True), "decoder_alone needs the latents of another autoencoder"),
    ):
        with pytest.raises(ConfigError, match=sentence):
            train_base_autoencoder(world, coding, out=tmp_path)
    with pytest.raises(ConfigError, match="prompts of 24 tokens, the text encoder takes 16"):
        make_text_to_image(replace(CONFIG, text=replace(TEXT, length=16)), tokenizer, channels=4, latent=8)
    with pytest.raises(DataError, match=r"latents must be \(N, C, h, w\)"):
        SceneLatents(*map(np.zeros, ((2, 4, 8, 8), (3, 24), (2, 1, 5, 2), (2, 8, 8))))


def test_text_that_was_taught_before_can_stay_as_it_is(scenes: SceneLatents, tokenizer: Any, tmp_path: Path) -> None:
    config = replace(CONFIG, frozen_text=True, denoiser=replace(DENOISER, pooled=True))
    begun = make_text_to_image(config, tokenizer, channels=4, latent=8).state_dict()
    begun = {name: value.clone() for name, value in begun.items()}
    trained = train_base(scenes, scenes.first(0), tokenizer, config, out=tmp_path / "run", begun=begun).state_dict()
    kept = {name for name in begun if torch.equal(trained[name], begun[name])}
    assert {name for name in begun if name.startswith(("text_encoder.", "denoiser.add_embedding."))} <= kept
    assert "denoiser.conv_in.weight" not in kept


def test_people_can_be_said_by_words_of_their_own(scenes: SceneLatents, tokenizer: Any, tmp_path: Path) -> None:
    """Only captions with such words are drawn otherwise, so the two runs differ by the words alone."""
    config = replace(CONFIG, frozen_text=True, own=1.0, denoiser=replace(DENOISER, pooled=True))
    people = SaidByName(
        np.arange(len(scenes.ids)),
        np.full(len(scenes.ids), 1),
        np.random.default_rng(0).normal(size=(len(scenes.ids), 2, TEXT.width)).astype(np.float32),
    )
    others = replace(people, words=people.words[::-1].copy())
    trained = [
        train_base(scenes, scenes.first(0), tokenizer, config, people=each, out=tmp_path / name).state_dict()
        for name, each in (("one", people), ("same", people), ("other", others))
    ]
    first, same, other = (each["denoiser.conv_in.weight"] for each in trained)
    assert torch.equal(first, same)
    assert not torch.equal(first, other)
    with pytest.raises(ConfigError, match="own is above 0, and nobody in the captions has a name"):
        train_base(scenes, scenes.first(0), tokenizer, config, out=tmp_path / "nobody")


def test_own_words_need_frozen_text() -> None:
    with pytest.raises(ConfigError, match="set frozen_text = true"):
        replace(CONFIG, own=0.5)
    with pytest.raises(ConfigError, match=r"own must be in \[0, 1\], got 2"):
        replace(CONFIG, own=2, frozen_text=True)
