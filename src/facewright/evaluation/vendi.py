"""Diversity as an effective number of different pictures: the Vendi score (Friedman and Dieng 2023)."""

import numpy as np

from facewright.errors import DataError
from facewright.evaluation.similarities import CHUNK, checked_set, members_of, unit_rows

_STACKED = 4_000_000  # entries of the small matrices decomposed at once


def vendi_score(embeddings: np.ndarray, *, order: float = 1.0) -> float:
    """Effective number of rows by their cosines, from 1 (all alike) to min(N, D) (all at right angles).

    The exponential of the Rényi entropy of the eigenvalues of K / N, K the (N, N) cosines; order 1 is Shannon's, the
    paper's Eq. 3. K / N and the (D, D) second moment of the unit rows have the same non-zero eigenvalues, so the small
    matrix is decomposed and memory does not grow with N.

    Args:
        embeddings: (N, D), any length.
        order: positive, infinity allowed; the larger, the less rare pictures count (Pasarkar and Dieng 2024).
    """
    rows = unit_rows(embeddings)
    moment = np.zeros((rows.shape[1], rows.shape[1]))
    for start in range(0, len(rows), CHUNK):
        block = rows[start : start + CHUNK].astype(np.float64)
        moment += block.T @ block
    return float(_effective(np.linalg.eigvalsh(moment / len(rows))[None], order)[0])


def identity_vendi_scores(embeddings: np.ndarray, labels: np.ndarray, *, order: float = 1.0) -> np.ndarray:
    """Vendi score of each identity's own images, labels ascending.

    Args:
        embeddings: (N, D), any length.
        labels: (N,) integer identities.
        order: as above.

    Returns:
        (C,) float64, each from 1 to the smaller of the identity's images and D.
    """
    rows, labels = checked_set(embeddings, labels)
    groups = members_of(labels)
    counts = np.array([len(members) for members in groups])
    scores = np.empty(len(groups))
    for count in np.unique(counts):  # identities of as many images are decomposed together
        same = np.flatnonzero(counts == count)
        side = min(int(count), rows.shape[1])
        at_once = max(1, _STACKED // (side * side + int(count) * rows.shape[1]))
        for start in range(0, len(same), at_once):
            chosen = same[start : start + at_once]
            own = rows[np.stack([groups[number] for number in chosen])].astype(np.float64)
            turned = own.transpose(0, 2, 1)
            small = own @ turned if side == count else turned @ own
            scores[chosen] = _effective(np.linalg.eigvalsh(small / count), order)
    return scores


def _effective(eigenvalues: np.ndarray, order: float) -> np.ndarray:
    """Effective numbers of (B, n) eigenvalues that add up to 1."""
    if not order > 0:
        raise DataError(f"the order of a Vendi score is positive, got {order}")
    share = np.clip(eigenvalues, 0.0, None)
    share = share / share.sum(axis=1, keepdims=True)
    if np.isinf(order):
        return np.asarray(1.0 / share.max(axis=1))
    if order == 1:
        logs = np.log(share, where=share > 0, out=np.zeros_like(share))
        return np.asarray(np.exp(-np.sum(share * logs, axis=1)))
    return np.asarray(np.sum(share**order, axis=1) ** (1.0 / (1.0 - order)))
