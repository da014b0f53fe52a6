"""Whether a generator holds an identity, from a few trial samples."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from facewright.data.embeddings import check_embeddings
from facewright.data.images import centre_crop
from facewright.data.sets import CROP_SIZE
from facewright.diffusion import SamplerConfig, sampler_config
from facewright.errors import ConfigError
from facewright.synthesis.models import CropEncoder, FaceGenerator
from facewright.synthesis.noise import image_seed
from facewright.synthesis.pictures import check_batch, draw_pictures, drawing_options
from facewright.synthesis.search import Accept


@dataclass(frozen=True, eq=False)
class Trials:
    """What trial samples say of each identity."""

    to_context: np.ndarray  # (N,), mean cosine of an identity's samples to its context
    pairwise: np.ndarray  # (N,), mean cosine between two of its samples


def try_identities(
    generator: FaceGenerator,
    encoder: CropEncoder,
    names: Sequence[str],
    contexts: np.ndarray,
    *,
    samples: int = 8,
    seed: int = 0,
    sampler: str | SamplerConfig = "ddim",
    steps: int | None = None,
    guidance: float | None = None,
    batch: int = 64,
    progress: Callable[[int, int], None] | None = None,
) -> Trials:
    """Draw a few pictures of each identity, embed them and compare.

    The noise is that of the first pictures which `sample_set` makes with the same seed and names.

    Args:
        generator, encoder: the encoder must be the generator's own.
        names: of the identities.
        contexts: unit rows, (N, D).
        samples: pictures of each identity, at least 2.
        seed, sampler, steps, guidance, batch: as in `sample_set`.
        progress: called with (pictures done, pictures).
    """
    check_batch(batch)
    options = drawing_options(sampler_config(sampler, steps=steps, guidance=guidance))
    if samples < 2:
        raise ConfigError(f"consistency needs at least 2 trial samples of an identity, got {samples}")
    check_embeddings(names, contexts, source="contexts", width=generator.context_width)
    plan = [(place, index) for place in range(len(names)) for index in range(samples)]
    embedded = np.empty((len(plan), encoder.width))
    for start in range(0, len(plan), batch):
        part = plan[start : start + batch]
        pictures = draw_pictures(
            generator,
            contexts[[place for place, _ in part]],
            [image_seed(seed, names[place], index) for place, index in part],
            **options,
        )
        embedded[start : start + len(part)] = encoder.embed(centre_crop(pictures, CROP_SIZE), batch=len(part))
        if progress is not None:
            progress(start + len(part), len(plan))
    groups = embedded.reshape(len(names), samples, -1)
    sums = groups.sum(axis=1)
    # The square of a sum of unit vectors holds every ordered pair once, and every vector with itself.
    pairwise = ((sums**2).sum(axis=1) - (groups**2).sum(axis=(1, 2))) / (samples * (samples - 1))
    return Trials(np.einsum("nd,nd->n", sums, contexts.astype(np.float64)) / samples, pairwise)


def consistent(
    generator: FaceGenerator,
    encoder: CropEncoder,
    *,
    to_context: float = -1.0,
    pairwise: float = -1.0,
    samples: int = 8,
    seed: int = 0,
    sampler: str | SamplerConfig = "ddim",
    steps: int | None = None,
    guidance: float | None = None,
    batch: int = 64,
) -> Accept:
    """A question for `Limits.accept`: do `samples` trial samples agree with the context, and with each other?

    ADMIS filters its contexts "by intra-class similarity" and publishes no threshold; both readings are offered.

    Args:
        to_context: least mean cosine to the context.
        pairwise: least mean cosine between two samples.
        generator, encoder, samples, seed, sampler, steps, guidance, batch: as in `try_identities`.
    """
    for what, cosine in (("to_context", to_context), ("pairwise", pairwise)):
        if not -1 <= cosine < 1:
            raise ConfigError(f"{what} is a cosine and must lie in [-1, 1), got {cosine}")

    def accept(names: Sequence[str], rows: np.ndarray) -> np.ndarray:
        trials = try_identities(
            generator, encoder, names, rows, samples=samples, seed=seed, sampler=sampler, steps=steps,
            guidance=guidance, batch=batch,
        )  # fmt: skip
        return np.asarray((trials.to_context >= to_context) & (trials.pairwise >= pairwise))

    return accept
