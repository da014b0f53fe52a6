"""How many people a set really shows, and how well images keep to theirs (DCFace, Kim et al. 2023, section 4).

Distance is 1 - cosine throughout, in double precision. The paper leaves open whether its r is a distance or a
similarity; here it is a distance, and r = 0.7 says "the same person if the cosine exceeds 0.3".
"""

import numpy as np

from facewright.errors import DataError
from facewright.evaluation.similarities import identity_blocks, identity_centres, unit_rows

BLOCK = 512  # rows compared at once


def unique_rows(embeddings: np.ndarray, *, radius: float = 0.7) -> np.ndarray:
    """Greedy choice in file order: a row is kept when it lies farther than `radius` from every row kept before.

    Args:
        embeddings: (N, D), any length.
        radius: cosine distance in [0, 2].

    Returns:
        Row numbers kept, ascending.
    """
    rows = unit_rows(embeddings, dtype=np.float64)
    _check_radius(radius)
    kept = np.empty_like(rows)
    numbers: list[int] = []
    for start in range(0, len(rows), BLOCK):
        block = rows[start : start + BLOCK]
        free = np.ones(len(block), bool)
        if numbers:
            free = 1.0 - (block @ kept[: len(numbers)].T).max(axis=1) > radius
        distances = 1.0 - block @ block.T
        for place in range(len(block)):
            if free[place]:
                free[place + 1 :] &= distances[place, place + 1 :] > radius
                kept[len(numbers)] = block[place]
                numbers.append(start + place)
    return np.array(numbers, dtype=np.int64)


def unique_classes(embeddings: np.ndarray, labels: np.ndarray, *, radius: float = 0.7) -> np.ndarray:
    """The same greedy choice over identity centres, labels ascending.

    Returns:
        Labels kept, ascending.
    """
    known, centres = identity_centres(embeddings, labels)
    return np.asarray(known[unique_rows(centres, radius=radius)])


def class_uniqueness(embeddings: np.ndarray, labels: np.ndarray, *, radius: float = 0.7) -> float:
    """Share of identities that `unique_classes` keeps (U_class), in (0, 1]."""
    return len(unique_classes(embeddings, labels, radius=radius)) / len(np.unique(labels))


def class_consistency(embeddings: np.ndarray, labels: np.ndarray, *, radius: float = 0.7) -> np.ndarray:
    """Per identity the share of its images nearer than `radius` to its centre; the mean over identities is C_intra.

    An image is part of its own centre: n unrelated images still lie at a cosine of about 1 / sqrt(n) to it, so with
    r = 0.7 identities of fewer than about 12 images look consistent whatever they show.

    Returns:
        (C,) in [0, 1], labels ascending.
    """
    _check_radius(radius)
    shares = []
    for _, starts, counts, rows in identity_blocks(embeddings, labels):
        centres = unit_rows(np.add.reduceat(rows, starts, axis=0) / counts[:, None], dtype=np.float64)
        inside = 1.0 - np.einsum("nd,nd->n", rows, np.repeat(centres, counts, axis=0)) < radius
        shares.append(np.add.reduceat(inside.astype(np.int64), starts) / counts)
    return np.concatenate(shares)


def _check_radius(radius: float) -> None:
    if not 0 <= radius <= 2:
        raise DataError(f"a cosine distance lies in [0, 2], got a radius of {radius}")
