"""Seeds from names."""

import pytest

from facewright.training.seeds import seed_of


def test_a_seed_is_stable_for_ever() -> None:
    assert seed_of("epoch", 0, 0) == 1195742338644551817
    assert seed_of("held out", "2880") == 1854379963825186424


@pytest.mark.parametrize(
    ("one", "other"), [((1,), ("1",)), (("ab", "c"), ("a", "bc")), ((1, 2), (2, 1)), (("a",), ("a", "")), ((1,), (-1,))]
)
def test_what_differs_gives_another_seed(one: tuple[int | str, ...], other: tuple[int | str, ...]) -> None:
    assert seed_of(*one) != seed_of(*other)


def test_seeds_fit_in_63_bits() -> None:
    seeds = [seed_of("x", k) for k in range(2000)]
    assert min(seeds) >= 0
    assert 2**62 < max(seeds) < 2**63
    assert len(set(seeds)) == 2000
