"""Which identity guidance moves a picture away from (NegFaceDiff, Caldeira et al. 2025)."""

from collections.abc import Sequence

import numpy as np

from facewright.errors import ConfigError, InputError
from facewright.training.seeds import seed_of

NEGATIVES = ("far", "middle", "close", "random")


def negative_rows(embeddings: np.ndarray, identities: Sequence[int], seeds: Sequence[int], *, rule: str) -> np.ndarray:
    """The other identity that stands against each picture's own.

    Args:
        embeddings: of all identities, unit rows, (N, D).
        identities: row of each picture's identity, (B,).
        seeds: of each picture's noise, (B,); only "random" depends on them.
        rule: "far", "middle" and "close" take the identity of the lowest, the median and the highest cosine among the
            others (the paper's Far-, Mid- and Close-Neg; Far-Neg was its best), "random" any other one, for each
            picture anew (Rand-Neg).

    Returns:
        Rows of `embeddings`, (B,) int64.
    """
    check_negative(rule, len(embeddings))
    if rule == "random":
        # The picture's own identity is stepped over, so that every other is as likely.
        drawn = (seed_of(seed, "negative") % (len(embeddings) - 1) for seed in seeds)
        return np.array([row + (row >= own) for row, own in zip(drawn, identities, strict=True)], dtype=np.int64)
    own, places = np.unique(np.asarray(identities), return_inverse=True)
    order = np.argsort(embeddings[own] @ embeddings.T, axis=1, kind="stable")  # far to close
    others = order[order != own[:, None]].reshape(len(own), -1)
    rank = {"far": 0, "middle": (len(embeddings) - 2) // 2, "close": -1}[rule]
    return others[places, rank].astype(np.int64)


def check_negative(rule: str, identities: int) -> None:
    """Refuse an unknown rule, and a lone identity, which has no other."""
    if rule not in NEGATIVES:
        raise ConfigError(f"unknown negative {rule!r}; known: {', '.join(NEGATIVES)}")
    if identities < 2:
        raise InputError("a negative identity needs at least 2 identities, there is 1; sample without one")
