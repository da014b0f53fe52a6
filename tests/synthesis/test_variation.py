"""Contexts that differ as photos of one person do: the covariance within people, its file, and sets made with it."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tests.synthesis.tiny import ENCODER, WIDTH, TinyEncoder, TinyGenerator

from facewright.cli.contexts_file import variation_like
from facewright.data.embeddings import Embeddings, write_embeddings
from facewright.data.sets import read_set
from facewright.errors import ConfigError, DataError, InputError
from facewright.synthesis import (
    PersonVariation,
    SetLimits,
    fit_variation,
    image_seed,
    load_variation,
    resample_set,
    sample_set,
    save_variation,
    uniform_contexts,
    varied,
)
from facewright.weights import Card, bundled_cards, save_weights

CONTEXTS = uniform_contexts(4, seed=0, width=WIDTH)
CARD = Card("variation", "variation", {}, "drawn vectors", "CC-BY-4.0", "fit_variation")
SETTINGS: dict[str, Any] = {"per_identity": 3, "steps": 1, "batch": 5, "seed": 7}


def people(count: int = 300, width: int = WIDTH) -> Embeddings:
    """Five pictures each of people who vary along the first component and a little along the second; and strangers."""
    random = np.random.default_rng(0)
    centres = np.zeros((count, width))
    centres[:, 2:] = random.standard_normal((count, width - 2))
    centres /= np.linalg.norm(centres, axis=1, keepdims=True)
    rows = np.repeat(centres, 5, axis=0)
    rows[:, 0] = 0.2 * random.standard_normal(len(rows))
    rows[:, 1] = 0.1 * random.standard_normal(len(rows))
    names = [f"{who}/{number}.png" for who in range(count) for number in range(5)]
    strangers = np.eye(width)[:2]
    rows = np.concatenate([rows / np.linalg.norm(rows, axis=1, keepdims=True), strangers])
    return Embeddings((*names, "alone/0.png", "nobody.png"), rows.astype(np.float32), {"encoder_sha256": ENCODER})


def test_the_covariance_within_people_is_found() -> None:
    fitted = fit_variation(people(), rank=3)
    assert fitted.factors.shape == (3, WIDTH)
    assert fitted.factors[0, 0] == pytest.approx(0.2, rel=0.1), "the largest number of each is above 0"
    assert fitted.factors[1, 1] == pytest.approx(0.1, rel=0.1)
    assert np.linalg.norm(fitted.factors[2]) < 0.03, "nothing else varies, but for the unit length"
    assert fitted.encoder_sha256 == ENCODER


def test_people_count_alike() -> None:
    base = people(2)
    many = Embeddings(
        (*base.names, *(f"0/{number}.png" for number in range(5, 105))),
        np.concatenate([base.embeddings, np.repeat(base.embeddings[:5], 20, axis=0)]),
    )
    few, more = fit_variation(base).factors, fit_variation(many).factors
    scale = np.cov(np.repeat(base.embeddings[:5], 21, axis=0), rowvar=False).trace()
    alone = np.cov(base.embeddings[:5], rowvar=False).trace()
    assert (few**2).sum() - (more**2).sum() == pytest.approx((alone - scale) / 2, abs=1e-6)


def test_contexts_move_along_the_factors_by_an_even_share() -> None:
    variation = PersonVariation(np.array([[0.0, 0.3, 0.0, 0.0]]))
    start = np.repeat(np.eye(4, dtype=np.float32)[:1], 4000, axis=0)
    moved = varied(start, range(4000), variation, amount=0.8)
    assert moved.dtype == np.float32
    assert np.allclose(np.linalg.norm(moved, axis=1), 1, atol=1e-6)
    steps = moved[:, 1] / moved[:, 0]
    assert np.allclose(moved[:, 2:], 0)
    assert steps.mean() == pytest.approx(0, abs=0.01)
    assert steps.std() == pytest.approx(0.3 * 0.8 / np.sqrt(3), rel=0.05), "the mean square of an even share is 1/3"


def test_a_context_depends_on_its_own_seed_alone() -> None:
    variation = fit_variation(people())
    together = varied(CONTEXTS.embeddings, [3, 4, 5, 6], variation, amount=1.0)
    alone = [varied(CONTEXTS.embeddings[k : k + 1], [3 + k], variation, amount=1.0) for k in range(4)]
    assert np.array_equal(together, np.concatenate(alone))
    assert not np.allclose(varied(CONTEXTS.embeddings[:1], [9], variation, amount=1.0), together[:1])


@pytest.mark.parametrize("amount", [0.0, -1.0, 3.1, float("nan")])
def test_what_is_no_amount_is_refused(amount: float) -> None:
    with pytest.raises(ConfigError, match=r"must lie in \(0, 3\] standard deviations"):
        varied(CONTEXTS.embeddings, range(4), fit_variation(people()), amount=amount)


def test_without_two_pictures_of_one_person_there_is_nothing_to_fit() -> None:
    with pytest.raises(InputError, match="no two are of one person; names must be PERSON/PICTURE"):
        fit_variation(CONTEXTS)
    one = np.eye(4, dtype=np.float32)[[0, 0]]
    with pytest.raises(InputError, match="all pictures of a person are the same"):
        fit_variation(Embeddings(("a/0", "a/1"), one))


def test_saved_and_read(tmp_path: Path) -> None:
    fitted = fit_variation(people(), rank=5)
    card = save_variation(tmp_path / "v.safetensors", fitted, CARD)
    assert (card.kind, card.architecture) == ("variation", {"width": WIDTH, "rank": 5})
    read = load_variation(tmp_path / "v.safetensors")
    np.testing.assert_allclose(read.factors, fitted.factors, atol=1e-7)
    assert (read.encoder_sha256, read.sha256, read.licence) == (ENCODER, card.sha256, "CC-BY-4.0")
    save_weights(tmp_path / "other.safetensors", {"factor": torch.zeros(2, 4)}, CARD)
    with pytest.raises(DataError, match="expected one tensor, factors"):
        load_variation(tmp_path / "other.safetensors")


def test_the_bundled_one_is_of_the_bundled_encoder_and_a_file_is_fitted(tmp_path: Path) -> None:
    bundled = variation_like(None, wanted=True)
    assert bundled is not None
    assert bundled.encoder_sha256 == bundled_cards()["encoder"].sha256
    assert bundled.factors.shape == (128, 512)
    assert 0.3 < (bundled.factors**2).sum() < 0.7, "about half of a unit embedding's square is the picture's own"
    given = people()
    write_embeddings(tmp_path / "p.npz", given.names, given.embeddings, provenance=given.provenance)
    fitted = variation_like(str(tmp_path / "p.npz"), wanted=True)
    assert fitted is not None
    assert np.array_equal(fitted.factors, fit_variation(given).factors)
    assert variation_like(None, wanted=False) is None
    with pytest.raises(ConfigError, match="--vary-like counts only where contexts are varied"):
        variation_like("bundled", wanted=False)


def test_a_set_of_varied_contexts_is_kept_told_and_completed(tmp_path: Path) -> None:
    variation = replace(fit_variation(people()), licence="CC-BY-NC-4.0")
    generator, out = TinyGenerator(), tmp_path / "set"
    how: dict[str, Any] = {**SETTINGS, "vary": 0.7, "variation": variation, "encoder": TinyEncoder()}
    sample_set(generator, CONTEXTS, out=out, **how)
    given = np.concatenate([contexts.numpy() for contexts, _ in generator.calls])
    seeds = [image_seed(7, name, index) for name in CONTEXTS.names for index in range(3)]
    wanted = varied(np.repeat(CONTEXTS.embeddings, 3, axis=0), seeds, variation, amount=0.7)
    assert np.array_equal(given, wanted)
    config = json.loads((out / "config.json").read_text())
    assert (config["vary"], config["variation_sha256"]) == (0.7, variation.sha256)
    card = (out / "card.md").read_text()
    assert "vary 0.7" in card
    assert "- variation: CC-BY-NC-4.0" in card
    with pytest.raises(InputError, match=r"vary \(0\.7 there, 0\.5 asked\)"):
        sample_set(generator, CONTEXTS, out=out, **{**how, "vary": 0.5})

    highest = SetLimits(min_similarity=1.0)
    with pytest.raises(InputError, match="was made with variation_sha256"):
        resample_set(TinyGenerator(), CONTEXTS, out, highest, encoder=TinyEncoder())
    again = TinyGenerator()
    resample_set(again, CONTEXTS, out, highest, encoder=TinyEncoder(), rounds=1, variation=variation)
    new = [row for row in read_set(out).rows if row.index >= 3]
    moved = varied(CONTEXTS.embeddings[[row.identity for row in new]], [row.seed for row in new], variation, amount=0.7)
    assert np.array_equal(np.concatenate([contexts.numpy() for contexts, _ in again.calls]), moved)


@pytest.mark.parametrize(
    ("change", "error", "said"),
    [
        ({"variation": None}, ConfigError, "not given"),
        ({"vary": 4.0}, ConfigError, "amount of variation"),
        ({"cone": 0.2}, ConfigError, "give cone or vary, not both"),
        ({"variation": PersonVariation(np.zeros((1, 3)))}, InputError, "the variation is 3 wide"),
        ({"variation": PersonVariation(np.zeros((1, WIDTH)), "f" * 64)}, InputError, "named by --vary-like"),
    ],
)
def test_what_does_not_fit_writes_nothing(
    tmp_path: Path, change: dict[str, Any], error: type[Exception], said: str
) -> None:
    given = {"vary": 0.5, "variation": fit_variation(people()), **change}
    with pytest.raises(error, match=said):
        sample_set(TinyGenerator(), CONTEXTS, out=tmp_path / "set", **SETTINGS, **given)
    assert not (tmp_path / "set").exists()
