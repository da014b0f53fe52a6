"""Does a labelled set hold its identities: how alike, how different, how close to what the generator was trained on."""

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from facewright.errors import DataError
from facewright.evaluation.rates import ScoreSummary, summarise
from facewright.evaluation.similarities import (
    checked_set,
    genuine_similarities,
    identity_centres,
    impostor_similarities,
    members_of,
    nearest,
    unit_rows,
)
from facewright.evaluation.uniqueness import class_consistency, class_uniqueness

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
            "intra_identity_diversity": self.diversity,
            "radius": self.radius,
            "class_uniqueness": self.class_uniqueness,
            "class_consistency": self.class_consistency,
        }


def measure_set(
    embeddings: np.ndarray,
    labels: np.ndarray,
    *,
    contexts: np.ndarray | None = None,
    training: np.ndarray | None = None,
    impostor_limit: int | None = 1_000_000,
    radius: float = 0.7,
    seed: int = 0,
) -> SetMeasures:
    """Every measure of a labelled set.

    Args:
        embeddings: (N, D) of the images, any length.
        labels: (N,) integer identities; at least two identities, one of them with two images.
        contexts: (N, D) what each image was conditioned on, or None.
        training: (T, D) one row for each identity that the generator was trained on, or None.
        impostor_limit: pairs of two identities drawn when there are more; None takes all.
        radius: cosine distance for uniqueness and consistency.
        seed: names the draw of impostor pairs.

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
    impostor = impostor_similarities(rows, labels, limit=impostor_limit, seed=seed)
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
    )


def intra_identity_diversity(embeddings: np.ndarray, labels: np.ndarray) -> float:
    """Mean over identities of the mean cosine distance (1 - cosine) between two of their images.

    Identities with one image have no pair and do not count. 0 means that all images of an identity are one image to the
    encoder; it grows with pose, light and age, and also with lost identity, so read it beside the EER.
    """
    rows, labels = checked_set(embeddings, labels, dtype=np.float64)
    distances = []
    for members in members_of(labels):
        count = len(members)
        if count > 1:
            total = rows[members].sum(0)
            distances.append(1.0 - (total @ total - count) / (count * (count - 1)))
    if not distances:
        raise DataError("diversity needs an identity with two images")
    return float(np.mean(distances))


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
