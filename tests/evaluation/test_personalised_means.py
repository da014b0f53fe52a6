import numpy as np
import pytest

from facewright.evaluation.personalised_means import PeopleMeans


def test_means_are_over_pictures() -> None:
    means = PeopleMeans([("a",), ("a",), ("b",)], resamples=100, seed=0)
    assert means.mean([1.0, 2.0, 6.0]).value == 3
    known = means.mean_of_known([1.0, None, 6.0])
    assert known is not None
    assert (known.value, known.count) == (3.5, 2)
    assert means.mean_of_known([None, None, None]) is None
    assert means.harmonic([0.5, 0.5, 0.5], [0.25, 0.25, None]).value == pytest.approx(1 / 3)


def test_intervals_come_from_drawing_people() -> None:
    """Twenty people of fifty equal pictures: the interval is that of twenty values, not of a thousand."""
    values = np.random.default_rng(0).normal(0.5, 0.1, 20)
    means = PeopleMeans([(f"{person}",) for person in range(20) for _ in range(50)], resamples=4000, seed=1)
    found = means.mean(list(values.repeat(50)))
    assert found.interval is not None
    drawn = np.random.default_rng(2).choice(values, (20_000, 20)).mean(1)
    assert found.interval == pytest.approx(tuple(np.quantile(drawn, [0.025, 0.975])), abs=0.004)
    again = PeopleMeans([(f"{person}",) for person in range(20) for _ in range(50)], resamples=4000, seed=1)
    assert again.mean(list(values.repeat(50))) == found


def test_a_pair_counts_as_the_product_of_its_draws() -> None:
    people = [("a", "b"), ("a", "c"), ("b", "c")]
    means = PeopleMeans(people, resamples=3000, seed=0)
    chance = np.random.default_rng(5)
    expected = []
    while len(expected) < 3000:
        times = dict(zip("abc", np.bincount(chance.integers(0, 3, 3), minlength=3), strict=True))
        weights = [times[first] * times[second] for first, second in people]
        if any(weights):
            expected.append(np.average([0.0, 1.0, 3.0], weights=weights))
    found = means.mean([0.0, 1.0, 3.0])
    assert found.value == pytest.approx(4 / 3)
    assert found.interval == pytest.approx(tuple(np.quantile(expected, [0.025, 0.975])), abs=0.05)


def test_one_person_or_no_draw_has_no_interval() -> None:
    assert PeopleMeans([("a",), ("a",)], resamples=100, seed=0).mean([0.0, 1.0]).interval is None
    assert PeopleMeans([("a",), ("b",)], resamples=0, seed=0).mean([0.0, 1.0]).interval is None
