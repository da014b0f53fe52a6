from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tests.personalise.drawn_subjects import POINTS, PixelEncoder, no_detector, write_drawn
from tests.personalise.tiny_base import tiny_tokenizer

from facewright.personalise.train_batch import Batches, Chances
from facewright.personalise.train_people import People, read_people

pytest.importorskip("transformers", reason="needs the extra personalise")


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    return tiny_tokenizer()


@pytest.fixture
def people(tmp_path: Path) -> People:
    folder = write_drawn(tmp_path / "s", people=3, photos=2, pairs=2, held_out=0)
    return read_people(folder, PixelEncoder(), no_detector, cache=tmp_path / "c", held_out=0.0)


def text(tokenizer: Any, ids: torch.Tensor) -> str:
    return tokenizer.decode(ids.tolist(), skip_special_tokens=True).strip()


@pytest.mark.parametrize("keep_nouns", [False, True])
def test_a_fixed_batch(keep_nouns: bool, people: People, tokenizer: Any) -> None:
    batches = Batches(people, [tokenizer], size=64, keep_nouns=keep_nouns, chances=Chances(most=2))
    pair = people.ids.index("00000006")
    batch = batches.fixed(batches.load([0, pair]))
    assert batch.pictures.shape == (2, 3, 64, 64)
    assert batch.masks.shape == (2, 2, 64, 64)
    assert (batch.sample.tolist(), batch.slot.tolist()) in (([0, 1], [0, 0]), ([0, 1, 1], [0, 0, 1]))
    [prompts] = batch.prompts
    assert text(tokenizer, prompts.plain[0]) == "a photo of a person"
    assert text(tokenizer, prompts.plain[1]) == "a woman and a man ride a tandem"
    start = int(prompts.starts[0])
    if keep_nouns:
        assert text(tokenizer, prompts.ids[0]) == "a photo of a person person"
        assert text(tokenizer, prompts.ids[0, start : start + 2]) == "person person"
    else:
        assert text(tokenizer, prompts.ids[0, :start]) == "a photo of"
        assert text(tokenizer, prompts.ids[0, start + 2 :]) == ""
    person = people.folder.labels(people.ids[0], (64, 64)) == 1
    assert np.array_equal(batch.masks[0, 0].numpy() > 0, person)
    assert batch.masks[0, 1].sum() == 0
    assert torch.equal(batch.identity[0], torch.from_numpy(people.embedding[0, 0]))


def test_masks_and_identities_follow_the_mirroring_and_the_crop(people: People, tokenizer: Any) -> None:
    chances = Chances(most=2, mirrored=0.5, least=0.7)
    batches = Batches(people, [tokenizer], size=48, keep_nouns=False, chances=chances)
    generator = torch.Generator().manual_seed(0)
    photos = batches.load(range(len(people.ids)))
    turns = set()
    for _ in range(10):
        batch = batches.draw(photos, generator)
        for place in range(len(batch.sample)):
            sample, slot, row = (int(part[place]) for part in (batch.sample, batch.slot, batch.row))
            mask = batch.masks[sample, slot].bool()
            picture = (batch.pictures[sample] + 1) * 127.5
            person = people.person[row]
            skin = np.random.default_rng(int(person[1:])).integers(0, 256, 3)
            away = (picture - torch.tensor(skin)[:, None, None].float()).abs().sum(0)
            assert away[mask].median() < 25, "the mask lies on the person"
            ground = (picture - torch.tensor([40.0, 90, 60])[:, None, None]).abs().sum(0)
            assert ground[~batch.masks[sample].any(0)].median() < 25, "and not on what is around them"
            x, y = batch.points[place].mean(0).round().astype(int)
            assert mask[y, x]
            own = [torch.equal(batch.own[place], torch.from_numpy(people.embedding[row, turn])) for turn in (0, 1)]
            assert sum(own) == 1
            turns.add(own.index(True))
    assert turns == {0, 1}


def test_a_batch_depends_on_the_generator_alone(people: People, tokenizer: Any) -> None:
    chances = Chances(2, 0.7, 0.2, 0.5, 0.7, 0.5, 0.5)
    batches = Batches(people, [tokenizer], size=32, keep_nouns=False, chances=chances)
    photos = batches.load(range(6))
    one, other, third = (batches.draw(photos, torch.Generator().manual_seed(seed)) for seed in (1, 1, 2))
    assert torch.equal(one.pictures, other.pictures)
    assert torch.equal(one.prompts[0].ids, other.prompts[0].ids)
    assert not torch.equal(one.pictures, third.pictures)


def test_what_is_drawn(people: People, tokenizer: Any) -> None:
    def drawn(**changes: Any) -> Any:
        chances = replace(Chances(most=2), **changes)
        batches = Batches(people, [tokenizer], size=32, keep_nouns=False, chances=chances)
        return batches.draw(batches.load([0, 1, 2, 3] * 5), torch.Generator().manual_seed(0))

    assert len(drawn(unconditional=1.0).sample) == 0
    assert {text(tokenizer, ids) for ids in drawn(unconditional=1.0).prompts[0].ids} == {""}
    assert torch.equal(drawn().identity, drawn().own)
    swapped = drawn(other_photo=1.0)
    assert not any(torch.equal(one, other) for one, other in zip(swapped.identity, swapped.own, strict=True))
    for row, identity in zip(swapped.row.tolist(), swapped.identity, strict=True):
        same = people.person == people.person[row]
        assert any(np.array_equal(identity, own) for own in people.embedding[same].reshape(-1, 48))
    people.expression[:] = 3.0
    kept = drawn(expression_dropout=0.5)
    assert 0 < kept.given.sum() < len(kept.given)
    assert torch.equal(kept.expression[:, 0], 3 * kept.given)


def test_who_does_not_appear_is_a_noun(people: People, tokenizer: Any) -> None:
    batches = Batches(people, [tokenizer], size=32, keep_nouns=False, chances=Chances(most=2, appear=0.5))
    pair = people.ids.index("00000006")
    batch = batches.draw(batches.load([pair] * 20), torch.Generator().manual_seed(0))
    counts = torch.bincount(batch.sample, minlength=20)
    assert set(counts.tolist()) <= {1, 2}
    one = int((counts == 1).nonzero()[0])
    assert "ride a tandem" in text(tokenizer, batch.prompts[0].ids[one])
    assert batch.masks[one, 1:].sum() == 0
    limited = Batches(people, [tokenizer], size=32, keep_nouns=False, chances=Chances(most=1))
    assert len(limited.draw(limited.load([pair] * 5), torch.Generator().manual_seed(0)).sample) == 5


def test_points_are_those_of_the_faces(people: People, tokenizer: Any) -> None:
    batches = Batches(people, [tokenizer], size=64, keep_nouns=False, chances=Chances())
    batch = batches.fixed(batches.load([0]))
    assert np.allclose(batch.points[0], POINTS + np.array([30, 33]))
