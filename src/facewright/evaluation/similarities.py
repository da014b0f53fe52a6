"""Cosines between the images of a labelled set: pairs of one identity, pairs of two, images and what they came from."""

from collections.abc import Callable, Iterator

import numpy as np

from facewright.errors import DataError

Progress = Callable[[int, int], None]

CHUNK = 2048  # rows of a similarity matrix held at once


def unit_rows(embeddings: np.ndarray, *, dtype: type[np.floating] = np.float32) -> np.ndarray:
    """Rows brought to unit length, (N, D) of the given precision.

    Raises:
        DataError: not (N, D), or a row is zero or not finite.
    """
    rows = np.asarray(embeddings, dtype)
    return np.asarray(rows / _lengths(rows)[:, None])


def _lengths(rows: np.ndarray) -> np.ndarray:
    """Length of each row, (N,), or DataError as `unit_rows` says."""
    if rows.ndim != 2 or rows.size == 0:
        raise DataError(f"embeddings must be (N, D) with N and D above 0, got {rows.shape}")
    lengths = np.sqrt(np.einsum("nd,nd->n", rows, rows))
    broken = np.flatnonzero(~(np.isfinite(lengths) & (lengths > 0)))
    if broken.size:
        raise DataError(
            f"{broken.size} of {len(rows)} embeddings are zero or not finite (the first is row {broken[0]})"
        )
    return np.asarray(lengths)


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
    return impostor_pairs(embeddings, labels, limit=limit, seed=seed)[0]


def impostor_pairs(
    embeddings: np.ndarray, labels: np.ndarray, *, limit: int | None = 1_000_000, seed: int = 0
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The same cosines, and the rows of both images of each pair (int64)."""
    rows, labels = checked_set(embeddings, labels)
    _, counts = np.unique(labels, return_counts=True)
    total = (len(labels) ** 2 - int(np.sum(counts**2))) // 2
    if limit is None or total <= limit:
        return _all_impostors(rows, labels)
    if limit < 1:
        raise DataError(f"the number of impostor pairs must be positive, got {limit}")
    rng = np.random.default_rng(seed)
    drawn: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []
    missing = limit
    while missing > 0:
        first, second = rng.integers(0, len(labels), (2, min(missing, 65_536)))
        two = labels[first] != labels[second]
        first, second = first[two], second[two]
        drawn.append((np.einsum("nd,nd->n", rows[first], rows[second]), first, second))
        missing -= len(first)
    return _joined(drawn)


def identity_centres(embeddings: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean of each identity's unit embeddings.

    Returns:
        Labels in ascending order (C,), and the means (C, D) float64, not brought to unit length.
    """
    parts = [
        (known, np.add.reduceat(rows, starts, axis=0) / counts[:, None])
        for known, starts, counts, rows in identity_blocks(embeddings, labels)
    ]
    return np.concatenate([known for known, _ in parts]), np.concatenate([means for _, means in parts])


def identity_blocks(
    embeddings: np.ndarray, labels: np.ndarray
) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]]:
    """Whole identities, labels ascending, about `8 * CHUNK` rows at a time, so that a big set is never copied whole.

    Yields:
        Labels (c,), where each identity's rows start (c,), how many it has (c,), and the unit rows (n, D) float64 in
        order of label.
    """
    given = np.asarray(embeddings)
    _lengths(given)
    labels = checked_labels(labels, len(given))
    order = np.argsort(labels, kind="stable")
    known, starts, counts = np.unique(labels[order], return_index=True, return_counts=True)
    ends = starts + counts
    first = 0
    while first < len(known):
        last = max(first + 1, int(np.searchsorted(ends, starts[first] + 8 * CHUNK, side="right")))
        members = order[starts[first] : ends[last - 1]]
        block = unit_rows(given[members], dtype=np.float64)
        yield known[first:last], starts[first:last] - starts[first], counts[first:last], block
        first = last


def nearest(
    queries: np.ndarray, references: np.ndarray, *, progress: Progress | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """For each query the most similar reference.

    Args:
        queries: (Q, D), any length.
        references: (R, D), any length.
        progress: called with (queries done, Q).

    Returns:
        Cosines (Q,) float32 and row numbers of the references (Q,) int64, the first on a tie.
    """
    best, where, _ = search(queries, references, progress=progress)
    return best[:, 0], where[:, 0]


def search(
    queries: np.ndarray,
    references: np.ndarray,
    *,
    count: int = 1,
    threshold: float | None = None,
    progress: Progress | None = None,
) -> tuple[np.ndarray, np.ndarray, int]:
    """For each query the most similar references, and how many pairs reach a threshold, in one pass.

    Args:
        queries: (Q, D), any length.
        references: (R, D), any length.
        count: how many references for each query, from 1 to R.
        threshold: cosine, or None.
        progress: called with (queries done, Q).

    Returns:
        Cosines (Q, count) float32, largest first; row numbers (Q, count) int64, the lower on a tie; and the number of
        pairs at or above the threshold, 0 without one.
    """
    asked, known = unit_rows(queries), unit_rows(references)
    if asked.shape[1] != known.shape[1]:
        raise DataError(
            f"embeddings of width {asked.shape[1]} cannot be compared with references of width {known.shape[1]}; "
            "make both with the same encoder"
        )
    if not 1 <= count <= len(known):
        raise DataError(f"from 1 to {len(known)} references can be found for each query, got {count}")
    best = np.full((len(asked), count), -np.inf, np.float32)
    where = np.zeros((len(asked), count), np.int64)
    reached = 0
    for start in range(0, len(asked), CHUNK):
        rows = slice(start, start + CHUNK)
        for first in range(0, len(known), 8 * CHUNK):
            cosines = asked[rows] @ known[first : first + 8 * CHUNK].T
            if threshold is not None:
                reached += int(np.count_nonzero(cosines >= threshold))
            values, places = _largest(cosines, count)
            values = np.concatenate([best[rows], values], axis=1)
            places = np.concatenate([where[rows], places + first], axis=1)
            order = np.argsort(-values, axis=1, kind="stable")[:, :count]
            best[rows] = np.take_along_axis(values, order, axis=1)
            where[rows] = np.take_along_axis(places, order, axis=1)
        if progress is not None:
            progress(min(start + CHUNK, len(asked)), len(asked))
    return best, where, reached


def _largest(cosines: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """The `count` largest of each row (fewer where there are fewer), with their columns, the lower first on a tie."""
    rows, left = np.arange(len(cosines)), cosines if count == 1 else cosines.copy()
    columns = np.empty((len(cosines), min(count, cosines.shape[1])), np.int64)
    for place in range(columns.shape[1]):
        columns[:, place] = left.argmax(axis=1)
        if place + 1 < columns.shape[1]:
            left[rows, columns[:, place]] = -np.inf
    return np.take_along_axis(cosines, columns, axis=1), columns


def members_of(labels: np.ndarray) -> list[np.ndarray]:
    """Row numbers of each label, labels ascending, rows in file order."""
    order = np.argsort(labels, kind="stable")
    return np.split(order, np.flatnonzero(np.diff(labels[order])) + 1)


def checked_set(
    embeddings: np.ndarray, labels: np.ndarray, *, dtype: type[np.floating] = np.float32
) -> tuple[np.ndarray, np.ndarray]:
    """Unit rows and integer labels of equal number, or DataError."""
    rows = unit_rows(embeddings, dtype=dtype)
    return rows, checked_labels(labels, len(rows))


def checked_labels(labels: np.ndarray, count: int) -> np.ndarray:
    """Integer labels (count,), or DataError."""
    labels = np.asarray(labels)
    if labels.shape != (count,) or not np.issubdtype(labels.dtype, np.integer):
        raise DataError(f"labels must be integers ({count},), one per embedding, got {labels.dtype} {labels.shape}")
    return labels


def _all_impostors(rows: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    parts = [(np.empty(0, np.float32), np.empty(0, np.int64), np.empty(0, np.int64))]
    columns = np.arange(len(rows))
    for start in range(0, len(rows), CHUNK):
        stop = min(start + CHUNK, len(rows))
        later = columns[start:] > columns[start:stop, None]
        two = labels[start:] != labels[start:stop, None]
        first, second = np.nonzero(later & two)
        parts.append(((rows[start:stop] @ rows[start:].T)[first, second], first + start, second + start))
    return _joined(parts)


def _joined(parts: list[tuple[np.ndarray, np.ndarray, np.ndarray]]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    cosines, first, second = zip(*parts, strict=True)
    return np.concatenate(cosines), np.concatenate(first), np.concatenate(second)
