"""Personalised pictures measured: who is in them, what they show of the prompt, and how far that is chance."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Protocol

import numpy as np

from facewright.errors import DataError, InputError
from facewright.evaluation.personalised_diversity import FaceDistance, face_diversity, structural_distance
from facewright.evaluation.personalised_means import Estimate, PeopleMeans
from facewright.evaluation.personalised_scores import PictureIdentity, copy_paste, mean_reference, picture_identity

ENCODERS = 3
"""Most encoders that one evaluation names."""
CHUNK = 64
"""Pictures whose faces are embedded together."""


class Embedder(Protocol):
    """What is asked of an encoder; `encoders.Encoder` has it."""

    def embed(self, crops: np.ndarray) -> np.ndarray:
        """Unit embeddings (N, D) of crops uint8 (N, 112, 112, 3)."""
        ...


@dataclass(frozen=True, eq=False)
class PersonPhotos:
    """A person as the photos show them; aligned crops, uint8 (N, 112, 112, 3) RGB."""

    shown: np.ndarray  # what the model saw, N at least 1
    others: np.ndarray  # what it did not see; may be none


@dataclass(frozen=True, eq=False)
class PersonalisedPicture:
    """One picture as it is measured."""

    people: tuple[str, ...]  # asked for, in the order in which they should stand from left to right
    crops: np.ndarray  # of `find_faces_of`: uint8 (F, 112, 112, 3) RGB, left to right, F at most the people
    prompt: str = ""  # with nouns in place of names
    category: str = ""  # of the prompt
    prompt_scores: Mapping[str, float | None] | None = None  # by the name of the scorer; None: not judged


@dataclass(frozen=True)
class EncoderFigures:
    """What one encoder says of the pictures."""

    identity: Estimate  # score of `PictureIdentity`, faces that were not found counted 0
    identity_of_found: Estimate | None  # cosine of the faces that were matched; None where none was
    to_other_photos: Estimate | None  # the same to photos that the model did not see; None where there is none
    copy_paste: Estimate | None
    swapped: Estimate | None  # of pictures that hold a face for each of several people; None for one person
    right: Estimate | None  # share of all pictures with everybody found and in their own place; None for one person


@dataclass(frozen=True)
class CategoryFigures:
    """Means over the prompts of one kind."""

    pictures: int
    identity: Mapping[str, float]  # by encoder
    prompt: Mapping[str, float]  # by prompt scorer


@dataclass(frozen=True, eq=False)
class PersonalisedMeasures:
    """What `measure_personalised` finds."""

    pictures: int
    identities: int
    people_in_each: int
    complete: Estimate  # share of pictures with a face for everybody asked for
    encoders: Mapping[str, EncoderFigures]
    prompts: Mapping[str, Estimate]  # by prompt scorer
    harmonic: Mapping[str, Mapping[str, Estimate]]  # by encoder, by prompt scorer
    diversity: Estimate | None  # of the faces of one person; None where nobody has two, or several people are shown
    categories: Mapping[str, CategoryFigures]
    scores: Mapping[str, tuple[PictureIdentity, ...]]  # by encoder, of each picture

    def figures(self) -> dict[str, Any]:
        """Plain numbers for a JSON file; the scores of single pictures are left out."""
        return {
            "pictures": self.pictures,
            "identities": self.identities,
            "people_in_each": self.people_in_each,
            "complete": asdict(self.complete),
            "encoders": {name: asdict(found) for name, found in self.encoders.items()},
            "prompts": {name: asdict(found) for name, found in self.prompts.items()},
            "harmonic_mean": {
                encoder: {name: asdict(found) for name, found in row.items()} for encoder, row in self.harmonic.items()
            },
            "face_diversity": None if self.diversity is None else asdict(self.diversity),
            "categories": {name: asdict(found) for name, found in self.categories.items()},
        }


def measure_personalised(
    pictures: Sequence[PersonalisedPicture],
    people: Mapping[str, PersonPhotos],
    encoders: Mapping[str, Embedder],
    *,
    distance: FaceDistance = structural_distance,
    resamples: int = 1000,
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> PersonalisedMeasures:
    """Every measure of personalised pictures.

    Args:
        pictures: all of one number of people.
        people: photos by name, of everybody who is asked for.
        encoders: by name, at most three; the figures say most when none of them took part in the making.
        distance: of two faces, for the diversity.
        resamples: draws of people for the intervals; 0 leaves them out.
        seed: names the draw.
        progress: called with (pictures done, pictures in all) for each encoder in turn.

    Raises:
        InputError: no picture, pictures of different numbers of people, nobody's photos, or no or too many encoders.
    """
    size = _checked(pictures, people, encoders)
    means = PeopleMeans([picture.people for picture in pictures], resamples=resamples, seed=seed)
    scores: dict[str, tuple[PictureIdentity, ...]] = {}
    figures: dict[str, EncoderFigures] = {}
    for name, encoder in encoders.items():
        rows = _scored(pictures, people, encoder, progress)
        scores[name] = tuple(row.identity for row in rows)
        figures[name] = _encoder_figures(rows, means, several=size > 1)
    scorers = list(dict.fromkeys(name for picture in pictures for name in picture.prompt_scores or {}))
    prompts = {name: [(picture.prompt_scores or {}).get(name) for picture in pictures] for name in scorers}
    judged = {name: mean for name, values in prompts.items() if (mean := means.mean_of_known(values)) is not None}
    return PersonalisedMeasures(
        pictures=len(pictures),
        identities=len({person for picture in pictures for person in picture.people}),
        people_in_each=size,
        complete=means.mean([float(len(picture.crops) == size) for picture in pictures]),
        encoders=figures,
        prompts=judged,
        harmonic={
            encoder: {name: means.harmonic([row.score for row in found], prompts[name]) for name in judged}
            for encoder, found in scores.items()
        },
        diversity=_diversity(pictures, distance, resamples=resamples, seed=seed) if size == 1 else None,
        categories=_categories(pictures, scores, prompts),
        scores=scores,
    )


@dataclass(frozen=True, eq=False)
class _Embedded:
    """A person's photos by one encoder."""

    reference: np.ndarray  # (D,)
    others: np.ndarray  # (T, D)

    @classmethod
    def of(cls, photos: PersonPhotos, encoder: Embedder) -> "_Embedded":
        reference = mean_reference(encoder.embed(photos.shown))
        others = encoder.embed(photos.others) if len(photos.others) else np.empty((0, len(reference)))
        return cls(reference, others)


@dataclass(frozen=True)
class _Scored:
    """One picture by one encoder; means over its people."""

    identity: PictureIdentity
    cosine: float | None
    to_others: float | None
    copied: float | None


def _scored(
    pictures: Sequence[PersonalisedPicture],
    people: Mapping[str, PersonPhotos],
    encoder: Embedder,
    progress: Callable[[int, int], None] | None,
) -> list[_Scored]:
    photos = {person: _Embedded.of(found, encoder) for person, found in people.items()}
    rows = list[_Scored]()
    for start in range(0, len(pictures), CHUNK):
        chunk = pictures[start : start + CHUNK]
        crops = np.concatenate([picture.crops for picture in chunk])
        embedded = encoder.embed(crops) if len(crops) else np.empty((0, 1))
        ends = np.cumsum([len(picture.crops) for picture in chunk])
        parts = np.split(embedded, ends[:-1])
        rows += [
            _score(part, [photos[person] for person in picture.people])
            for picture, part in zip(chunk, parts, strict=True)
        ]
        if progress is not None:
            progress(len(rows), len(pictures))
    return rows


def _score(faces: np.ndarray, people: Sequence[_Embedded]) -> _Scored:
    identity = picture_identity(faces, np.stack([person.reference for person in people]))
    to_others, copied = list[float](), list[float]()
    for person, face in zip(people, identity.faces, strict=True):
        if face is not None and len(person.others):
            to_others.append(float(np.mean(person.others @ faces[face])))
            copied.append(copy_paste(faces[face], person.reference, person.others))
    known = [cosine for cosine in identity.cosines if cosine is not None]
    return _Scored(identity, _mean(known), _mean(to_others), _mean(copied))


def _encoder_figures(rows: Sequence[_Scored], means: PeopleMeans, *, several: bool) -> EncoderFigures:
    swaps = [row.identity.swapped for row in rows]
    known = [None if swap is None else float(swap) for swap in swaps]
    return EncoderFigures(
        identity=means.mean([row.identity.score for row in rows]),
        identity_of_found=means.mean_of_known([row.cosine for row in rows]),
        to_other_photos=means.mean_of_known([row.to_others for row in rows]),
        copy_paste=means.mean_of_known([row.copied for row in rows]),
        swapped=means.mean_of_known(known) if several else None,
        right=means.mean([float(swap is False) for swap in swaps]) if several else None,
    )


def _diversity(
    pictures: Sequence[PersonalisedPicture], distance: FaceDistance, *, resamples: int, seed: int
) -> Estimate | None:
    """Mean over people of the mean distance of their faces."""
    faces: dict[str, list[np.ndarray]] = {}
    for picture in pictures:
        faces.setdefault(picture.people[0], []).extend(picture.crops)
    values = {
        person: face_diversity(np.stack(crops), distance=distance, seed=seed)
        for person, crops in faces.items()
        if len(crops) > 1
    }
    means = PeopleMeans([(person,) for person in values], resamples=resamples, seed=seed)
    return means.mean_of_known(list(values.values()))


def _categories(
    pictures: Sequence[PersonalisedPicture],
    scores: Mapping[str, Sequence[PictureIdentity]],
    prompts: Mapping[str, Sequence[float | None]],
) -> dict[str, CategoryFigures]:
    found = {}
    for category in dict.fromkeys(picture.category for picture in pictures if picture.category):
        members = [index for index, picture in enumerate(pictures) if picture.category == category]
        judged = {
            name: _mean([value for index in members if (value := values[index]) is not None])
            for name, values in prompts.items()
        }
        found[category] = CategoryFigures(
            pictures=len(members),
            identity={name: float(np.mean([rows[index].score for index in members])) for name, rows in scores.items()},
            prompt={name: mean for name, mean in judged.items() if mean is not None},
        )
    return found


def _checked(
    pictures: Sequence[PersonalisedPicture], people: Mapping[str, PersonPhotos], encoders: Mapping[str, Embedder]
) -> int:
    """People in each picture."""
    if not pictures:
        raise InputError("there is no picture to measure; draw some first")
    if not 1 <= len(encoders) <= ENCODERS:
        raise InputError(f"identity is measured by 1 to {ENCODERS} encoders, got {len(encoders)}")
    sizes = sorted({len(picture.people) for picture in pictures})
    if len(sizes) > 1 or not sizes[0]:
        raise InputError(f"the pictures show {' and '.join(map(str, sizes))} people; measure those of one number apart")
    for picture in pictures:
        if strangers := [name for name in picture.people if name not in people]:
            raise InputError(f"a picture shows {strangers[0]!r}, of whom no photo is given")
    for name, photos in people.items():
        if not len(photos.shown):
            raise DataError(f"{name} has no photo that the model saw; give at least one")
    return sizes[0]


def _mean(values: Sequence[float]) -> float | None:
    return float(np.mean(values)) if values else None
