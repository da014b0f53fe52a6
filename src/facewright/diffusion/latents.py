"""Faces encoded once: the latents and embeddings that denoisers and decoders are trained on."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from facewright.data.images import to_tensor
from facewright.diffusion.autoencoder import Autoencoder
from facewright.diffusion.faces import TrainingFaces
from facewright.diffusion.vq_autoencoder import VQAutoencoder
from facewright.errors import ConfigError, DataError
from facewright.training.precision import arithmetic


@dataclass(frozen=True)
class LatentCache:
    """Every face encoded once.

    latents: float16 (N, 2, C, h, w), the picture and its mirror, about unit normal.
    embeddings: float32 (N, 2, D), unit length, of the picture and of its mirror; D 0 where nothing was embedded.
    masks: uint8 (N, 16, 16), 1 where the picture is real.
    held_out: (N,) bool, faces that training does not see.
    """

    latents: np.ndarray
    embeddings: np.ndarray
    masks: np.ndarray
    held_out: np.ndarray

    def __post_init__(self) -> None:
        count = len(self.latents)
        if self.latents.ndim != 5 or self.latents.shape[1] != 2 or self.embeddings.shape[:2] != (count, 2):
            raise DataError(
                f"latents must be (N, 2, C, h, w) and embeddings (N, 2, D), got {self.latents.shape} and "
                f"{self.embeddings.shape}; encode the faces again"
            )
        if self.masks.shape[:1] != (count,) or self.held_out.shape != (count,):
            raise DataError(
                f"{count} latents need as many masks and marks of who is held out, got {len(self.masks)} and "
                f"{len(self.held_out)}; encode the faces again"
            )

    def check_fits(self, *, channels: int, context_inputs: int | None) -> None:
        """Refuse a denoiser of another size than these latents and embeddings have."""
        wanted = self.embeddings.shape[2] if context_inputs is None else context_inputs
        if self.latents.shape[2] != channels or self.embeddings.shape[2] != wanted:
            raise ConfigError(
                f"the latents have {self.latents.shape[2]} channels and the embeddings {self.embeddings.shape[2]} "
                f"numbers, the network is for {channels} and {wanted}; change recipe.network"
            )


class LatentBatches:
    """The faces of a cache as tensors on the device of the training."""

    def __init__(self, cache: LatentCache, device: str) -> None:
        self.trained, self.held_out = (torch.from_numpy(np.flatnonzero(x)) for x in (~cache.held_out, cache.held_out))
        self._latents, self._embeddings = torch.from_numpy(cache.latents), torch.from_numpy(cache.embeddings)
        self._masks = torch.from_numpy(cache.masks)
        self._device = device
        self.shape = tuple(cache.latents.shape[2:])

    def clean(self, rows: Tensor, views: Tensor) -> Tensor:
        """Latents (B, C, h, w) float32 of rows (B,) and views (B,), 0 the picture and 1 its mirror; on the CPU."""
        return self._latents[rows, views].float()

    def contexts(self, rows: Tensor, views: Tensor) -> Tensor:
        """Embeddings (B, D) on the device."""
        return self._embeddings[rows, views].to(self._device)

    def mask(self, rows: Tensor, views: Tensor) -> Tensor:
        """1 where the picture is real, (B, 1, h, w) on the device."""
        mask = self._masks[rows].float()
        mask = torch.where(views[:, None, None] == 1, mask.flip(2), mask)[:, None].to(self._device)
        return mask if mask.shape[2:] == self.shape[1:] else torch.nn.functional.interpolate(mask, self.shape[1:])

    def to_device(self, latents: Tensor) -> Tensor:
        """Moved, in the layout that convolutions like."""
        return latents.to(self._device).contiguous(memory_format=torch.channels_last)


def cache_latents(
    faces: TrainingFaces,
    autoencoder: Autoencoder | VQAutoencoder,
    embed: Callable[[np.ndarray], np.ndarray] | None,
    *,
    batch: int = 64,
    progress: Callable[[int, int], None] | None = None,
) -> LatentCache:
    """Encode the faces and their mirrors.

    Args:
        faces: a pack, or what `open_faces` gives.
        autoencoder: in eval mode, on any device.
        embed: uint8 (N, 128, 128, 3) to unit (N, D); None for a denoiser without context.
        progress: called with (faces done, faces in all).
    """
    rows = np.flatnonzero(faces.sources >= 0)
    device = next(autoencoder.parameters()).device
    latents, embeddings = [], []
    for start in range(0, len(rows), batch):
        images = faces.images[rows[start : start + batch]]
        views = np.stack([images, images[:, :, ::-1]], 1).reshape(-1, *images.shape[1:])
        with torch.inference_mode(), arithmetic("auto", device):
            given = to_tensor(views).to(device)
            encoded = autoencoder.encode(given.contiguous(memory_format=torch.channels_last)).cpu()
        latents.append(encoded.half().numpy().reshape(len(images), 2, *encoded.shape[1:]))
        embedded = np.empty((len(views), 0), np.float32) if embed is None else embed(views)
        embeddings.append(embedded.reshape(len(images), 2, -1))
        if progress is not None:
            progress(min(start + batch, len(rows)), len(rows))
    return LatentCache(np.concatenate(latents), np.concatenate(embeddings), faces.masks[rows], faces.held_out[rows])
