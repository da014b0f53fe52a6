import numpy as np
import pytest

from facewright.evaluation import (
    error_rates,
    nearest_operating_point,
    operating_point,
    pyeer_equal_error,
    pyeer_summary,
)


def test_the_nearest_rate_may_exceed_the_target() -> None:
    genuine, impostor = np.array([0.05, 0.5, 0.85]), np.arange(90) / 100
    rates = error_rates(genuine, impostor)
    nearest, standard = nearest_operating_point(rates, 0.01), operating_point(rates, 0.01)
    assert nearest.fmr == 1 / 90 > 0.01
    assert standard.fmr == 0.0
    assert nearest.fnmr <= standard.fnmr


def test_the_value_above_all_scores_is_no_threshold() -> None:
    rates = error_rates(np.array([0.2, 0.4]), np.array([0.1, 0.9]))
    assert nearest_operating_point(rates, 0.0).fmr == 0.5
    assert operating_point(rates, 0.0).fnmr == 1.0


@pytest.mark.parametrize("seed", range(20))
def test_equal_error_is_the_better_of_the_two_thresholds_at_the_crossing(seed: int) -> None:
    rng = np.random.default_rng(seed)
    genuine, impostor = rng.normal(0.4, 0.3, 13).round(1), rng.normal(0, 0.3, 40).round(1)
    rates = error_rates(genuine, impostor)
    low, high, threshold = pyeer_equal_error(rates)
    at = list(rates.thresholds).index(threshold)
    assert {low, high} == {rates.fmr[at], rates.fnmr[at]}
    assert low <= high
    crossed = next(i for i in range(len(rates.fmr)) if rates.fmr[i] <= rates.fnmr[i])
    assert at in (crossed - 1, crossed)
    others = [rates.fmr[i] + rates.fnmr[i] for i in (crossed - 1, crossed)]
    assert rates.fmr[crossed] == rates.fnmr[crossed] or low + high == min(others)


def test_curves_that_do_not_cross() -> None:
    assert pyeer_equal_error(error_rates(np.array([0.1, 0.9]), np.array([0.9, 0.9]))) == (1.0, 1.0, 0.1)


def test_area_leaves_out_the_strip_beyond_the_highest_score() -> None:
    # ROC points (FMR, share accepted) at 0.1, 0.2, 0.3: (1, 1), (1, 1/2), (1/2, 0).
    summary = pyeer_summary(np.array([0.1, 0.2]), np.array([0.2, 0.3]))
    assert summary.auc == pytest.approx((1 - 0.5) * (0.5 + 0) / 2)
    assert summary.eer == (summary.eer_low + summary.eer_high) / 2
