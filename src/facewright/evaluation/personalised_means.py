"""Means over personalised pictures with intervals over the people in them.

Pictures of one person are not independent, so people are drawn with replacement, not pictures; a picture of two people
counts as often as the product of their draws (as in `bootstrap`).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from facewright.evaluation.personalised_scores import harmonic_mean

LEVEL = 0.95


@dataclass(frozen=True)
class Estimate:
    """A mean and its 95 % interval over people."""

    value: float
    count: int  # what it is the mean of
    interval: tuple[float, float] | None  # None with fewer than two people, or where none was asked for


class PeopleMeans:
    """Means over the same pictures, with the same draws of people for all of them.

    Pictures of the same people always count together, so their sums are all that a draw needs.
    """

    def __init__(self, people: Sequence[tuple[str, ...]], *, resamples: int, seed: int) -> None:
        """Draw the people.

        Args:
            people: in each picture; as many in one as in another.
            resamples: draws; 0 gives no intervals.
            seed: names the draws.
        """
        known = {name: place for place, name in enumerate(sorted({name for group in people for name in group}))}
        groups = {group: place for place, group in enumerate(dict.fromkeys(people))}
        self.group_of = np.array([groups[group] for group in people], np.int64)
        self.groups = len(groups)
        self.drawn = np.ones((0, self.groups))  # (resamples, groups): how often each group of people counts
        if len(known) > 1 and resamples:
            rng = np.random.default_rng(seed)
            times = rng.multinomial(len(known), np.full(len(known), 1 / len(known)), resamples)
            members = np.array([[known[name] for name in group] for group in groups])
            self.drawn = times[:, members].prod(2).astype(np.float64)

    def mean(self, values: Sequence[float]) -> Estimate:
        """Of one value a picture."""
        plain, means = self._means(values)
        return Estimate(plain, len(values), _interval(means))

    def mean_of_known(self, values: Sequence[float | None]) -> Estimate | None:
        """Of the values that are known; None where none is."""
        known = sum(value is not None for value in values)
        if not known:
            return None
        plain, means = self._means(values)
        return Estimate(plain, known, _interval(means))

    def harmonic(self, identity: Sequence[float], prompt: Sequence[float | None]) -> Estimate:
        """Harmonic mean of the two means; a prompt value at least is known."""
        (first, firsts), (second, seconds) = self._means(identity), self._means(prompt)
        means = [harmonic_mean(a, b) for a, b in zip(firsts, seconds, strict=True) if np.isfinite(a + b)]
        known = sum(value is not None for value in prompt)
        return Estimate(harmonic_mean(first, second), known, _interval(np.array(means)))

    def _means(self, values: Sequence[float | None]) -> tuple[float, np.ndarray]:
        """Mean of those known, and that of every draw; NaN of a draw that leaves none."""
        known = np.array([value is not None for value in values])
        numbers = np.array([value for value in values if value is not None], np.float64)
        sums = np.bincount(self.group_of[known], numbers, self.groups)
        weights = self.drawn @ np.bincount(self.group_of[known], minlength=self.groups)
        means = np.divide(self.drawn @ sums, weights, out=np.full(len(weights), np.nan), where=weights > 0)
        return float(numbers.mean()), means


def _interval(means: np.ndarray) -> tuple[float, float] | None:
    known = means[np.isfinite(means)]
    if not len(known):
        return None
    low, high = np.quantile(known, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(low), float(high)
