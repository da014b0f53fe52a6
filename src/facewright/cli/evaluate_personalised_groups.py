"""Which groups of people a protocol draws where not all of them are wanted."""

from collections.abc import Sequence
from itertools import combinations
from math import comb

from facewright.errors import InputError
from facewright.training.seeds import seed_of


def spread_groups(names: Sequence[str], size: int, count: int, *, seed: int) -> list[tuple[str, ...]]:
    """Different groups that have everybody in them about equally often.

    Each group takes who has been in the fewest so far, in an order that depends on the seed and the names; where that
    group is there already, the next one. So the first groups stay the same when more are asked for.

    Args:
        names: of the people.
        size: people in a group.
        count: groups; all there are where that is fewer.
        seed: another one gives other groups.

    Returns:
        The groups, each in the order of `names`; of one person each, the first `count` people.

    Raises:
        InputError: fewer people than a group has.
    """
    if len(names) < size:
        raise InputError(f"groups of {size} people were asked for, got {len(names)} people; give more")
    place = {name: number for number, name in enumerate(names)}
    chance = {name: seed_of(seed, "group", name) for name in names} if size > 1 else place
    times = dict.fromkeys(names, 0)
    groups = dict[tuple[str, ...], None]()
    for _ in range(min(count, comb(len(names), size))):
        rarest = sorted(names, key=lambda name: (times[name], chance[name]))
        ordered = (tuple(sorted(group, key=place.__getitem__)) for group in combinations(rarest, size))
        group = next(group for group in ordered if group not in groups)
        groups[group] = None
        for name in group:
            times[name] += 1
    return list(groups)
