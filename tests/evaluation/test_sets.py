import json

import numpy as np
import pytest

from facewright.errors import DataError
from facewright.evaluation import (
    context_similarities,
    genuine_similarities,
    identity_vendi_scores,
    impostor_similarities,
    intra_identity_diversity,
    measure_set,
    pyeer_summary,
    summarise,
    vendi_score,
)

WIDTH = 256


def faces(identities: int = 12, each: int = 5, *, noise: float = 0.5, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    labels = np.repeat(np.arange(identities) * 3, each)
    people = rng.normal(size=(identities, WIDTH))
    return np.repeat(people, each, 0) + noise * rng.normal(size=(len(labels), WIDTH)), labels


def test_measures_agree_with_their_parts() -> None:
    embeddings, labels = faces()
    people = np.stack([embeddings[labels == label].sum(0) for label in np.unique(labels)])
    training = np.concatenate([np.random.default_rng(9).normal(size=(20, WIDTH)), people[4:5]])
    measures = measure_set(embeddings, labels, contexts=np.repeat(people, 5, 0), training=training)
    assert (measures.images, measures.identities, measures.images_per_identity.median) == (60, 12, 5.0)
    parts = summarise(genuine_similarities(embeddings, labels), impostor_similarities(embeddings, labels))
    assert measures.scores.figures() == pytest.approx(parts.figures(), rel=1e-5)
    assert measures.class_uniqueness == 1.0
    assert measures.to_context is not None
    assert measures.to_context.mean > 0.8
    assert measures.to_context.low <= measures.to_context.median <= measures.to_context.high
    assert measures.nearest_training is not None
    assert measures.nearest_training[4] == 20
    assert measures.to_training is not None
    assert measures.to_training.high <= 1.0 + 1e-6


def test_what_is_not_given_is_not_measured() -> None:
    measures = measure_set(*faces())
    assert measures.to_context is measures.to_training is measures.nearest_training is None
    assert not any(key.startswith("similarity_to") for key in measures.figures())


def test_every_measure_of_the_field_is_there() -> None:
    embeddings, labels = faces()
    measures = measure_set(embeddings, labels, real=(embeddings, labels), resamples=30)
    assert measures.pyeer == pyeer_summary(measures.genuine, measures.impostor)
    assert measures.vendi == pytest.approx(vendi_score(embeddings))
    assert measures.identity_vendi.mean == pytest.approx(identity_vendi_scores(embeddings, labels).mean())
    assert measures.coverage == 1.0  # by the pictures themselves
    eer = measures.intervals["eer"]
    assert (eer.over, eer.resamples) == ("people", 30)
    assert eer.low <= measures.scores.eer <= eer.high
    noisy = measure_set(*faces(noise=3.0), resamples=30)
    assert noisy.vendi > measures.vendi
    assert noisy.intervals["eer"].low < noisy.scores.eer < noisy.intervals["eer"].high


def test_figures_are_plain_numbers() -> None:
    embeddings, labels = faces()
    figures = measure_set(embeddings, labels, contexts=embeddings, training=embeddings).figures()
    assert json.loads(json.dumps(figures, allow_nan=False)) == figures
    assert figures["similarity_to_context"]["mean"] == pytest.approx(1.0)
    assert figures["scores"]["genuine"] == 12 * 10


def test_lost_identity_shows_in_scores_and_diversity() -> None:
    good, bad = measure_set(*faces(noise=0.3)), measure_set(*faces(noise=3.0))
    assert bad.scores.eer > good.scores.eer + 0.1
    assert bad.diversity > good.diversity + 0.3


def test_copies_of_one_person_show_as_not_unique() -> None:
    embeddings, labels = faces()
    embeddings[labels == 3] = embeddings[labels == 0]
    assert measure_set(embeddings, labels).class_uniqueness == pytest.approx(11 / 12)


def test_diversity_is_the_mean_over_identities() -> None:
    embeddings, labels = faces()
    embeddings, labels = embeddings[2:], labels[2:]  # the first identity has three images
    by_hand = []
    for label in np.unique(labels):
        own = embeddings[labels == label]
        own = own / np.linalg.norm(own, axis=1, keepdims=True)
        pairs = [1 - own[i] @ own[j] for i in range(len(own)) for j in range(i)]
        by_hand.append(np.mean(pairs))
    assert intra_identity_diversity(embeddings, labels) == pytest.approx(np.mean(by_hand), abs=1e-12)
    alone = np.append(labels, 99)
    more = np.concatenate([embeddings, np.ones((1, WIDTH))])
    assert intra_identity_diversity(more, alone) == pytest.approx(np.mean(by_hand), abs=1e-12)


def test_unusable_sets_are_refused() -> None:
    embeddings, labels = faces()
    with pytest.raises(DataError, match="two identities and an identity with two images"):
        measure_set(embeddings, np.arange(60))
    with pytest.raises(DataError, match="60 images of 1 identities"):
        measure_set(embeddings, np.zeros(60, int))
    with pytest.raises(DataError, match="one row per image"):
        context_similarities(embeddings, embeddings[:12])
    with pytest.raises(DataError, match="identity with two images"):
        intra_identity_diversity(embeddings, np.arange(60))
    with pytest.raises(DataError, match="width 256 cannot be compared with references of width 16"):
        measure_set(embeddings, labels, training=np.ones((3, 16)))
