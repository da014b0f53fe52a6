"""How much the faces of one person differ from picture to picture.

PhotoMaker and FreeCure average LPIPS over pairs of faces, which needs the weights of another network; here the distance
is 1 - SSIM (Wang et al. 2004), and any other can be given in its place.
"""

from collections.abc import Callable

import cv2
import numpy as np

from facewright.errors import DataError

FaceDistance = Callable[[np.ndarray, np.ndarray], float]
"""Of two crops uint8 (112, 112, 3) RGB; 0 for the same one."""

PAIRS = 2000
"""Pairs of one person's faces that are drawn when there are more."""
WINDOW, SIGMA = 11, 1.5
K1, K2, PEAK = 0.01, 0.03, 255.0


def structural_distance(first: np.ndarray, second: np.ndarray) -> float:
    """1 - SSIM of two crops in grey, in [0, 2], with the paper's Gaussian window of 11 pixels."""
    grey = [cv2.cvtColor(crop, cv2.COLOR_RGB2GRAY).astype(np.float64) for crop in (first, second)]
    means = [_blurred(image) for image in grey]
    squares = [_blurred(image * image) - mean * mean for image, mean in zip(grey, means, strict=True)]
    shared = _blurred(grey[0] * grey[1]) - means[0] * means[1]
    light, contrast = (K1 * PEAK) ** 2, (K2 * PEAK) ** 2
    above = (2 * means[0] * means[1] + light) * (2 * shared + contrast)
    below = (means[0] ** 2 + means[1] ** 2 + light) * (squares[0] + squares[1] + contrast)
    edge = WINDOW // 2
    return 1.0 - float(np.mean((above / below)[edge:-edge, edge:-edge]))


def face_diversity(
    crops: np.ndarray, *, distance: FaceDistance = structural_distance, limit: int = PAIRS, seed: int = 0
) -> float:
    """Mean distance over pairs of faces of one person.

    Args:
        crops: uint8 (N, 112, 112, 3) RGB, N at least 2.
        distance: of two crops.
        limit: pairs, drawn without replacement where there are more.
        seed: names the draw.
    """
    if len(crops) < 2:
        raise DataError(f"face diversity needs two faces of a person or more, got {len(crops)}")
    first, second = np.triu_indices(len(crops), 1)
    if len(first) > limit:
        chosen = np.random.default_rng(seed).choice(len(first), limit, replace=False)
        first, second = first[chosen], second[chosen]
    return float(np.mean([distance(crops[i], crops[j]) for i, j in zip(first, second, strict=True)]))


def _blurred(image: np.ndarray) -> np.ndarray:
    return cv2.GaussianBlur(image, (WINDOW, WINDOW), SIGMA)
