"""The square of a photo that is shown to the denoiser, cut, resized and mirrored: picture, mask and points as one."""

from dataclasses import dataclass

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

MIRRORED_POINTS = [1, 0, 2, 4, 3]  # eyes and mouth corners stay left before right
FACE_ROOM = 0.6  # on each side of the five points, as a share of their extent


@dataclass(frozen=True)
class View:
    """A square window of a photo."""

    left: int  # pixels of the photo
    top: int
    side: int
    size: int  # pixels of what is shown
    mirrored: bool = False

    def picture(self, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """uint8 (size, size, 3) of uint8 (H, W, 3)."""
        cut = self._cut(image)
        how = cv2.INTER_AREA if self.side > self.size else cv2.INTER_LINEAR
        shown = cut if self.side == self.size else cv2.resize(cut, (self.size, self.size), interpolation=how)
        return np.ascontiguousarray(self._turned(np.asarray(shown, np.uint8)))

    def labels(self, labels: NDArray[np.int32]) -> NDArray[np.int32]:
        """int32 (size, size) of int32 (H, W), by the nearest pixel: numbers are never mixed."""
        cut = self._cut(labels)
        shown = cv2.resize(cut, (self.size, self.size), interpolation=cv2.INTER_NEAREST_EXACT)
        return np.ascontiguousarray(self._turned(np.asarray(shown, np.int32)))

    def points(self, points: np.ndarray) -> np.ndarray:
        """(N, 5, 2) x, y in pixels of what is shown of (N, 5, 2) in pixels of the photo."""
        shown = (points - (self.left, self.top) + 0.5) * (self.size / self.side) - 0.5
        if self.mirrored:
            shown = shown[:, MIRRORED_POINTS]
            shown[..., 0] = self.size - 1 - shown[..., 0]
        return shown

    def shows(self, points: np.ndarray) -> np.ndarray:
        """Whether the middle of each face, (N, 5, 2) in pixels of the photo, lies in the window, (N,) bool."""
        middle = points.mean(1) - (self.left, self.top)
        return np.asarray(((middle >= 0) & (middle < self.side)).all(1))

    def _cut(self, pixels: np.ndarray) -> np.ndarray:
        return pixels[self.top : self.top + self.side, self.left : self.left + self.side]

    def _turned(self, pixels: np.ndarray) -> np.ndarray:
        return pixels[:, ::-1] if self.mirrored else pixels


def shrunk(
    picture: np.ndarray, labels: np.ndarray, points: np.ndarray, *, short: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Photo, labels and points with the shorter side at most `short` pixels, so that no more is kept than is shown."""
    height, width = picture.shape[:2]
    if min(height, width) <= short:
        return picture, labels, points
    factor = short / min(height, width)
    size = (max(short, round(width * factor)), max(short, round(height * factor)))
    across = np.array(size) / (width, height)
    return (
        np.asarray(cv2.resize(picture, size, interpolation=cv2.INTER_AREA)),
        np.asarray(cv2.resize(labels, size, interpolation=cv2.INTER_NEAREST_EXACT)),
        (points + 0.5) * across - 0.5,
    )


def centre_view(shape: tuple[int, ...], points: np.ndarray, *, size: int) -> View:
    """The largest square of a photo, around the faces (N, 5, 2) as far as there is room."""
    height, width = shape[:2]
    left, top, right, bottom = _extent(points)
    side = min(height, width)
    return View(
        _within((left + right - side) / 2, width - side), _within((top + bottom - side) / 2, height - side), side, size
    )


def draw_view(
    shape: tuple[int, ...],
    points: np.ndarray,
    *,
    size: int,
    least: float,
    mirrored: float,
    generator: torch.Generator,
) -> View:
    """A square window by chance that shows all the faces where there is room, or else one of them.

    Args:
        shape: of the photo, (H, W, ...).
        points: of the faces, (N, 5, 2), N at least 1.
        size: of what is shown.
        least: smallest side, as a share of the photo's shorter one.
        mirrored: share that is mirrored.
        generator: draws five numbers whatever comes out.
    """
    height, width = shape[:2]
    zoom, across, down, chosen, turn = torch.rand(5, generator=generator, dtype=torch.float64).tolist()
    short = min(height, width)
    box = _extent(points)
    if max(box[2] - box[0], box[3] - box[1]) > short:
        box = _extent(points[[int(chosen * len(points))]])
    needed = min(short, round(max(box[2] - box[0], box[3] - box[1])))
    side = max(needed, round(short * (least + (1 - least) * zoom)), 1)
    return View(
        _drawn(across, box[0], box[2], side, width),
        _drawn(down, box[1], box[3], side, height),
        side,
        size,
        turn < mirrored,
    )


def _extent(points: np.ndarray) -> tuple[float, float, float, float]:
    """left, top, right, bottom around faces."""
    room = FACE_ROOM * (points.max(1) - points.min(1)).max(1)[:, None]
    low, high = (points.min(1) - room).min(0), (points.max(1) + room).max(0)
    return float(low[0]), float(low[1]), float(high[0]), float(high[1])


def _drawn(share: float, low: float, high: float, side: int, whole: int) -> int:
    """Where a window begins that holds `low` to `high` as far as the photo reaches."""
    first, last = max(0.0, min(high - side, whole - side)), max(0.0, min(low, whole - side))
    if first > last:
        first = last = (first + last) / 2
    return _within(first + share * (last - first), whole - side)


def _within(start: float, most: int) -> int:
    return int(min(max(round(start), 0), most))
