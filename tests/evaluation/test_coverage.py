import numpy as np
import pytest

from facewright.errors import DataError
from facewright.evaluation import class_coverage


def by_hand(generated: np.ndarray, real: np.ndarray, k: int) -> float:
    covered = 0
    for picture in real:
        for j, centre in enumerate(generated):
            others = sorted(np.linalg.norm(centre - other) for i, other in enumerate(generated) if i != j)
            if np.linalg.norm(picture - centre) <= others[k - 1]:
                covered += 1
                break
    return covered / len(real)


@pytest.mark.parametrize("k", [1, 3])
def test_coverage_is_the_recall_of_each_identity(k: int) -> None:
    rng = np.random.default_rng(0)
    labels, real_labels = np.repeat([4, 7], 6), np.repeat([7, 4], 5)
    generated, real = rng.normal(size=(12, 3)), 1.5 * rng.normal(size=(10, 3))
    shares = class_coverage(generated, labels, real, real_labels, neighbours=k)
    expected = [by_hand(generated[labels == label], real[real_labels == label], k) for label in (4, 7)]
    assert shares.tolist() == expected
    assert shares.min() < 1


def test_copies_of_the_real_pictures_cover_them_all() -> None:
    real = np.random.default_rng(1).normal(size=(8, 3))
    assert class_coverage(real, np.zeros(8, int), real, np.zeros(8, int)).tolist() == [1.0]
    assert class_coverage(real, np.zeros(8, int), real + 100, np.zeros(8, int)).tolist() == [0.0]


def test_too_few_generated_pictures_are_refused() -> None:
    rows = np.ones((3, 2))
    with pytest.raises(DataError, match="identity 5 has 3 generated pictures"):
        class_coverage(rows, np.full(3, 5), rows, np.full(3, 5))
    with pytest.raises(DataError, match="identity 6 has 0 generated pictures"):
        class_coverage(rows, np.full(3, 5), rows, np.full(3, 6))
    with pytest.raises(DataError, match="real features must be finite"):
        class_coverage(rows, np.full(3, 5), rows * np.nan, np.full(3, 5))
