"""Five points to the ArcFace template: the similarity that aligns a face."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from facewright.errors import InputError

TEMPLATE_SIZE = 112
"""Side in pixels of the square that `ARCFACE_TEMPLATE` is laid out in."""

ARCFACE_TEMPLATE: NDArray[np.float64] = np.array(
    [[38.2946, 51.6963], [73.5318, 51.5014], [56.0252, 71.7366], [41.5493, 92.3655], [70.7299, 92.2041]]
)
"""(5, 2) x, y in pixels of a 112 x 112 crop: eye, eye, nose tip, mouth corner, mouth corner, left before right as seen
in the picture. The 96 x 112 template of SphereFace, moved 8 pixels to the right."""
ARCFACE_TEMPLATE.setflags(write=False)


def similarity(points: ArrayLike, template: ArrayLike = ARCFACE_TEMPLATE) -> NDArray[np.float64]:
    """The least-squares rotation, uniform scale and shift that send `points` to `template`.

    Umeyama, "Least-squares estimation of transformation parameters between two point patterns" (PAMI 1991), Eqs. 39-43.
    A reflection is never used: mirrored points get the best rotation, with a small scale and a large residual.

    Args:
        points: (n, 2) x, y with n >= 2, in pixels of the photo.
        template: (n, 2) x, y, where the points should go.

    Returns:
        3 x 3 float64 matrix M with M @ (x, y, 1) = (x', y', 1).

    Raises:
        InputError: the shapes do not fit, a number is not finite, or all points are one point.
    """
    source = np.asarray(points, dtype=np.float64)
    target = np.asarray(template, dtype=np.float64)
    if source.ndim != 2 or source.shape[1] != 2 or len(source) < 2 or source.shape != target.shape:
        raise InputError(f"points and template must both be (n, 2) with n >= 2, got {source.shape} and {target.shape}")
    if not (np.isfinite(source).all() and np.isfinite(target).all()):
        raise InputError("points and template must be finite numbers")

    source_mean, target_mean = source.mean(axis=0), target.mean(axis=0)
    source_centred, target_centred = source - source_mean, target - target_mean
    variance = np.square(source_centred).sum() / len(source)
    # Equal points leave nothing but rounding of their mean in the variance.
    if variance <= np.square(1e-12 * max(1.0, np.abs(source).max())):
        raise InputError("all points are the same point, so neither scale nor rotation is known; give distinct points")

    covariance = target_centred.T @ source_centred / len(source)
    left, singular, right = np.linalg.svd(covariance)
    signs = np.array([1.0, 1.0 if np.linalg.det(left) * np.linalg.det(right) >= 0 else -1.0])
    rotation = (left * signs) @ right
    scale = (singular * signs).sum() / variance

    matrix = np.eye(3)
    matrix[:2, :2] = scale * rotation
    matrix[:2, 2] = target_mean - scale * rotation @ source_mean
    return matrix


def five_from_68(points: ArrayLike, *, eyes: str = "corners") -> NDArray[np.float64]:
    """Reduce 68 points (iBUG 300-W order) to the template's five.

    Args:
        points: (68, 2) x, y.
        eyes: "corners" takes the mean of an eye's two corners (36, 39 and 42, 45), as the ArcFace and IJB evaluation
            code does; "contour" takes the mean of its six points (36-41 and 42-47). Nose 30, mouth 48 and 54 in both.

    Returns:
        (5, 2) float64.

    Raises:
        InputError: not 68 points, or an unknown way to place the eyes.
    """
    marks = np.asarray(points, dtype=np.float64)
    if marks.shape != (68, 2):
        raise InputError(f"expected 68 points as (68, 2), got {marks.shape}")
    if eyes == "corners":
        first, second = marks[[36, 39]].mean(axis=0), marks[[42, 45]].mean(axis=0)
    elif eyes == "contour":
        first, second = marks[36:42].mean(axis=0), marks[42:48].mean(axis=0)
    else:
        raise InputError(f"eyes must be 'corners' or 'contour', got {eyes!r}")
    return np.stack([first, second, marks[30], marks[48], marks[54]])
