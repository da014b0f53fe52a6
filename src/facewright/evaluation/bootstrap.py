"""How far a figure may be off because the pairs, or the people in them, are a sample: bootstrap intervals.

Pairs that share a person are not independent, so resampling pairs gives intervals that are too narrow. Resampling
people (Poh et al. 2007; the vertex bootstrap of Snijders and Borgatti 1999) draws people with replacement: a pair of
one person counts as often as the person was drawn, a pair of two people as often as the product of both draws.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from facewright.errors import DataError
from facewright.evaluation.rates import Rates, checked_scores, equal_error_rate, error_rates, operating_point

Progress = Callable[[int, int], None]
_DRAWN_AT_ONCE = 4_000_000  # indices held at once while means are resampled


@dataclass(frozen=True)
class Interval:
    """A percentile interval and how it came about."""

    low: float
    high: float
    level: float
    over: str  # "pairs" or "people"
    resamples: int
    seed: int


@dataclass(frozen=True, eq=False)
class People:
    """Who is in each pair; labels are integers of any value."""

    first: np.ndarray  # (P,)
    second: np.ndarray  # (P,)


def bootstrap_interval(
    values: np.ndarray, *, level: float = 0.95, resamples: int = 2000, seed: int = 0
) -> tuple[float, float]:
    """Percentile bootstrap interval of a mean.

    Args:
        values: (n,) what is averaged: fold accuracies, or `Verification.correct` for an interval over pairs.
        level: share of resampled means inside the interval, in (0, 1).
        resamples: draws with replacement.
        seed: names the draw.

    Returns:
        Lower and upper end.
    """
    flat = np.asarray(values, np.float64).ravel()
    if flat.size == 0 or not np.isfinite(flat).all():
        raise DataError(
            f"an interval needs finite values, got {flat.size} of which {np.sum(~np.isfinite(flat))} are not"
        )
    _check(level, resamples)
    rng = np.random.default_rng(seed)
    at_once = max(1, _DRAWN_AT_ONCE // flat.size)
    means = [
        flat[rng.integers(0, flat.size, (min(at_once, resamples - start), flat.size))].mean(axis=1)
        for start in range(0, resamples, at_once)
    ]
    return _percentiles(np.concatenate(means), level)


def people_interval(
    values: np.ndarray, people: People, *, level: float = 0.95, resamples: int = 2000, seed: int = 0
) -> tuple[float, float]:
    """The same for a mean over pairs, people resampled instead of pairs.

    A draw that leaves no pair at all is drawn again.

    Args:
        values: (P,) what is averaged, such as `Verification.correct`.
        people: who is in each pair.
        level: as above.
        resamples: as above.
        seed: as above.
    """
    flat = np.asarray(values, np.float64).ravel()
    _check(level, resamples)
    if flat.size == 0 or not np.isfinite(flat).all() or people.first.shape != flat.shape:
        raise DataError(f"{flat.size} values for {people.first.size} pairs; one finite value is needed for each")
    draw = _Draw(np.random.default_rng(seed), people)
    means: list[float] = []
    while len(means) < resamples:
        weights = draw.weights()[0]
        if weights.any():
            means.append(float(weights @ flat) / float(weights.sum()))
    return _percentiles(np.array(means), level)


def rate_intervals(
    genuine: np.ndarray,
    impostor: np.ndarray,
    *,
    people: tuple[People, People] | None = None,
    targets: tuple[float, ...] = (1e-2, 1e-3),
    level: float = 0.95,
    resamples: int = 1000,
    seed: int = 0,
    progress: Progress | None = None,
) -> dict[str, Interval]:
    """Percentile intervals of the EER and of TAR@FAR, definitions of `rates`.

    Every resample weighs the scores instead of copying them; the scores are sorted once.

    Args:
        genuine: (G,) similarities of pairs of one identity.
        impostor: (I,) similarities of pairs of two.
        people: who is in the genuine and in the impostor pairs; None resamples pairs of either kind.
        targets: largest FMRs; those below one impostor pair are left out, as in `tar_at_far`.
        level: share of resampled figures inside the interval, in (0, 1).
        resamples: draws with replacement; a draw without a pair of either kind is drawn again.
        seed: names the draw.
        progress: called with (resamples done, resamples).

    Returns:
        "eer" and "tar_at_far_0.01" and so on to their intervals.
    """
    genuine, impostor = checked_scores(genuine, impostor)
    _check(level, resamples)
    plain = error_rates(genuine, impostor)
    targets = tuple(target for target in targets if target * impostor.size >= 1)
    order = np.argsort(genuine), np.argsort(impostor)
    below = (
        np.searchsorted(genuine[order[0]], plain.thresholds, side="left"),
        np.searchsorted(impostor[order[1]], plain.thresholds, side="left"),
    )
    if people is not None and (people[0].first.shape != genuine.shape or people[1].first.shape != impostor.shape):
        raise DataError(
            f"people of {people[0].first.size} genuine and {people[1].first.size} impostor pairs do not fit"
            f" {genuine.size} and {impostor.size} scores"
        )
    rng = np.random.default_rng(seed)
    draw = None if people is None else _Draw(rng, *people)
    figures: dict[str, list[float]] = {"eer": [], **{f"tar_at_far_{target:g}": [] for target in targets}}
    done = 0
    while done < resamples:
        weights = _pair_weights(rng, genuine.size, impostor.size) if draw is None else draw.weights()
        weighed = _weighted_rates(plain.thresholds, [w[o] for w, o in zip(weights, order, strict=True)], below)
        if weighed is None:
            continue
        figures["eer"].append(equal_error_rate(weighed)[0])
        for target in targets:
            figures[f"tar_at_far_{target:g}"].append(1.0 - operating_point(weighed, target).fnmr)
        done += 1
        if progress is not None:
            progress(done, resamples)
    over = "pairs" if people is None else "people"
    return {
        name: Interval(*_percentiles(np.array(values), level), level, over, resamples, seed)
        for name, values in figures.items()
    }


class _Draw:
    """Draws people with replacement and says how often each pair then counts."""

    def __init__(self, rng: np.random.Generator, *groups: People) -> None:
        self.rng = rng
        labels = np.concatenate([side for group in groups for side in (group.first, group.second)])
        self.known = np.unique(labels)
        self.places = [
            (np.searchsorted(self.known, group.first), np.searchsorted(self.known, group.second)) for group in groups
        ]

    def weights(self) -> list[np.ndarray]:
        """Weights of every group's pairs from one draw, int64."""
        count = len(self.known)
        drawn = np.bincount(self.rng.integers(0, count, count), minlength=count)
        return [np.where(first == second, drawn[first], drawn[first] * drawn[second]) for first, second in self.places]


def _pair_weights(rng: np.random.Generator, genuine: int, impostor: int) -> list[np.ndarray]:
    return [np.bincount(rng.integers(0, count, count), minlength=count) for count in (genuine, impostor)]


def _weighted_rates(
    thresholds: np.ndarray, weights: list[np.ndarray], below: tuple[np.ndarray, np.ndarray]
) -> Rates | None:
    """Rates at the same thresholds with each score counted `weights` times, or None where a kind has no pair left."""
    sums = [np.concatenate([[0], np.cumsum(weight)]) for weight in weights]
    genuine, impostor = int(sums[0][-1]), int(sums[1][-1])
    if not genuine or not impostor:
        return None
    fnmr, rejected = sums[0][below[0]] / genuine, sums[1][below[1]]
    return Rates(thresholds, (impostor - rejected) / impostor, fnmr, genuine, impostor)


def _percentiles(values: np.ndarray, level: float) -> tuple[float, float]:
    low, high = np.quantile(values, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def _check(level: float, resamples: int) -> None:
    if not 0 < level < 1 or resamples < 1:
        raise DataError(f"level lies in (0, 1) and resamples is positive, got {level} and {resamples}")
