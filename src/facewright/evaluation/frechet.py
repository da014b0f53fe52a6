"""The Fréchet distance between two sets of embeddings."""

import numpy as np

from facewright.errors import InputError


def frechet_distance(first: np.ndarray, second: np.ndarray) -> float:
    """|m1 - m2|^2 + tr(S1 + S2 - 2 (S1 S2)^(1/2)) of the Gaussians with the sets' means and covariances.

    The formula of the FID (Heusel et al. 2017, Section 3) for embeddings of whichever network: a figure says nothing
    without the network's name, and it is no FID, which is of Inception features. It falls with the number of rows, most
    of all where that is below the width, so compare only figures of equal numbers.

    The trace of the root is taken as the sum of the singular values of X1 X2^T, whose rows are the centred embeddings
    over the root of their number less 1: nothing complex and no root of a singular matrix comes up.

    Args:
        first, second: (N, D) and (M, D), at least 2 rows each.
    """
    if first.ndim != 2 or second.ndim != 2 or first.shape[1] != second.shape[1] or min(len(first), len(second)) < 2:
        raise InputError(
            f"embeddings must be (N, D) and (M, D) with at least 2 rows each, got {first.shape} and {second.shape}"
        )
    means: list[np.ndarray] = []
    roots: list[np.ndarray] = []
    for rows in (first.astype(np.float64), second.astype(np.float64)):
        mean = rows.mean(0)
        centred = (rows - mean) / np.sqrt(len(rows) - 1)
        means.append(mean)
        roots.append(np.asarray(np.linalg.qr(centred, mode="r")))
    spread = sum(float((root**2).sum()) for root in roots)
    shared = np.linalg.svd(roots[0] @ roots[1].T, compute_uv=False).sum()
    return max(0.0, float(((means[0] - means[1]) ** 2).sum() + spread - 2 * shared))
