import numpy as np
import pytest

from facewright.errors import DataError
from facewright.evaluation import disjoint_folds, fold_numbers, people_in_several_folds, verify


def test_contiguous_folds_are_longer_at_the_start() -> None:
    assert fold_numbers(7, 3).tolist() == [0, 0, 0, 1, 1, 2, 2]
    assert fold_numbers(4, np.array([1, 0, 1, 0])).tolist() == [1, 0, 1, 0]


@pytest.mark.parametrize(
    "folds", [1, 5, np.array([0, 0, 2, 2]), np.zeros(4, int), np.array([0, 1]), np.array([0.0, 1.0, 0.0, 1.0])]
)
def test_folds_that_cannot_be_are_refused(folds: int | np.ndarray) -> None:
    with pytest.raises(DataError, match="fold"):
        fold_numbers(4, folds)


def test_people_in_several_folds() -> None:
    folds = np.array([0, 0, 1, 1])
    assert people_in_several_folds("aacd", "abdd", folds) == 0
    assert people_in_several_folds("aaca", "abdb", folds) == 2


def test_disjoint_folds_share_nobody_and_are_even() -> None:
    rng = np.random.default_rng(0)
    first = rng.integers(0, 40, 120)
    second = np.where(rng.random(120) < 0.5, first, first // 4 * 4 + rng.integers(0, 4, 120))  # islands of four people
    folds = disjoint_folds(first.tolist(), second.tolist(), folds=5)
    assert people_in_several_folds(first.tolist(), second.tolist(), folds) == 0
    sizes = np.bincount(folds)
    assert len(sizes) == 5
    assert sizes.max() - sizes.min() <= 20  # at most one island


def test_disjoint_folds_need_enough_islands() -> None:
    with pytest.raises(DataError, match="join their people into 1 groups"):
        disjoint_folds([0, 1, 2], [1, 2, 0], folds=2)


def test_verify_takes_folds_in_any_order() -> None:
    rng = np.random.default_rng(1)
    embeddings, issame = rng.normal(size=(80, 8)), rng.random(40) < 0.5
    contiguous = verify(embeddings, None, issame, folds=4)
    order = rng.permutation(40)
    rows = np.stack([2 * order, 2 * order + 1], 1).ravel()
    shuffled = verify(embeddings[rows], None, issame[order], folds=(order // 10))
    assert shuffled.fold_accuracy.tolist() == contiguous.fold_accuracy.tolist()
    assert shuffled.fold_threshold.tolist() == contiguous.fold_threshold.tolist()
