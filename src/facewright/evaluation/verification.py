"""Pair verification in ten folds, the protocol of LFW, CFP, AgeDB, CALFW and CPLFW tables.

Images 2k and 2k + 1 form pair k. The squared distance of the two unit features decides; each fold is judged with the
threshold that did best on the others (InsightFace and TFace evaluators, Huang et al. 2007).
"""

from dataclasses import dataclass

import numpy as np

from facewright.errors import DataError

ACCURACY_THRESHOLDS = np.arange(0, 4, 0.01)  # squared distances, 400 steps
VAL_THRESHOLDS = np.arange(0, 4, 0.001)


@dataclass(frozen=True, eq=False)
class Verification:
    """Result of the protocol; thresholds are squared distances in [0, 4] (2 - 2 cosine)."""

    accuracy: float  # mean over folds
    std: float  # population standard deviation over folds
    fold_accuracy: np.ndarray  # (folds,)
    fold_threshold: np.ndarray  # (folds,) chosen on the other folds
    threshold: float  # mean over folds
    genuine: int
    impostor: int
    rejected_genuine: np.ndarray  # indices of pairs of one identity judged different
    accepted_impostor: np.ndarray  # indices of pairs of two identities judged the same
    distances: np.ndarray  # (P,) squared
    mean_norm: float  # mean length of the embeddings as they came, both views
    tpr: np.ndarray  # (400,) mean over folds at `ACCURACY_THRESHOLDS`; a fold without genuine pairs counts 0
    fpr: np.ndarray  # (400,) mean over folds; a fold without impostor pairs counts 0

    @property
    def correct(self) -> np.ndarray:
        """(P,) bool: which pairs were judged rightly."""
        right = np.ones(len(self.distances), dtype=bool)
        right[self.rejected_genuine] = False
        right[self.accepted_impostor] = False
        return right


@dataclass(frozen=True, eq=False)
class AcceptRate:
    """Share of genuine pairs accepted at a limited share of impostors; `val_at_far` makes it."""

    val: float  # mean over folds
    std: float  # population standard deviation over folds
    far: float  # mean over folds, attained on the held-out folds
    target: float
    fold_val: np.ndarray  # (folds,)
    fold_far: np.ndarray  # (folds,)
    fold_threshold: np.ndarray  # (folds,) squared distances


def verify(
    embeddings: np.ndarray, embeddings_flipped: np.ndarray | None, issame: np.ndarray, *, folds: int = 10
) -> Verification:
    """Judge pairs in contiguous folds.

    A pair is taken as the same identity when its squared distance is below the threshold (strict). The threshold of a
    fold is the first of 0, 0.01, ..., 3.99 with the best accuracy on all other folds.

    Args:
        embeddings: (2 P, D), pair k in rows 2k and 2k + 1, of any length.
        embeddings_flipped: (2 P, D) of the mirrored images, added before the features are brought to unit length, or
            None when `embeddings` already hold the sum.
        issame: (P,) bool.
        folds: at least 2; the first P % folds of them hold one pair more than the others.

    Raises:
        DataError: shapes do not fit, an embedding is zero or not finite, or one of the two kinds of pair is missing.
    """
    same = _checked_pairs(issame, folds)
    distances = pair_distances(embeddings, embeddings_flipped)
    if len(distances) != len(same):
        raise DataError(f"{len(distances)} pairs of embeddings do not fit {len(same)} labels")
    kept, accepted, genuine, impostor = _fold_counts(distances, same, ACCURACY_THRESHOLDS, folds)
    right = kept + impostor[:, None] - accepted  # (folds, T)
    chosen = np.argmax(right.sum(0) - right, axis=1)
    pairs = genuine + impostor
    accuracy = right[np.arange(folds), chosen] / pairs
    thresholds = ACCURACY_THRESHOLDS[chosen]
    said_same = distances < np.repeat(thresholds, pairs)
    views = [embeddings] if embeddings_flipped is None else [embeddings, embeddings_flipped]
    return Verification(
        accuracy=float(accuracy.mean()),
        std=float(accuracy.std()),
        fold_accuracy=accuracy,
        fold_threshold=thresholds,
        threshold=float(thresholds.mean()),
        genuine=int(genuine.sum()),
        impostor=int(impostor.sum()),
        rejected_genuine=np.flatnonzero(same & ~said_same),
        accepted_impostor=np.flatnonzero(~same & said_same),
        distances=distances,
        mean_norm=float(np.mean([np.linalg.norm(np.asarray(view, np.float64), axis=1) for view in views])),
        tpr=np.mean(kept / np.maximum(genuine, 1)[:, None], axis=0),
        fpr=np.mean(accepted / np.maximum(impostor, 1)[:, None], axis=0),
    )


def val_at_far(distances: np.ndarray, issame: np.ndarray, *, target: float = 1e-3, folds: int = 10) -> AcceptRate:
    """VAL at a false accept rate, folds as in `verify`.

    The threshold of a fold is the largest of 0, 0.001, ..., 3.999 whose false accept rate on the other folds is at most
    `target`. The public evaluators interpolate between thresholds instead, which newer SciPy refuses.

    Args:
        distances: (P,) squared distances, as `verify(...).distances`.
        issame: (P,) bool.
        target: false accept rate in [0, 1].
        folds: at least 2; every fold needs pairs of both kinds.
    """
    same = _checked_pairs(issame, folds)
    if distances.shape != same.shape:
        raise DataError(f"{distances.shape} distances do not fit {same.shape} labels")
    if not 0 <= target <= 1:
        raise DataError(f"a false accept rate lies in [0, 1], got {target}")
    kept, accepted, genuine, impostor = _fold_counts(distances, same, VAL_THRESHOLDS, folds)
    if not (genuine.all() and impostor.all()):
        raise DataError(f"VAL needs pairs of both kinds in each of the {folds} folds; order the pairs fold by fold")
    far = (accepted.sum(0) - accepted) / (impostor.sum() - impostor)[:, None]
    chosen = np.sum(far <= target, axis=1) - 1  # far rises with the threshold and is 0 at threshold 0
    rows = np.arange(folds)
    fold_val, fold_far = kept[rows, chosen] / genuine, accepted[rows, chosen] / impostor
    return AcceptRate(
        val=float(fold_val.mean()),
        std=float(fold_val.std()),
        far=float(fold_far.mean()),
        target=target,
        fold_val=fold_val,
        fold_far=fold_far,
        fold_threshold=VAL_THRESHOLDS[chosen],
    )


def pair_distances(embeddings: np.ndarray, embeddings_flipped: np.ndarray | None = None) -> np.ndarray:
    """Squared distances of unit features, (P,) float64 in [0, 4]; arguments as in `verify`."""
    views = [np.asarray(view, np.float64) for view in (embeddings, embeddings_flipped) if view is not None]
    if any(view.shape != views[0].shape for view in views) or views[0].ndim != 2 or len(views[0]) % 2:
        shapes = " and ".join(str(view.shape) for view in views)
        raise DataError(f"pairs need embeddings (2 P, D), the flipped ones alike, got {shapes}")
    features = sum(views[1:], start=views[0])
    lengths = np.linalg.norm(features, axis=1, keepdims=True)
    broken = np.flatnonzero(~(np.isfinite(lengths) & (lengths > 0)))
    if broken.size:
        raise DataError(f"the embedding of image {broken[0]} (pair {broken[0] // 2}) is zero or not finite")
    features = features / lengths
    return np.asarray(np.sum((features[0::2] - features[1::2]) ** 2, axis=1))


def bootstrap_interval(
    values: np.ndarray, *, level: float = 0.95, resamples: int = 2000, seed: int = 0
) -> tuple[float, float]:
    """Percentile bootstrap interval of a mean.

    Args:
        values: (n,) what is averaged: fold accuracies, or `Verification.correct` for an interval over pairs.
        level: share of resampled means inside the interval, in (0, 1).
        resamples: draws with replacement.
        seed: names the draw.

    Returns:
        Lower and upper end.
    """
    flat = np.asarray(values, np.float64).ravel()
    if flat.size == 0 or not np.isfinite(flat).all():
        raise DataError(
            f"an interval needs finite values, got {flat.size} of which {np.sum(~np.isfinite(flat))} are not"
        )
    if not 0 < level < 1 or resamples < 1:
        raise DataError(f"level lies in (0, 1) and resamples is positive, got {level} and {resamples}")
    rng = np.random.default_rng(seed)
    means = np.array([flat[rng.integers(0, flat.size, flat.size)].mean() for _ in range(resamples)])
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def _checked_pairs(issame: np.ndarray, folds: int) -> np.ndarray:
    same = np.asarray(issame)
    if same.ndim != 1 or not np.isin(same, (0, 1)).all():
        raise DataError(f"issame must be booleans (P,), got {same.dtype} {same.shape}")
    same = same.astype(bool)
    if same.all() or not same.any():
        raise DataError(f"verification needs pairs of one identity and of two, got {len(same)} pairs of one kind")
    if not 2 <= folds <= len(same):
        raise DataError(f"{len(same)} pairs cannot be judged in {folds} folds; use from 2 to {len(same)}")
    return same


def _fold_counts(
    distances: np.ndarray, same: np.ndarray, thresholds: np.ndarray, folds: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Per fold: genuine and impostor pairs below each threshold, (folds, T) each, and how many there are, (folds,)."""
    parts = [(d[s], d[~s]) for d, s in zip(np.array_split(distances, folds), np.array_split(same, folds), strict=True)]
    kept, accepted = (
        np.stack([np.searchsorted(np.sort(part[kind]), thresholds, side="left") for part in parts]) for kind in (0, 1)
    )
    genuine, impostor = (np.array([len(part[kind]) for part in parts]) for kind in (0, 1))
    return kept, accepted, genuine, impostor
