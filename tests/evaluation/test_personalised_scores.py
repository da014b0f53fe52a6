import numpy as np
import pytest

from facewright.align import ARCFACE_TEMPLATE, Face
from facewright.errors import DataError
from facewright.evaluation.personalised_scores import (
    copy_paste,
    find_faces_of,
    harmonic_mean,
    mean_reference,
    picture_identity,
)

X, Y, Z = np.eye(3)


class Three:
    """Finds three faces, the middle one smallest, the right one first."""

    name = "three"

    def detect(self, image: np.ndarray) -> list[Face]:
        def face(left: float, side: float) -> Face:
            points = ARCFACE_TEMPLATE * side / 112 + np.array([left, 0])
            return Face((left, 0.0, left + side, side), points, 1.0)

        return [face(240, 112), face(112, 56), face(0, 112)]


def test_the_largest_faces_count_from_left_to_right() -> None:
    image = np.zeros((112, 352, 3), np.uint8)
    image[:, :112], image[:, 240:] = 50, 200
    faces = find_faces_of(image, 2, detector=Three())
    assert faces.found == 3
    assert faces.crops.shape == (2, 112, 112, 3)
    assert faces.crops[0].mean() == pytest.approx(50, abs=2)
    assert faces.crops[1].mean() == pytest.approx(200, abs=5)


def test_one_person_scores_the_cosine_of_the_face() -> None:
    found = picture_identity(3 * (X + Y)[None], 2 * X[None])
    assert found.score == pytest.approx(np.sqrt(0.5))
    assert found.cosines == (pytest.approx(np.sqrt(0.5)),)
    assert (found.faces, found.swapped) == ((0,), None)


def test_missing_and_unlike_faces_count_nothing() -> None:
    assert picture_identity(np.empty((0, 3)), np.stack([X])).score == 0
    assert picture_identity(-X[None], X[None]).score == 0
    alone = picture_identity(Y[None], np.stack([X, Y]))
    assert (alone.score, alone.cosines, alone.faces, alone.swapped) == (0, (None, 1.0), (None, 0), None)
    with pytest.raises(DataError, match="2 faces for 1 people"):
        picture_identity(np.stack([X, Y]), X[None])


def test_people_in_each_others_places_are_swapped() -> None:
    references = np.stack([X, Y])
    straight = picture_identity(np.stack([X + 0.2 * Y, Y]), references)
    crossed = picture_identity(np.stack([Y, X]), references)
    assert (straight.swapped, straight.faces) == (False, (0, 1))
    assert (crossed.swapped, crossed.faces, crossed.score) == (True, (1, 0), 1)
    assert straight.score == pytest.approx(1 / np.sqrt(1.04))


def test_copy_paste_is_one_for_the_reference_and_minus_one_for_the_other_photo() -> None:
    other = X + Y
    assert copy_paste(X, X, other[None]) == pytest.approx(1)
    assert copy_paste(other, X, other[None]) == pytest.approx(-1)
    assert copy_paste(Z, X, Y[None]) == pytest.approx(0)
    between = np.array([np.cos(np.pi / 16), np.sin(np.pi / 16), 0])  # a quarter of the way to the other
    assert copy_paste(between, X, other[None]) == pytest.approx(0.5)
    assert copy_paste(X, X, np.stack([other, Y])) == pytest.approx(1)
    with pytest.raises(DataError, match="did not see, got none"):
        copy_paste(X, X, np.empty((0, 3)))


def test_the_harmonic_mean_is_that_of_the_published_tables() -> None:
    for identity, prompt, mean in ((39.98, 21.92, 28.31), (43.19, 18.14, 25.55), (63.94, 21.89, 32.61)):
        assert harmonic_mean(identity, prompt) == pytest.approx(mean, abs=0.01)
    assert harmonic_mean(0.5, -0.1) == 0


def test_every_photo_of_a_reference_weighs_the_same() -> None:
    assert mean_reference(np.stack([5 * X, Y])) == pytest.approx((X + Y) / np.sqrt(2))
