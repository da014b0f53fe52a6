import numpy as np
import pytest

from facewright.errors import DataError
from facewright.evaluation import class_consistency, class_uniqueness, unique_classes, unique_rows, uniqueness


def at_angles(*degrees: float) -> np.ndarray:
    radians = np.radians(degrees)
    return np.stack([np.cos(radians), np.sin(radians)], axis=1)


def test_rows_are_kept_in_file_order() -> None:
    # 1 - cos(60 deg) = 0.5, so rows 40 degrees apart are alike and rows 70 degrees apart are not.
    assert unique_rows(at_angles(0, 40, 70, 110, 140), radius=0.5).tolist() == [0, 2, 4]
    assert unique_rows(at_angles(40, 0, 70, 110, 140), radius=0.5).tolist() == [0, 3]
    assert unique_rows(np.eye(4), radius=0.99).tolist() == [0, 1, 2, 3]


def test_distance_equal_to_the_radius_is_not_farther() -> None:
    assert unique_rows(np.eye(2), radius=1.0).tolist() == [0]


@pytest.mark.parametrize("block", [1, 3, 512])
def test_blocks_do_not_change_the_choice(block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(uniqueness, "BLOCK", block)
    rows = np.random.default_rng(0).normal(size=(60, 4))
    unit = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    kept: list[int] = []
    for index, row in enumerate(unit):
        if all(1 - row @ unit[other] > 0.4 for other in kept):
            kept.append(index)
    assert unique_rows(rows, radius=0.4).tolist() == kept
    assert len(kept) < 60


def test_classes_are_judged_by_their_centres_in_label_order() -> None:
    embeddings = at_angles(70, 90, 0, 20, 40, 40)
    labels = np.array([8, 8, 1, 1, 3, 3])  # centres at 80, 10 and 40 degrees
    assert unique_classes(embeddings, labels, radius=0.5).tolist() == [1, 8]
    assert unique_classes(embeddings, labels, radius=0.1).tolist() == [1, 3, 8]
    assert class_uniqueness(embeddings, labels, radius=0.5) == pytest.approx(2 / 3)


def test_consistency_is_the_share_near_the_centre() -> None:
    embeddings = np.concatenate([at_angles(-5, 5, 0, 90), at_angles(200, 200)])
    labels = np.array([0, 0, 0, 0, 1, 1])  # the first centre lies at 18.4 degrees
    assert class_consistency(embeddings, labels, radius=0.1).tolist() == [0.75, 1.0]
    assert class_consistency(embeddings, labels, radius=0.9).tolist() == [1.0, 1.0]
    assert class_consistency(embeddings, labels, radius=0.01).tolist() == [0.0, 1.0]


@pytest.mark.parametrize("radius", [-0.1, 2.1])
def test_a_radius_outside_the_range_is_refused(radius: float) -> None:
    with pytest.raises(DataError, match="radius"):
        unique_rows(np.eye(2), radius=radius)
