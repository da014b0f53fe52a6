"""As many identities of each group of people, each group drawn as its own embeddings are spread."""

import math
from collections.abc import Iterator, Mapping

import numpy as np

from facewright.data.embeddings import Embeddings
from facewright.errors import ConfigError, InputError
from facewright.synthesis.contexts import ATTEMPTS, BLOCK, check_count, numbered
from facewright.synthesis.search import Candidates, Limits, choose_identities
from facewright.synthesis.statistics import EmbeddingStatistics, fit_statistics
from facewright.training.seeds import seed_of


def fit_groups(embeddings: Embeddings, groups: Mapping[str, str], *, rank: int = 64) -> dict[str, EmbeddingStatistics]:
    """Statistics of each group of people.

    Args:
        embeddings: of real people, one row a person.
        groups: the group of each name.
        rank: directions fitted to each group; a group of n people has at most n - 2 of them.

    Raises:
        InputError: a name without a group, or a group of fewer than three people.
    """
    if missing := [name for name in embeddings.names if name not in groups]:
        raise InputError(f"{missing[0]!r} has no group ({len(missing)} of {len(embeddings)} names have none); name one")
    rows: dict[str, list[int]] = {}
    for row, name in enumerate(embeddings.names):
        rows.setdefault(groups[name], []).append(row)
    if small := [group for group, members in rows.items() if len(members) < 3]:
        raise InputError(f"the group {small[0]!r} holds fewer than three people, too few to tell how they spread")
    provenance = embeddings.provenance
    return {
        group: fit_statistics(
            embeddings.embeddings[members],
            rank=min(rank, len(members) - 2, embeddings.embeddings.shape[1] - 1),
            encoder=provenance.get("encoder"),
            encoder_sha256=provenance.get("encoder_sha256"),
            licence=provenance.get("licence"),
        )
        for group, members in sorted(rows.items())
    }


def balanced_contexts(
    per_group: int, groups: Mapping[str, EmbeddingStatistics], *, seed: int, limits: Limits | None = None
) -> Embeddings:
    """New identities, as many of each group, all of them apart from each other.

    Args:
        per_group: identities of each group.
        groups: statistics by name of the group, of one encoder.
        seed: any integer.
        limits: between all identities, across groups too.

    Returns:
        Embeddings named "<group>/000000" and on, groups in the order of their names.

    Raises:
        ConfigError: limits that too few draws keep; the message names the group and tells why draws were refused.
        InputError: groups of different encoders or widths.
    """
    check_count(per_group)
    limits = limits or Limits()
    if len({(statistics.encoder_sha256, statistics.width) for statistics in groups.values()}) != 1:
        raise InputError("the groups must be fitted to embeddings of one encoder, and there must be one at least")
    first = next(iter(groups.values()))
    limits.check(width=first.width, encoder=first.encoder, encoder_sha256=first.encoder_sha256)
    found: list[np.ndarray] = []
    names: list[str] = []
    for group, statistics in sorted(groups.items()):
        chosen = choose_identities(
            _draws(group, statistics, per_group, seed),
            per_group,
            limits=limits,
            width=first.width,
            before=np.concatenate(found) if found else None,
        )
        if not chosen.report.complete:
            raise ConfigError(f"group {group!r}: {chosen.report.sentence()}; lower the angle or the count")
        found.append(chosen.embeddings)
        names += [f"{group}/{number}" for number in numbered(per_group)]
    provenance = {
        "kind": "balanced",
        "seed": seed,
        "groups": sorted(groups),
        "per_group": per_group,
        **limits.facts(),
        "encoder": first.encoder,
        "encoder_sha256": first.encoder_sha256,
        "licence": first.licence,
    }
    return Embeddings(tuple(names), np.concatenate(found), provenance)


def _draws(group: str, statistics: EmbeddingStatistics, per_group: int, seed: int) -> Iterator[Candidates]:
    random = np.random.default_rng(seed_of("balanced contexts", seed, group))
    for _ in range(max(1, math.ceil(per_group * ATTEMPTS / BLOCK))):
        yield Candidates([""] * BLOCK, statistics.draw(BLOCK, random).astype(np.float32))
