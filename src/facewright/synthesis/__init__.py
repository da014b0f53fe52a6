"""Draw identities, make their pictures, write a labelled set."""

from facewright.synthesis.contexts import (
    EmbeddedPhotos,
    contexts_from_photos,
    embed_photos,
    fitted_contexts,
    uniform_contexts,
)
from facewright.synthesis.models import CropEncoder, FaceGenerator
from facewright.synthesis.noise import image_seed, start_noise, step_noise
from facewright.synthesis.sampling import SampleSummary, sample_set
from facewright.synthesis.statistics import EmbeddingStatistics, fit_statistics, load_statistics, save_statistics

__all__ = [
    "CropEncoder",
    "EmbeddedPhotos",
    "EmbeddingStatistics",
    "FaceGenerator",
    "SampleSummary",
    "contexts_from_photos",
    "embed_photos",
    "fit_statistics",
    "fitted_contexts",
    "image_seed",
    "load_statistics",
    "sample_set",
    "save_statistics",
    "start_noise",
    "step_noise",
    "uniform_contexts",
]
