import numpy as np
import pytest

from facewright.errors import DataError
from facewright.evaluation import group_rates

SCORES = np.array([0.9, 0.8, 0.2, 0.7, 0.3, 0.1, 0.6, 0.5, 0.4])
SAME = np.array([1, 1, 1, 0, 0, 0, 0, 1, 0], bool)
FIRST = ["a", "a", "b", "a", "a", "b", "b", "c", "c"]
SECOND = ["a", "a", "b", "a", "a", "b", "b", "c", "a"]


def test_each_group_at_one_threshold() -> None:
    report = group_rates(SCORES, SAME, FIRST, SECOND, threshold=0.5)
    a, b, c = report.groups
    assert (a.group, a.genuine, a.impostor, a.fnmr, a.fmr, a.accuracy) == ("a", 2, 2, 0.0, 0.5, 0.75)
    assert (b.fnmr, b.fmr, b.accuracy) == (1.0, 0.5, 0.25)
    assert (c.genuine, c.impostor, c.fnmr, c.fmr, c.accuracy, c.eer) == (1, 0, 0.0, None, None, None)
    assert report.mixed == 1
    assert (report.accuracy_mean, report.accuracy_std) == (0.5, 0.25)
    assert report.skewed_error_ratio == pytest.approx(3.0)
    assert report.worst == "b"
    assert report.figures()["groups"]["b"]["eer"] == pytest.approx(b.eer)


def test_no_ratio_where_a_group_makes_no_error() -> None:
    report = group_rates(SCORES[[0, 4]], SAME[[0, 4]], ["a", "a"], ["a", "a"], threshold=0.5)
    assert (report.accuracy_mean, report.skewed_error_ratio) == (1.0, None)


def test_bad_groups_are_refused() -> None:
    with pytest.raises(DataError, match="pair 0 is one person but of two groups, a and z"):
        group_rates(SCORES, SAME, FIRST, ["z", *SECOND[1:]], threshold=0.5)
    with pytest.raises(DataError, match="needs a label and two groups"):
        group_rates(SCORES, SAME, FIRST[1:], SECOND, threshold=0.5)
    with pytest.raises(DataError, match="not finite"):
        group_rates(SCORES * np.nan, SAME, FIRST, SECOND, threshold=0.5)
