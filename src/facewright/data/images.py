"""Pixels as arrays and as tensors."""

import numpy as np
import torch
from torch import Tensor

from facewright.errors import InputError


def to_tensor(images: np.ndarray) -> Tensor:
    """uint8 (N, H, W, 3) RGB to float32 (N, 3, H, W) in [-1, 1]."""
    if images.dtype != np.uint8 or images.ndim != 4 or images.shape[-1] != 3:
        raise InputError(f"images must be uint8 (N, H, W, 3), got {images.dtype} {images.shape}")
    owned = np.require(images, requirements=["C", "W"])  # torch takes no read-only memory, such as a mapped file
    return torch.from_numpy(owned).permute(0, 3, 1, 2).float().div_(127.5).sub_(1.0)


def to_uint8(images: Tensor) -> np.ndarray:
    """float (N, 3, H, W) in [-1, 1] to uint8 (N, H, W, 3), rounded and clipped."""
    pixels = images.detach().float().add(1.0).mul(127.5).round().clamp(0, 255).to(torch.uint8)
    return np.ascontiguousarray(pixels.permute(0, 2, 3, 1).cpu().numpy())


def centre_crop(images: np.ndarray, size: int) -> np.ndarray:
    """Cut the central (size, size) of images (N, H, W, 3) or (H, W, 3)."""
    height, width = images.shape[-3], images.shape[-2]
    if height < size or width < size:
        raise InputError(f"cannot cut {size} x {size} from images of {height} x {width}")
    top, left = (height - size) // 2, (width - size) // 2
    return images[..., top : top + size, left : left + size, :]
