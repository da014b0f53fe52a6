import numpy as np
import pytest

from facewright.errors import DataError
from facewright.evaluation import (
    People,
    bootstrap_interval,
    equal_error_rate,
    error_rates,
    people_interval,
    rate_intervals,
    tar_at_far,
)
from facewright.evaluation.bootstrap import _Draw, _weighted_rates


def test_bootstrap_interval_matches_the_normal_one() -> None:
    values = np.random.default_rng(2).normal(0.9, 0.1, 400)
    low, high = bootstrap_interval(values, seed=3)
    half = 1.96 * values.std() / np.sqrt(400)
    assert low == pytest.approx(values.mean() - half, abs=0.15 * half)
    assert high == pytest.approx(values.mean() + half, abs=0.15 * half)
    assert (low, high) == bootstrap_interval(values, seed=3)
    assert bootstrap_interval(np.ones(5)) == (1.0, 1.0)


@pytest.mark.parametrize("bad", [np.array([]), np.array([0.5, np.nan])])
def test_bootstrap_refuses_what_it_cannot_average(bad: np.ndarray) -> None:
    with pytest.raises(DataError, match="finite values"):
        bootstrap_interval(bad)


def test_draws_do_not_depend_on_how_many_are_made_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    values = np.random.default_rng(4).random(37)
    whole = bootstrap_interval(values, resamples=50)
    monkeypatch.setattr("facewright.evaluation.bootstrap._DRAWN_AT_ONCE", 100)
    assert bootstrap_interval(values, resamples=50) == whole


def test_weighted_rates_are_those_of_copied_scores() -> None:
    rng = np.random.default_rng(5)
    genuine, impostor = rng.normal(1, 1, 30).round(1), rng.normal(0, 1, 50).round(1)
    weights = [rng.integers(0, 4, 30), rng.integers(0, 4, 50)]
    copied = error_rates(np.repeat(genuine, weights[0]), np.repeat(impostor, weights[1]))
    plain = error_rates(genuine, impostor)
    order = np.argsort(genuine), np.argsort(impostor)
    below = tuple(
        np.searchsorted(scores[o], plain.thresholds) for scores, o in zip((genuine, impostor), order, strict=True)
    )
    weighed = _weighted_rates(plain.thresholds, [weights[0][order[0]], weights[1][order[1]]], (below[0], below[1]))
    assert weighed is not None
    assert equal_error_rate(weighed)[0] == pytest.approx(equal_error_rate(copied)[0])
    assert tar_at_far(weighed, (0.1,)) == pytest.approx(tar_at_far(copied, (0.1,)))


def test_a_pair_counts_as_often_as_its_people_were_drawn() -> None:
    people = People(np.array([7, 7, 3, 9]), np.array([7, 3, 9, 9]))
    (weights,) = _Draw(np.random.default_rng(1), people).weights()
    drawn = np.bincount(np.random.default_rng(1).integers(0, 3, 3), minlength=3)  # of people 3, 7 and 9
    assert weights.tolist() == [drawn[1], drawn[1] * drawn[0], drawn[0] * drawn[2], drawn[2]]


def crowd(*, people: int = 40, each: int = 12, seed: int = 0) -> tuple[np.ndarray, np.ndarray, People, People]:
    """Scores that depend on the person: some people are easy, some hard."""
    rng = np.random.default_rng(seed)
    ease = rng.normal(0, 0.8, people)
    who = np.repeat(np.arange(people), each)
    other = (who + rng.integers(1, people, who.size)) % people
    genuine = 2 + ease[who] + 0.4 * rng.normal(size=who.size)
    return genuine, rng.normal(size=who.size), People(who, who), People(who, other)


def test_intervals_hold_the_figure_and_people_make_them_wider() -> None:
    genuine, impostor, same, two = crowd()
    figures = error_rates(genuine, impostor)
    over_pairs = rate_intervals(genuine, impostor, resamples=200)
    over_people = rate_intervals(genuine, impostor, people=(same, two), resamples=200)
    for intervals in (over_pairs, over_people):
        assert intervals.keys() == {"eer", "tar_at_far_0.01"}
        assert intervals["eer"].low < equal_error_rate(figures)[0] < intervals["eer"].high
        assert intervals["tar_at_far_0.01"].low < tar_at_far(figures)[0.01] < intervals["tar_at_far_0.01"].high
    wide, narrow = over_people["eer"], over_pairs["eer"]
    assert wide.high - wide.low > 1.3 * (narrow.high - narrow.low)
    assert (wide.over, narrow.over, wide.resamples) == ("people", "pairs", 200)
    assert over_people == rate_intervals(genuine, impostor, people=(same, two), resamples=200)


def test_interval_of_a_mean_over_people() -> None:
    genuine, _, same, _ = crowd()
    low, high = people_interval(genuine > 1, same, resamples=300)
    narrow = bootstrap_interval(genuine > 1, resamples=300)
    assert low < np.mean(genuine > 1) < high
    assert high - low > 1.5 * (narrow[1] - narrow[0])
    assert people_interval(np.ones(4), People(np.arange(4), np.arange(4)), resamples=20) == (1.0, 1.0)


def test_what_does_not_fit_is_refused() -> None:
    genuine, impostor, same, two = crowd()
    with pytest.raises(DataError, match="do not fit 480 and 479 scores"):
        rate_intervals(genuine, impostor[1:], people=(same, two))
    with pytest.raises(DataError, match="479 values for 480 pairs"):
        people_interval(genuine[1:], same)
    with pytest.raises(DataError, match="level lies"):
        rate_intervals(genuine, impostor, level=1.0)
    with pytest.raises(DataError, match="genuine scores are not finite"):
        rate_intervals(np.array([np.nan]), impostor)
