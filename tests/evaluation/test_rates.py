import math

import numpy as np
import pytest

from facewright.errors import DataError
from facewright.evaluation import (
    area_under_curve,
    equal_error_rate,
    error_rates,
    fisher_ratio,
    operating_point,
    summarise,
    tar_at_far,
)

SHAPES = [(40, 90), (7, 300), (1, 1), (200, 3)]


def drawn(genuine: int, impostor: int, *, rounded: bool = False, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    scores = rng.normal(0.5, 0.3, genuine), rng.normal(0.1, 0.3, impostor)
    return (scores[0].round(1), scores[1].round(1)) if rounded else scores


@pytest.mark.parametrize("rounded", [False, True])
@pytest.mark.parametrize("shape", SHAPES)
def test_rates_count_pairs_at_every_threshold(shape: tuple[int, int], rounded: bool) -> None:
    genuine, impostor = drawn(*shape, rounded=rounded)
    rates = error_rates(genuine, impostor)
    assert (np.diff(rates.thresholds) > 0).all()
    for threshold, fmr, fnmr in zip(rates.thresholds, rates.fmr, rates.fnmr, strict=True):
        assert fmr == sum(score >= threshold for score in impostor) / len(impostor)
        assert fnmr == sum(score < threshold for score in genuine) / len(genuine)
    assert (rates.fmr[0], rates.fnmr[0], rates.fmr[-1], rates.fnmr[-1]) == (1, 0, 0, 1)


@pytest.mark.parametrize("rounded", [False, True])
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("target", [0.0, 0.001, 0.01, 0.1, 1.0])
def test_operating_point_is_the_best_allowed_one(shape: tuple[int, int], rounded: bool, target: float) -> None:
    genuine, impostor = drawn(*shape, rounded=rounded)
    rates = error_rates(genuine, impostor)
    point = operating_point(rates, target)
    allowed = [fnmr for fmr, fnmr in zip(rates.fmr, rates.fnmr, strict=True) if fmr <= target]
    assert point.fnmr == min(allowed)
    assert point.fmr <= target
    assert point.fmr == np.mean(impostor >= point.threshold)


def test_a_rate_equal_to_the_target_is_allowed() -> None:
    impostor = np.arange(1000) / 1000
    assert operating_point(error_rates(np.array([0.995]), impostor), 0.01).fmr == 0.01


@pytest.mark.parametrize("rounded", [False, True])
@pytest.mark.parametrize("shape", SHAPES)
def test_area_is_the_chance_of_the_right_order(shape: tuple[int, int], rounded: bool) -> None:
    genuine, impostor = drawn(*shape, rounded=rounded)
    wins = sum((g > i) + (g == i) / 2 for g in genuine for i in impostor)
    area = area_under_curve(error_rates(genuine, impostor))
    assert area == pytest.approx(wins / (len(genuine) * len(impostor)), abs=1e-12)


def test_equal_error_rate_of_two_normal_distributions() -> None:
    rng = np.random.default_rng(1)
    rate, threshold = equal_error_rate(error_rates(rng.normal(2, 1, 200_000), rng.normal(0, 1, 200_000)))
    assert rate == pytest.approx(0.5 * math.erfc(1 / math.sqrt(2)), abs=2e-3)
    assert threshold == pytest.approx(1.0, abs=2e-2)


def test_equal_error_rate_lies_on_the_line_between_two_thresholds() -> None:
    # At 0.4: FMR 2/4, FNMR 1/3. At 0.6: FMR 1/4, FNMR 1/3. The lines meet at 1/3.
    rate, threshold = equal_error_rate(error_rates(np.array([0.3, 0.6, 0.9]), np.array([0.1, 0.2, 0.5, 0.7])))
    assert rate == pytest.approx(1 / 3)
    assert threshold == 0.6


@pytest.mark.parametrize(
    ("genuine", "impostor", "expected"), [([0.8, 0.9], [0.1, 0.2], 0.0), ([0.1], [0.9], 1.0), ([0.5], [0.5], 0.5)]
)
def test_equal_error_rate_at_the_ends(genuine: list[float], impostor: list[float], expected: float) -> None:
    assert equal_error_rate(error_rates(np.array(genuine), np.array(impostor)))[0] == expected


def test_swapping_and_negating_the_scores_changes_nothing() -> None:
    genuine, impostor = drawn(300, 300)
    ahead, mirrored = error_rates(genuine, impostor), error_rates(-impostor, -genuine)
    assert equal_error_rate(ahead)[0] == pytest.approx(equal_error_rate(mirrored)[0])
    assert area_under_curve(ahead) == pytest.approx(area_under_curve(mirrored))


def test_fisher_ratio() -> None:
    assert fisher_ratio(np.array([1.0, 3.0]), np.array([-1.0, 1.0])) == pytest.approx(4 / 2)
    assert fisher_ratio(np.array([1.0, 1.0]), np.array([0.0])) == math.inf


def test_accept_rates_below_one_pair_are_left_out() -> None:
    genuine, impostor = drawn(50, 500)
    rates = error_rates(genuine, impostor)
    assert tar_at_far(rates) == {0.01: 1 - operating_point(rates, 0.01).fnmr}


def test_summary_gives_plain_numbers() -> None:
    figures = summarise(np.array([1.0, 1.0]), np.array([0.0])).figures()
    assert figures["fisher_ratio"] is None
    assert (figures["eer"], figures["fmr100"], figures["fmr100_threshold"], figures["auc"]) == (0.0, 0.0, 1.0, 1.0)


@pytest.mark.parametrize("broken", [[], [0.1, math.nan], [math.inf]])
def test_unusable_scores_are_refused(broken: list[float]) -> None:
    with pytest.raises(DataError, match="impostor scores"):
        error_rates(np.array([0.5]), np.array(broken))
    with pytest.raises(DataError, match="genuine scores"):
        summarise(np.array(broken), np.array([0.5]))


def test_a_target_outside_the_range_is_refused() -> None:
    with pytest.raises(DataError, match="in \\[0, 1\\]"):
        operating_point(error_rates(*drawn(3, 3)), 10)
