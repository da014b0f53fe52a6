"""The identity term of a small base model's training: the faces of guessed scenes against those of the scenes."""

from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from facewright.personalise.train_denoiser import aligned_faces


class FaceTerm:
    """How far the faces in guessed pictures, or latents of them, are from those in the scenes' own.

    Args:
        identify: embeddings (B, D) of crops (B, 3, 112, 112) RGB in [-1, 1], with gradients to the crops.
        decode: latents (B, C, h, w) to pictures (B, 3, H, W) RGB in [-1, 1], with gradients to the latents; None: what
            is judged are pictures.
    """

    def __init__(self, identify: Callable[[Tensor], Tensor], decode: Callable[[Tensor], Tensor] | None = None) -> None:
        self._identify, self._decode = identify, decode

    def __call__(self, guess: Tensor, clean: Tensor, points: np.ndarray, *, generator: torch.Generator) -> Tensor:
        """One minus the cosine of one face of each scene, (B,).

        Args:
            guess: pictures or latents that gradients run to.
            clean: those of the scenes themselves.
            points: of the people's faces in the pictures, (B, P, 5, 2), NaN where there are fewer; one is drawn.
            generator: of the draw.
        """
        there = torch.from_numpy(~np.isnan(points).any((2, 3)))
        drawn = torch.multinomial(there.float(), 1, generator=generator)[:, 0].numpy()
        chosen = points[np.arange(len(points)), drawn]
        with torch.no_grad():
            real = self._embedded(clean, chosen)
        return 1 - F.cosine_similarity(self._embedded(guess, chosen), real)

    def _embedded(self, judged: Tensor, points: np.ndarray) -> Tensor:
        pictures = judged if self._decode is None else self._decode(judged)
        return self._identify(aligned_faces(pictures.float().clamp(-1, 1), points))
