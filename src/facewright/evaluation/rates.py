"""Error rates of similarity scores: false match against false non-match.

Scores are similarities: a pair is taken as a match when its score is at least the threshold. FMR(t) is the share of
impostor scores >= t, FNMR(t) the share of genuine scores < t (ISO/IEC 19795-1).
"""

import math
from dataclasses import dataclass, fields

import numpy as np

from facewright.errors import DataError


@dataclass(frozen=True, eq=False)
class Rates:
    """Both error rates at every threshold that can change them.

    `thresholds` ascends: every distinct score, then one value above the largest, so FMR runs from 1 to 0 and FNMR from
    0 to 1.
    """

    thresholds: np.ndarray  # (T,) float64
    fmr: np.ndarray  # (T,) falling from 1 to 0
    fnmr: np.ndarray  # (T,) rising from 0 to 1
    genuine: int  # number of genuine scores
    impostor: int  # number of impostor scores


@dataclass(frozen=True)
class OperatingPoint:
    """One threshold and the two error rates that it gives."""

    threshold: float
    fmr: float
    fnmr: float


@dataclass(frozen=True)
class ScoreSummary:
    """What a table says about two sets of scores; `summarise` makes it."""

    genuine: int
    impostor: int
    genuine_mean: float
    genuine_std: float  # population
    impostor_mean: float
    impostor_std: float  # population
    eer: float
    eer_threshold: float
    fmr10: OperatingPoint  # lowest FNMR with FMR <= 1/10
    fmr100: OperatingPoint  # lowest FNMR with FMR <= 1/100
    fmr1000: OperatingPoint  # lowest FNMR with FMR <= 1/1000
    zero_fmr: OperatingPoint  # lowest FNMR without a false match
    auc: float
    fisher_ratio: float  # infinite where neither set varies

    def figures(self) -> dict[str, float | None]:
        """Plain numbers for a JSON file; FMR100 and its kin become FNMR, threshold and attained FMR, infinity None."""
        figures: dict[str, float | None] = {}
        for field in fields(self):
            figures |= plain_figures(field.name, getattr(self, field.name))
        return figures


def plain_figures(name: str, value: float | OperatingPoint) -> dict[str, float | None]:
    """One figure of a summary as a JSON file has it."""
    if isinstance(value, OperatingPoint):
        return {name: value.fnmr, f"{name}_threshold": value.threshold, f"{name}_attained_fmr": value.fmr}
    return {name: value if math.isfinite(value) else None}


def error_rates(genuine: np.ndarray, impostor: np.ndarray) -> Rates:
    """FMR and FNMR at every distinct score and above the largest.

    Args:
        genuine: (G,) similarities of pairs of one identity.
        impostor: (I,) similarities of pairs of two identities.

    Raises:
        DataError: a set is empty or holds a score that is not finite.
    """
    genuine, impostor = checked_scores(genuine, impostor)
    thresholds = np.unique(np.concatenate([genuine, impostor]))
    thresholds = np.append(thresholds, np.nextafter(thresholds[-1], np.inf))
    accepted = impostor.size - np.searchsorted(np.sort(impostor), thresholds, side="left")
    rejected = np.searchsorted(np.sort(genuine), thresholds, side="left")
    return Rates(thresholds, accepted / impostor.size, rejected / genuine.size, genuine.size, impostor.size)


def equal_error_rate(rates: Rates) -> tuple[float, float]:
    """Where the straight lines between neighbouring thresholds make FMR and FNMR equal.

    Returns:
        The rate, in [0, 1], and the first threshold at which FMR is no longer above FNMR.
    """
    gap = rates.fmr - rates.fnmr
    after = int(np.argmax(gap <= 0))
    before = after - 1
    share = gap[before] / (gap[before] - gap[after])
    rate = rates.fmr[before] + share * (rates.fmr[after] - rates.fmr[before])
    return float(rate), float(rates.thresholds[after])


def operating_point(rates: Rates, max_fmr: float) -> OperatingPoint:
    """The lowest FNMR among thresholds whose FMR is at most `max_fmr` (1/100 gives FMR100, 0 gives ZeroFMR)."""
    if not 0 <= max_fmr <= 1:
        raise DataError(f"a target FMR lies in [0, 1], got {max_fmr}")
    index = int(np.argmax(rates.fmr <= max_fmr))
    return OperatingPoint(float(rates.thresholds[index]), float(rates.fmr[index]), float(rates.fnmr[index]))


def tar_at_far(rates: Rates, targets: tuple[float, ...] = (1e-2, 1e-3, 1e-4)) -> dict[float, float]:
    """Share of genuine pairs accepted (1 - FNMR) at each largest FMR, standard definition.

    A target below one impostor pair cannot be told from zero; such targets are left out of the result.
    """
    return {far: 1.0 - operating_point(rates, far).fnmr for far in targets if far * rates.impostor >= 1}


def area_under_curve(rates: Rates) -> float:
    """Chance that a genuine score lies above an impostor score, a tie counting one half (Mann-Whitney).

    Equal to the area under the ROC by trapezoids, which is how it is computed.
    """
    accepted = 1.0 - rates.fnmr
    return float(np.sum((rates.fmr[:-1] - rates.fmr[1:]) * (accepted[:-1] + accepted[1:])) / 2)


def fisher_ratio(genuine: np.ndarray, impostor: np.ndarray) -> float:
    """Squared difference of the means over the sum of the population variances (FDR of the IDiff-Face tables).

    Infinite where neither set varies.
    """
    genuine, impostor = checked_scores(genuine, impostor)
    spread = float(genuine.var() + impostor.var())
    return float((genuine.mean() - impostor.mean()) ** 2) / spread if spread > 0 else math.inf


def summarise(genuine: np.ndarray, impostor: np.ndarray) -> ScoreSummary:
    """Every figure of this module for two sets of similarities, operating points in the standard definition."""
    genuine, impostor = checked_scores(genuine, impostor)
    rates = error_rates(genuine, impostor)
    eer, eer_threshold = equal_error_rate(rates)
    return ScoreSummary(
        genuine=genuine.size,
        impostor=impostor.size,
        genuine_mean=float(genuine.mean()),
        genuine_std=float(genuine.std()),
        impostor_mean=float(impostor.mean()),
        impostor_std=float(impostor.std()),
        eer=eer,
        eer_threshold=eer_threshold,
        fmr10=operating_point(rates, 1 / 10),
        fmr100=operating_point(rates, 1 / 100),
        fmr1000=operating_point(rates, 1 / 1000),
        zero_fmr=operating_point(rates, 0.0),
        auc=area_under_curve(rates),
        fisher_ratio=fisher_ratio(genuine, impostor),
    )


def checked_scores(genuine: np.ndarray, impostor: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Both sets as flat float64, refused when empty or not finite."""
    checked = []
    for name, scores in (("genuine", genuine), ("impostor", impostor)):
        flat = np.asarray(scores, dtype=np.float64).ravel()
        if flat.size == 0:
            raise DataError(f"there are no {name} scores; error rates need pairs of one identity and pairs of two")
        broken = np.flatnonzero(~np.isfinite(flat))
        if broken.size:
            raise DataError(
                f"{broken.size} of {flat.size} {name} scores are not finite (the first is number {broken[0]}); "
                "check the embeddings they come from"
            )
        checked.append(flat)
    return checked[0], checked[1]
