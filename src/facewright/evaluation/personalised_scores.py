"""How one personalised picture keeps its people: found, matched, in the right places, not copied from the photo."""

from dataclasses import dataclass

import numpy as np

from facewright.align import Detector, warp_face
from facewright.errors import DataError
from facewright.evaluation.similarities import unit_rows
from facewright.evaluation.subjects import match_subjects, multi_subject_identity

SMALLEST_ANGLE = 1e-6  # radians; two photos closer than that are one


@dataclass(frozen=True, eq=False)
class FacesFound:
    """The faces of a picture that count."""

    crops: np.ndarray  # uint8 (F, 112, 112, 3) RGB: the largest, at most as many as people, from left to right
    found: int  # all that the detector found


@dataclass(frozen=True)
class PictureIdentity:
    """A picture against the photos of its people, by one encoder."""

    score: float
    """FastComposer's: the smallest matched cosine, not below 0; 0 where fewer faces than people were found."""
    cosines: tuple[float | None, ...]
    """Of each person to the face matched greedily to them; None without a face."""
    faces: tuple[int | None, ...]
    """Which face that is, from the left, from 0."""
    swapped: bool | None
    """Whether the best matching puts somebody in another's place; None for one person, or where a face is missing."""


def find_faces_of(image: np.ndarray, people: int, *, detector: Detector) -> FacesFound:
    """The largest faces of a picture, as many as people were asked for.

    Args:
        image: uint8 (H, W, 3) RGB.
        people: asked for.
        detector: finds faces.
    """
    found = detector.detect(image)
    largest = sorted(found, key=lambda face: face.area, reverse=True)[:people]
    ordered = sorted(largest, key=lambda face: (face.box[0] + face.box[2]) / 2)
    crops = [warp_face(image, face.points) for face in ordered]
    return FacesFound(np.stack(crops) if crops else np.empty((0, 112, 112, 3), np.uint8), len(found))


def picture_identity(faces: np.ndarray, references: np.ndarray) -> PictureIdentity:
    """Score a picture.

    Args:
        faces: (F, D) embeddings of the faces from left to right, any length, F at most P.
        references: (P, D) of the people in the order in which they should stand.
    """
    if len(faces) > len(references):
        raise DataError(f"{len(faces)} faces for {len(references)} people; give the largest faces alone")
    people = len(references)
    if not len(faces):
        return PictureIdentity(0.0, (None,) * people, (None,) * people, None)
    cosines = unit_rows(faces, dtype=np.float64) @ unit_rows(references, dtype=np.float64).T
    face_of = {person: face for face, person in match_subjects(cosines)}
    own = {person: float(cosines[face, person]) for person, face in face_of.items()}
    complete = people > 1 and len(faces) == people
    return PictureIdentity(
        score=multi_subject_identity(cosines),
        cosines=tuple(own.get(person) for person in range(people)),
        faces=tuple(face_of.get(person) for person in range(people)),
        swapped=_swapped(cosines) if complete else None,
    )


def copy_paste(generated: np.ndarray, reference: np.ndarray, others: np.ndarray) -> float:
    """How much more a generated face is like the photo it was made from than like other photos of the person.

    (angle to another photo - angle to the reference) / angle between those two, averaged over the other photos
    (WithAnyone, Xu et al. 2025): 1 is a copy of the reference, 0 is as near to either, -1 is the other
    photo itself.

    Args:
        generated: (D,) embedding of the face, any length.
        reference: (D,) of the photo that the model saw.
        others: (T, D) of photos that it did not see, T at least 1.
    """
    if others.ndim != 2 or not len(others):
        raise DataError("the copy-paste score needs a photo of the person that the model did not see, got none")
    face, shown = unit_rows(np.stack([generated, reference]), dtype=np.float64)
    hidden = unit_rows(others, dtype=np.float64)
    to_face, to_shown = _angles(hidden @ face), _angles(hidden @ shown)
    return float(np.mean((to_face - _angles(face @ shown)) / np.maximum(to_shown, SMALLEST_ANGLE)))


def harmonic_mean(identity: float, prompt: float) -> float:
    """2ab / (a + b), the trade-off of Face2Diffusion's tables; 0 where either is not above 0."""
    return 2 * identity * prompt / (identity + prompt) if min(identity, prompt) > 0 else 0.0


def mean_reference(embeddings: np.ndarray) -> np.ndarray:
    """One unit row (D,) for a person's photos (N, D)."""
    rows = unit_rows(embeddings, dtype=np.float64)
    return np.asarray(unit_rows(rows.mean(0, keepdims=True), dtype=np.float64)[0])


def _swapped(cosines: np.ndarray) -> bool:
    """Whether the pairing with the largest sum (Hungarian, by scipy) is not place by place."""
    from scipy.optimize import linear_sum_assignment

    return bool((linear_sum_assignment(cosines, maximize=True)[1] != np.arange(len(cosines))).any())


def _angles(cosines: np.ndarray) -> np.ndarray:
    return np.arccos(np.clip(np.asarray(cosines, np.float64), -1, 1))
