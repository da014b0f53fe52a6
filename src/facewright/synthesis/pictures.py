"""Pictures of a generator outside any set: trial samples, and faces of nobody in particular."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from facewright.data.images import to_uint8
from facewright.diffusion import SamplerConfig
from facewright.errors import ConfigError, WorkError
from facewright.synthesis.models import FaceGenerator
from facewright.synthesis.noise import start_noise, step_noise


def draw_pictures(
    generator: FaceGenerator,
    contexts: np.ndarray,
    seeds: Sequence[int],
    *,
    fault: Callable[[int], str] | None = None,
    **options: Any,
) -> np.ndarray:
    """One picture a seed, uint8 (B, H, W, 3) RGB.

    Args:
        generator: makes them.
        contexts: unit rows, (B, D).
        seeds: of each picture's noise.
        fault: what to say where the picture of a row came out as NaN; None: a sentence that names the generator.
        options: sampler, steps, guidance and what else the generator takes.

    Raises:
        WorkError: the generator gave NaN.
    """
    shape = tuple(generator.latent_shape)
    with torch.inference_mode():
        pictures = generator.sample(
            torch.from_numpy(contexts), start_noise(seeds, shape), step_noise=step_noise(seeds, shape), **options
        )
    finite = torch.isfinite(pictures).flatten(1).all(dim=1)
    if not bool(finite.all()):
        if fault is None:
            raise WorkError(f"the generator {generator.name!r} gave NaN; lower the guidance or change the sampler")
        raise WorkError(fault(int((~finite).nonzero()[0])))
    return to_uint8(pictures)


def drawing_options(config: SamplerConfig) -> dict[str, Any]:
    """How a generator is told to sample: by the three common settings where there are no more, else by the record."""
    plain = {"sampler": config.sampler, "steps": config.steps, "guidance": config.guidance}
    return plain if config.record() == plain else {"sampler": config}


def nobody_config(generator: FaceGenerator, config: SamplerConfig) -> SamplerConfig:
    """The same way of sampling under the empty context alone.

    An unconditional generator (context width 0) knows no other context. One that was trained with the context left out
    now and then gives faces of nobody too: with a guidance weight of 0, at all times, only its empty context counts (Ho
    and Salimans 2022, Eq. 6).
    """
    guidance = 0.0 if generator.context_width else 1.0
    return replace(config, guidance=guidance, guidance_interval=(0.0, 1.0), identity_from=1.0)


def faces_of_nobody(generator: FaceGenerator, seeds: Sequence[int], config: SamplerConfig) -> np.ndarray:
    """Pictures under the empty context, uint8 (B, H, W, 3) RGB; `config` is what `nobody_config` gives."""
    contexts = np.zeros((len(seeds), generator.context_width), np.float32)
    return draw_pictures(generator, contexts, seeds, **drawing_options(config))


def check_batch(batch: int) -> None:
    """Refuse a number below 1."""
    if batch < 1:
        raise ConfigError(f"batch must be at least 1, got {batch}")
