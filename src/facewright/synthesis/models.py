"""What the networks must offer: any object with these attributes serves."""

from collections.abc import Callable, Mapping
from typing import Any, Protocol

import numpy as np
from torch import Tensor

from facewright.diffusion import Refinement, SamplerConfig


class CropEncoder(Protocol):
    """What synthesis uses of an encoder (facewright.encoders)."""

    @property
    def name(self) -> str: ...
    @property
    def sha256(self) -> str: ...
    @property
    def width(self) -> int: ...
    def embed(
        self,
        crops: np.ndarray,
        *,
        batch: int = 64,
        mirror: bool = False,
        progress: Callable[[int, int], None] | None = None,
    ) -> np.ndarray:
        """uint8 (N, 112, 112, 3) RGB to unit float32 (N, width)."""
        ...


class FaceGenerator(Protocol):
    """What synthesis uses of a generator (facewright.diffusion); it takes CPU tensors and moves them itself."""

    @property
    def name(self) -> str: ...
    @property
    def sha256(self) -> str: ...
    @property
    def image_size(self) -> int: ...
    @property
    def latent_shape(self) -> tuple[int, ...]: ...
    @property
    def context_width(self) -> int: ...
    @property
    def encoder_sha256(self) -> str | None: ...
    @property
    def card(self) -> Mapping[str, Any]: ...
    def sample(
        self,
        contexts: Tensor,
        noise: Tensor,
        *,
        sampler: str | SamplerConfig = "ddim",
        steps: int | None = None,
        guidance: float | None = None,
        negative: Tensor | None = None,
        step_noise: Callable[[int], Tensor] | None = None,
        refinement: Refinement | None = None,
        start: Tensor | None = None,
    ) -> Tensor:
        """Unit contexts (B, D) and noise (B, *latent_shape) to pictures (B, 3, H, W) in [-1, 1].

        A SamplerConfig, `negative`, `refinement` and `start` are only given where a set asks for more than sampler,
        steps and guidance.
        """
        ...
