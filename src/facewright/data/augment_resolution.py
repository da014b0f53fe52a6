"""Low resolution as AdaFace trains with it: each picture shrunk to a size of its own and enlarged again.

Resizing is linear in the pixels and the same along both axes, so shrinking and enlarging a picture is one matrix times
the picture times the matrix transposed; pictures of a batch differ only in their matrix.
"""

from collections.abc import Callable

import torch
from torch import Tensor

CUBIC = -0.75  # of OpenCV's bicubic kernel
LANCZOS = 4  # lobes


def low_resolutions(images: Tensor, *, share: float, smallest: float = 0.2, generator: torch.Generator) -> Tensor:
    """Shrink a random share of the images and enlarge them again (AdaFace, Kim et al. 2022).

    Each goes to a side of its own, uniform in [smallest, 1] times the side, and each of the two directions takes one of
    OpenCV's nearest, linear, area, cubic and Lanczos filters at random; none but area averages when it shrinks.

    Args:
        images: (B, C, S, S) in [-1, 1].
        share: of the images.
        smallest: share of the side.
        generator: of every draw, whatever the images' device.
    """
    count, side = len(images), images.shape[-1]
    chosen = torch.rand(count, generator=generator) < share
    scale = smallest + (1 - smallest) * torch.rand(count, generator=generator)
    sizes = (side * scale).long().clamp(1, side)
    filters = torch.randint(len(FILTERS), (2, count), generator=generator)
    rows = chosen.nonzero()[:, 0]
    if not len(rows):
        return images
    there = [resizing(side, int(sizes[row]), FILTERS[int(filters[0, row])]) for row in rows]
    back = [resizing(int(sizes[row]), side, FILTERS[int(filters[1, row])]) for row in rows]
    matrix = torch.stack([up @ down for up, down in zip(back, there, strict=True)])
    matrix = matrix.to(images.device, images.dtype)[:, None]
    rows = rows.to(images.device)
    changed = matrix @ images[rows] @ matrix.transpose(2, 3)
    return images.index_copy(0, rows, changed.clamp(-1, 1))


def resizing(inputs: int, outputs: int, kind: str) -> Tensor:
    """The matrix (outputs, inputs) that resizes as OpenCV's filter `kind` does.

    Args:
        inputs: length before.
        outputs: length after.
        kind: one of `FILTERS`.
    """
    if inputs == outputs:
        return torch.eye(inputs)
    return _MATRICES[kind](inputs, outputs)


def _nearest(inputs: int, outputs: int) -> Tensor:
    places = torch.arange(outputs) * inputs // outputs
    return torch.eye(inputs)[places]


def _linear(inputs: int, outputs: int) -> Tensor:
    return _from_kernel(inputs, outputs, 1, lambda x: 1 - x.abs())


def _cubic(inputs: int, outputs: int) -> Tensor:
    def kernel(x: Tensor) -> Tensor:
        x = x.abs()
        near = ((CUBIC + 2) * x - (CUBIC + 3)) * x * x + 1
        far = ((CUBIC * x - 5 * CUBIC) * x + 8 * CUBIC) * x - 4 * CUBIC
        return torch.where(x <= 1, near, far)

    return _from_kernel(inputs, outputs, 2, kernel)


def _lanczos(inputs: int, outputs: int) -> Tensor:
    return _from_kernel(inputs, outputs, LANCZOS, lambda x: torch.sinc(x) * torch.sinc(x / LANCZOS))


def _area(inputs: int, outputs: int) -> Tensor:
    """The mean over what an output pixel covers; enlarging, a blend only where an output pixel straddles two."""
    scale = inputs / outputs
    if outputs > inputs:
        place = torch.arange(outputs, dtype=torch.float64)
        first = (place * scale).floor()
        share = (place + 1) - (first + 1) / scale
        share = torch.where(share <= 0, 0.0, share - share.floor())
        second = (first + 1).clamp_max(inputs - 1).long()
        identity = torch.eye(inputs, dtype=torch.float64)
        return (identity[first.long()] * (1 - share)[:, None] + identity[second] * share[:, None]).float()
    start = torch.arange(outputs, dtype=torch.float64)[:, None] * scale
    pixel = torch.arange(inputs, dtype=torch.float64)[None, :]
    covered = torch.minimum(start + scale, pixel + 1) - torch.maximum(start, pixel)
    return (covered.clamp_min(0) / scale).float()


def _from_kernel(inputs: int, outputs: int, reach: int, kernel: Callable[[Tensor], Tensor]) -> Tensor:
    """Weights of the `2 * reach` pixels around each place, summing to one; beyond the edge, its pixel is repeated."""
    centre = (torch.arange(outputs, dtype=torch.float64) + 0.5) * (inputs / outputs) - 0.5
    pixels = centre.floor()[:, None] + torch.arange(1 - reach, reach + 1)
    weights = kernel(pixels - centre[:, None])
    weights = weights / weights.sum(1, keepdim=True)
    matrix = torch.zeros(outputs, inputs, dtype=torch.float64)
    return matrix.scatter_add_(1, pixels.long().clamp(0, inputs - 1), weights).float()


_MATRICES: dict[str, Callable[[int, int], Tensor]] = {
    "nearest": _nearest,
    "linear": _linear,
    "area": _area,
    "cubic": _cubic,
    "lanczos": _lanczos,
}
FILTERS = tuple(_MATRICES)
