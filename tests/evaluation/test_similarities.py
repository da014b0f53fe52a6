import numpy as np
import pytest

from facewright.errors import DataError
from facewright.evaluation import (
    genuine_similarities,
    identity_centres,
    impostor_similarities,
    nearest,
    search,
    similarities,
)

LABELS = np.array([5, 2, 5, 2, 9, 5])


@pytest.fixture
def embeddings() -> np.ndarray:
    return np.random.default_rng(0).normal(size=(6, 8)).astype(np.float32) * 3


def cosine(a: np.ndarray, b: np.ndarray) -> float:
    return float(a @ b / (np.linalg.norm(a) * np.linalg.norm(b)))


def all_pairs(embeddings: np.ndarray, labels: np.ndarray, *, same: bool) -> list[float]:
    count = len(labels)
    return [
        cosine(embeddings[i], embeddings[j])
        for i in range(count)
        for j in range(i + 1, count)
        if (labels[i] == labels[j]) == same
    ]


def test_every_pair_counts_once(embeddings: np.ndarray) -> None:
    genuine, impostor = genuine_similarities(embeddings, LABELS), impostor_similarities(embeddings, LABELS, limit=None)
    assert sorted(genuine) == pytest.approx(sorted(all_pairs(embeddings, LABELS, same=True)), abs=1e-6)
    assert sorted(impostor) == pytest.approx(sorted(all_pairs(embeddings, LABELS, same=False)), abs=1e-6)


def test_chunks_do_not_change_the_pairs(embeddings: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = impostor_similarities(embeddings, LABELS)
    queries = np.random.default_rng(5).normal(size=(7, 8))
    near = nearest(queries, np.tile(embeddings, (4, 1)))
    monkeypatch.setattr(similarities, "CHUNK", 2)
    assert sorted(impostor_similarities(embeddings, LABELS)) == pytest.approx(sorted(whole), abs=1e-6)
    again = nearest(queries, np.tile(embeddings, (4, 1)))
    assert again[0] == pytest.approx(near[0], abs=1e-6)
    assert again[1].max() < 6  # of equal rows the first


def test_a_sample_is_seeded_and_even() -> None:
    rng = np.random.default_rng(1)
    labels = np.repeat(np.arange(30), 10)
    embeddings = rng.normal(size=(30, 16))[labels] + rng.normal(size=(300, 16))
    every = impostor_similarities(embeddings, labels, limit=None)
    sample = impostor_similarities(embeddings, labels, limit=20_000, seed=4)
    assert len(every) == 300 * 290 // 2
    assert len(sample) == 20_000
    assert sample.mean() == pytest.approx(every.mean(), abs=4 * every.std() / np.sqrt(20_000))
    assert sample.max() < 0.999  # never an image with itself
    assert np.array_equal(sample, impostor_similarities(embeddings, labels, limit=20_000, seed=4))
    assert not np.array_equal(sample, impostor_similarities(embeddings, labels, limit=20_000, seed=5))


def test_sets_without_a_kind_of_pair_give_none(embeddings: np.ndarray) -> None:
    assert genuine_similarities(embeddings, np.arange(6)).shape == (0,)
    assert impostor_similarities(embeddings, np.zeros(6, int)).shape == (0,)


def test_centres_are_means_of_unit_rows(embeddings: np.ndarray) -> None:
    labels, centres = identity_centres(embeddings, LABELS)
    assert labels.tolist() == [2, 5, 9]
    unit = embeddings / np.linalg.norm(embeddings, axis=1, keepdims=True)
    assert centres[0] == pytest.approx((unit[1] + unit[3]) / 2, abs=1e-6)


def test_nearest_is_the_largest_cosine(embeddings: np.ndarray) -> None:
    references = np.random.default_rng(3).normal(size=(11, 8))
    similarity, where = nearest(embeddings, references)
    for row, best, index in zip(embeddings, similarity, where, strict=True):
        cosines = [cosine(row, reference) for reference in references]
        assert best == pytest.approx(max(cosines), abs=1e-6)
        assert index == int(np.argmax(cosines))


@pytest.mark.parametrize("chunk", [2, 2048])
def test_search_gives_the_nearest_in_order(chunk: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(similarities, "CHUNK", chunk)
    rng = np.random.default_rng(4)
    queries, references = rng.normal(size=(7, 5)), rng.normal(size=(40, 5))
    references[11] = references[30]  # a tie
    best, where, reached = search(queries, references, count=3, threshold=0.4)
    cosines = np.array([[cosine(query, reference) for reference in references] for query in queries])
    order = np.argsort(-cosines.round(6), axis=1, kind="stable")[:, :3]
    assert where.tolist() == order.tolist()
    assert best == pytest.approx(np.take_along_axis(cosines, order, 1), abs=1e-6)
    assert reached == np.sum(cosines >= 0.4)
    with pytest.raises(DataError, match="from 1 to 40 references"):
        search(queries, references, count=41)


def test_impostor_pairs_say_who_they_are(embeddings: np.ndarray) -> None:
    for limit in (None, 5):
        cosines, first, second = similarities.impostor_pairs(embeddings, LABELS, limit=limit)
        assert (LABELS[first] != LABELS[second]).all()
        expected = [cosine(embeddings[a], embeddings[b]) for a, b in zip(first, second, strict=True)]
        assert cosines == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("chunk", [1, 2048])
def test_whole_identities_go_by_in_blocks(embeddings: np.ndarray, chunk: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(similarities, "CHUNK", chunk)
    many, labels = np.tile(embeddings, (4, 1)), np.tile(LABELS, 4)
    blocks = list(similarities.identity_blocks(many, labels))
    assert len(blocks) == (3 if chunk == 1 else 1)
    assert np.concatenate([known for known, *_ in blocks]).tolist() == [2, 5, 9]
    for known, starts, counts, rows in blocks:
        for label, start, count in zip(known, starts, counts, strict=True):
            own = many[labels == label]
            assert rows[start : start + count] == pytest.approx(own / np.linalg.norm(own, axis=1, keepdims=True))


def test_unusable_input_is_refused(embeddings: np.ndarray) -> None:
    embeddings[2] = 0
    with pytest.raises(DataError, match="row 2"):
        genuine_similarities(embeddings, LABELS)
    with pytest.raises(DataError, match="one per embedding"):
        impostor_similarities(np.ones((6, 8)), LABELS[:-1])
    with pytest.raises(DataError, match="integers"):
        impostor_similarities(np.ones((6, 8)), LABELS * 1.0)
    with pytest.raises(DataError, match="width 8 cannot be compared with references of width 9"):
        nearest(np.ones((6, 8)), np.ones((6, 9)))
    with pytest.raises(DataError, match="positive"):
        impostor_similarities(np.ones((6, 8)), LABELS, limit=0)
    with pytest.raises(DataError, match=r"\(N, D\)"):
        genuine_similarities(np.ones(6), LABELS)
