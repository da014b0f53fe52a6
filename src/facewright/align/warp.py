"""Cut an aligned crop out of a photo."""

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray

from facewright.align.template import TEMPLATE_SIZE, similarity
from facewright.errors import InputError


def warp(image: NDArray[np.uint8], matrix: ArrayLike, *, size: int = TEMPLATE_SIZE) -> NDArray[np.uint8]:
    """Resample `image` through an affine matrix: bilinear between pixel centres, 0 outside the image.

    Args:
        image: uint8 (H, W, 3).
        matrix: 3 x 3 or 2 x 3, from photo pixels to crop pixels (see `similarity`).
        size: side of the crop in pixels.

    Returns:
        uint8 (size, size, 3), the channel order of `image`.

    Raises:
        InputError: the image or the matrix has another shape or type, or the matrix cannot be inverted.
    """
    _check_image(image)
    affine = np.asarray(matrix, dtype=np.float64)
    if affine.shape not in ((3, 3), (2, 3)) or not np.isfinite(affine).all():
        raise InputError(f"the matrix must be finite and 3 x 3 or 2 x 3, got shape {affine.shape}")
    if abs(np.linalg.det(affine[:2, :2])) < 1e-18:
        raise InputError("the matrix maps the photo to a line or a point and cannot be inverted")
    crop = cv2.warpAffine(
        image, affine[:2], (size, size), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT, borderValue=0
    )
    return np.asarray(crop, dtype=np.uint8)


def warp_face(
    image: NDArray[np.uint8], points: ArrayLike, *, size: int = TEMPLATE_SIZE, margin: float = 0.0
) -> NDArray[np.uint8]:
    """Align the face at five points to the ArcFace template.

    Where the photo holds the face at twice the crop's scale or more, the photo is first shrunk by a whole factor
    (mean of its pixels). Published code samples the photo directly, which in a large photo skips most pixels and gives
    jagged crops; below a factor of two nothing changes.

    Args:
        image: uint8 (H, W, 3).
        points: (5, 2) x, y in pixels of `image`, in the template's order.
        size: side of the crop in pixels.
        margin: width, in pixels of the 112 x 112 template, added on every side. size=128 with margin=8 keeps the
            template's scale and holds the 112 x 112 crop in its centre.

    Returns:
        uint8 (size, size, 3).

    Raises:
        InputError: `size` or `margin` is out of range, or the points do not fix a similarity.
    """
    _check_image(image)
    check_canvas(size, margin)
    matrix = _to_canvas(size, margin) @ similarity(points)
    scale = np.sqrt(abs(np.linalg.det(matrix[:2, :2])))
    factor = int(min(1.0 / scale, *image.shape[:2])) if scale > 0 else 1
    if factor >= 2:
        image, matrix = _shrink(image, factor), matrix @ _from_shrunk(factor)
    return warp(image, matrix, size=size)


def check_canvas(size: int, margin: float) -> None:
    """Raise InputError unless a crop may have this side and margin (see `warp_face`)."""
    if not 1 <= size <= 8192:
        raise InputError(f"size must lie in [1, 8192] pixels, got {size}")
    if not 0 <= margin <= 1000:
        raise InputError(f"margin must lie in [0, 1000] template pixels, got {margin}")


def _to_canvas(size: int, margin: float) -> NDArray[np.float64]:
    """Template pixels to pixels of a crop with another side and a margin.

    Template and crop share their outer edges (pixel i covers [i - 0.5, i + 0.5]), as in an image resize.
    """
    scale = size / (TEMPLATE_SIZE + 2 * margin)
    shift = (margin + 0.5) * scale - 0.5
    return np.array([[scale, 0.0, shift], [0.0, scale, shift], [0.0, 0.0, 1.0]])


def _shrink(image: NDArray[np.uint8], factor: int) -> NDArray[np.uint8]:
    """Mean over blocks of `factor` x `factor` pixels; an incomplete last block repeats the edge."""
    height, width = image.shape[:2]
    padded = cv2.copyMakeBorder(image, 0, -height % factor, 0, -width % factor, cv2.BORDER_REPLICATE)
    shrunk = cv2.resize(padded, (padded.shape[1] // factor, padded.shape[0] // factor), interpolation=cv2.INTER_AREA)
    return np.asarray(shrunk, dtype=np.uint8)


def _from_shrunk(factor: int) -> NDArray[np.float64]:
    """Pixels of a shrunk image to pixels of the full one."""
    shift = (factor - 1) / 2
    return np.array([[factor, 0.0, shift], [0.0, factor, shift], [0.0, 0.0, 1.0]])


def _check_image(image: NDArray[np.uint8]) -> None:
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or 0 in image.shape:
        raise InputError(f"the image must be uint8 (H, W, 3), got {image.dtype} {image.shape}")
