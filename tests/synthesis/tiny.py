"""A generator and an encoder that are small, deterministic and honest: the encoder finds the context in the picture."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from facewright.data.images import to_tensor
from facewright.errors import ConfigError
from facewright.weights import Card

WIDTH = 64
ENCODER = "e" * 64


class TinyGenerator:
    """Paints the context as an 8 x 8 board of squares inside the aligned crop, and the noise as grain over it."""

    name = "tiny generator"
    sha256 = "a" * 64
    image_size = 128
    latent_shape = (2, 4, 4)
    context_width = WIDTH
    encoder_sha256: str | None = ENCODER
    card: Mapping[str, Any] = {"data": "drawn boards", "licence": "Apache-2.0"}

    def __init__(self) -> None:
        self.calls: list[tuple[Tensor, Tensor]] = []
        self.before: Callable[[int], None] = lambda _: None
        self.broken: int | None = None  # row that comes out as NaN

    def sample(
        self,
        contexts: Tensor,
        noise: Tensor,
        *,
        sampler: str = "ddim",
        steps: int = 25,
        guidance: float = 1.0,
        step_noise: Callable[[int], Tensor] | None = None,
    ) -> Tensor:
        self.before(len(self.calls))
        self.calls.append((contexts, noise))
        if sampler not in ("ddim", "ddpm"):
            raise ConfigError(f"unknown sampler {sampler!r}")
        board = torch.zeros(len(contexts), 1, 128, 128)
        board[:, :, 8:120, 8:120] = contexts.reshape(-1, 1, 8, 8).repeat_interleave(14, 2).repeat_interleave(14, 3)
        grain = noise.mean(dim=1, keepdim=True)
        if sampler == "ddpm" and step_noise is not None:
            grain = grain + sum(step_noise(step) for step in range(steps)).mean(dim=1, keepdim=True)
        pictures = guidance * board + 0.1 * grain.repeat_interleave(32, 2).repeat_interleave(32, 3)
        # Batch statistics at the level of rounding, as real networks have: the plan of batches is part of the bits.
        pictures = (pictures + 2e-3 * pictures.mean()).clamp(-1, 1).repeat(1, 3, 1, 1)
        if self.broken is not None:
            pictures[self.broken] = torch.nan
        return pictures


def tiny_card(model: type[TinyGenerator], **architecture: Any) -> Card:
    """The card of a small generator's file."""
    network = {"denoiser": {"context_inputs": model.context_width or None}}
    return Card(model.name, "generator", {**network, **architecture}, "drawn boards", "Apache-2.0", "by hand")


class TinyEncoder:
    """The means of an 8 x 8 board of squares, scaled to unit length."""

    name = "tiny encoder"
    sha256 = ENCODER
    width = WIDTH

    def embed(
        self,
        crops: np.ndarray,
        *,
        batch: int = 64,
        mirror: bool = False,
        progress: Callable[[int, int], None] | None = None,
    ) -> np.ndarray:
        assert crops.shape[1:] == (112, 112, 3)
        means = torch.nn.functional.avg_pool2d(to_tensor(crops).mean(dim=1, keepdim=True), 14).flatten(1)
        if mirror:
            means = means + means.reshape(-1, 8, 8).flip(2).reshape(-1, 64)
        return (means / means.norm(dim=1, keepdim=True).clamp_min(1e-6)).numpy()
