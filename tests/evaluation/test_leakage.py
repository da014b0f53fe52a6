import json

import numpy as np
import pytest

from facewright.errors import DataError
from facewright.evaluation import identity_leakage, impostor_threshold, leakage


def crowd(people: int, each: int, *, seed: int, width: int = 8) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    labels = np.repeat(np.arange(people), each)
    return rng.normal(size=(people, width))[labels] + 0.3 * rng.normal(size=(labels.size, width)), labels


def unit(rows: np.ndarray) -> np.ndarray:
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


@pytest.mark.parametrize("fmr", [0.001, 0.02, 0.3])
@pytest.mark.parametrize("chunk", [7, 2048])
def test_threshold_leaves_at_most_the_share(fmr: float, chunk: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leakage, "CHUNK", chunk)
    rows, labels = crowd(30, 3, seed=0)
    threshold, pairs, attained = impostor_threshold(rows, labels, fmr)
    cosines = unit(rows) @ unit(rows).T
    impostor = np.sort(cosines[np.triu(labels[:, None] != labels, 1)])[::-1]
    assert pairs == len(impostor)
    allowed = int(fmr * pairs)
    assert attained == allowed / pairs <= fmr
    assert impostor[allowed] - 1e-6 < threshold <= impostor[allowed - 1] + 1e-6


def test_equal_cosines_are_kept_out_together() -> None:
    threshold, pairs, attained = impostor_threshold(np.ones((6, 3)), np.arange(6), 0.5)
    assert (pairs, attained) == (15, 0.0)
    assert threshold > 1 - 1e-6


def test_copies_of_training_people_are_found() -> None:
    training, people = crowd(40, 3, seed=1)
    strangers, strange_labels = crowd(20, 4, seed=2)
    generated, labels = strangers.copy(), strange_labels
    generated[labels < 5] = training[[0] * 4 + [3] * 4 + [6] * 4 + [9] * 4 + [12, 12, 12, 30]]
    seen: list[tuple[int, int]] = []
    found = identity_leakage(
        generated,
        labels,
        training,
        people,
        fmr=0.001,
        held_out=(strangers, strange_labels),
        listed=3,
        progress=lambda *done: seen.append(done),
    )
    cosines = unit(generated) @ unit(training).T
    assert found.generated.similarity == pytest.approx(cosines.max(1), abs=1e-6)
    assert found.generated.pairs == pytest.approx(np.mean(cosines >= found.threshold))
    assert found.generated.images == np.mean(cosines.max(1) >= found.threshold) >= 20 / 80
    assert found.held_out is not None
    assert found.generated.identities >= 5 / 20 > found.held_out.identities
    assert [match.similarity for match in found.closest] == pytest.approx([1.0] * 3, abs=1e-6)
    assert {match.image for match in found.closest} <= set(range(20))
    assert found.by_chance == pytest.approx(1 - (1 - found.calibration_fmr) ** 120)
    assert seen[-1] == (120 + 80 + 80, 280)
    figures = json.loads(json.dumps(found.figures(), allow_nan=False))
    assert figures["generated"]["images_searched"] == 80
    assert figures["held_out"]["nearest_max"] < 1


def test_most_pictures_must_match_one_person() -> None:
    training, people = np.eye(8), np.arange(8)
    torn = identity_leakage(np.eye(8)[[0, 1, 2, 3]], np.zeros(4, int), training, people, fmr=0.1)
    assert (torn.generated.images, torn.generated.identities) == (1.0, 0.0)
    whole = identity_leakage(np.eye(8)[[0, 0, 0, 3]], np.zeros(4, int), training, people, fmr=0.1)
    assert (whole.generated.images, whole.generated.identities) == (1.0, 1.0)


def test_too_few_people_for_the_rate_are_refused() -> None:
    rows, labels = crowd(10, 2, seed=3)
    with pytest.raises(DataError, match="20 embeddings of 10 people give 180 pairs of two people, too few for an FMR"):
        identity_leakage(rows, labels, rows, labels)
    with pytest.raises(DataError, match="180 pairs"):
        impostor_threshold(rows, labels, 0.001)
    with pytest.raises(DataError, match="between 0 and 1"):
        impostor_threshold(rows, labels, 0.0)
    with pytest.raises(DataError, match="8 wide cannot be searched among training embeddings 5 wide"):
        identity_leakage(rows, labels, rows[:, :5], labels, fmr=0.1)
