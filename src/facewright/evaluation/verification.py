"""Pair verification in ten folds, the protocol of LFW, CFP, AgeDB, CALFW and CPLFW tables.

Images 2k and 2k + 1 form pair k. The squared distance of the two unit features decides; each fold is judged with the
threshold that did best on the others (InsightFace and TFace evaluators, Huang et al. 2007).
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np

from facewright.errors import DataError
from facewright.evaluation.folds import fold_numbers

Metric = Literal["squared", "angle"]

ACCURACY_THRESHOLDS = np.arange(0, 4, 0.01)  # squared distances, 400 steps
VAL_THRESHOLDS = np.arange(0, 4, 0.001)
MISSING_DISTANCE = 4.0  # of a pair without a face: above every threshold, the cosine of opposite features


@dataclass(frozen=True, eq=False)
class Verification:
    """Result of the protocol; thresholds are squared distances in [0, 4] (2 - 2 cosine), or angles over pi."""

    accuracy: float  # mean over folds
    std: float  # population standard deviation over folds
    fold_accuracy: np.ndarray  # (folds,)
    fold_threshold: np.ndarray  # (folds,) chosen on the other folds
    threshold: float  # mean over folds
    genuine: int
    impostor: int
    rejected_genuine: np.ndarray  # indices of pairs of one identity judged different
    accepted_impostor: np.ndarray  # indices of pairs of two identities judged the same
    distances: np.ndarray  # (P,) each as the threshold of its own fold saw it
    mean_norm: float  # mean length of the embeddings as they came, both views
    tpr: np.ndarray  # (400,) mean over folds at `ACCURACY_THRESHOLDS`; a fold without genuine pairs counts 0
    fpr: np.ndarray  # (400,) mean over folds; a fold without impostor pairs counts 0
    missing: int = 0  # pairs in which a face was not found

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
    embeddings: np.ndarray,
    embeddings_flipped: np.ndarray | None,
    issame: np.ndarray,
    *,
    folds: int | np.ndarray = 10,
    found: np.ndarray | None = None,
    metric: Metric = "squared",
    subtract_mean: bool = False,
    components: int | None = None,
) -> Verification:
    """Judge pairs fold by fold.

    A pair is taken as the same identity when its distance is below the threshold (strict). The threshold of a fold is
    the first of 0, 0.01, ..., 3.99 with the best accuracy on all other folds.

    Args:
        embeddings: (2 P, D), pair k in rows 2k and 2k + 1, of any length.
        embeddings_flipped: (2 P, D) of the mirrored images, added before the features are brought to unit length, or
            None when `embeddings` already hold the sum.
        issame: (P,) bool.
        folds: how many contiguous ones, at least 2, the first P % folds of them one pair longer; or (P,) fold numbers.
        found: (2 P,) bool, False where no face was found: such a pair is judged different whatever the threshold, and
            its rows may hold anything. None when all were.
        metric: "squared", of unit features; or "angle", arccos of the cosine over pi, in [0, 1] (facenet's metric 1).
        subtract_mean: take the mean feature of the other folds off before distances are measured (facenet). The squared
            metric does not see a shift, so it needs "angle" or `components`.
        components: leading principal directions of the other folds' features that are kept, features then brought to
            unit length again (InsightFace's option); None keeps all. Centring belongs to it.

    Raises:
        DataError: shapes do not fit, an embedding is zero or not finite, an option is out of range, or one of the two
            kinds of pair is missing.
    """
    same = _checked_labels(issame)
    numbers = fold_numbers(len(same), folds)
    features, present = _unit_features(embeddings, embeddings_flipped, found)
    if len(features) != 2 * len(same):
        raise DataError(f"{len(features) // 2} pairs of embeddings do not fit {len(same)} labels")
    if metric not in ("squared", "angle"):
        raise DataError(f"a metric is squared or angle, got {metric!r}")
    if subtract_mean and metric == "squared" and components is None:
        raise DataError("subtracting the mean changes no squared distance; use metric='angle', or leave it out")
    seen = present[0::2] & present[1::2]
    count = int(numbers.max()) + 1
    held_distances = np.empty(len(same))
    accuracy, chosen, tpr, fpr = np.empty(count), np.empty(count, np.int64), [], []
    for fold in range(count):
        held = numbers == fold
        distances = _distances(features, held, present, metric, subtract_mean, components)
        distances[~seen] = MISSING_DISTANCE
        kept, accepted, genuine, impostor = _counts(distances[~held], same[~held], ACCURACY_THRESHOLDS)
        chosen[fold] = np.argmax(kept + impostor - accepted)
        kept, accepted, genuine, impostor = _counts(distances[held], same[held], ACCURACY_THRESHOLDS)
        accuracy[fold] = (kept + impostor - accepted)[chosen[fold]] / (genuine + impostor)
        tpr.append(kept / max(genuine, 1))
        fpr.append(accepted / max(impostor, 1))
        held_distances[held] = distances[held]
    thresholds = ACCURACY_THRESHOLDS[chosen]
    said_same = held_distances < thresholds[numbers]
    return Verification(
        accuracy=float(accuracy.mean()),
        std=float(accuracy.std()),
        fold_accuracy=accuracy,
        fold_threshold=thresholds,
        threshold=float(thresholds.mean()),
        genuine=int(same.sum()),
        impostor=int((~same).sum()),
        rejected_genuine=np.flatnonzero(same & ~said_same),
        accepted_impostor=np.flatnonzero(~same & said_same),
        distances=held_distances,
        mean_norm=_mean_norm(embeddings, embeddings_flipped, present),
        tpr=np.mean(tpr, axis=0),
        fpr=np.mean(fpr, axis=0),
        missing=int((~seen).sum()),
    )


def val_at_far(
    distances: np.ndarray, issame: np.ndarray, *, target: float = 1e-3, folds: int | np.ndarray = 10
) -> AcceptRate:
    """VAL at a false accept rate (Schroff et al. 2015), folds as in `verify`.

    The threshold of a fold is the largest of 0, 0.001, ..., 3.999 whose false accept rate on the other folds is at most
    `target`; VAL and FAR are those of the held-out fold, then averaged.

    The public evaluators (facenet, InsightFace, TFace) instead interpolate the threshold at which the FAR of the other
    folds equals the target. The FAR is a staircase, so its inverse has many values: older SciPy picked one or gave NaN,
    newer SciPy refuses, and the threshold could let more impostors in than the target. Two defects belong to the
    protocol itself and remain: with n impostor pairs a FAR below 1 / n cannot be told from 0 (LFW: 2,700 on nine
    folds, so 0.001 is two pairs), and the attained FAR of a held-out fold moves in steps of 1 / (its impostor pairs)
    and may exceed the target. Read `far` beside `val`; for a rate over all pairs at once use `rates.tar_at_far`.

    Args:
        distances: (P,) squared distances, as `verify(...).distances`.
        issame: (P,) bool.
        target: false accept rate in [0, 1].
        folds: as in `verify`; every fold needs pairs of both kinds.
    """
    same = _checked_labels(issame)
    numbers = fold_numbers(len(same), folds)
    if distances.shape != same.shape:
        raise DataError(f"{distances.shape} distances do not fit {same.shape} labels")
    if not np.isfinite(distances).all():
        raise DataError(f"{np.sum(~np.isfinite(distances))} of {len(distances)} distances are not finite")
    if not 0 <= target <= 1:
        raise DataError(f"a false accept rate lies in [0, 1], got {target}")
    check_folds(same, numbers)
    folded = [_counts(distances[held], same[held], VAL_THRESHOLDS) for held in _held(numbers)]
    kept, accepted, genuine, impostor = (np.stack([fold[part] for fold in folded]) for part in range(4))
    far = (accepted.sum(0) - accepted) / (impostor.sum() - impostor)[:, None]
    chosen = np.sum(far <= target, axis=1) - 1  # far rises with the threshold and is 0 at threshold 0
    rows = np.arange(len(folded))
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


def check_folds(issame: np.ndarray, numbers: np.ndarray) -> None:
    """Refuse folds that VAL is not defined on.

    Args:
        issame: (P,) bool.
        numbers: (P,) fold of each pair, as `fold_numbers` gives.

    Raises:
        DataError: a fold lacks pairs of one kind; says which.
    """
    for fold, held in enumerate(_held(numbers)):
        if issame[held].all() or not issame[held].any():
            lacks = "two people" if issame[held].any() else "one person"
            raise DataError(
                f"fold {fold + 1} of {int(numbers.max()) + 1} has no pair of {lacks}, and VAL needs both kinds in every"
                " fold; ask for fewer folds, or order the pairs so that each fold has both"
            )


def pair_distances(
    embeddings: np.ndarray, embeddings_flipped: np.ndarray | None = None, *, found: np.ndarray | None = None
) -> np.ndarray:
    """Squared distances of unit features, (P,) float64 in [0, 4]; arguments as in `verify`.

    A pair in which a face was not found has distance 4, above every threshold of the protocol.
    """
    features, present = _unit_features(embeddings, embeddings_flipped, found)
    distances = _squared(features[0::2], features[1::2])
    distances[~(present[0::2] & present[1::2])] = MISSING_DISTANCE
    return distances


def _unit_features(
    embeddings: np.ndarray, embeddings_flipped: np.ndarray | None, found: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray]:
    """Sum of the views at unit length, (2 P, D) float64, zero where no face was found; and where one was."""
    views = [np.asarray(view, np.float64) for view in (embeddings, embeddings_flipped) if view is not None]
    if any(view.shape != views[0].shape for view in views) or views[0].ndim != 2 or len(views[0]) % 2:
        shapes = " and ".join(str(view.shape) for view in views)
        raise DataError(f"pairs need embeddings (2 P, D), the flipped ones alike, got {shapes}")
    present = np.ones(len(views[0]), bool) if found is None else np.asarray(found)
    if present.shape != (len(views[0]),) or present.dtype != bool:
        raise DataError(f"found must be booleans ({len(views[0])},), one an image, got {present.dtype} {present.shape}")
    features = np.where(present[:, None], sum(views[1:], start=views[0]), 0.0)
    lengths = np.linalg.norm(features, axis=1)
    broken = np.flatnonzero(present & ~(np.isfinite(lengths) & (lengths > 0)))
    if broken.size:
        raise DataError(f"the embedding of image {broken[0]} (pair {broken[0] // 2}) is zero or not finite")
    return features / np.where(present, lengths, 1.0)[:, None], present


def _distances(
    features: np.ndarray,
    held: np.ndarray,
    present: np.ndarray,
    metric: Metric,
    subtract_mean: bool,
    components: int | None,
) -> np.ndarray:
    """Distances of all pairs as the fold's threshold sees them, (P,)."""
    if subtract_mean or components is not None:
        others = features[np.repeat(~held, 2) & present]
        mean = others.mean(0)
        features = features - mean
        if components is not None:
            features = _unit(features @ _principal(others - mean, components))
    first, second = features[0::2], features[1::2]
    if metric == "squared":
        return _squared(first, second)
    cosines = np.sum(_unit(first) * _unit(second), axis=1)
    return np.asarray(np.arccos(cosines.clip(-1, 1)) / np.pi)


def _principal(centred: np.ndarray, components: int) -> np.ndarray:
    """Directions of largest variance, (D, components)."""
    most = min(centred.shape)
    if not 1 <= components <= most:
        raise DataError(f"from 1 to {most} principal components can be kept, got {components}")
    _, directions = np.linalg.eigh(centred.T @ centred)
    return np.asarray(directions[:, ::-1][:, :components])


def _unit(rows: np.ndarray) -> np.ndarray:
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    return rows / np.where(lengths > 0, lengths, 1.0)


def _squared(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    return np.asarray(np.sum((first - second) ** 2, axis=1))


def _mean_norm(embeddings: np.ndarray, embeddings_flipped: np.ndarray | None, present: np.ndarray) -> float:
    views = [embeddings] if embeddings_flipped is None else [embeddings, embeddings_flipped]
    return float(np.mean([np.linalg.norm(np.asarray(view, np.float64)[present], axis=1) for view in views]))


def _checked_labels(issame: np.ndarray) -> np.ndarray:
    same = np.asarray(issame)
    if same.ndim != 1 or not np.isin(same, (0, 1)).all():
        raise DataError(f"issame must be booleans (P,), got {same.dtype} {same.shape}")
    same = same.astype(bool)
    if same.all() or not same.any():
        raise DataError(f"verification needs pairs of one identity and of two, got {len(same)} pairs of one kind")
    return same


def _held(numbers: np.ndarray) -> Iterator[np.ndarray]:
    """Which pairs belong to each fold."""
    return (numbers == fold for fold in range(int(numbers.max()) + 1))


def _counts(distances: np.ndarray, same: np.ndarray, thresholds: np.ndarray) -> tuple[np.ndarray, np.ndarray, int, int]:
    """Genuine and impostor pairs below each threshold, (T,) each, and how many there are."""
    kept, accepted = (np.searchsorted(np.sort(distances[kind]), thresholds, side="left") for kind in (same, ~same))
    return kept, accepted, int(same.sum()), int((~same).sum())
