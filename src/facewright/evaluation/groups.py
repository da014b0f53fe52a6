"""Do the rates hold for every group of people alike: figures per group at one threshold for all."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from facewright.errors import DataError
from facewright.evaluation.rates import equal_error_rate, error_rates


@dataclass(frozen=True)
class GroupRates:
    """One group's pairs at the threshold of all; None where the group has no pair of the kind."""

    group: str
    genuine: int
    impostor: int
    accuracy: float | None  # mean of 1 - FNMR and 1 - FMR
    fnmr: float | None  # share of its genuine pairs below the threshold
    fmr: float | None  # share of its impostor pairs at or above it
    eer: float | None  # at its own threshold


@dataclass(frozen=True)
class GroupReport:
    """Groups in order of name, and how unequal they are."""

    threshold: float  # similarity
    groups: tuple[GroupRates, ...]
    mixed: int  # impostor pairs of two groups, left out of every group
    accuracy_mean: float | None  # over groups that have both kinds of pair
    accuracy_std: float | None  # population, over the same (RFW tables)
    skewed_error_ratio: float | None  # largest over smallest 1 - accuracy (Wang and Deng 2020); None where one is 0
    worst: str | None  # the group of the lowest accuracy

    def figures(self) -> dict[str, Any]:
        """Plain numbers for a JSON file."""
        figures = asdict(self)
        figures["groups"] = {row.pop("group"): row for row in map(asdict, self.groups)}
        return figures


def group_rates(
    similarities: np.ndarray,
    issame: np.ndarray,
    first: Sequence[str],
    second: Sequence[str],
    *,
    threshold: float,
) -> GroupReport:
    """Error rates of each group at one similarity threshold.

    A pair belongs to a group when both of its faces do. Impostor pairs of two groups belong to none: they are the easy
    ones, and counting them hides differences.

    Args:
        similarities: (P,) finite.
        issame: (P,) bool.
        first: (P,) group of the first face.
        second: (P,) group of the second; the same for the two faces of a genuine pair.
        threshold: a pair at or above it is accepted.

    Raises:
        DataError: sizes do not fit, a score is not finite, or a genuine pair has two groups.
    """
    scores, same = np.asarray(similarities, np.float64), np.asarray(issame)
    one, two = np.asarray(first, dtype=str), np.asarray(second, dtype=str)
    if scores.ndim != 1 or len({scores.shape, same.shape, one.shape, two.shape}) != 1 or same.dtype != bool:
        raise DataError(
            f"each of {scores.shape} scores needs a label and two groups, got {same.dtype} {same.shape},"
            f" {one.shape} and {two.shape}"
        )
    if not np.isfinite(scores).all() or not np.isfinite(threshold):
        raise DataError(f"{np.sum(~np.isfinite(scores))} of {scores.size} scores are not finite, threshold {threshold}")
    torn = np.flatnonzero(same & (one != two))
    if torn.size:
        raise DataError(f"pair {torn[0]} is one person but of two groups, {one[torn[0]]} and {two[torn[0]]}")
    rows = tuple(
        _rates_of(str(group), scores[inside & same], scores[inside & ~same], threshold)
        for group in np.unique(np.concatenate([one, two]))
        for inside in [(one == group) & (two == group)]
    )
    whole = {row.group: row.accuracy for row in rows if row.accuracy is not None}
    errors = [1 - accuracy for accuracy in whole.values()]
    return GroupReport(
        threshold=float(threshold),
        groups=rows,
        mixed=int(np.sum(one != two)),
        accuracy_mean=float(np.mean(list(whole.values()))) if whole else None,
        accuracy_std=float(np.std(list(whole.values()))) if whole else None,
        skewed_error_ratio=max(errors) / min(errors) if errors and min(errors) > 0 else None,
        worst=min(whole, key=whole.__getitem__) if whole else None,
    )


def _rates_of(group: str, genuine: np.ndarray, impostor: np.ndarray, threshold: float) -> GroupRates:
    fnmr = float(np.mean(genuine < threshold)) if genuine.size else None
    fmr = float(np.mean(impostor >= threshold)) if impostor.size else None
    both = fnmr is not None and fmr is not None
    return GroupRates(
        group=group,
        genuine=genuine.size,
        impostor=impostor.size,
        accuracy=1 - (fnmr + fmr) / 2 if fnmr is not None and fmr is not None else None,
        fnmr=fnmr,
        fmr=fmr,
        eer=equal_error_rate(error_rates(genuine, impostor))[0] if both else None,
    )
