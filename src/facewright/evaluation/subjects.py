"""How well a picture of several people keeps each of them (FastComposer, Xiao et al. 2023, section 5)."""

import numpy as np

from facewright.errors import DataError


def match_subjects(similarity: np.ndarray) -> list[tuple[int, int]]:
    """Pair faces with references one to one, greedily: always the most similar pair left, the first on a tie.

    Args:
        similarity: (G, R) cosines, a row for each face found in the picture, a column for each person asked for.

    Returns:
        (face, reference) in the order taken, min(G, R) of them.
    """
    left = _checked(similarity).copy()
    taken = []
    for _ in range(min(left.shape)):
        face, reference = np.unravel_index(np.argmax(left), left.shape)
        taken.append((int(face), int(reference)))
        left[face, :] = -np.inf
        left[:, reference] = -np.inf
    return taken


def weakest_match(similarity: np.ndarray) -> float:
    """Smallest cosine among the pairs of `match_subjects`; may be negative."""
    cosines = _checked(similarity)
    if cosines.shape[0] == 0:
        raise DataError("no face was found, so nothing can be matched")
    return min(float(cosines[pair]) for pair in match_subjects(cosines))


def multi_subject_identity(similarity: np.ndarray) -> float:
    """The weakest match, not below 0; 0 also when fewer faces were found than people asked for.

    Args:
        similarity: (G, R) cosines as in `match_subjects`; (0, R) where no face was found.
    """
    found, asked = _checked(similarity).shape
    return max(0.0, weakest_match(similarity)) if found >= asked else 0.0


def _checked(similarity: np.ndarray) -> np.ndarray:
    cosines = np.asarray(similarity, np.float64)
    if cosines.ndim != 2 or cosines.shape[1] == 0 or not np.isfinite(cosines).all():
        raise DataError(f"similarities must be finite (faces, references) with a reference, got {cosines.shape}")
    return cosines
