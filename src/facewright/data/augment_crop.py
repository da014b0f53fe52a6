"""Random crops, resized to the picture's own size or left in their place on black (ADMIS, AdaFace)."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

ATTEMPTS = 10  # boxes drawn until one lies inside the picture, as in torchvision's RandomResizedCrop
AREA = (0.2, 1.0)  # of the picture
RATIO = (3 / 4, 4 / 3)  # width to height


def mirror(images: Tensor, *, share: float = 0.5, generator: torch.Generator) -> Tensor:
    """Mirror a random share of the images (B, C, H, W) left to right."""
    chosen = (torch.rand(len(images), generator=generator) < share).to(images.device)
    return torch.where(chosen.view(-1, 1, 1, 1), images.flip(3), images)


def random_crop(
    images: Tensor,
    *,
    share: float,
    area: tuple[float, float] = AREA,
    ratio: tuple[float, float] = RATIO,
    in_place: bool = False,
    generator: torch.Generator,
) -> Tensor:
    """Crop a random share of the images at random, each by a box of its own.

    Args:
        images: (B, C, H, W) in [-1, 1].
        share: of the images that are cropped.
        area: range of the box's area, as a share of the picture's.
        ratio: range of its width over its height, drawn uniformly in the logarithm.
        in_place: leave the crop at its place and blacken the rest, as AdaFace does, instead of resizing it
            (bilinear) to (H, W), as ADMIS does.
        generator: of every draw, whatever the images' device.
    """
    height, width = images.shape[2:]
    chosen = torch.rand(len(images), generator=generator) < share
    boxes = random_boxes(len(images), height, width, area=area, ratio=ratio, generator=generator)
    if not bool(chosen.any()):
        return images
    rows = chosen.nonzero()[:, 0].to(images.device)
    top, left, tall, wide = (value.to(images.device) for value in boxes[chosen].T)
    cut = _keep_inside if in_place else _resize
    return images.index_copy(0, rows, cut(images[rows], top, left, tall, wide))


def random_boxes(
    count: int,
    height: int,
    width: int,
    *,
    area: tuple[float, float] = AREA,
    ratio: tuple[float, float] = RATIO,
    generator: torch.Generator,
) -> Tensor:
    """Boxes (count, 4) of top, left, height and width in whole pixels, int64, inside a picture (height, width).

    Of ten boxes drawn the first that fits is taken; where none does, the whole picture.
    """
    drawn = torch.rand(4, count, ATTEMPTS, generator=generator)
    areas = height * width * (area[0] + (area[1] - area[0]) * drawn[0])
    low, high = math.log(ratio[0]), math.log(ratio[1])
    ratios = (low + (high - low) * drawn[1]).exp()
    wide = (areas * ratios).sqrt().round().long()
    tall = (areas / ratios).sqrt().round().long()
    fits = (wide > 0) & (wide <= width) & (tall > 0) & (tall <= height)
    top = (drawn[2] * (height - tall + 1)).long()
    left = (drawn[3] * (width - wide + 1)).long()
    boxes = torch.stack([top, left, tall, wide], 2)
    first = fits.byte().argmax(1)
    taken = boxes[torch.arange(count), first]
    whole = torch.tensor([0, 0, height, width])
    return torch.where(fits.any(1)[:, None], taken, whole)


def _resize(images: Tensor, top: Tensor, left: Tensor, tall: Tensor, wide: Tensor) -> Tensor:
    """Each box enlarged to the whole picture; at its edge the box's last pixels are repeated, none from outside."""
    height, width = images.shape[2:]
    y = _places(height, top, tall, images.dtype)
    x = _places(width, left, wide, images.dtype)
    grid = torch.stack(torch.broadcast_tensors(_unit(x, width)[:, None, :], _unit(y, height)[:, :, None]), 3)
    return F.grid_sample(images, grid, mode="bilinear", padding_mode="border", align_corners=False)


def _places(size: int, start: Tensor, length: Tensor, dtype: torch.dtype) -> Tensor:
    """Where each of `size` output pixels lies in the picture, in pixels, (B, size)."""
    steps = (torch.arange(size, device=start.device, dtype=dtype) + 0.5) / size
    inside = steps * length[:, None] - 0.5
    return start[:, None] + inside.clamp_min(0).minimum(length[:, None] - 1)


def _unit(places: Tensor, size: int) -> Tensor:
    """Pixels to the [-1, 1] of grid_sample."""
    return (places + 0.5) * (2 / size) - 1


def _keep_inside(images: Tensor, top: Tensor, left: Tensor, tall: Tensor, wide: Tensor) -> Tensor:
    height, width = images.shape[2:]
    y = torch.arange(height, device=images.device)[None, :]
    x = torch.arange(width, device=images.device)[None, :]
    rows = (y >= top[:, None]) & (y < (top + tall)[:, None])
    columns = (x >= left[:, None]) & (x < (left + wide)[:, None])
    return torch.where((rows[:, :, None] & columns[:, None, :])[:, None], images, -1.0)
