"""How the embeddings of real faces lie on the sphere: a Gaussian that holds no single person's embedding."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from facewright.data.embeddings import UNIT_TOLERANCE, check_embeddings
from facewright.errors import DataError, InputError
from facewright.synthesis.licences import narrowest_licence
from facewright.synthesis.variation import PersonVariation
from facewright.weights import Card, load_weights, save_weights

KIND = "contexts"
TENSORS = ("mean", "directions", "deviations", "residual")


@dataclass(frozen=True, eq=False)
class EmbeddingStatistics:
    """Mean and low-rank covariance of unit embeddings (probabilistic PCA, Tipping and Bishop 1999, Eq. 8).

    The covariance is V diag(deviations^2) V^T + residual^2 (I - V V^T), with V the rows of `directions` as columns.
    """

    mean: np.ndarray  # (D,)
    directions: np.ndarray  # (R, D), orthonormal rows
    deviations: np.ndarray  # (R,), standard deviation along each direction
    residual: float  # standard deviation along every other direction
    encoder: str | None = None  # name of the encoder that made the embeddings
    encoder_sha256: str | None = None
    sha256: str | None = None  # of the file they were read from
    licence: str | None = None  # of the pictures behind them

    @property
    def width(self) -> int:
        """D."""
        return len(self.mean)

    def draw(self, count: int, random: np.random.Generator) -> np.ndarray:
        """Draw from the Gaussian and scale to unit length: (count, D) float64."""
        noise = random.standard_normal((count, self.width))
        along = (noise @ self.directions.T) * (self.deviations - self.residual)
        drawn = self.mean + self.residual * noise + along @ self.directions
        return np.asarray(drawn / np.linalg.norm(drawn, axis=1, keepdims=True))


def fit_statistics(
    embeddings: np.ndarray,
    *,
    rank: int = 128,
    encoder: str | None = None,
    encoder_sha256: str | None = None,
    licence: str | None = None,
) -> EmbeddingStatistics:
    """Fit the mean and the `rank` strongest directions of variance.

    Args:
        embeddings: (N, D) unit rows, N above `rank`; one row a person weighs people equally.
        rank: R, in [1, D).
        encoder, encoder_sha256: what made the embeddings.
        licence: of the pictures.
    """
    check_embeddings([str(row) for row in range(len(embeddings))], embeddings, source="reference embeddings")
    count, width = embeddings.shape
    if not 1 <= rank < min(count, width):
        raise InputError(f"rank must lie in [1, {min(count, width)}) for {count} embeddings {width} wide, got {rank}")
    values = embeddings.astype(np.float64)
    mean = values.mean(axis=0)
    variances, vectors = np.linalg.eigh(np.cov(values, rowvar=False))  # rising
    strongest = slice(None, -rank - 1, -1)
    return EmbeddingStatistics(
        mean=mean,
        directions=vectors[:, strongest].T.copy(),
        deviations=np.sqrt(variances[strongest]),
        residual=float(np.sqrt(max(variances[:-rank].mean(), 0.0))),
        encoder=encoder,
        encoder_sha256=encoder_sha256,
        licence=licence,
    )


def centre_statistics(pictures: EmbeddingStatistics, variation: PersonVariation) -> EmbeddingStatistics:
    """How people's mean embeddings lie: the covariance of pictures less that of the pictures of one person.

    An identity drawn from these has no expression or pose of its own, which `varied` gives to each picture; the two
    covariances add up to that of pictures (the two-covariance model of PLDA, Ioffe 2006).

    Args:
        pictures: of single pictures of many people.
        variation: within people, of embeddings of the same encoder; of the same rank or another.

    Returns:
        As many directions as `pictures` has.

    Raises:
        InputError: they are of different encoders, or nothing is left between people.
    """
    width, rank = pictures.width, len(pictures.deviations)
    if variation.factors.shape[1] != width or (
        None not in (pictures.encoder_sha256, variation.encoder_sha256)
        and pictures.encoder_sha256 != variation.encoder_sha256
    ):
        raise InputError("statistics and variation are of different encoders; fit both to embeddings of one")
    along = pictures.directions.T * (pictures.deviations**2 - pictures.residual**2)
    covariance = along @ pictures.directions + np.eye(width) * pictures.residual**2
    variances, vectors = np.linalg.eigh(covariance - variation.factors.T @ variation.factors)  # rising
    variances = variances.clip(0)
    if not variances[-1] > UNIT_TOLERANCE**2:
        raise InputError("the pictures of one person differ as much as those of all people; give other embeddings")
    return replace(
        pictures,
        directions=vectors[:, : -rank - 1 : -1].T.copy(),
        deviations=np.sqrt(variances[: -rank - 1 : -1]),
        residual=float(np.sqrt(variances[:-rank].mean())),
        sha256=hashlib.sha256(f"{pictures.sha256} less {variation.sha256}".encode()).hexdigest(),
        licence=narrowest_licence({"pictures": pictures.licence, "variation": variation.licence}).text,
    )


def save_statistics(path: Path | str, statistics: EmbeddingStatistics, card: Card) -> Card:
    """Write statistics as a weights file of kind "contexts"; the card's architecture and encoder are filled in."""
    tensors = {
        "mean": torch.from_numpy(statistics.mean),
        "directions": torch.from_numpy(statistics.directions),
        "deviations": torch.from_numpy(statistics.deviations),
        "residual": torch.tensor(statistics.residual),
    }
    card = replace(
        card,
        kind=KIND,
        input=None,
        architecture={
            "width": statistics.width,
            "rank": len(statistics.deviations),
            "encoder": statistics.encoder,
        },
        encoder_sha256=statistics.encoder_sha256,
    )
    return save_weights(path, tensors, card)


def load_statistics(source: Path | str = "bundled") -> EmbeddingStatistics:
    """Read what `save_statistics` wrote, or those that ship with the package; raises as `load_weights` does."""
    tensors, card = load_weights(source, kind=KIND)
    _check_tensors(tensors, source)
    values = {name: tensors[name].double().numpy() for name in TENSORS}
    return EmbeddingStatistics(
        mean=values["mean"],
        directions=values["directions"],
        deviations=values["deviations"],
        residual=float(values["residual"]),
        encoder=card.architecture.get("encoder"),
        encoder_sha256=card.encoder_sha256,
        sha256=card.sha256,
        licence=card.licence,
    )


def _check_tensors(tensors: Mapping[str, torch.Tensor], source: Path | str) -> None:
    if sorted(tensors) != sorted(TENSORS):
        raise DataError(f"{source}: expected the tensors {', '.join(TENSORS)}, got {', '.join(sorted(tensors))}")
    rank, width = len(tensors["deviations"].reshape(-1)), len(tensors["mean"].reshape(-1))
    wanted = {"mean": (width,), "directions": (rank, width), "deviations": (rank,), "residual": ()}
    for name, shape in wanted.items():
        if tuple(tensors[name].shape) != shape:
            raise DataError(f"{source}: tensor {name} has shape {tuple(tensors[name].shape)}, expected {shape}")
