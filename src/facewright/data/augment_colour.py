"""Changes of light and colour, one strength an image, as Pillow and torchvision define them.

Pixels here are floats in [0, 255], (B, 3, H, W), and stay unrounded; strengths are (B,).
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from facewright.data.augment import LUMA

LEVELS = 256


def blend(pixels: Tensor, other: Tensor, factor: Tensor) -> Tensor:
    """`other` at factor 0, `pixels` at 1, beyond it above 1; clipped."""
    return torch.lerp(other, pixels, factor.view(-1, 1, 1, 1)).clamp(0, LEVELS - 1)


def luma(pixels: Tensor) -> Tensor:
    """Grey values, (B, 1, H, W)."""
    return (pixels * torch.tensor(LUMA, device=pixels.device, dtype=pixels.dtype).view(1, 3, 1, 1)).sum(1, keepdim=True)


def brightness(pixels: Tensor, factor: Tensor) -> Tensor:
    """Towards black."""
    return blend(pixels, torch.zeros_like(pixels), factor)


def contrast(pixels: Tensor, factor: Tensor) -> Tensor:
    """Towards the mean grey of the picture."""
    return blend(pixels, luma(pixels).mean((2, 3), keepdim=True).expand_as(pixels), factor)


def saturation(pixels: Tensor, factor: Tensor) -> Tensor:
    """Towards grey."""
    return blend(pixels, luma(pixels).expand_as(pixels), factor)


def sharpness(pixels: Tensor, factor: Tensor) -> Tensor:
    """Towards a smoothed picture, whose border of one pixel is not smoothed."""
    kernel = torch.ones(3, 3, device=pixels.device, dtype=pixels.dtype)
    kernel[1, 1] = 5
    smooth = pixels.clone()
    inside = F.conv2d(pixels, (kernel / kernel.sum()).expand(3, 1, 3, 3), groups=3)
    smooth[:, :, 1:-1, 1:-1] = inside
    return blend(pixels, smooth, factor)


def posterise(pixels: Tensor, bits: Tensor) -> Tensor:
    """Keep the upper `bits` of each value, 1 ... 8."""
    step = (2.0 ** (8 - bits)).view(-1, 1, 1, 1).to(pixels)
    return (pixels.round() / step).floor() * step


def solarise(pixels: Tensor, threshold: Tensor) -> Tensor:
    """Invert values from the threshold up."""
    return torch.where(pixels >= threshold.view(-1, 1, 1, 1), LEVELS - 1 - pixels, pixels)


def stretch(pixels: Tensor) -> Tensor:
    """Stretch each channel to the whole range; a flat one stays ("AutoContrast")."""
    low, high = pixels.amin((2, 3), keepdim=True), pixels.amax((2, 3), keepdim=True)
    width = high - low
    return torch.where(width > 0, (pixels - low) * ((LEVELS - 1) / width.clamp_min(1e-6)), pixels)


def equalise(pixels: Tensor) -> Tensor:
    """Make the histogram of each channel as flat as whole values allow; one with a single value stays."""
    values = pixels.round().long().clamp(0, LEVELS - 1).flatten(2).flatten(0, 1)
    counts = torch.zeros(len(values), LEVELS, dtype=torch.long, device=pixels.device)
    counts.scatter_add_(1, values, torch.ones_like(values))
    last = counts.gather(1, values.amax(1, keepdim=True))
    step = (counts.sum(1, keepdim=True) - last) // (LEVELS - 1)
    before = counts.cumsum(1) - counts
    table = ((before + step // 2) // step.clamp_min(1)).clamp(0, LEVELS - 1)
    equal = table.gather(1, values)
    return torch.where(step > 0, equal, values).view_as(pixels).to(pixels.dtype)


def grey(pixels: Tensor) -> Tensor:
    """Grey in all three channels."""
    return luma(pixels).expand_as(pixels)


def colour_jitter(
    images: Tensor,
    *,
    share: float,
    brightness_by: float = 0.5,
    contrast_by: float = 0.5,
    saturation_by: float = 0.5,
    generator: torch.Generator,
) -> Tensor:
    """Brightness, contrast and saturation of a random share of the images, in a random order each (AdaFace).

    Args:
        images: (B, 3, H, W) in [-1, 1].
        share: of the images.
        brightness_by: factors are uniform in [1 - brightness_by, 1 + brightness_by]; likewise the other two.
        contrast_by: see above.
        saturation_by: see above.
        generator: of every draw, whatever the images' device.
    """
    count, changes = len(images), (brightness, contrast, saturation)
    spread = torch.tensor([brightness_by, contrast_by, saturation_by])
    chosen = torch.rand(count, generator=generator) < share
    factors = 1 + spread * (2 * torch.rand(count, 3, generator=generator) - 1)
    order = torch.rand(count, 3, generator=generator).argsort(1)
    pixels = (images + 1) * ((LEVELS - 1) / 2)
    for turn in range(3):
        for number, change in enumerate(changes):
            rows = (chosen & (order[:, turn] == number)).nonzero()[:, 0]
            if len(rows):
                factor = factors[rows, number].to(images.device)
                rows = rows.to(images.device)
                pixels = pixels.index_copy(0, rows, change(pixels[rows], factor))
    return torch.where(chosen.to(images.device).view(-1, 1, 1, 1), pixels * (2 / (LEVELS - 1)) - 1, images)
