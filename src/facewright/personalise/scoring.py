"""Who is who in a picture, and how alike: faces found, matched to the people asked for, and the best picture kept."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from facewright.align import Detector, warp_face
from facewright.errors import ConfigError, InputError
from facewright.personalise.pictures import Drawn


class Embedder(Protocol):
    """What is asked of an encoder; `encoders.Encoder` has it."""

    def embed(self, crops: np.ndarray) -> np.ndarray:
        """Embeddings (N, D) of crops uint8 (N, 112, 112, 3)."""
        ...


@dataclass(frozen=True)
class PictureScore:
    """How well a picture keeps its people."""

    faces: int
    """Found in the picture."""
    cosines: Mapping[str, float | None]
    """Of each person to the face matched to them; None where no face was left."""

    @property
    def weakest(self) -> float:
        """FastComposer's score for a picture: the smallest cosine, not below 0; 0 where somebody is missing."""
        return min((max(0.0, cosine or 0.0) for cosine in self.cosines.values()), default=0.0)

    @property
    def mean(self) -> float:
        """Of the cosines, 0 for who is missing."""
        return float(np.mean([cosine or 0.0 for cosine in self.cosines.values()])) if self.cosines else 0.0


@dataclass(frozen=True)
class Kept:
    """The best of a picture's candidates."""

    number: int  # of the picture, from 0
    candidate: int  # which of the `best_of` it was, from 0
    image: np.ndarray  # uint8 (H, W, 3) RGB
    flagged: bool  # blackened by the base model's filter
    score: PictureScore


def match_people(cosines: np.ndarray) -> list[tuple[int, int]]:
    """Pair faces with people one to one so that the cosines add up to the most (Hungarian, by scipy).

    Args:
        cosines: (F, P), a row for each face, a column for each person.

    Returns:
        (face, person), min(F, P) of them, by face.
    """
    from scipy.optimize import linear_sum_assignment

    faces, people = linear_sum_assignment(cosines, maximize=True)
    return [(int(face), int(person)) for face, person in zip(faces, people, strict=True)]


def score_picture(
    image: np.ndarray, references: Mapping[str, np.ndarray], *, detector: Detector, encoder: Embedder
) -> PictureScore:
    """Find the faces of a picture and match them to the people asked for.

    Args:
        image: uint8 (H, W, 3) RGB.
        references: unit embedding (D,) of each person by name, by the same encoder.
        detector: finds faces.
        encoder: embeds them; the score says most when it is not the encoder that the mapper was trained with.

    Raises:
        InputError: nobody is asked for.
    """
    if not references:
        raise InputError("a picture is scored against at least one person, got none")
    found = detector.detect(image)
    cosines: dict[str, float | None] = dict.fromkeys(references)
    if found:
        rows = encoder.embed(np.stack([warp_face(image, face.points) for face in found]))
        table = rows @ np.stack(list(references.values())).T
        names = list(references)
        for face, person in match_people(table):
            cosines[names[person]] = float(table[face, person])
    return PictureScore(len(found), cosines)


def best_of_scores(scores: Sequence[PictureScore]) -> int:
    """Which picture keeps its people best: the largest weakest cosine, then the largest mean, then the first."""
    if not scores:
        raise InputError("the best of no pictures was asked for; give at least one")
    return max(range(len(scores)), key=lambda index: (scores[index].weakest, scores[index].mean, -index))


def keep_best(
    draw: Callable[[range], Drawn],
    score: Callable[[np.ndarray], PictureScore],
    *,
    count: int,
    best_of: int = 1,
    batch: int = 4,
    start: int = 0,
) -> Iterator[Kept]:
    """Draw candidates, and give the best of each picture as soon as it is known.

    Args:
        draw: pictures of these numbers; picture i has the candidates from i * best_of on.
        score: a picture's score, such as by `score_picture`.
        count: pictures to keep, with those that are there already.
        best_of: candidates for each.
        batch: candidates that are drawn in one call, as far as they are of whole pictures.
        start: number of the first picture; those before it are there already.
    """
    if count < 1 or best_of < 1 or batch < 1:
        raise ConfigError(f"count, best_of and batch must be at least 1, got {count}, {best_of} and {batch}")
    together = max(1, batch // best_of)
    for first in range(start, count, together):
        last = min(first + together, count)
        drawn = draw(range(first * best_of, last * best_of))
        for number in range(first, last):
            start = (number - first) * best_of
            scores = [score(image) for image in drawn.images[start : start + best_of]]
            chosen = best_of_scores(scores)
            index = start + chosen
            yield Kept(number, chosen, drawn.images[index], drawn.flagged[index], scores[chosen])
