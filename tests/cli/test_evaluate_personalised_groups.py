"""Groups of people spread over everybody."""

from collections import Counter
from math import comb

import pytest

from facewright.cli.evaluate_personalised_groups import spread_groups
from facewright.errors import InputError

NAMES = [f"p{number:02d}" for number in range(12)]


@pytest.mark.parametrize(("size", "people"), [(2, 2), (2, 7), (2, 12), (3, 6)])
def test_everybody_is_in_about_as_many(size: int, people: int) -> None:
    names = NAMES[:people]
    for count in range(1, comb(people, size) + 1):
        groups = spread_groups(names, size, count, seed=3)
        assert len(groups) == len(set(groups)) == count
        assert all(group == tuple(sorted(group)) and len(set(group)) == size for group in groups)
        times = Counter(name for group in groups for name in group)
        assert max(times.values()) - min(times[name] for name in names) <= 2
    assert spread_groups(names, size, 10_000, seed=3) == groups


def test_half_as_many_pairs_as_people_have_everybody_once() -> None:
    groups = spread_groups(NAMES, 2, 6, seed=0)
    assert sorted(name for group in groups for name in group) == NAMES


def test_the_seed_alone_decides_and_more_groups_keep_the_first() -> None:
    few, many = (spread_groups(NAMES, 2, count, seed=5) for count in (7, 20))
    assert many[:7] == few == spread_groups(NAMES, 2, 7, seed=5)
    assert few != spread_groups(NAMES, 2, 7, seed=6)
    assert spread_groups(NAMES, 1, 3, seed=5) == [("p00",), ("p01",), ("p02",)]


def test_too_few_people_are_refused() -> None:
    with pytest.raises(InputError, match="groups of 2 people were asked for, got 1 people"):
        spread_groups(["ann"], 2, 1, seed=0)
