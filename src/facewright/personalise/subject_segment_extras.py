"""People and background by packages that are used only when they are installed and asked for by name."""

import importlib
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import cv2
import numpy as np
from numpy.typing import NDArray

from facewright.errors import InputError

Find = Callable[[NDArray[np.uint8]], NDArray[np.bool_]]


def mediapipe_foreground(weights: Path | None) -> Find:
    """MediaPipe's image segmenter, with a selfie segmentation model already on disk.

    Raises:
        InputError: the package or the model is missing.
    """
    library = _package("mediapipe", segmenter="mediapipe")
    tasks = _package("mediapipe.tasks.python", segmenter="mediapipe")
    if weights is None or not weights.is_file():
        raise InputError(
            f"segmenter 'mediapipe' needs its model, such as selfie_segmenter.tflite; got {weights}: name the file"
        )
    options = tasks.vision.ImageSegmenterOptions(
        base_options=tasks.BaseOptions(model_asset_path=str(weights)), output_confidence_masks=True
    )
    segmenter = tasks.vision.ImageSegmenter.create_from_options(options)

    def find(image: NDArray[np.uint8]) -> NDArray[np.bool_]:
        pixels = library.Image(image_format=library.ImageFormat.SRGB, data=np.ascontiguousarray(image))
        masks = [np.squeeze(mask.numpy_view()) for mask in segmenter.segment(pixels).confidence_masks]
        person = masks[0] if len(masks) == 1 else 1 - masks[0]  # of several classes the first is the background
        return _sized(person, image) >= 0.5

    return find


def rembg_foreground(weights: Path | None) -> Find:
    """rembg's U2-Net for people, or another .onnx file of that form.

    Raises:
        InputError: the package is missing, or there is no such file.
    """
    rembg = _package("rembg", segmenter="rembg")
    if weights is not None and not weights.is_file():
        raise InputError(f"{weights}: no such .onnx file for the segmenter 'rembg'")
    session = (
        rembg.new_session("u2net_human_seg")
        if weights is None
        else rembg.new_session("u2net_custom", model_path=str(weights))
    )

    def find(image: NDArray[np.uint8]) -> NDArray[np.bool_]:
        mask = np.asarray(rembg.remove(image, session=session, only_mask=True))
        return _sized(mask.astype(np.float32), image) >= 127.5

    return find


def _sized(mask: np.ndarray, image: np.ndarray) -> np.ndarray:
    if mask.shape == image.shape[:2]:
        return mask
    return np.asarray(cv2.resize(mask, (image.shape[1], image.shape[0]), interpolation=cv2.INTER_LINEAR))


def _package(name: str, *, segmenter: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except ImportError as error:
        package = name.partition(".")[0]
        raise InputError(
            f"segmenter '{segmenter}' needs the package {package} ({error}); run: pip install {package}"
        ) from error
