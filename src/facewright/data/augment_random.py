"""RandAugment (Cubuk et al. 2020) as IDiff-Face trains recognisers with it: 4 operations of magnitude 1 ... 16."""

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from facewright.data import augment_colour as colour

BINS = 31  # magnitudes are numbered 0 ... 30
SHEAR = 0.3
SHIFT = 150 / 331  # of the width
ANGLE = 30.0  # degrees
ENHANCE = 0.9

# Of pixels in [0, 255] and strengths (B,): the share of the full magnitude in [0, 1], times -1 or 1.
Operation = Callable[[Tensor, Tensor], Tensor]


def rand_augment(images: Tensor, *, operations: int = 4, magnitude: int = 16, generator: torch.Generator) -> Tensor:
    """Apply `operations` random operations, one after another, to each image.

    Each is drawn uniformly from identity, shear and shift along x, rotation, brightness, colour, contrast, sharpness,
    posterise, solarise, autocontrast, equalise and grey; its magnitude uniformly from the bins 1 ... `magnitude` of 31.
    Pixels moved in from outside are black; moved pixels are the nearest ones. Pillow rounds after every operation,
    here only posterise and equalise do.

    Args:
        images: (B, 3, H, W) in [-1, 1].
        operations: how many for each image.
        magnitude: highest bin, 1 ... 30.
        generator: of every draw, whatever the images' device.
    """
    count = len(images)
    pixels = (images + 1) * 127.5
    for _ in range(operations):
        kinds = torch.randint(len(OPERATIONS), (count,), generator=generator)
        shares = torch.randint(1, magnitude + 1, (count,), generator=generator) / (BINS - 1)
        signs = 2.0 * torch.randint(2, (count,), generator=generator) - 1
        for number, operation in enumerate(OPERATIONS.values()):
            rows = (kinds == number).nonzero()[:, 0]
            if len(rows):
                strengths = (shares[rows] * signs[rows]).to(images.device)
                rows = rows.to(images.device)
                pixels = pixels.index_copy(0, rows, operation(pixels[rows], strengths))
    return pixels / 127.5 - 1


def shear(pixels: Tensor, slope: Tensor) -> Tensor:
    """Move each row by `slope` times its height above the picture's top, in pixels."""
    zero, one = torch.zeros_like(slope), torch.ones_like(slope)
    return _moved(pixels, torch.stack([one, slope, zero, zero, one, zero], 1).view(-1, 2, 3))


def shift(pixels: Tensor, by: Tensor) -> Tensor:
    """Take each pixel from `by` pixels, cut to whole ones, further right."""
    zero, one = torch.zeros_like(by), torch.ones_like(by)
    return _moved(pixels, torch.stack([one, zero, by.trunc(), zero, one, zero], 1).view(-1, 2, 3))


def rotate(pixels: Tensor, degrees: Tensor) -> Tensor:
    """Turn counter-clockwise about the picture's centre."""
    angle = degrees * (math.pi / 180)
    cosine, sine = angle.cos(), angle.sin()
    x, y = pixels.shape[3] / 2, pixels.shape[2] / 2
    rows = [cosine, -sine, x - cosine * x + sine * y, sine, cosine, y - sine * x - cosine * y]
    return _moved(pixels, torch.stack(rows, 1).view(-1, 2, 3))


def _moved(pixels: Tensor, matrix: Tensor) -> Tensor:
    """The pixel of each output place (x, y) is the one at `matrix` (B, 2, 3) times (x, y, 1), or black outside.

    Places are measured from the picture's corner, so that the first pixel's middle is (0.5, 0.5), as in Pillow.
    """
    height, width = pixels.shape[2:]
    y, x = torch.meshgrid(
        torch.arange(height, device=pixels.device, dtype=pixels.dtype) + 0.5,
        torch.arange(width, device=pixels.device, dtype=pixels.dtype) + 0.5,
        indexing="ij",
    )
    places = torch.stack([x, y, torch.ones_like(x)], 2).view(1, -1, 3) @ matrix.to(pixels.dtype).transpose(1, 2)
    size = torch.tensor([width, height], device=pixels.device, dtype=pixels.dtype)
    grid = (places * (2 / size) - 1).view(-1, height, width, 2)
    return F.grid_sample(pixels, grid, mode="nearest", padding_mode="zeros", align_corners=False)


OPERATIONS: dict[str, Operation] = {
    "identity": lambda pixels, _: pixels,
    "shear_x": lambda pixels, by: shear(pixels, SHEAR * by),
    "translate_x": lambda pixels, by: shift(pixels, SHIFT * pixels.shape[3] * by),
    "rotate": lambda pixels, by: rotate(pixels, ANGLE * by),
    "brightness": lambda pixels, by: colour.brightness(pixels, 1 + ENHANCE * by),
    "colour": lambda pixels, by: colour.saturation(pixels, 1 + ENHANCE * by),
    "contrast": lambda pixels, by: colour.contrast(pixels, 1 + ENHANCE * by),
    "sharpness": lambda pixels, by: colour.sharpness(pixels, 1 + ENHANCE * by),
    "posterise": lambda pixels, by: colour.posterise(pixels, 8 - (4 * by.abs()).round()),
    "solarise": lambda pixels, by: colour.solarise(pixels, 255 * (1 - by.abs())),
    "autocontrast": lambda pixels, _: colour.stretch(pixels),
    "equalise": lambda pixels, _: colour.equalise(pixels),
    "grey": lambda pixels, _: colour.grey(pixels),
}
