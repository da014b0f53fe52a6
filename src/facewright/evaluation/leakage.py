"""Do generated people pass for the people whose photographs trained the generator?

A threshold is set so that two different real people match with a chosen probability (FMR 1e-4 by default); generated
pictures are then searched among the training pictures. A search in T pictures finds a false match by chance alone with
a probability of about 1 - (1 - FMR)^T, so the shares mean little by themselves: they are read beside that figure, and
beside real people who took no part in the training, searched in the same way.
"""

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from facewright.errors import DataError
from facewright.evaluation.similarities import CHUNK, Progress, checked_set, members_of, search


@dataclass(frozen=True)
class Match:
    """One generated picture and the training picture most like it."""

    image: int  # row of the generated embeddings
    training: int  # row of the training embeddings
    similarity: float


@dataclass(frozen=True, eq=False)
class Searched:
    """What a search of some pictures among the training pictures found."""

    similarity: np.ndarray  # (N,) float32, of the nearest training picture
    nearest: np.ndarray  # (N,) int64, its row
    images: float  # share of pictures at or above the threshold
    identities: float  # share of identities most of whose pictures match one training person
    pairs: float  # share of all pairs (picture, training picture) at or above it; the FMR if they are strangers


@dataclass(frozen=True, eq=False)
class Leakage:
    """What `identity_leakage` finds."""

    fmr: float
    threshold: float  # cosine
    calibration_pairs: int  # pairs of two real people that the threshold was set on
    calibration_fmr: float  # attained on them
    generated: Searched
    held_out: Searched | None
    by_chance: float  # share of pictures that would match if every pair were an independent pair of strangers
    training_images: int
    training_identities: int
    closest: tuple[Match, ...]  # most similar first

    def figures(self) -> dict[str, Any]:
        """Plain numbers for a JSON file."""
        figures: dict[str, Any] = {
            "fmr": self.fmr,
            "threshold": self.threshold,
            "calibration_pairs": self.calibration_pairs,
            "calibration_fmr": self.calibration_fmr,
            "training_images": self.training_images,
            "training_identities": self.training_identities,
            "images_by_chance": self.by_chance,
            "closest": [asdict(match) for match in self.closest],
        }
        for name, searched in (("generated", self.generated), ("held_out", self.held_out)):
            if searched is not None:
                figures[name] = {
                    "images_searched": len(searched.similarity),
                    "images": searched.images,
                    "identities": searched.identities,
                    "pairs": searched.pairs,
                    "nearest_mean": float(searched.similarity.mean(dtype=np.float64)),
                    "nearest_max": float(searched.similarity.max()),
                }
        return figures


def identity_leakage(
    embeddings: np.ndarray,
    labels: np.ndarray,
    training: np.ndarray,
    training_labels: np.ndarray,
    *,
    fmr: float = 1e-4,
    held_out: tuple[np.ndarray, np.ndarray] | None = None,
    listed: int = 20,
    progress: Progress | None = None,
) -> Leakage:
    """Search generated pictures among the training pictures.

    The threshold comes from all pairs of two training people, so training rows should be what the others are: single
    pictures against single pictures (a mean of several pictures is more like everyone than a single one is).

    Args:
        embeddings: (N, D) of generated pictures, any length, by an encoder other than the generator's if possible.
        labels: (N,) integer identities.
        training: (T, D) of the pictures the generator was trained on.
        training_labels: (T,) integer people.
        fmr: share of pairs of two real people at or above the threshold; there must be 1 / fmr such pairs.
        held_out: embeddings and labels of real people the generator has not seen, searched for comparison.
        listed: how many of the closest matches are kept.
        progress: called with (rows done, rows in all) of all searches together.

    Raises:
        DataError: shapes do not fit, an embedding is unusable, or there are too few pairs for the FMR.
    """
    rows, labels = checked_set(embeddings, labels)
    known, known_labels = checked_set(training, training_labels)
    others = None if held_out is None else checked_set(*held_out)
    for given in [rows] if others is None else [rows, others[0]]:
        if given.shape[1] != known.shape[1]:
            raise DataError(
                f"embeddings {given.shape[1]} wide cannot be searched among training embeddings {known.shape[1]} wide;"
                " make both with the same encoder"
            )
    total = len(known) + len(rows) + (0 if others is None else len(others[0]))
    count = _Counter(progress, total)
    threshold, pairs, attained = impostor_threshold(known, known_labels, fmr, progress=count.part(len(known)))
    generated = _searched(rows, labels, known, known_labels, threshold, count)
    compared = None if others is None else _searched(*others, known, known_labels, threshold, count)
    first = np.argsort(-generated.similarity, kind="stable")[:listed]
    return Leakage(
        fmr=fmr,
        threshold=threshold,
        calibration_pairs=pairs,
        calibration_fmr=attained,
        generated=generated,
        held_out=compared,
        by_chance=float(-np.expm1(len(known) * np.log1p(-attained))) if attained < 1 else 1.0,
        training_images=len(known),
        training_identities=len(np.unique(known_labels)),
        closest=tuple(Match(int(row), int(generated.nearest[row]), float(generated.similarity[row])) for row in first),
    )


def impostor_threshold(
    embeddings: np.ndarray, labels: np.ndarray, fmr: float, *, progress: Progress | None = None
) -> tuple[float, int, float]:
    """The lowest cosine that at most a share `fmr` of all pairs of two people reach.

    Only the highest cosines are kept while the pairs go by, so memory does not grow with their number.

    Args:
        embeddings: (N, D), any length.
        labels: (N,) integer identities.
        fmr: in (0, 1).
        progress: called with (rows done, N).

    Returns:
        Threshold, pairs counted, and the share of them at or above it.
    """
    rows, labels = checked_set(embeddings, labels)
    if not 0 < fmr < 1:
        raise DataError(f"an FMR lies between 0 and 1, got {fmr}")
    counts = np.array([len(members) for members in members_of(labels)])
    pairs = (len(labels) ** 2 - int(np.sum(counts**2))) // 2
    allowed = int(fmr * pairs * (1 + 1e-12))
    if allowed < 1:
        raise DataError(
            f"{len(labels)} embeddings of {len(counts)} people give {pairs} pairs of two people, too few for an FMR of"
            f" {fmr:g}; give more people or a higher FMR"
        )
    top = np.empty(0, np.float32)
    for start in range(0, len(rows), CHUNK):
        block = slice(start, start + CHUNK)
        found = [top]
        for first in range(start, len(rows), 8 * CHUNK):
            other = slice(first, first + 8 * CHUNK)
            cosines = rows[block] @ rows[other].T
            two = (labels[block, None] != labels[other]) & (
                np.arange(start, start + len(cosines))[:, None] < np.arange(first, first + cosines.shape[1])
            )
            if len(top) > allowed:
                two &= cosines >= top.min()
            found.append(cosines[two])
        top = np.concatenate(found)
        if len(top) > allowed + 1:
            top = np.partition(top, len(top) - allowed - 1)[-(allowed + 1) :]
        if progress is not None:
            progress(min(start + CHUNK, len(rows)), len(rows))
    ordered = np.sort(top)[::-1]
    if len(ordered) <= allowed:
        return float(ordered[-1]), pairs, len(ordered) / pairs
    threshold = float(np.nextafter(ordered[allowed], np.float32(np.inf)))
    return threshold, pairs, int(np.sum(ordered >= threshold)) / pairs


def _searched(
    rows: np.ndarray,
    labels: np.ndarray,
    known: np.ndarray,
    known_labels: np.ndarray,
    threshold: float,
    count: "_Counter",
) -> Searched:
    best, nearest_rows, reached = search(rows, known, threshold=threshold, progress=count.part(len(rows)))
    similarity, where = best[:, 0], nearest_rows[:, 0]
    matched = similarity >= threshold
    leaked = []
    for members in members_of(labels):
        people = known_labels[where[members[matched[members]]]]
        most = np.unique(people, return_counts=True)[1].max() if people.size else 0
        leaked.append(2 * most > len(members))
    return Searched(
        similarity=similarity,
        nearest=where,
        images=float(matched.mean()),
        identities=float(np.mean(leaked)),
        pairs=reached / (len(rows) * len(known)),
    )


class _Counter:
    """Progress of several passes as one."""

    def __init__(self, progress: Progress | None, total: int) -> None:
        self.progress, self.total, self.before = progress, total, 0

    def part(self, rows: int) -> Progress:
        """The progress function of the next pass, over so many rows."""
        start = self.before
        self.before += rows

        def report(done: int, _: int) -> None:
            if self.progress is not None:
                self.progress(start + done, self.total)

        return report
