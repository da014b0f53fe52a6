"""Cosines between the images of a labelled set: pairs of one identity, pairs of two, images and what they came from."""

import numpy as np

from facewright.errors import DataError

CHUNK = 2048  # rows of a similarity matrix held at once


def unit_rows(embeddings: np.ndarray, *, dtype: type[np.floating] = np.float32) -> np.ndarray:
    """Rows brought to unit length, (N, D) of the given precision.

    Raises:
        DataError: not (N, D), or a row is zero or not finite.
    """
    rows = np.asarray(embeddings, dtype)
    if rows.ndim != 2 or rows.size == 0:
        raise DataError(f"embeddings must be (N, D) with N and D above 0, got {rows.shape}")
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    broken = np.flatnonzero(~(np.isfinite(lengths) & (lengths > 0)))
    if broken.size:
        raise DataError(
            f"{broken.size} of {len(rows)} embeddings are zero or not finite (the first is row {broken[0]})"
        )
    return np.asarray(rows / lengths)


def genuine_similarities(embeddings: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Cosines of all unordered pairs of images of one identity, identity by identity in label order.

    Args:
        embeddings: (N, D), any length.
        labels: (N,) integer identities.

    Returns:
        (sum of n (n - 1) / 2,) float32; empty when no identity has two images.
    """
    rows, labels = checked_set(embeddings, labels)
    parts = [np.empty(0, np.float32)]
    for members in members_of(labels):
        own = rows[members]
        parts.append((own @ own.T)[np.triu_indices(len(members), 1)])
    return np.concatenate(parts)


def impostor_similarities(
    embeddings: np.ndarray, labels: np.ndarray, *, limit: int | None = 1_000_000, seed: int = 0
) -> np.ndarray:
    """Cosines of pairs of images of two identities.

    Args:
        embeddings: (N, D), any length.
        labels: (N,) integer identities.
        limit: all unordered pairs when there are no more than this many, else this many drawn evenly with replacement;
            None takes all.
        seed: names the draw.

    Returns:
        float32; empty when there is only one identity.
    """
    rows, labels = checked_set(embeddings, labels)
    _, counts = np.unique(labels, return_counts=True)
    total = (len(labels) ** 2 - int(np.sum(counts**2))) // 2
    if limit is None or total <= limit:
        return _all_impostors(rows, labels)
    if limit < 1:
        raise DataError(f"the number of impostor pairs must be positive, got {limit}")
    rng = np.random.default_rng(seed)
    drawn: list[np.ndarray] = []
    missing = limit
    while missing > 0:
        first, second = rng.integers(0, len(labels), (2, min(missing, 65_536)))
        two = labels[first] != labels[second]
        drawn.append(np.einsum("nd,nd->n", rows[first[two]], rows[second[two]]))
        missing -= int(two.sum())
    return np.concatenate(drawn)


def identity_centres(embeddings: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean of each identity's unit embeddings.

    Returns:
        Labels in ascending order (C,), and the means (C, D) float64, not brought to unit length.
    """
    rows, labels = checked_set(embeddings, labels, dtype=np.float64)
    groups = members_of(labels)
    return labels[[members[0] for members in groups]], np.stack([rows[members].mean(0) for members in groups])


def nearest(queries: np.ndarray, references: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """For each query the most similar reference.

    Args:
        queries: (Q, D), any length.
        references: (R, D), any length.

    Returns:
        Cosines (Q,) float32 and row numbers of the references (Q,) int64, the first on a tie.
    """
    asked, known = unit_rows(queries), unit_rows(references)
    if asked.shape[1] != known.shape[1]:
        raise DataError(
            f"embeddings of width {asked.shape[1]} cannot be compared with references of width {known.shape[1]}; "
            "make both with the same encoder"
        )
    best = np.full(len(asked), -np.inf, np.float32)
    where = np.zeros(len(asked), np.int64)
    for start in range(0, len(asked), CHUNK):
        rows = slice(start, start + CHUNK)
        for first in range(0, len(known), 8 * CHUNK):
            cosines = asked[rows] @ known[first : first + 8 * CHUNK].T
            index = cosines.argmax(axis=1)
            value = cosines[np.arange(len(index)), index]
            better = value > best[rows]
            best[rows] = np.where(better, value, best[rows])
            where[rows] = np.where(better, index + first, where[rows])
    return best, where


def members_of(labels: np.ndarray) -> list[np.ndarray]:
    """Row numbers of each label, labels ascending, rows in file order."""
    order = np.argsort(labels, kind="stable")
    return np.split(order, np.flatnonzero(np.diff(labels[order])) + 1)


def checked_set(
    embeddings: np.ndarray, labels: np.ndarray, *, dtype: type[np.floating] = np.float32
) -> tuple[np.ndarray, np.ndarray]:
    """Unit rows and integer labels of equal number, or DataError."""
    rows, labels = unit_rows(embeddings, dtype=dtype), np.asarray(labels)
    if labels.shape != (len(rows),) or not np.issubdtype(labels.dtype, np.integer):
        raise DataError(f"labels must be integers ({len(rows)},), one per embedding, got {labels.dtype} {labels.shape}")
    return rows, labels


def _all_impostors(rows: np.ndarray, labels: np.ndarray) -> np.ndarray:
    parts = [np.empty(0, np.float32)]
    columns = np.arange(len(rows))
    for start in range(0, len(rows), CHUNK):
        stop = min(start + CHUNK, len(rows))
        later = columns[start:] > columns[start:stop, None]
        two = labels[start:] != labels[start:stop, None]
        parts.append((rows[start:stop] @ rows[start:].T)[later & two])
    return np.concatenate(parts)
