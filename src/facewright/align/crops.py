"""A photo to its aligned crop."""

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from facewright.align.detector import DEFAULT_DETECTOR, Detector, Face, load_detector
from facewright.align.photos import check_image, read_photo
from facewright.align.template import TEMPLATE_SIZE
from facewright.align.warp import warp_face
from facewright.errors import DataError, InputError

FIND_BORDER = 0.25
"""Border that `find_faces` repeats around a crop, as a share of its side."""


def crop(
    photo: Path | str | NDArray[np.uint8],
    *,
    detector: Detector | str = DEFAULT_DETECTOR,
    size: int = TEMPLATE_SIZE,
    margin: float = 0.0,
    which: str = "largest",
) -> NDArray[np.uint8]:
    """Find a face in a photo and cut it out, aligned to the ArcFace template.

    Args:
        photo: a file, or upright RGB uint8 (H, W, 3).
        detector: a name (see `load_detector`), or one already loaded, which saves loading it for every photo.
        size: side of the crop in pixels.
        margin: width, in template pixels, added on every side (see `warp_face`).
        which: of several faces the "largest", the "surest", or the one nearest the "centre" of the photo.

    Returns:
        uint8 (size, size, 3) RGB.

    Raises:
        DataError: the photo cannot be read, or no face was found in it.
        InputError: an argument is out of range.
    """
    if isinstance(photo, np.ndarray):
        image, name = check_image(photo), "the photo"
    else:
        image, name = read_photo(photo), str(photo)
    if which not in _ORDERS:
        raise InputError(f"which must be one of {', '.join(_ORDERS)}, got {which!r}")
    finder = load_detector(detector) if isinstance(detector, str) else detector
    faces = finder.detect(image)
    if not faces:
        raise DataError(f"no face found in {name} by detector '{finder.name}'; give a photo that shows a face larger")
    return warp_face(image, choose_face(faces, image.shape, which=which).points, size=size, margin=margin)


def choose_face(faces: list[Face], shape: tuple[int, ...], *, which: str = "largest") -> Face:
    """One of several faces of a photo of `shape` (H, W, ...); see `crop`."""
    order = _ORDERS[which]
    return max(faces, key=lambda face: order(face, shape))


def find_faces(
    crops: NDArray[np.uint8],
    *,
    detector: Detector | str = DEFAULT_DETECTOR,
    progress: Callable[[int, int], None] | None = None,
) -> NDArray[np.bool_]:
    """Whether the detector finds a face in each small, tightly cut picture.

    The outermost pixels are first repeated around the picture, by `FIND_BORDER` of its side, because detectors for
    whole photos expect something around a face: on aligned LFW crops, blurred and noisy, mtcnn then finds 99.8 %
    instead of 98.9 %, and dlib on clean ones 99.7 % instead of 98.0 % (docs/ALIGN.md).

    Args:
        crops: uint8 (N, H, W, 3) RGB.
        detector: a name or a loaded detector.
        progress: called with (done, N).

    Returns:
        (N,) bool.

    Raises:
        InputError: the crops have another type or shape.
    """
    if crops.dtype != np.uint8 or crops.ndim != 4 or crops.shape[-1] != 3 or 0 in crops.shape[1:]:
        raise InputError(f"crops must be uint8 (N, H, W, 3), got {crops.dtype} {crops.shape}")
    finder = load_detector(detector) if isinstance(detector, str) else detector
    border = round(FIND_BORDER * max(crops.shape[1:3]))
    found = np.zeros(len(crops), dtype=np.bool_)
    for number, image in enumerate(crops):
        padded = cv2.copyMakeBorder(image, border, border, border, border, cv2.BORDER_REPLICATE)
        found[number] = bool(finder.detect(np.asarray(padded, dtype=np.uint8)))
        if progress is not None:
            progress(number + 1, len(crops))
    return found


def _nearness(face: Face, shape: tuple[int, ...]) -> float:
    left, top, right, bottom = face.box
    return -float(np.hypot((left + right - shape[1]) / 2, (top + bottom - shape[0]) / 2))


_ORDERS: dict[str, Callable[[Face, tuple[int, ...]], float]] = {
    "largest": lambda face, shape: face.area,  # noqa: ARG005 - one shape for all orders
    "surest": lambda face, shape: face.score,  # noqa: ARG005
    "centre": _nearness,
}
