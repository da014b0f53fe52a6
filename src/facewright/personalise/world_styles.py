"""What the miniature world's code does to its pictures and can therefore say in their captions: styles and backgrounds.

A style is a pure function of uint8 pictures (B, H, W, 3) RGB to such pictures; a background is a colour behind people.
"""

from collections.abc import Callable, Mapping

import cv2
import numpy as np

from facewright.errors import InputError

PHOTO = "photo"
"""The style that changes nothing."""

BACKGROUNDS: Mapping[str, tuple[int, int, int]] = {
    "red": (200, 40, 45),
    "green": (50, 160, 70),
    "blue": (45, 85, 200),
    "yellow": (230, 200, 60),
}
"""Colours behind people, RGB."""

BLUR = 1.7
"""Standard deviation of the style "blurred", in pixels of a picture of 128."""

_LUMINANCE = np.array([0.299, 0.587, 0.114], np.float32)  # ITU-R BT.601
_SEPIA = np.array([1.08, 0.88, 0.62], np.float32)
_NIGHT = np.array([0.42, 0.5, 0.78], np.float32)


def black_and_white(images: np.ndarray) -> np.ndarray:
    """Luminance alone."""
    return np.repeat(_luminance(images).round().astype(np.uint8), 3, axis=3)


def sepia(images: np.ndarray) -> np.ndarray:
    """Luminance in browns."""
    return _bytes(_luminance(images) * _SEPIA)


def night(images: np.ndarray) -> np.ndarray:
    """Dark and bluish, as if there were little light."""
    values = (images * np.float32(1 / 255)) ** np.float32(1.2)
    return _bytes(values * (255 * _NIGHT))


def pencil(images: np.ndarray) -> np.ndarray:
    """Lines where the luminance changes, on white paper: luminance divided by its own blur."""
    grey = _luminance(images)
    around = _blurred(grey, 5 * images.shape[1] / 128)
    share = (grey + 8) / (around + 8)
    drawn = 255 * np.clip(share, 0, 1) ** 2 * (0.7 + 0.3 * grey / 255)
    return np.repeat(drawn.round().astype(np.uint8), 3, axis=3)


def blurred(images: np.ndarray) -> np.ndarray:
    """Out of focus."""
    return _blurred(images, BLUR * images.shape[1] / 128)


EFFECTS: Mapping[str, Callable[[np.ndarray], np.ndarray]] = {
    "sepia": sepia,
    "black and white": black_and_white,
    "pencil": pencil,
    "night": night,
    "blurred": blurred,
}
"""Styles by name."""

STYLES = (PHOTO, *EFFECTS, *(f"{colour} background" for colour in BACKGROUNDS))
"""Every name that `Scene.style` can have; a picture has one of them."""


def background_of(style: str) -> tuple[int, int, int] | None:
    """The colour of a style that is a background, RGB; None for any other.

    Raises:
        InputError: no such style.
    """
    if style not in STYLES:
        raise InputError(f"unknown style {style!r}; known: {', '.join(STYLES)}")
    return BACKGROUNDS.get(style.removesuffix(" background"))


def apply_style(images: np.ndarray, style: str) -> np.ndarray:
    """Pictures in a style; where it is no effect (a photo, a background) they come back as they are.

    Args:
        images: uint8 (B, H, W, 3) RGB.
        style: one of `STYLES`.

    Raises:
        InputError: no such style, or no such pictures.
    """
    if images.dtype != np.uint8 or images.ndim != 4 or images.shape[3] != 3:
        raise InputError(f"pictures must be uint8 (B, H, W, 3), got {images.dtype} {images.shape}")
    background_of(style)
    return EFFECTS[style](images) if style in EFFECTS and len(images) else images


def apply_styles(images: np.ndarray, styles: list[str]) -> np.ndarray:
    """Each picture in its own style.

    Args:
        images: uint8 (B, H, W, 3) RGB.
        styles: B of `STYLES`.
    """
    changed = images.copy()
    names = np.array(styles)
    for style in dict.fromkeys(styles):
        rows = np.flatnonzero(names == style)
        changed[rows] = apply_style(images[rows], style)
    return changed


def _luminance(images: np.ndarray) -> np.ndarray:
    """float32 (B, H, W, 1) in [0, 255]."""
    return (images @ _LUMINANCE)[..., None]


def _blurred(images: np.ndarray, sigma: float) -> np.ndarray:
    """Gaussian blur within each picture; the type stays."""
    return np.stack([cv2.GaussianBlur(image, (0, 0), sigma).reshape(image.shape) for image in images])


def _bytes(values: np.ndarray) -> np.ndarray:
    return np.clip(values, 0, 255).round().astype(np.uint8)
