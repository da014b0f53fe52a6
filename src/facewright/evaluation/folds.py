"""Which pair belongs to which fold, and whether folds share people."""

from collections.abc import Hashable, Sequence

import numpy as np

from facewright.errors import DataError


def fold_numbers(pairs: int, folds: int | np.ndarray) -> np.ndarray:
    """The fold of each pair, (P,) int64 from 0.

    Args:
        pairs: how many.
        folds: a number gives contiguous folds, the first P % folds of them one pair longer (as KFold without shuffling
            does); an array (P,) of fold numbers 0 .. F - 1 is checked and returned.

    Raises:
        DataError: fewer than two folds, more folds than pairs, or an empty fold.
    """
    if isinstance(folds, np.ndarray):
        numbers = np.asarray(folds)
        if numbers.shape != (pairs,) or not np.issubdtype(numbers.dtype, np.integer):
            raise DataError(
                f"fold numbers must be integers ({pairs},), one a pair, got {numbers.dtype} {numbers.shape}"
            )
        present = np.unique(numbers)
        if len(present) < 2 or not np.array_equal(present, np.arange(len(present))):
            raise DataError(f"fold numbers run from 0 without a gap and there are at least two, got {present.tolist()}")
        return numbers.astype(np.int64)
    if not 2 <= folds <= pairs:
        raise DataError(f"{pairs} pairs cannot be judged in {folds} folds; use from 2 to {pairs}")
    return np.repeat(np.arange(folds), [len(part) for part in np.array_split(np.empty(pairs), folds)])


def people_in_several_folds(first: Sequence[Hashable], second: Sequence[Hashable], folds: np.ndarray) -> int:
    """How many people occur in more than one fold.

    A threshold that is chosen on other folds then has seen people of the fold it judges, which flatters the accuracy.

    Args:
        first: (P,) the person in the first image of each pair.
        second: (P,) the person in the second.
        folds: (P,) fold numbers.
    """
    seen: dict[Hashable, set[int]] = {}
    for one, two, fold in zip(first, second, folds.tolist(), strict=True):
        seen.setdefault(one, set()).add(fold)
        seen.setdefault(two, set()).add(fold)
    return sum(len(where) > 1 for where in seen.values())


def disjoint_folds(first: Sequence[Hashable], second: Sequence[Hashable], *, folds: int = 10) -> np.ndarray:
    """Folds that share no person: people joined by a pair stay together.

    Connected groups of people are dealt out, those with most pairs first, each to the fold with fewest pairs so far.

    Args:
        first: (P,) the person in the first image of each pair.
        second: (P,) the person in the second.
        folds: how many.

    Returns:
        (P,) fold numbers for `verify`; folds may differ in size.

    Raises:
        DataError: the pairs join people into fewer groups than there are folds.
    """
    leader: dict[Hashable, Hashable] = {}

    def root(person: Hashable) -> Hashable:
        while leader.setdefault(person, person) != person:
            leader[person] = leader[leader[person]]
            person = leader[person]
        return person

    for one, two in zip(first, second, strict=True):
        leader[root(one)] = root(two)
    roots = [root(one) for one in first]
    groups: dict[Hashable, list[int]] = {}
    for pair, group in enumerate(roots):
        groups.setdefault(group, []).append(pair)
    if len(groups) < folds or folds < 2:
        raise DataError(
            f"the pairs join their people into {len(groups)} groups, too few for {folds} folds without a shared person;"
            " use fewer folds (at least 2) or the folds of the list"
        )
    numbers = np.empty(len(roots), np.int64)
    sizes = np.zeros(folds, np.int64)
    for pairs in sorted(groups.values(), key=len, reverse=True):
        fold = int(np.argmin(sizes))
        numbers[pairs] = fold
        sizes[fold] += len(pairs)
    return numbers
