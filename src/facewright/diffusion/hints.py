"""Hint pictures that code makes of a face, for a control branch."""

from collections.abc import Callable

import cv2
import numpy as np


def edges(faces: np.ndarray) -> np.ndarray:
    """White lines on black where brightness changes (Canny 1986, thresholds 60 and 120 of 255).

    Args:
        faces: uint8 (N, H, W, 3) RGB.

    Returns:
        uint8 (N, H, W, 3).
    """
    lines = [cv2.Canny(cv2.cvtColor(np.ascontiguousarray(face), cv2.COLOR_RGB2GRAY), 60, 120) for face in faces]
    return np.repeat(np.stack(lines)[..., None], 3, axis=3)


def colours(faces: np.ndarray) -> np.ndarray:
    """The mean colours of 8 x 8 cells: light, background and pose, without the features of the face.

    Args:
        faces: uint8 (N, H, W, 3) RGB, H and W multiples of 8.

    Returns:
        uint8 (N, H, W, 3).
    """
    height, width = faces.shape[1:3]
    cells = faces.reshape(len(faces), 8, height // 8, 8, width // 8, 3).mean((2, 4)).round().astype(np.uint8)
    return cells.repeat(height // 8, axis=1).repeat(width // 8, axis=2)


HINTS: dict[str, Callable[[np.ndarray], np.ndarray]] = {"edges": edges, "colours": colours}
"""Ways of making a hint of a face, by name."""
