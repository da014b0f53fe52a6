"""Names that say what somebody looks like."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from tests.personalise.tiny_world import WORLD, tiny_world

from facewright.errors import ConfigError, InputError
from facewright.personalise.base_latents import world_fingerprint
from facewright.personalise.world_captions import Said
from facewright.personalise.world_names import NameConfig, Names, name_embeddings, name_words, own_words, people_names
from facewright.personalise.world_scenes import World


def test_the_words_are_different_ones_and_none_that_is_taken() -> None:
    first, last = name_words(256, taken=("side", "baba"))
    assert len({*first, *last}) == 512
    assert not {"side", "baba"} & {*first, *last}
    assert all(word.isalpha() and word.islower() for word in (*first, *last))
    assert name_words(256, taken=("side", "baba")) == (first, last)


@pytest.fixture
def world(tmp_path: Path) -> World:
    return tiny_world(tmp_path, config=WORLD)


def embedded(world: World, *, kinds: int) -> np.ndarray:
    """Embeddings of the world's rows that lie close to one of a few directions, by the person's number."""
    rng = np.random.default_rng(0)
    centres = np.linalg.qr(rng.normal(size=(32, kinds)))[0].T
    labels = world.faces.pack.labels[world.rows]
    kind = np.where(labels >= 0, labels, world.rows) % kinds
    near = centres[kind] + 0.05 * rng.normal(size=(len(kind), 32))
    return near / np.linalg.norm(near, axis=1, keepdims=True)


def test_a_person_has_one_name_and_who_looks_alike_shares_the_first(world: World) -> None:
    rows, labels = world.rows, world.faces.pack.labels
    given = embedded(world, kinds=2)
    found = people_names(world.faces, rows, given, NameConfig(words=2), taken=(), seed=0)
    names = found.names
    assert names.shape == labels.shape
    assert not any(names[row] for row in np.setdiff1d(np.arange(len(names)), rows)), "only those are named"
    for label in np.unique(labels[rows][labels[rows] >= 0]):
        assert len(set(names[rows[labels[rows] == label]])) == 1
    firsts = np.array([name.split()[0] for name in names[rows]])
    cosines = given @ given.T
    alike = firsts[:, None] == firsts[None]
    assert alike.any()
    assert not alike.all()
    assert cosines[alike].min() > cosines[~alike].max()
    again = people_names(world.faces, rows, given, NameConfig(words=2), taken=(), seed=0)
    assert np.array_equal(again.names, names)


def test_names_stand_for_faces_and_begin_as_alike_as_they_are(world: World) -> None:
    rows, given = world.rows, embedded(world, kinds=2)
    found = people_names(world.faces, rows, given, NameConfig(words=2), taken=(), seed=0)
    meaning = dict(zip(found.words, found.meanings, strict=True))
    said = np.stack([sum(meaning[word] for word in name.split()) for name in found.names[rows]])
    centred = given - given.mean(0)
    cosines = (said * centred).sum(1) / np.linalg.norm(said, axis=1) / np.linalg.norm(centred, axis=1)
    assert cosines.min() > 0.7
    table = torch.randn(50, 48) * 0.02
    placed = name_embeddings(found, table)
    assert placed.shape == (4, 48)
    assert float(placed.square().mean().sqrt()) == pytest.approx(float(table.square().mean().sqrt()), rel=1e-4)
    torch.testing.assert_close(
        F.normalize(placed) @ F.normalize(placed).T,
        F.normalize(torch.from_numpy(found.meanings)) @ F.normalize(torch.from_numpy(found.meanings)).T,
        atol=1e-4,
        rtol=0,
    )


def test_own_words_are_those_of_a_name_without_its_rounding() -> None:
    rng = np.random.default_rng(0)
    words = (*"abcd", *"wxyz")
    meanings, mean = rng.normal(size=(8, 6)).astype(np.float32), rng.normal(size=6)
    first, last = rng.integers(0, 4, 40), rng.integers(4, 8, 40)
    faces = np.array([f"{words[a]} {words[b]}" for a, b in zip(first, last, strict=True)])
    faces[7] = ""
    rounding = 0.1 * rng.normal(size=(40, 6))
    embeddings = mean + meanings[first] + meanings[last] + rounding - np.delete(rounding, 7, 0).mean(0)
    names = Names(faces, words, meanings)
    table = torch.randn(64, 9, generator=torch.Generator().manual_seed(0))  # wider than embeddings: nothing is lost
    own, begun = own_words(names, embeddings, table), name_embeddings(names, table).numpy()
    assert own.shape == (40, 2, 9)
    assert not own[7].any()
    there = np.delete(np.arange(40), 7)
    np.testing.assert_allclose(own[there, 0], begun[first[there]], atol=1e-4)
    assert 0 < np.abs(own[there, 1] - begun[last[there]]).max() < 0.5 * np.abs(begun).max()
    said = own[there].sum(1)
    apart, wanted = (np.linalg.norm(x[:, None] - x[None], axis=2) for x in (said, embeddings[there]))
    scale = (apart * wanted).sum() / np.square(wanted).sum()
    np.testing.assert_allclose(apart, scale * wanted, atol=1e-3)  # both words together are the embedding


def test_too_many_names_are_refused(world: World) -> None:
    given = embedded(world, kinds=2)
    with pytest.raises(InputError, match="500 first names need as many people, there are"):
        people_names(world.faces, world.rows, given, NameConfig(words=500), taken=(), seed=0)
    with pytest.raises(ConfigError, match="words must be from 2 to"):
        NameConfig(words=1)
    with pytest.raises(ConfigError, match="named is a share from 0 to 1, got 2"):
        Said(named=2)


def test_scenes_say_names_and_are_the_same_pictures(world: World) -> None:
    names = np.array([f"first{row} last{row}" for row in range(len(world.faces.pack.labels))])
    config = replace(world.config, said=Said(named=0.5))
    named = World(replace(world.faces, names=names), world.rows, config, seed=world.seed)
    plain = [world.scene(number) for number in range(60)]
    scenes = [named.scene(number) for number in range(60)]
    said = [figure for scene in scenes for figure in scene.figures if figure.phrase == names[figure.row]]
    everybody = sum(len(scene.figures) for scene in scenes)
    assert 0.3 * everybody < len(said) < 0.7 * everybody
    assert all(figure.phrase in scene.caption for scene in scenes for figure in scene.figures)
    assert {figure.noun for figure in said} == {figure.phrase.split()[-1] for figure in said}
    assert np.array_equal(named.draw(scenes[:8])[0], world.draw(plain[:8])[0])
    unnamed = World(replace(world.faces, names=np.full(len(names), "")), world.rows, config, seed=world.seed)
    assert [unnamed.scene(number) for number in range(60)] == plain
    assert len({world_fingerprint(one) for one in (world, named, unnamed)}) == 3
