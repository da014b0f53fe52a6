"""Template verification as on IJB-B and IJB-C: faces to media to templates, templates compared by a list of pairs.

The options are those of arcface_torch (`eval_ijbc.py`): its N, D and F switches. TFace's numbers are `TFACE`; the two
are not comparable with each other.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np

from facewright.errors import ConfigError, DataError
from facewright.evaluation.rates import Rates

Flip = Literal["sum", "concatenate", "none"]
Chunk = tuple[np.ndarray, np.ndarray, np.ndarray]
"""First and second template numbers and whether they are one person, (n,) each."""

ROWS = 65_536  # pairs compared at once
REPORTED_FARS = (1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 1e-1)


@dataclass(frozen=True)
class TemplateConfig:
    """How the features of a face become its part in a template; the defaults are arcface_torch's."""

    flip: Flip = "sum"  # with the mirrored image: sum (F2 there), concatenate (F1), or the plain image alone (F0)
    norm_score: bool = True  # N1: keep the length, so that clear faces count more; N0: unit length first
    detector_score: bool = True  # D1: weigh each face by the detector's score

    def __post_init__(self) -> None:
        if self.flip not in ("sum", "concatenate", "none"):
            raise ConfigError(f"flip is sum, concatenate or none, got {self.flip!r}")

    @property
    def name(self) -> str:
        """The short name of published tables, such as N1D1F2."""
        flips = {"none": 0, "concatenate": 1, "sum": 2}
        return f"N{int(self.norm_score)}D{int(self.detector_score)}F{flips[self.flip]}"


TFACE = TemplateConfig(flip="none", norm_score=False, detector_score=False)


@dataclass(frozen=True, eq=False)
class Templates:
    """One unit feature a template."""

    numbers: np.ndarray  # (T,) int64 ascending, as the lists name them
    features: np.ndarray  # (T, D) float32
    faces: np.ndarray  # (T,) int64, faces that went in
    dropped: int = 0  # templates of the list without any face found


@dataclass(frozen=True, eq=False)
class PairScores:
    """Similarities of listed pairs, in order of the list within each kind."""

    genuine: np.ndarray  # (G,) float32
    impostor: np.ndarray  # (I,) float32
    missing_genuine: int = 0  # pairs with a template in which no face was found; given a score of -1
    missing_impostor: int = 0


def face_features(
    features: np.ndarray,
    mirrored: np.ndarray | None,
    detector_scores: np.ndarray | None,
    *,
    config: TemplateConfig | None = None,
) -> np.ndarray:
    """Features of faces as they enter a template.

    Args:
        features: (N, D) raw, as the network gives them before they are brought to unit length.
        mirrored: (N, D) raw, of the mirrored images; None only with flip "none".
        detector_scores: (N,) weights at least 0; None only without detector_score.
        config: which switches; arcface_torch's where None.

    Returns:
        (N, D) float32, or (N, 2 D) with flip "concatenate".
    """
    config = config or TemplateConfig()
    raw = _checked(features, "features")
    if config.flip != "none":
        if mirrored is None:
            raise DataError(f"flip {config.flip!r} needs the features of the mirrored images; give them or flip='none'")
        other = _checked(mirrored, "mirrored features")
        if other.shape != raw.shape:
            raise DataError(f"{other.shape} mirrored features do not fit {raw.shape} features")
        raw = raw + other if config.flip == "sum" else np.concatenate([raw, other], axis=1)
    if not config.norm_score:
        raw = raw / _lengths(raw, "feature")
    if config.detector_score:
        if detector_scores is None:
            raise DataError("detector_score needs the detector's score of each face; give them or detector_score=False")
        weights = np.asarray(detector_scores, np.float32)
        if weights.shape != (len(raw),) or not np.isfinite(weights).all() or (weights < 0).any():
            raise DataError(f"detector scores must be ({len(raw)},), finite and not negative, got {weights.shape}")
        raw = raw * weights[:, None]
    return raw


def build_templates(
    features: np.ndarray, templates: np.ndarray, media: np.ndarray, *, found: np.ndarray | None = None
) -> Templates:
    """Average the faces of each medium, add the media of each template, bring to unit length.

    A video of a hundred frames so counts as much as one photo.

    Args:
        features: (N, D) of `face_features`.
        templates: (N,) integer template of each face.
        media: (N,) integer medium (photo or video) of each face, its meaning local to a template.
        found: (N,) bool, False where no face was found: such rows are left out, and a template without any other row
            is dropped and counted. None when all were.

    Raises:
        DataError: shapes do not fit, or a template adds up to zero.
    """
    rows = np.asarray(features)
    owner, medium = np.asarray(templates), np.asarray(media)
    for name, numbers in (("templates", owner), ("media", medium)):
        if numbers.shape != (len(rows),) or not np.issubdtype(numbers.dtype, np.integer):
            raise DataError(f"{name} must be integers ({len(rows)},), one a face, got {numbers.dtype} {numbers.shape}")
    listed = len(np.unique(owner))
    keep = np.ones(len(rows), bool) if found is None else np.asarray(found, bool)
    order = np.lexsort((medium, owner))
    order = order[keep[order]]
    if not order.size:
        raise DataError("there is no face to build a template from")
    owner, medium = owner[order], medium[order]
    new_medium = np.flatnonzero(np.diff(owner, prepend=owner[0] - 1) | np.diff(medium, prepend=medium[0] - 1))
    numbers, first_medium = np.unique(owner[new_medium], return_index=True)
    faces = np.unique(owner, return_counts=True)[1]
    summed = np.empty((len(numbers), rows.shape[1]), np.float32)
    media_ends = np.append(new_medium[1:], len(order))
    template_ends = np.append(first_medium[1:], len(new_medium))
    for first, last in _runs(first_medium, template_ends, new_medium, media_ends):
        inside = slice(int(first_medium[first]), int(template_ends[last - 1]))
        start, stop = int(new_medium[inside.start]), int(media_ends[inside.stop - 1])
        block = _checked(rows[order[start:stop]], "features").astype(np.float64)
        counts = media_ends[inside] - new_medium[inside]
        means = np.add.reduceat(block, new_medium[inside] - start, axis=0) / counts[:, None]
        summed[first:last] = np.add.reduceat(means, first_medium[first:last] - inside.start, axis=0)
    return Templates(numbers, summed / _lengths(summed, "template"), faces, listed - len(numbers))


def score_pairs(
    templates: Templates, pairs: Iterable[Chunk], *, missing: Literal["refuse", "reject"] = "refuse"
) -> PairScores:
    """Cosines of listed pairs of templates, chunk by chunk; only one number a pair is kept.

    Args:
        templates: of `build_templates`.
        pairs: chunks of a list such as `ijb.read_pairs` gives.
        missing: a pair with a template that is not there is an error, or gets a score of -1 and is counted, so that a
            detector that finds nothing does not flatter the figures.

    Raises:
        DataError: a pair names an unknown template, or there is no pair of one kind.
    """
    kinds: tuple[list[np.ndarray], list[np.ndarray]] = ([], [])
    absent = [0, 0]
    for first, second, same in _cut(pairs):
        places = [
            np.searchsorted(templates.numbers, side).clip(max=len(templates.numbers) - 1) for side in (first, second)
        ]
        known = [templates.numbers[place] == side for place, side in zip(places, (first, second), strict=True)]
        there = known[0] & known[1]
        if missing == "refuse" and not there.all():
            pair = int(np.argmin(there))
            number = (second if known[0][pair] else first)[pair]
            raise DataError(
                f"a pair names template {number}, in which no face was found or which the list of faces lacks; give its"
                " faces, or count such pairs as rejected"
            )
        scores = np.full(len(first), -1.0, np.float32)
        left, right = (templates.features[place[there]] for place in places)
        scores[there] = np.einsum("nd,nd->n", left, right)
        for kind, chosen in enumerate((same, ~same)):
            kinds[kind].append(scores[chosen])
            absent[kind] += int(np.sum(chosen & ~there))
    genuine, impostor = (np.concatenate(parts) if parts else np.empty(0, np.float32) for parts in kinds)
    return PairScores(genuine, impostor, *absent)


def nearest_tar_at_far(rates: Rates, targets: tuple[float, ...] = REPORTED_FARS) -> dict[float, float]:
    """TAR at the ROC point whose FAR is nearest to each target, as published IJB tables have it.

    The FAR of that point may exceed the target, unlike `tar_at_far`; of points equally near the one with the larger
    TAR counts. As scikit-learn's `roc_curve` does, points inside a straight run of the staircase are left out first,
    which can move a figure where few impostor pairs lie near the target.
    """
    wrong = np.round(rates.fmr * rates.impostor).astype(np.int64)[::-1]  # from the highest threshold down
    right = np.round((1 - rates.fnmr) * rates.genuine).astype(np.int64)[::-1]
    scored_wrong, scored_right = wrong[1:], right[1:]  # the point above every score is put back after thinning
    bends = (np.diff(scored_wrong, 2) != 0) | (np.diff(scored_right, 2) != 0)
    corner = np.concatenate([[True], bends, [True]]) if len(scored_wrong) > 2 else np.ones(len(scored_wrong), bool)
    far = np.concatenate([[0], scored_wrong[corner]]) / rates.impostor
    tar = np.concatenate([[0], scored_right[corner]]) / rates.genuine
    chosen = {}
    for target in targets:
        gap = np.abs(far - target)
        chosen[target] = float(tar[np.flatnonzero(gap == gap.min())[-1]])
    return chosen


def _cut(pairs: Iterable[Chunk]) -> Iterator[Chunk]:
    """The same pairs, at most `ROWS` at a time."""
    for first, second, same in pairs:
        for start in range(0, len(first), ROWS):
            part = slice(start, start + ROWS)
            yield first[part], second[part], same[part]


def _runs(
    first_medium: np.ndarray, template_ends: np.ndarray, new_medium: np.ndarray, media_ends: np.ndarray
) -> Iterator[tuple[int, int]]:
    """Runs of whole templates of about `ROWS` faces."""
    starts, ends = new_medium[first_medium], media_ends[template_ends - 1]
    first = 0
    while first < len(starts):
        last = max(first + 1, int(np.searchsorted(ends, starts[first] + ROWS, side="right")))
        yield first, last
        first = last


def _checked(features: np.ndarray, what: str) -> np.ndarray:
    rows = np.asarray(features, np.float32)
    if rows.ndim != 2 or rows.size == 0:
        raise DataError(f"{what} must be (N, D) with N and D above 0, got {rows.shape}")
    broken = np.flatnonzero(~np.isfinite(rows).all(axis=1))
    if broken.size:
        raise DataError(f"{broken.size} of {len(rows)} {what} are not finite (the first is row {broken[0]})")
    return rows


def _lengths(rows: np.ndarray, what: str) -> np.ndarray:
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    broken = np.flatnonzero(lengths == 0)
    if broken.size:
        raise DataError(f"{what} {broken[0]} is zero and has no direction")
    return lengths
