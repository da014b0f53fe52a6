"""A text encoder learns what contexts captions stand for, and can be stopped meanwhile."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tests.diffusion.tiny import tiny_unet
from tests.personalise.tiny_world import TEXT, WORLD, tiny_world

from facewright.errors import ConfigError
from facewright.personalise.base_from_generator import REST, begin_as_generator, said_of, sizes_of_generator
from facewright.personalise.base_latents import token_ids
from facewright.personalise.base_own_words import SaidByName, said_by_name
from facewright.personalise.base_tokenizer import make_tokenizer
from facewright.personalise.train_base import BaseTraining, TextToImage, make_text_to_image
from facewright.personalise.train_base_text import (
    PromptReader,
    TextTraining,
    scene_contexts,
    scene_rest,
    train_base_text,
)
from facewright.personalise.world_captions import Said, vocabulary
from facewright.personalise.world_scenes import World
from facewright.personalise.world_styles import STYLES
from facewright.training.trainer import Schedule

pytest.importorskip("diffusers", reason="needs the extra personalise")

SCHEDULE = Schedule(images=2400, batch=16, learning_rate=3e-3, ema_maximum=0.9, log_every=400, save_every=800)
CAPTIONS = ["a photo of a man", "a photo of a woman", "a sepia photo of a man", "a sepia photo of a woman"]


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    return make_tokenizer(vocabulary(["asian"]), length=TEXT.length)


def begun(tokenizer: Any) -> TextToImage:
    generator = tiny_unet()
    config = BaseTraining(SCHEDULE, TEXT, sizes_of_generator(generator.config))
    networks = make_text_to_image(config, tokenizer, channels=4, latent=8)
    begin_as_generator(networks.denoiser, generator, longest=8.0)
    return networks


def contexts() -> np.ndarray:
    """One for men and one for women, whatever the style."""
    drawn = np.random.default_rng(0).normal(size=(2, 32)).astype(np.float32)
    return drawn[[0, 1, 0, 1]]


def rest() -> np.ndarray:
    """A number for each style."""
    said = np.zeros((4, REST), np.float32)
    said[:2, 0] = said[2:, 1] = 4
    return said


def test_it_learns_what_captions_stand_for_and_resumes(tokenizer: Any, tmp_path: Path) -> None:
    ids = token_ids(CAPTIONS, tokenizer)

    def trained(out: Path, stop: int | None = None) -> TextToImage:
        def watch(done: int, total: int) -> None:
            if done == stop:
                raise KeyboardInterrupt

        networks = begun(tokenizer)
        config = TextTraining(SCHEDULE)
        train_base_text(networks, ids, contexts(), rest(), None, tokenizer, config, out=out, progress=watch)
        return networks

    whole = trained(tmp_path / "whole")
    with torch.no_grad():
        said = said_of(PromptReader(whole)(torch.from_numpy(ids)), 32)
        nothing = PromptReader(whole)(torch.from_numpy(token_ids([""], tokenizer)))
    for found, wanted, empty in zip(said, (contexts(), rest()), said_of(nothing, 32), strict=True):
        scale = np.square(wanted).mean()
        assert np.square(found.numpy() - wanted).mean() < 0.1 * scale
        assert np.square(empty.numpy()).mean() < 0.25 * scale
    with pytest.raises(KeyboardInterrupt):
        trained(tmp_path / "broken", stop=1600)
    for one, other in zip(trained(tmp_path / "broken").state_dict().values(), whole.state_dict().values(), strict=True):
        assert torch.equal(one, other)


def test_words_of_their_own_say_who_it_is(tmp_path: Path) -> None:
    """Two people share a name, and their own words alone tell them apart."""
    named = make_tokenizer((*vocabulary(), "mira", "tolen"), length=TEXT.length)
    ids = token_ids(["a photo of mira tolen"] * 2, named)
    start = ids[0].tolist().index(named("mira", add_special_tokens=False).input_ids[0])
    words = torch.randn(2, 2, TEXT.width, generator=torch.Generator().manual_seed(0)).numpy()
    people = SaidByName(np.arange(2), np.full(2, start), words)
    networks = begun(named)
    config = TextTraining(SCHEDULE, own=1.0, empty=0.0)
    train_base_text(networks, ids, contexts()[:2], rest()[:2], people, named, config, out=tmp_path / "run")
    rows = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert rows[-1]["context"] < 0.2
    train_base_text(begun(named), ids, contexts()[:2], rest()[:2], None, named, config, out=tmp_path / "names")
    rows = [json.loads(line) for line in (tmp_path / "names" / "metrics.jsonl").read_text().splitlines()]
    assert rows[-1]["context"] > 0.3


def test_who_is_said_by_name_is_found(tmp_path: Path) -> None:
    plain = tiny_world(tmp_path, config=replace(WORLD, said=Said(named=0.7)))
    names = np.array([f"mira {'tolen' if row % 2 else 'vudan'}" for row in range(len(plain.faces.files))])
    world = World(replace(plain.faces, names=names), plain.rows, plain.config, seed=0)
    named = make_tokenizer((*vocabulary(["asian"]), "mira", "tolen", "vudan"), length=TEXT.length)
    ids = token_ids([world.scene(number).caption for number in range(30)], named)
    words = np.random.default_rng(0).normal(size=(len(names), 2, 4)).astype(np.float32)
    found = said_by_name(world, ids, words, named)
    wanted = [(n, f) for n in range(30) for f in world.scene(n).figures if f.phrase == names[f.row]]
    assert found.caption.tolist() == [number for number, _ in wanted]
    assert {2, 1} <= set(np.bincount(found.caption).tolist())
    np.testing.assert_array_equal(found.words, words[[figure.row for _, figure in wanted]])
    for (number, figure), start in zip(wanted, found.start, strict=True):
        assert ids[number, start : start + 2].tolist() == named(figure.phrase, add_special_tokens=False).input_ids
    rows, places = found.of(np.array([found.caption[-1], found.caption[0]]))
    assert found.caption[rows].tolist() == [[found.caption[-1], found.caption[0]][place] for place in places]


def test_the_context_of_a_scene_is_the_mean_of_its_people(tmp_path: Path) -> None:
    world = tiny_world(tmp_path)
    embeddings = np.random.default_rng(1).normal(size=(len(world.faces.files), 6)).astype(np.float32)
    found = scene_contexts(world, embeddings, lambda given: 2 * given[:, :3], count=12)
    rows = [[figure.row for figure in world.scene(number).figures] for number in range(12)]
    assert {len(row) for row in rows} == {1, 2}
    np.testing.assert_allclose(found, [2 * embeddings[row, :3].mean(0) for row in rows], rtol=1e-5)


def test_the_rest_is_the_style_and_the_number_of_people(tmp_path: Path) -> None:
    world = tiny_world(tmp_path)
    for number, said in enumerate(scene_rest(world, count=12)):
        scene = world.scene(number)
        told = np.flatnonzero(said).tolist()
        assert told == [STYLES.index(scene.style), len(STYLES) + len(scene.figures) - 1]
        assert said.max() == 4


def test_not_all_captions_can_be_empty() -> None:
    with pytest.raises(ConfigError, match=r"empty must be in \[0, 1\), got 1"):
        TextTraining(SCHEDULE, empty=1)
    with pytest.raises(ConfigError, match=r"own must be in \[0, 1\], got 2"):
        TextTraining(SCHEDULE, own=2)
