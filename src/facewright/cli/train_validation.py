"""How a recogniser is measured while it trains: on people of its own data that it does not see."""

from collections.abc import Callable, Mapping

import numpy as np

from facewright import evaluation
from facewright.encoders import Encoder
from facewright.evaluation.similarities import genuine_similarities, impostor_similarities
from facewright.recognition import Faces

BEST_BY = "validation_eer"
LARGEST = 4096  # pictures measured, of whole people


def validation(held_out: Faces) -> Callable[[Encoder], Mapping[str, float]] | None:
    """A function that measures an encoder on held-out people; None where they give no pairs of both kinds.

    Every pair of one person counts, and pairs of two people, up to a million of them drawn once and for all. No image
    is mirrored.
    """
    rows = _of_whole_people(held_out.labels)
    counts = np.bincount(held_out.labels[rows])
    if (counts > 0).sum() < 2 or counts.max() < 2:
        return None

    def measure(encoder: Encoder) -> Mapping[str, float]:
        crops, labels = held_out.read(rows)
        embeddings = encoder.embed(crops)
        genuine, impostor = genuine_similarities(embeddings, labels), impostor_similarities(embeddings, labels)
        summary = evaluation.summarise(genuine, impostor)
        return {
            BEST_BY: summary.eer,
            "validation_tar_at_far_1e-2": 1 - summary.fmr100.fnmr,
            "validation_tar_at_far_1e-3": 1 - summary.fmr1000.fnmr,
        }

    return measure


def _of_whole_people(labels: np.ndarray) -> np.ndarray:
    """Rows of the first people that together have no more than `LARGEST` pictures, but of two people at least."""
    ends = np.cumsum(np.bincount(labels)) if len(labels) else np.empty(0, np.int64)
    people = max(2, int(np.searchsorted(ends, LARGEST, side="right")))
    return np.flatnonzero(labels < people)
