from itertools import permutations

import numpy as np
import pytest

from facewright.align import ARCFACE_TEMPLATE, Face
from facewright.errors import ConfigError, InputError
from facewright.personalise import Drawn, PictureScore, keep_best, match_people, score_picture
from facewright.personalise.scoring import best_of_scores


@pytest.mark.parametrize("people", [1, 2, 3, 4])
@pytest.mark.parametrize("faces", [1, 2, 3, 4])
def test_the_best_sum_of_all_pairings_is_taken(faces: int, people: int) -> None:
    cosines = np.random.default_rng([faces, people]).uniform(-1, 1, (faces, people))
    pairs = match_people(cosines)
    table = cosines if faces <= people else cosines.T
    best = max(
        sum(table[row, column] for row, column in enumerate(order))
        for order in permutations(range(max(table.shape)), min(table.shape))
    )
    assert len(pairs) == min(faces, people)
    assert sum(cosines[pair] for pair in pairs) == pytest.approx(best)


def test_a_greedy_mistake_is_not_made() -> None:
    assert sorted(match_people(np.array([[0.9, 0.8], [0.7, -0.5]]))) == [(0, 1), (1, 0)]


class Grey:
    """Two wide: by how light a crop is."""

    def embed(self, crops: np.ndarray) -> np.ndarray:
        angle = crops.mean((1, 2, 3)) / 255 * np.pi / 2
        return np.stack([np.cos(angle), np.sin(angle)], 1)


class Halves:
    """Finds so many faces side by side, each 112 pixels wide."""

    name = "halves"

    def __init__(self, faces: int) -> None:
        self.faces = faces

    def detect(self, image: np.ndarray) -> list[Face]:
        return [
            Face((112.0 * index, 0.0, 112.0 * index + 112, 112.0), ARCFACE_TEMPLATE + np.array([112 * index, 0]), 1.0)
            for index in range(self.faces)
        ]


PEOPLE = {"dark": np.array([1.0, 0.0]), "light": np.array([0.0, 1.0])}


def picture(left: int, right: int) -> np.ndarray:
    image = np.full((112, 224, 3), left, np.uint8)
    image[:, 112:] = right
    return image


def test_faces_go_to_the_people_they_are_like() -> None:
    score = score_picture(picture(255, 0), PEOPLE, detector=Halves(2), encoder=Grey())
    assert score.faces == 2
    assert score.cosines["dark"] == pytest.approx(1, abs=0.05)
    assert score.cosines["light"] == pytest.approx(1, abs=0.05)
    assert score.weakest > 0.95


def test_who_is_missing_counts_as_nothing() -> None:
    score = score_picture(picture(255, 0), PEOPLE, detector=Halves(1), encoder=Grey())
    assert score.cosines["dark"] is None
    assert score.weakest == 0
    assert score.mean == pytest.approx(0.5, abs=0.02)
    assert score_picture(picture(0, 0), PEOPLE, detector=Halves(0), encoder=Grey()).cosines == {
        "dark": None,
        "light": None,
    }
    with pytest.raises(InputError, match="at least one person"):
        score_picture(picture(0, 0), {}, detector=Halves(1), encoder=Grey())


def scored(*cosines: float | None) -> PictureScore:
    return PictureScore(2, dict(zip(("alice", "bob"), cosines, strict=True)))


def test_the_weakest_person_decides() -> None:
    assert best_of_scores([scored(0.9, 0.1), scored(0.4, 0.3), scored(0.9, None)]) == 1
    assert best_of_scores([scored(None, None), scored(0.9, None), scored(0.2, None)]) == 1
    assert best_of_scores([scored(0.5, 0.5), scored(0.5, 0.5)]) == 0
    with pytest.raises(InputError, match="best of no pictures"):
        best_of_scores([])


def test_the_best_candidates_are_kept_as_they_come() -> None:
    asked: list[range] = []

    def draw(numbers: range) -> Drawn:
        asked.append(numbers)
        images = np.array([np.full((2, 2, 3), number, np.uint8) for number in numbers])
        return Drawn(images, (), tuple(number == 4 for number in numbers))

    def score(image: np.ndarray) -> PictureScore:
        return scored(0.5, 0.1 + 0.1 * (int(image[0, 0, 0]) in (1, 3, 4)))

    kept = list(keep_best(draw, score, count=3, best_of=2, batch=5))
    assert asked == [range(4), range(4, 6)]
    assert [(one.number, one.candidate, int(one.image[0, 0, 0]), one.flagged) for one in kept] == [
        (0, 1, 1, False),
        (1, 1, 3, False),
        (2, 0, 4, True),
    ]
    with pytest.raises(ConfigError, match="at least 1, got 0, 1 and 4"):
        list(keep_best(draw, score, count=0))
