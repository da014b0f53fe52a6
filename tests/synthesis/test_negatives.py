"""The identity that guidance moves away from, against a plain search."""

from collections import Counter

import pytest

from facewright.errors import ConfigError, InputError
from facewright.synthesis import negative_rows, uniform_contexts

EMBEDDINGS = uniform_contexts(9, seed=3, width=16).embeddings


@pytest.mark.parametrize(("rule", "rank"), [("far", 0), ("middle", 3), ("close", 7)])
def test_rules_rank_the_others_by_cosine(rule: str, rank: int) -> None:
    identities = [4, 0, 4, 8, 1]
    expected = []
    for own in identities:
        others = [row for row in range(9) if row != own]
        expected.append(sorted(others, key=lambda row: float(EMBEDDINGS[row] @ EMBEDDINGS[own]))[rank])
    assert negative_rows(EMBEDDINGS, identities, range(5), rule=rule).tolist() == expected


def test_random_takes_every_other_identity_as_often() -> None:
    rows = negative_rows(EMBEDDINGS, [4] * 4000, range(4000), rule="random")
    counts = Counter(rows.tolist())
    assert set(counts) == {0, 1, 2, 3, 5, 6, 7, 8}
    assert max(counts.values()) < 600
    assert negative_rows(EMBEDDINGS, [4], [17], rule="random")[0] == rows[17]


def test_two_identities_stand_against_each_other() -> None:
    for rule in ("far", "middle", "close", "random"):
        assert negative_rows(EMBEDDINGS[:2], [0, 1, 1], [5, 6, 7], rule=rule).tolist() == [1, 0, 0]


def test_what_names_no_negative_is_refused() -> None:
    with pytest.raises(ConfigError, match="unknown negative 'nearest'; known: far, middle, close, random"):
        negative_rows(EMBEDDINGS, [0], [0], rule="nearest")
    with pytest.raises(InputError, match="at least 2 identities, there is 1"):
        negative_rows(EMBEDDINGS[:1], [0], [0], rule="far")
