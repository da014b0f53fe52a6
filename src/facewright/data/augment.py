"""Augmentations of face batches, on the batch's own device and from a given generator."""

import torch
import torch.nn.functional as F
from torch import Tensor

LUMA = (0.299, 0.587, 0.114)  # ITU-R BT.601


def jitter_crop(images: Tensor, size: int, *, shift: int, mirror: bool = True, generator: torch.Generator) -> Tensor:
    """Cut (size, size) from each image at its centre moved by up to `shift` pixels, and mirror half of them.

    Args:
        images: (B, 3, H, W).
        size: pixels.
        shift: pixels, at most (H - size) / 2.
        mirror: whether half are mirrored.
        generator: of every draw.
    """
    count, _, height, width = images.shape
    top = (height - size) // 2 + torch.randint(-shift, shift + 1, (count,), generator=generator)
    left = (width - size) // 2 + torch.randint(-shift, shift + 1, (count,), generator=generator)
    flips = (torch.rand(count, generator=generator) < 0.5).tolist() if mirror else [False] * count
    crops = [
        image[:, y : y + size, x : x + size].flip(2) if flip else image[:, y : y + size, x : x + size]
        for image, y, x, flip in zip(images, top.tolist(), left.tolist(), flips, strict=True)
    ]
    return torch.stack(crops)


def photometric(images: Tensor, *, strength: float, generator: torch.Generator) -> Tensor:
    """Brightness, contrast and saturation by factors in [1 - strength, 1 + strength], one draw an image.

    Args:
        images: (B, 3, H, W) in [-1, 1]; the result is clipped to it.
    """
    count = len(images)

    def factor() -> Tensor:
        draw = torch.rand(count, 1, 1, 1, generator=generator) * 2 - 1
        return (1 + strength * draw).to(images.device)

    luma = torch.tensor(LUMA, device=images.device).view(1, 3, 1, 1)
    x = (images + 1) * factor() - 1
    mean = x.mean((1, 2, 3), keepdim=True)
    x = mean + (x - mean) * factor()
    grey = (x * luma).sum(1, keepdim=True)
    return (grey + (x - grey) * factor()).clamp(-1, 1)


def grey(images: Tensor, *, share: float, generator: torch.Generator) -> Tensor:
    """Turn a random share of the images grey."""
    chosen = (torch.rand(len(images), 1, 1, 1, generator=generator) < share).to(images.device)
    luma = torch.tensor(LUMA, device=images.device).view(1, 3, 1, 1)
    return torch.where(chosen, (images * luma).sum(1, keepdim=True).expand_as(images), images)


def low_resolution(images: Tensor, *, share: float, smallest: float, generator: torch.Generator) -> Tensor:
    """Shrink a random share of the images and enlarge them again (AdaFace's low-resolution augmentation).

    One size for the batch's chosen images, uniform in [smallest, 1] times the side.
    """
    chosen = torch.rand(len(images), generator=generator) < share
    side = images.shape[-1]
    small = max(8, int(side * (smallest + (1 - smallest) * float(torch.rand((), generator=generator)))))
    if not bool(chosen.any()) or small >= side:
        return images
    out = images.clone()
    shrunk = F.interpolate(images[chosen], size=(small, small), mode="bilinear", antialias=True, align_corners=False)
    out[chosen] = F.interpolate(shrunk, size=(side, side), mode="bilinear", align_corners=False)
    return out
