import itertools

import numpy as np
import pytest

from facewright.errors import DataError
from facewright.evaluation import match_subjects, multi_subject_identity, weakest_match


def test_greedy_takes_the_largest_first() -> None:
    similarity = np.array([[0.9, 0.8], [0.7, 0.1]])
    assert match_subjects(similarity) == [(0, 0), (1, 1)]
    assert weakest_match(similarity) == 0.1
    best = max(min(similarity[i, p] for i, p in enumerate(order)) for order in itertools.permutations(range(2)))
    assert best == 0.7  # the best assignment would differ: greedy is the published measure


def test_ties_go_in_row_major_order() -> None:
    assert match_subjects(np.full((2, 3), 0.3)) == [(0, 0), (1, 1)]


def test_more_faces_than_people_leave_some_unmatched() -> None:
    assert match_subjects(np.array([[0.1], [0.6], [0.2]])) == [(1, 0)]


def test_negative_similarity_scores_nothing() -> None:
    similarity = np.array([[0.5, -0.2], [-0.4, -0.3]])
    assert weakest_match(similarity) == -0.3
    assert multi_subject_identity(similarity) == 0.0


def test_a_missing_person_scores_nothing() -> None:
    assert multi_subject_identity(np.array([[0.9, 0.8]])) == 0.0
    assert multi_subject_identity(np.empty((0, 2))) == 0.0
    assert multi_subject_identity(np.array([[0.42]])) == 0.42


@pytest.mark.parametrize("bad", [np.empty((2, 0)), np.array([0.1]), np.array([[np.nan]])])
def test_unusable_similarities_are_refused(bad: np.ndarray) -> None:
    with pytest.raises(DataError, match="similarities must be finite"):
        multi_subject_identity(bad)
    with pytest.raises(DataError, match="no face was found"):
        weakest_match(np.empty((0, 1)))
