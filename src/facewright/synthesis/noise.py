"""The noise of an image is its own, whatever batch, worker or order it is made in."""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from facewright.training.seeds import seed_of


def image_seed(seed: int, name: str, index: int) -> int:
    """Seed of the noise of image `index` of the identity `name`, in [0, 2**63)."""
    return seed_of(seed, name, index)


def start_noise(seeds: Sequence[int], shape: tuple[int, ...]) -> Tensor:
    """What sampling starts from: unit Gaussian (B, *shape) float32 on CPU, one draw a seed.

    NumPy draws it because torch's CPU generator keeps only the low 32 bits of a seed: among 500,000 images some 30
    pairs would share their noise.
    """
    return torch.from_numpy(np.stack([_draw(seed, shape) for seed in seeds]))


def step_noise(seeds: Sequence[int], shape: tuple[int, ...]) -> Callable[[int], Tensor]:
    """For samplers that add noise on the way: gives, for step k, unit Gaussian (B, *shape), new at every step."""

    def draw(step: int) -> Tensor:
        return start_noise([seed_of(seed, "step", step) for seed in seeds], shape)

    return draw


def _draw(seed: int, shape: tuple[int, ...]) -> np.ndarray:
    return np.random.Generator(np.random.PCG64(seed)).standard_normal(shape, dtype=np.float32)
