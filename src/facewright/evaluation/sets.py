"""Does a labelled set hold its identities: how alike, how different, how close to what the generator was trained on."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from facewright.errors import DataError
from facewright.evaluation.bootstrap import Interval, People, rate_intervals
from facewright.evaluation.coverage import class_coverage
from facewright.evaluation.pyeer import PyeerSummary, pyeer_summary
from facewright.evaluation.rates import ScoreSummary, summarise
from facewright.evaluation.similarities import (
    checked_set,
    genuine_similarities,
    identity_blocks,
    identity_centres,
    impostor_pairs,
    members_of,
    nearest,
    unit_rows,
)
from facewright.evaluation.uniqueness import class_consistency, class_uniqueness
from facewright.evaluation.vendi import identity_vendi_scores, vendi_score

QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)


@dataclass(frozen=True)
class Spread:
    """Mean and quantiles of some similarities."""

    mean: float
    low: float  # 5 % lie below
    lower_quarter: float
    median: float
    upper_quarter: float
    high: float  # 95 % lie below

    @classmethod
    def of(cls, values: np.ndarray) -> "Spread":
        """Of (n,) finite values, n above 0."""
        return cls(float(np.mean(values, dtype=np.float64)), *(float(q) for q in np.quantile(values, QUANTILES)))


@dataclass(frozen=True, eq=False)
class SetMeasures:
    """What `measure_set` finds; cosines of the encoder that made the embeddings."""

    images: int
    identities: int
    images_per_identity: Spread
    genuine: np.ndarray  # every pair of images of one identity
    impostor: np.ndarray  # pairs of two identities, all or a sample
    scores: ScoreSummary  # error rates of `genuine` against `impostor`
    diversity: float  # intra-identity, `intra_identity_diversity`
    radius: float  # cosine distance of the next two
    class_uniqueness: float  # share of identities that the greedy choice of DCFace keeps
    class_consistency: float  # mean share of images within the radius of their own centre
    to_context: Spread | None  # images and what they were conditioned on
    to_training: Spread | None  # identity centres and the nearest training identity
    nearest_training: np.ndarray | None  # (identities,) row of that training identity, labels ascending
    pyeer: PyeerSummary  # the same rates as the package pyeer defines them
    vendi: float  # effective number of different images in the whole set
    identity_vendi: Spread  # the same within each identity
    coverage: float | None  # D_intra of DCFace; needs real pictures of the same people
    intervals: Mapping[str, Interval]  # of the EER and of TAR@FAR over identities; empty where none were asked for

    def figures(self) -> dict[str, Any]:
        """Plain numbers for a JSON file; the scores themselves and the rows of training identities are left out."""
        spreads = {"images_per_identity": self.images_per_identity}
        spreads |= {} if self.to_context is None else {"similarity_to_context": self.to_context}
        spreads |= {} if self.to_training is None else {"similarity_to_nearest_training_identity": self.to_training}
        return {
            "images": self.images,
            "identities": self.identities,
            **{name: asdict(spread) for name, spread in spreads.items()},
            "scores": self.scores.figures(),
            "pyeer": self.pyeer.figures(),
            "intra_identity_diversity": self.diversity,
            "radius": self.radius,
            "class_uniqueness": self.class_uniqueness,
            "class_consistency": self.class_consistency,
            "vendi": self.vendi,
            "identity_vendi": asdict(self.identity_vendi),
            "intervals": {name: asdict(interval) for name, interval in self.intervals.items()},
            **({} if self.coverage is None else {"class_coverage": self.coverage}),
        }


def measure_set(
    embeddings: np.ndarray,
    labels: np.ndarray,
    *,
    contexts: np.ndarray | None = None,
    training: np.ndarray | None = None,
    real: tuple[np.ndarray, np.ndarray] | None = None,
    impostor_limit: int | None = 1_000_000,
    radius: float = 0.7,
    resamples: int = 0,
    seed: int = 0,
) -> SetMeasures:
    """Every measure of a labelled set.

    Args:
        embeddings: (N, D) of the images, any length.
        labels: (N,) integer identities; at least two identities, one of them with two images.
        contexts: (N, D) what each image was conditioned on, or None.
        training: (T, D) one row for each identity that the generator was trained on, or None.
        real: embeddings and labels of real pictures of people of the set, for `class_coverage` on these embeddings
            brought to unit length; or None.
        impostor_limit: pairs of two identities drawn when there are more; None takes all.
        radius: cosine distance for uniqueness and consistency.
        resamples: draws of identities for the intervals of the error rates; 0 leaves them out.
        seed: names the draws of impostor pairs and of identities.

    Raises:
        DataError: shapes do not fit, an embedding is unusable, or there are no pairs of one kind.
    """
    rows, labels = checked_set(embeddings, labels)
    groups = members_of(labels)
    if len(groups) < 2 or len(groups) == len(labels):
        raise DataError(
            f"a set needs two identities and an identity with two images, got {len(labels)} images"
            f" of {len(groups)} identities"
        )
    genuine = genuine_similarities(rows, labels)
    impostor, first, second = impostor_pairs(rows, labels, limit=impostor_limit, seed=seed)
    people = np.concatenate([np.repeat(labels[own[0]], len(own) * (len(own) - 1) // 2) for own in groups])
    to_training, nearest_training = None, None
    if training is not None:
        similarity, nearest_training = nearest(identity_centres(rows, labels)[1], training)
        to_training = Spread.of(similarity)
    return SetMeasures(
        images=len(labels),
        identities=len(groups),
        images_per_identity=Spread.of(np.array([len(members) for members in groups])),
        genuine=genuine,
        impostor=impostor,
        scores=summarise(genuine, impostor),
        diversity=intra_identity_diversity(rows, labels),
        radius=radius,
        class_uniqueness=class_uniqueness(rows, labels, radius=radius),
        class_consistency=float(class_consistency(rows, labels, radius=radius).mean()),
        to_context=None if contexts is None else Spread.of(context_similarities(rows, contexts)),
        to_training=to_training,
        nearest_training=nearest_training,
        intervals={}
        if resamples == 0
        else rate_intervals(
            genuine,
            impostor,
            people=(People(people, people), People(labels[first], labels[second])),
            resamples=resamples,
            seed=seed,
        ),
        pyeer=pyeer_summary(genuine, impostor),
        vendi=vendi_score(rows),
        identity_vendi=Spread.of(identity_vendi_scores(rows, labels)),
        coverage=None if real is None else float(class_coverage(rows, labels, unit_rows(real[0]), real[1]).mean()),
    )


def intra_identity_diversity(embeddings: np.ndarray, labels: np.ndarray) -> float:
    """Mean over identities of the mean cosine distance (1 - cosine) between two of their images.

    Identities with one image have no pair and do not count. 0 means that all images of an identity are one image to the
    encoder; it grows with pose, light and age, and also with lost identity, so read it beside the EER.
    """
    total, judged = 0.0, 0
    for _, starts, counts, rows in identity_blocks(embeddings, labels):
        several = counts > 1
        sums = np.add.reduceat(rows, starts, axis=0)[several]
        pairs = counts[several] * (counts[several] - 1)
        total += float(np.sum(1.0 - (np.einsum("cd,cd->c", sums, sums) - counts[several]) / pairs))
        judged += int(several.sum())
    if not judged:
        raise DataError("diversity needs an identity with two images")
    return total / judged


def context_similarities(embeddings: np.ndarray, contexts: np.ndarray) -> np.ndarray:
    """Cosine of each image to what it was conditioned on.

    Args:
        embeddings: (N, D), any length.
        contexts: (N, D), row i belongs to image i.

    Returns:
        (N,) float32.
    """
    rows, wanted = unit_rows(embeddings), unit_rows(contexts)
    if rows.shape != wanted.shape:
        raise DataError(f"{wanted.shape} contexts do not fit {rows.shape} embeddings; give one row per image")
    return np.asarray(np.einsum("nd,nd->n", rows, wanted))
