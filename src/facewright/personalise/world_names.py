"""Names of the miniature world's people: two words that say what somebody looks like.

A text-to-image model of real pictures knows many people by name, so its text space has room for what a face looks like,
and a mapping can find a new person there. The miniature world's manifests name nobody. So a name is made of somebody's
identity embedding, quantised twice (residual vector quantisation, Juang & Gray 1982): who looks roughly alike shares
the first name, who looks much alike both.
"""

from collections.abc import Collection
from dataclasses import dataclass
from itertools import product

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from facewright.errors import ConfigError, InputError
from facewright.personalise.world_faces import WorldFaces

_SYLLABLES = tuple(map("".join, product("bdfghjklmnprstvz", "aeiou")))
_ROUNDS = 20  # of k-means


@dataclass(frozen=True)
class NameConfig:
    """How many names there are."""

    words: int = 256  # first names, and as many last names

    def __post_init__(self) -> None:
        if not 2 <= self.words <= len(_SYLLABLES) ** 2 // 2:
            raise ConfigError(f"words must be from 2 to {len(_SYLLABLES) ** 2 // 2}, got {self.words}")


@dataclass(frozen=True, eq=False)
class Names:
    """What people are called, and what their names stand for."""

    names: np.ndarray
    """str (N,), of each face of the pack; empty where it has none."""
    words: tuple[str, ...]
    """First names, then last names."""
    meanings: np.ndarray
    """float32 (len(words), D): the centre that a first name stands for, less the mean of all; and what a last name
    adds to it."""


def name_words(count: int, *, taken: Collection[str] = ()) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """So many first names, such as "mira", and last names, such as "tolen"; all different.

    Args:
        count: of each.
        taken: words that are none of them.
    """
    firsts = ["".join(pair) for pair in product(_SYLLABLES, _SYLLABLES)]
    lasts = [f"{first}n" for first in firsts]
    free = [[word for word in words if word not in taken] for words in (firsts, lasts)]
    first, last = (tuple(words[place * len(words) // count] for place in range(count)) for words in free)
    return first, last


def people_names(
    faces: WorldFaces,
    rows: np.ndarray,
    embeddings: np.ndarray,
    config: NameConfig,
    *,
    taken: Collection[str],
    seed: int,
) -> Names:
    """A name for each face of the pack; empty for all but `rows`.

    Args:
        faces: of a pack; the faces of one person get one name, after the mean of their embeddings.
        rows: faces to be named, (M,).
        embeddings: of these, (M, D), unit length.
        config: how many names there are.
        taken: words that are no names.
        seed: of the quantisation.

    Raises:
        InputError: fewer people than first names.
    """
    labels = faces.pack.labels[rows]
    people = np.where(labels >= 0, labels, -1 - rows)  # whom nobody knows is somebody of their own
    _, person = np.unique(people, return_inverse=True)
    counts = np.bincount(person)
    if len(counts) < config.words:
        raise InputError(f"{config.words} first names need as many people, there are {len(counts)}; ask for fewer")
    means = np.zeros((len(counts), embeddings.shape[1]))
    np.add.at(means, person, embeddings)
    means /= counts[:, None]
    first, last = name_words(config.words, taken=taken)
    codes, (centres, more) = _quantised(means, config.words, seed=seed)
    named = np.array([f"{first[a]} {last[b]}" for a, b in codes])
    names = np.full(len(faces.pack.labels), "", dtype=named.dtype)
    names[rows] = named[person]
    meanings = np.concatenate([centres - centres.mean(0), more]).astype(np.float32)
    return Names(names, (*first, *last), meanings)


def name_embeddings(names: Names, table: Tensor) -> Tensor:
    """Token embeddings with which names begin, (len(names.words), E) float32: alike for names of who looks alike.

    Text encoders of the real world have read enough to place names so; a small one is spared that.

    Args:
        names: of D wide meanings.
        table: token embeddings, (V, E), whose size the new ones get.
    """
    return _placed(torch.from_numpy(names.meanings), names, table)


def own_words(names: Names, embeddings: np.ndarray, table: Tensor) -> np.ndarray:
    """Two words for each face that say it exactly, as far as words are wide enough: float32 (F, 2, E).

    The first is where the first name begins, the second what the first leaves over of the embedding itself, where a
    last name begins at what its centre leaves over (`name_embeddings`); 0 for who has no name.

    Args:
        names: of F faces.
        embeddings: of these, (F, D).
        table: as of `name_embeddings`.
    """
    number = {word: place for place, word in enumerate(names.words)}
    rows = np.flatnonzero(names.names != "")
    said = np.array([[number[word] for word in name.split()] for name in names.names[rows].tolist()])
    first, last = names.meanings[said[:, 0]], names.meanings[said[:, 1]]
    left = embeddings[rows] - first
    left = left - (left - last).mean(0)  # without the mean of all centres, which first names do not have either
    words = np.zeros((len(embeddings), 2, table.shape[1]), np.float32)
    for place, part in enumerate((first, left)):
        words[rows, place] = _placed(torch.from_numpy(part.astype(np.float32)), names, table).numpy()
    return words


def _placed(vectors: Tensor, names: Names, table: Tensor) -> Tensor:
    """Vectors (N, D) like the names' meanings among token embeddings, (N, E)."""
    meanings = torch.from_numpy(names.meanings)
    directions = torch.linalg.svd(meanings, full_matrices=False).Vh[: table.shape[1]]
    scale = (table.detach().float().square().mean() / _padded(meanings @ directions.T, table).square().mean()).sqrt()
    return _padded(vectors @ directions.T, table) * scale


def _padded(vectors: Tensor, table: Tensor) -> Tensor:
    return F.pad(vectors, (0, table.shape[1] - vectors.shape[1]))


def _quantised(vectors: np.ndarray, words: int, *, seed: int) -> tuple[np.ndarray, list[np.ndarray]]:
    """Numbers of the nearest centre, and of the nearest centre of what that leaves over, int (N, 2); and all centres.

    The centres are two arrays of (words, D).
    """
    from scipy.cluster.vq import kmeans2

    left, codes, tables = vectors, [], []
    for stage in range(2):
        rng = np.random.default_rng([seed, stage])
        start = left[rng.choice(len(left), words, replace=False)]
        centres, code = kmeans2(left, start, iter=_ROUNDS, minit="matrix", missing="raise")
        codes.append(code)
        tables.append(centres)
        left = left - centres[code]
    return np.stack(codes, 1), tables
