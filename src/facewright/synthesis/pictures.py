"""Pictures of a generator outside any set: trial samples, and faces of nobody in particular."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch

from facewright.data.images import to_uint8
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


def faces_of_nobody(generator: FaceGenerator, seeds: Sequence[int], *, sampler: str, steps: int) -> np.ndarray:
    """Pictures under the empty context, uint8 (B, H, W, 3) RGB.

    An unconditional generator (context width 0) knows no other. One that was trained with the context left out now and
    then gives them too: with a guidance weight of 0 only its empty context counts (Ho and Salimans 2022, Eq. 6).
    """
    contexts = np.zeros((len(seeds), generator.context_width), np.float32)
    guidance = 0.0 if generator.context_width else 1.0
    return draw_pictures(generator, contexts, seeds, sampler=sampler, steps=steps, guidance=guidance)


def check_drawing(*, steps: int, batch: int) -> None:
    """Refuse numbers below 1."""
    for what, number in (("steps", steps), ("batch", batch)):
        if number < 1:
            raise ConfigError(f"{what} must be at least 1, got {number}")
