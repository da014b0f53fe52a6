"""Operating points as the PyPI package pyeer defines them, for tables that were made with it.

They differ from `rates`: thresholds are the distinct scores only, FMR100 and its kin take the threshold whose FMR is
*nearest* to the target (so the FMR may exceed it), and the EER is the middle of FMR and FNMR at one threshold.
"""

from dataclasses import dataclass, fields

import numpy as np

from facewright.evaluation.rates import OperatingPoint, Rates, checked_scores, error_rates, fisher_ratio, plain_figures


@dataclass(frozen=True)
class PyeerSummary:
    """The figures of a pyeer report that papers quote."""

    eer: float
    eer_low: float
    eer_high: float
    eer_threshold: float
    fmr0: OperatingPoint
    fmr10: OperatingPoint
    fmr20: OperatingPoint
    fmr100: OperatingPoint
    fmr1000: OperatingPoint
    auc: float
    genuine_mean: float
    genuine_std: float  # population
    impostor_mean: float
    impostor_std: float  # population
    fisher_ratio: float

    def figures(self) -> dict[str, float | None]:
        """Plain numbers for a JSON file; FMR100 and its kin become FNMR, threshold and attained FMR, infinity None."""
        figures: dict[str, float | None] = {}
        for field in fields(self):
            figures |= plain_figures(field.name, getattr(self, field.name))
        return figures


def pyeer_summary(genuine: np.ndarray, impostor: np.ndarray) -> PyeerSummary:
    """Every figure in pyeer's definition (release 0.5.6).

    Args:
        genuine: (G,) similarities of pairs of one identity.
        impostor: (I,) similarities of pairs of two identities.
    """
    genuine, impostor = checked_scores(genuine, impostor)
    rates = error_rates(genuine, impostor)
    low, high, threshold = pyeer_equal_error(rates)
    return PyeerSummary(
        eer=(low + high) / 2,
        eer_low=low,
        eer_high=high,
        eer_threshold=threshold,
        fmr0=nearest_operating_point(rates, 0.0),
        fmr10=nearest_operating_point(rates, 1 / 10),
        fmr20=nearest_operating_point(rates, 1 / 20),
        fmr100=nearest_operating_point(rates, 1 / 100),
        fmr1000=nearest_operating_point(rates, 1 / 1000),
        auc=_trapezoid_area(rates),
        genuine_mean=float(genuine.mean()),
        genuine_std=float(genuine.std()),
        impostor_mean=float(impostor.mean()),
        impostor_std=float(impostor.std()),
        fisher_ratio=fisher_ratio(genuine, impostor),
    )


def nearest_operating_point(rates: Rates, fmr: float) -> OperatingPoint:
    """FNMR at the score whose FMR is nearest to `fmr`, the lowest such score where several are."""
    index = int(np.argmin(np.abs(rates.fmr[:-1] - fmr)))
    return OperatingPoint(float(rates.thresholds[index]), float(rates.fmr[index]), float(rates.fnmr[index]))


def pyeer_equal_error(rates: Rates) -> tuple[float, float, float]:
    """Both ends of the interval whose middle is pyeer's EER, and the threshold it belongs to.

    Of the last score with FMR above FNMR and the first without, the one with the smaller sum of both counts. Where the
    curves do not cross at any score, pyeer reports an EER of 1 at the lowest one.
    """
    gap = (rates.fmr - rates.fnmr)[:-1]
    if gap[-1] > 0:
        return 1.0, 1.0, float(rates.thresholds[0])
    after = int(np.argmax(gap <= 0))
    before = after if gap[after] == 0 else after - 1
    total = rates.fmr + rates.fnmr
    index = before if total[before] <= total[after] else after
    low, high = sorted((float(rates.fmr[index]), float(rates.fnmr[index])))
    return low, high, float(rates.thresholds[index])


def _trapezoid_area(rates: Rates) -> float:
    """Area under the ROC between the lowest and the highest score; the strip beyond the highest is left out."""
    fmr, accepted = rates.fmr[:-1], 1.0 - rates.fnmr[:-1]
    return float(np.sum((fmr[:-1] - fmr[1:]) * (accepted[:-1] + accepted[1:]) / 2))
