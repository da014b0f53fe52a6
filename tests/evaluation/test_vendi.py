import numpy as np
import pytest

from facewright.errors import DataError
from facewright.evaluation import identity_vendi_scores, vendi, vendi_score


def by_hand(embeddings: np.ndarray, order: float = 1.0) -> float:
    rows = embeddings / np.linalg.norm(embeddings, axis=1, keepdims=True)
    share = np.linalg.eigvalsh(rows @ rows.T / len(rows)).clip(0)
    share = share[share > 1e-12]
    if order == 1:
        return float(np.exp(-np.sum(share * np.log(share))))
    return float(np.sum(share**order) ** (1 / (1 - order)))


@pytest.mark.parametrize("order", [0.5, 1.0, 2.0])
@pytest.mark.parametrize("shape", [(20, 8), (5, 30)])
def test_score_is_that_of_the_matrix_of_all_cosines(shape: tuple[int, int], order: float) -> None:
    embeddings = np.random.default_rng(0).normal(size=shape) * 3
    assert vendi_score(embeddings, order=order) == pytest.approx(by_hand(embeddings, order), rel=1e-5)


def test_closed_forms() -> None:
    assert vendi_score(np.ones((9, 4))) == pytest.approx(1.0)
    assert vendi_score(np.eye(6)) == pytest.approx(6.0)
    assert vendi_score(np.repeat(np.eye(3), 5, axis=0)) == pytest.approx(3.0)
    assert vendi_score(np.eye(6)[[0, 0, 1, 2]], order=np.inf) == pytest.approx(2.0)  # the largest share is one half
    with pytest.raises(DataError, match="order"):
        vendi_score(np.eye(3), order=0)


def test_each_identity_by_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(1)
    labels = np.array([5, 1, 5, 1, 2, 5, 9, 9, 9, 3])
    embeddings = rng.normal(size=(10, 4))
    expected = [by_hand(embeddings[labels == label]) for label in (1, 2, 3, 5, 9)]
    assert identity_vendi_scores(embeddings, labels) == pytest.approx(expected, rel=1e-5)
    monkeypatch.setattr(vendi, "_STACKED", 1)
    assert identity_vendi_scores(embeddings, labels) == pytest.approx(expected, rel=1e-5)
