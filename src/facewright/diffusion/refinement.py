"""Finished latents moved until an encoder sees the wanted identity in their picture.

A denoiser draws only part of what an embedding says of a face. The gradient of the cosine between the picture's
embedding and the wanted one shows the rest: a few short steps along it, through decoder and encoder, after the last
noise level. It is the identity guidance of FreeDoM (Yu et al. 2023, Section 4.2, with a face encoder's distance as the
energy) and of universal guidance (Bansal et al. 2023), taken at the clean end alone, where it costs no call of the
denoiser and goes with any sampler.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from facewright.errors import ConfigError

CROP = 112
REACH = 3  # pixels by which a step's crop may be off its place
STEPS_MOST = 50


@dataclass(frozen=True)
class Refinement:
    """How latents are refined.

    embed: crops (B, 3, 112, 112) in [-1, 1] to unit embeddings (B, D), differentiable, such as an encoder.
    steps: in [1, 50].
    size: root mean square of a step, in the latents' own units (about unit normal).
    """

    embed: Callable[[Tensor], Tensor]
    steps: int
    size: float = 0.03

    def __post_init__(self) -> None:
        if not 1 <= self.steps <= STEPS_MOST:
            raise ConfigError(f"steps of refinement must lie in [1, {STEPS_MOST}], got {self.steps}")


def refined(latents: Tensor, contexts: Tensor, decode: Callable[[Tensor], Tensor], refinement: Refinement) -> Tensor:
    """Move the latents towards the contexts.

    Step k goes along the gradient, scaled to one length for every picture. Each step looks at the picture from a little
    elsewhere, every other one in the mirror, so that no pattern of single pixels pleases the encoder. Which step looks
    from where is fixed: a picture depends on its own latent and context alone.

    Args:
        latents: (B, C, h, w).
        contexts: wanted embeddings, unit rows (B, D).
        decode: latents to pictures (B, 3, H, W) in [-1, 1], H and W at least 118; differentiable.
        refinement: encoder, steps and their size.

    Returns:
        (B, C, h, w); as they were where a gradient is zero or not finite.
    """
    with torch.inference_mode(mode=False), torch.enable_grad():
        latents, contexts = latents.clone(), contexts.clone()  # what inference mode made has no gradient
        length = refinement.size * latents[0].numel() ** 0.5
        for step in range(refinement.steps):
            latents.requires_grad_()
            embeddings = refinement.embed(_crop(decode(latents), step))
            if not embeddings.requires_grad:
                raise ConfigError("the encoder gives no gradient to refine pictures by; choose another")
            (gradient,) = torch.autograd.grad((embeddings * contexts).sum(), latents)
            norms = gradient.flatten(1).norm(dim=1).view(-1, *[1] * (latents.ndim - 1))
            usable = norms.isfinite() & (norms > 0)
            latents = (latents + torch.where(usable, gradient * (length / norms), 0.0)).detach()
    return latents


def _crop(pictures: Tensor, step: int) -> Tensor:
    """The central crop, off its place by up to 3 pixels in a way of the step's own."""
    span = 2 * REACH + 1
    top, left = (
        (side - CROP) // 2 - REACH + (factor * step) % span
        for side, factor in zip(pictures.shape[-2:], (3, 5), strict=True)
    )
    crop = pictures[:, :, top : top + CROP, left : left + CROP]
    return (crop.flip(3) if step % 2 else crop).contiguous(memory_format=torch.channels_last)
