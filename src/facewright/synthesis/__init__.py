"""Draw identities, make their pictures, write a labelled set."""

from facewright.synthesis.cone import tilt, within_cone
from facewright.synthesis.context_images import add_context_images, pictures_by_name
from facewright.synthesis.contexts import (
    EmbeddedPhotos,
    contexts_from_photos,
    embed_pack,
    embed_photos,
    fitted_contexts,
    uniform_contexts,
)
from facewright.synthesis.generated import generated_contexts
from facewright.synthesis.groups import balanced_contexts, fit_groups
from facewright.synthesis.licences import Licence, narrowest_licence
from facewright.synthesis.models import CropEncoder, FaceGenerator
from facewright.synthesis.negatives import NEGATIVES, negative_rows
from facewright.synthesis.noise import image_seed, start_noise, step_noise
from facewright.synthesis.packing import packed_contexts
from facewright.synthesis.resample import ResampleReport, resample_set
from facewright.synthesis.sampling import SampleSummary, sample_set
from facewright.synthesis.search import FoundContexts, Limits, SearchReport, filter_contexts
from facewright.synthesis.set_card import write_set_card
from facewright.synthesis.set_filter import FilterReport, SetLimits, filter_set
from facewright.synthesis.shares import Share
from facewright.synthesis.starts import StartingPictures
from facewright.synthesis.statistics import (
    EmbeddingStatistics,
    centre_statistics,
    fit_statistics,
    load_statistics,
    save_statistics,
)
from facewright.synthesis.trials import Trials, consistent, try_identities
from facewright.synthesis.variation import PersonVariation, fit_variation, load_variation, save_variation, varied
from facewright.synthesis.workers import sample_with_workers

__all__ = [
    "NEGATIVES",
    "CropEncoder",
    "EmbeddedPhotos",
    "EmbeddingStatistics",
    "FaceGenerator",
    "FilterReport",
    "FoundContexts",
    "Licence",
    "Limits",
    "PersonVariation",
    "ResampleReport",
    "SampleSummary",
    "SearchReport",
    "SetLimits",
    "Share",
    "StartingPictures",
    "Trials",
    "add_context_images",
    "balanced_contexts",
    "centre_statistics",
    "consistent",
    "contexts_from_photos",
    "embed_pack",
    "embed_photos",
    "filter_contexts",
    "filter_set",
    "fit_groups",
    "fit_statistics",
    "fit_variation",
    "fitted_contexts",
    "generated_contexts",
    "image_seed",
    "load_statistics",
    "load_variation",
    "narrowest_licence",
    "negative_rows",
    "packed_contexts",
    "pictures_by_name",
    "resample_set",
    "sample_set",
    "sample_with_workers",
    "save_statistics",
    "save_variation",
    "start_noise",
    "step_noise",
    "tilt",
    "try_identities",
    "uniform_contexts",
    "varied",
    "within_cone",
    "write_set_card",
]
