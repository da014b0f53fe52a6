"""How much of a person's real variety their generated pictures reach: D_intra of DCFace (Kim et al. 2023, section 4).

The improved recall of Kynkäänniemi et al. (2019), taken for each identity: a real picture is covered when it lies
within the ball of some generated picture of the same identity, whose radius is the distance to that picture's k-th
nearest generated neighbour.
"""

import numpy as np

from facewright.errors import DataError
from facewright.evaluation.similarities import members_of


def class_coverage(
    generated: np.ndarray,
    generated_labels: np.ndarray,
    real: np.ndarray,
    real_labels: np.ndarray,
    *,
    neighbours: int = 3,
) -> np.ndarray:
    """Per identity the share of its real pictures that its generated ones cover.

    The paper takes features of an Inception network and does not state k; 3 is the recall paper's. Any features will
    do, and figures by different networks cannot be compared: name the network beside the figure. Distances are
    Euclidean, of the features as they come.

    Args:
        generated: (N, D) features.
        generated_labels: (N,) integer identities, each with more than `neighbours` pictures.
        real: (M, D) features of real pictures of the same people.
        real_labels: (M,) integers.
        neighbours: k, from 1.

    Returns:
        (C,) in [0, 1], labels of `real` ascending; D_intra is the mean.

    Raises:
        DataError: shapes do not fit, a feature is not finite, or a real identity has too few generated pictures.
    """
    ours, ours_labels = _labelled(generated, generated_labels, "generated")
    theirs, theirs_labels = _labelled(real, real_labels, "real")
    if ours.shape[1] != theirs.shape[1]:
        raise DataError(f"generated features are {ours.shape[1]} wide, real ones {theirs.shape[1]}; use one network")
    if neighbours < 1:
        raise DataError(f"the number of neighbours starts at 1, got {neighbours}")
    groups = {int(ours_labels[members[0]]): members for members in members_of(ours_labels)}
    shares = []
    for members in members_of(theirs_labels):
        identity = int(theirs_labels[members[0]])
        own = groups.get(identity, np.empty(0, np.int64))
        if len(own) <= neighbours:
            raise DataError(
                f"identity {identity} has {len(own)} generated pictures; {neighbours} neighbours need at least"
                f" {neighbours + 1}: generate more or leave out its real pictures"
            )
        made = ours[own]
        radius = np.sort(_distances(made, made), axis=1)[:, neighbours]  # column 0 is the picture itself
        shares.append(np.mean((_distances(theirs[members], made) <= radius).any(axis=1)))
    return np.array(shares)


def _distances(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Euclidean distances, (n, m)."""
    return np.asarray(np.linalg.norm(first[:, None] - second[None], axis=2))


def _labelled(features: np.ndarray, labels: np.ndarray, what: str) -> tuple[np.ndarray, np.ndarray]:
    rows, labels = np.asarray(features, np.float64), np.asarray(labels)
    if rows.ndim != 2 or rows.size == 0 or not np.isfinite(rows).all():
        raise DataError(f"{what} features must be finite (N, D) with N and D above 0, got {rows.shape}")
    if labels.shape != (len(rows),) or not np.issubdtype(labels.dtype, np.integer):
        raise DataError(f"{what} labels must be integers ({len(rows)},), got {labels.dtype} {labels.shape}")
    return rows, labels
