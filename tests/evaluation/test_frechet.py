"""The Fréchet distance against closed forms and the textbook formula."""

import numpy as np
import pytest

from facewright.errors import InputError
from facewright.evaluation import frechet_distance


def textbook(first: np.ndarray, second: np.ndarray) -> float:
    """With the eigenvalues of the product of the covariances."""
    covariances = [np.cov(rows, rowvar=False) for rows in (first, second)]
    roots = np.sqrt(np.linalg.eigvals(covariances[0] @ covariances[1]).real.clip(0)).sum()
    moved = ((first.mean(0) - second.mean(0)) ** 2).sum()
    return float(moved + np.trace(covariances[0]) + np.trace(covariances[1]) - 2 * roots)


def test_it_is_the_textbook_formula() -> None:
    rng = np.random.default_rng(0)
    first = rng.standard_normal((200, 6)) @ rng.standard_normal((6, 6))
    second = rng.standard_normal((300, 6)) @ rng.standard_normal((6, 6)) + 0.5
    assert frechet_distance(first, second) == pytest.approx(textbook(first, second), rel=1e-9)
    assert frechet_distance(first, second) == pytest.approx(frechet_distance(second, first), rel=1e-9)


def test_closed_forms() -> None:
    rows = np.random.default_rng(1).standard_normal((50, 4))
    assert frechet_distance(rows, rows) == pytest.approx(0, abs=1e-9)
    assert frechet_distance(rows, rows + np.array([3.0, 0, 4.0, 0])) == pytest.approx(25)
    spread = np.trace(np.cov(rows, rowvar=False))
    assert frechet_distance(rows, rows.mean(0) + 2 * (rows - rows.mean(0))) == pytest.approx(spread)


def test_fewer_rows_than_numbers_are_no_trouble() -> None:
    rng = np.random.default_rng(2)
    first, second = rng.standard_normal((5, 64)).astype(np.float32), rng.standard_normal((7, 64)).astype(np.float32)
    assert frechet_distance(first, first) == pytest.approx(0, abs=1e-5)
    assert np.isfinite(frechet_distance(first, second))


@pytest.mark.parametrize("shapes", [((1, 3), (5, 3)), ((4, 3), (5, 4)), ((4,), (5, 4))])
def test_wrong_shapes_are_named(shapes: tuple[tuple[int, ...], tuple[int, ...]]) -> None:
    with pytest.raises(InputError, match="at least 2 rows each, got"):
        frechet_distance(*(np.zeros(shape) for shape in shapes))
