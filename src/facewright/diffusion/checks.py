"""Pictures made while a generator is trained: the same held-out people, the same noise, every time."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from facewright.data.images import to_uint8
from facewright.diffusion.generator import Generator
from facewright.diffusion.latents import LatentCache
from facewright.diffusion.samplers_config import SamplerConfig
from facewright.errors import ConfigError
from facewright.training.seeds import seed_of


@dataclass(frozen=True)
class SampleChecks:
    """What is made and judged at every save of a generator's training."""

    pictures: int = 256  # one each of as many held-out faces, which are gone through again where there are fewer
    sampler: str | None = "unipc"  # None: as the generator's card says, whatever the two next
    steps: int = 16
    guidance: float = 1.0
    shown: int = 32  # how many of them are in the preview
    encoder: Path | None = None  # judges identity and realism; None: the encoder that the generator is trained with

    def __post_init__(self) -> None:
        if self.pictures < 2 or not 0 < self.shown <= self.pictures:
            raise ConfigError(
                f"pictures must be at least 2 and shown in 1 ... pictures, got {self.pictures} and {self.shown}"
            )
        self.sampling(SamplerConfig())

    def sampling(self, advised: SamplerConfig) -> SamplerConfig:
        """How the pictures of a generator are sampled whose card advises something."""
        return advised if self.sampler is None else SamplerConfig(self.sampler, self.steps, self.guidance)


def held_out_rows(cache: LatentCache, count: int) -> np.ndarray:
    """`count` rows of the cache spread over those that are held out, (count,); some twice where they do not suffice."""
    rows = np.flatnonzero(cache.held_out)
    if len(rows) < 2:
        raise ConfigError(f"checks need 2 faces that are held out, there are {len(rows)}; leave recipe.checks out")
    return rows[np.linspace(0, len(rows), count, endpoint=False).astype(int)]


def held_out_pictures(generator: Generator, cache: LatentCache, checks: SampleChecks, *, batch: int = 64) -> np.ndarray:
    """Pictures of held-out people, uint8 (N, 128, 128, 3) RGB; the same generator gives the same ones.

    Their contexts are the embeddings of `held_out_rows`, in this order. A generator without context makes faces of
    nobody.
    """
    rows = held_out_rows(cache, checks.pictures)
    sampling = checks.sampling(generator.sampling)
    noises = torch.Generator().manual_seed(seed_of("checks"))
    made = []
    for start in range(0, len(rows), batch):
        contexts = torch.from_numpy(cache.embeddings[rows[start : start + batch], 0])
        shape = (len(contexts), *generator.latent_shape)
        draws = [torch.randn(shape, generator=noises) for _ in range(1 + sampling.steps)]
        pictures = generator.sample(
            contexts[:, : generator.context_width],
            draws[0],
            sampler=sampling,
            step_noise=draws[1:].__getitem__,
        )
        made.append(to_uint8(pictures))
    return np.concatenate(made)


def picture_grid(pictures: np.ndarray, *, columns: int = 8, gap: int = 2) -> np.ndarray:
    """Pictures (N, H, W, 3) in rows of `columns`, white between them and where the last row is short."""
    height, width = pictures.shape[1:3]
    rows = -(-len(pictures) // columns)
    grid = np.full((rows * (height + gap) - gap, columns * (width + gap) - gap, 3), 255, np.uint8)
    for number, picture in enumerate(pictures):
        top, left = (number // columns) * (height + gap), (number % columns) * (width + gap)
        grid[top : top + height, left : left + width] = picture
    return grid
