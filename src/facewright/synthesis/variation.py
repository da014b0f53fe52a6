"""How the embeddings of one person's pictures differ, and contexts that differ so.

An embedding says more than who somebody is: it also holds some of the expression, pose, hair, age and light of its
picture. Pictures that are all made from one context share these, so a set made so varies less than photos do. Contexts
drawn around an identity's own, along the covariance that real people's pictures have around their mean (the
within-class covariance of linear discriminant analysis and of PLDA, Ioffe 2006), give each picture an expression and a
pose of its own. It is `cone` with the directions in which people really vary.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

import numpy as np
import torch

from facewright.data.embeddings import UNIT_TOLERANCE, Embeddings
from facewright.errors import ConfigError, DataError, InputError
from facewright.training.seeds import seed_of
from facewright.weights import Card, load_weights, save_weights

KIND = "variation"
LARGEST = 3.0
"""An amount above this leaves nothing of the person."""


@dataclass(frozen=True, eq=False)
class PersonVariation:
    """The covariance of pictures of one person around their mean, sum of the outer products of `factors`."""

    factors: np.ndarray  # (K, D): the strongest directions, each as long as its standard deviation
    encoder_sha256: str | None = None  # of the encoder that made the embeddings
    sha256: str | None = None  # of the embeddings it was fitted to, or of the file it was read from
    licence: str | None = None  # of the pictures behind them


def fit_variation(people: Embeddings, *, rank: int = 128) -> PersonVariation:
    """The covariance within people, every person counting alike.

    Args:
        people: unit embeddings of several pictures of several people, named PERSON/PICTURE, as `facewright embed` names
            those of a pack or of a folder of people; others do not count.
        rank: K, directions kept at most.

    Raises:
        InputError: there are no two pictures of one person.
    """
    rows: dict[str, list[int]] = {}
    for row, name in enumerate(people.names):
        if (person := str(PurePosixPath(name).parent)) != ".":
            rows.setdefault(person, []).append(row)
    several = [numbers for numbers in rows.values() if len(numbers) > 1]
    if not several:
        raise InputError(
            f"{people.source or 'the embeddings'}: no two are of one person; names must be PERSON/PICTURE, as"
            " facewright embed gives them for a folder of people"
        )
    values = people.embeddings.astype(np.float64)
    covariance = np.zeros((values.shape[1],) * 2)
    for numbers in several:
        covariance += np.cov(values[numbers], rowvar=False)
    variances, vectors = np.linalg.eigh(covariance / len(several))  # rising
    strongest = slice(None, -min(rank, len(variances)) - 1, -1)
    factors = (vectors[:, strongest] * np.sqrt(variances[strongest].clip(0))).T
    if not np.linalg.norm(factors) > UNIT_TOLERANCE:
        raise InputError(f"{people.source or 'the embeddings'}: all pictures of a person are the same; give others")
    largest = factors[np.arange(len(factors)), np.abs(factors).argmax(axis=1)]
    factors *= np.where(largest < 0, -1.0, 1.0)[:, None]  # an eigenvector's sign is left to chance
    return PersonVariation(
        np.ascontiguousarray(factors),
        encoder_sha256=people.provenance.get("encoder_sha256"),
        sha256=people.sha256,
        licence=people.provenance.get("licence"),
    )


def varied(contexts: np.ndarray, seeds: Sequence[int], variation: PersonVariation, *, amount: float) -> np.ndarray:
    """A context for each picture, moved from its identity's as pictures of one person differ.

    The step is normal with the covariance of `variation`, times a share of `amount` that is drawn evenly from 0 to 1
    for each picture, since some pictures of a person are far from the usual one and most are not.

    Args:
        contexts: of the identity of each picture, unit rows, (B, D).
        seeds: of each picture's noise, (B,); a picture's context depends on its own seed alone.
        variation: fitted on embeddings of the same encoder.
        amount: standard deviations, in (0, 3].

    Returns:
        Unit float32 (B, D).
    """
    check_amount(amount)
    moved = np.empty(contexts.shape)
    for row, (context, seed) in enumerate(zip(contexts, seeds, strict=True)):
        random = np.random.Generator(np.random.PCG64(seed_of(seed, "vary")))
        share = amount * random.uniform()
        moved[row] = context + share * (random.standard_normal(len(variation.factors)) @ variation.factors)
    return (moved / np.linalg.norm(moved, axis=1, keepdims=True)).astype(np.float32)


def check_amount(amount: float) -> None:
    """Refuse what is no amount of variation."""
    if not 0 < amount <= LARGEST:
        raise ConfigError(f"the amount of variation must lie in (0, {LARGEST:g}] standard deviations, got {amount}")


def save_variation(path: Path | str, variation: PersonVariation, card: Card) -> Card:
    """Write it as a weights file of kind "variation"; the card's architecture and encoder are filled in."""
    rank, width = variation.factors.shape
    told = replace(
        card,
        kind=KIND,
        input=None,
        architecture={"width": width, "rank": rank},
        encoder_sha256=variation.encoder_sha256,
    )
    return save_weights(path, {"factors": torch.from_numpy(variation.factors).float()}, told)


def load_variation(source: Path | str = "bundled") -> PersonVariation:
    """Read what `save_variation` wrote, or that of the bundled encoder; raises as `load_weights` does."""
    tensors, card = load_weights(source, kind=KIND)
    if set(tensors) != {"factors"} or tensors["factors"].ndim != 2:
        raise DataError(f"{source}: expected one tensor, factors (K, D), got {', '.join(sorted(tensors)) or 'none'}")
    factors = tensors["factors"].double().numpy()
    if not np.isfinite(factors).all():
        raise DataError(f"{source}: the factors hold NaN or infinity; fit them again")
    return PersonVariation(factors, card.encoder_sha256, card.sha256, card.licence)
