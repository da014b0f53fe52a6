"""Which pixels of a photo belong to which person: the backends of `facewright subjects`."""

import difflib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from facewright.align import Face
from facewright.errors import DataError, InputError
from facewright.personalise.bisenet import BACKGROUND, MEAN, STD, BiSeNet
from facewright.weights import load_weights

DEFAULT_SEGMENTER = "grabcut"
PARSED = 512  # side of the square that BiSeNet sees, in pixels
PARSED_ROOM = 2.6  # side of that square, in heights of the face from eyes to mouth, on each side of its middle
GRABCUT_SIDE = 320  # longer side of the photo that GrabCut works on, in pixels
GRABCUT_ROUNDS = 4


class Segmenter(Protocol):
    """Gives the mask of each person whose face was found."""

    @property
    def name(self) -> str: ...
    def segment(self, image: NDArray[np.uint8], faces: Sequence[Face]) -> NDArray[np.bool_]:
        """Masks (N, H, W) of the people with these faces in a photo, uint8 (H, W, 3) RGB; no two overlap."""
        ...


class GrabCut:
    """Face points and OpenCV's GrabCut (Rother et al. 2004): no weights, no download.

    The points say where head and shoulders are to be expected, GrabCut finds the edge by colour. It takes background
    for a person, or the reverse, where their colours are the same.
    """

    name = "grabcut"

    def segment(self, image: NDArray[np.uint8], faces: Sequence[Face]) -> NDArray[np.bool_]:
        """Masks of the people (see `Segmenter`)."""
        height, width = image.shape[:2]
        factor = min(1.0, GRABCUT_SIDE / max(height, width))
        size = (max(1, round(width * factor)), max(1, round(height * factor)))
        small = np.ascontiguousarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA)[..., ::-1])
        across = np.array(size) / (width, height)
        placed = [(face.points + 0.5) * across - 0.5 for face in faces]
        marks = np.full(small.shape[:2], cv2.GC_BGD, np.uint8)
        for points in placed:
            _mark(marks, points, cv2.GC_PR_BGD, heads=3.0, shoulders=3.4)
        for points in placed:
            _mark(marks, points, cv2.GC_PR_FGD, heads=1.9, shoulders=2.3)
        for points in placed:
            _mark(marks, points, cv2.GC_FGD, heads=1.2, shoulders=0.0)
        person = (marks == cv2.GC_FGD) | (marks == cv2.GC_PR_FGD)
        if not person.all():
            cv2.setRNGSeed(0)  # of OpenCV's own generator, from which GrabCut draws: the same photo, the same mask
            models = np.zeros((1, 65)), np.zeros((1, 65))
            cv2.grabCut(small, marks, None, *models, GRABCUT_ROUNDS, cv2.GC_INIT_WITH_MASK)  # type: ignore[call-overload]
            person = (marks == cv2.GC_FGD) | (marks == cv2.GC_PR_FGD)
        whole = cv2.resize(person.astype(np.float32), (width, height), interpolation=cv2.INTER_LINEAR) >= 0.5
        return shared_out(np.asarray(whole), faces)


class FaceParser:
    """BiSeNet on a square around each face; every class but the background is the person.

    Args:
        network: with its weights.
        device: where it works.
    """

    name = "bisenet"

    def __init__(self, network: BiSeNet, *, device: str = "cpu") -> None:
        self.network = network.eval().to(device)
        self.device = device

    @torch.inference_mode()
    def segment(self, image: NDArray[np.uint8], faces: Sequence[Face]) -> NDArray[np.bool_]:
        """Masks of the people (see `Segmenter`)."""
        height, width = image.shape[:2]
        whole = np.zeros((height, width), bool)
        for face in faces:
            middle, unit = _middle_and_unit(face.points)
            reach = max(8, round(PARSED_ROOM * unit))
            left, top = round(middle[0]) - reach, round(middle[1]) - reach
            rows, columns = slice(max(top, 0), top + 2 * reach), slice(max(left, 0), left + 2 * reach)
            square = np.zeros((2 * reach, 2 * reach, 3), np.uint8)
            part = image[rows, columns]
            inside = (
                slice(max(-top, 0), max(-top, 0) + part.shape[0]),
                slice(max(-left, 0), max(-left, 0) + part.shape[1]),
            )
            square[inside] = part
            whole[rows, columns] |= self._person(square)[inside]
        return shared_out(whole, faces)

    def _person(self, square: np.ndarray) -> np.ndarray:
        """bool (S, S) of uint8 (S, S, 3)."""
        x = torch.from_numpy(square).permute(2, 0, 1)[None].float().to(self.device) / 255
        x = F.interpolate(x, (PARSED, PARSED), mode="bilinear", antialias=True)
        mean, std = (torch.tensor(values, device=self.device)[:, None, None] for values in (MEAN, STD))
        person = (self.network.labels((x - mean) / std) != BACKGROUND).float()
        return (F.interpolate(person[None], square.shape[:2], mode="bilinear")[0, 0] >= 0.5).cpu().numpy()


class Foreground:
    """A backend that knows only people from background; each pixel of them goes to the nearest face.

    Args:
        name: of the backend.
        find: bool (H, W) of uint8 (H, W, 3) RGB.
    """

    def __init__(self, name: str, find: Callable[[NDArray[np.uint8]], NDArray[np.bool_]]) -> None:
        self.name = name
        self._find = find

    def segment(self, image: NDArray[np.uint8], faces: Sequence[Face]) -> NDArray[np.bool_]:
        """Masks of the people (see `Segmenter`)."""
        return shared_out(self._find(image), faces)


def shared_out(person: NDArray[np.bool_], faces: Sequence[Face]) -> NDArray[np.bool_]:
    """A mask of everybody, (H, W), shared out among the faces: each pixel to the one it is fewest faces away from.

    Parts of the mask that touch no face are nobody's.

    Returns:
        (N, H, W); no two overlap.
    """
    if not faces:
        return np.zeros((0, *person.shape), np.bool_)
    rows, columns = np.indices(person.shape)
    away = []
    for face in faces:
        (x, y), unit = _middle_and_unit(face.points)
        away.append(np.hypot(columns - x, (rows - y) * np.where(rows > y, 0.5, 1.0)) / unit)  # a body hangs below
    nearest = np.argmin(away, 0)
    masks = np.stack([person & (nearest == number) for number in range(len(faces))])
    return np.stack([_around(mask, face.points) for mask, face in zip(masks, faces, strict=True)])


def load_segmenter(name: str = DEFAULT_SEGMENTER, *, weights: Path | None = None, device: str = "cpu") -> Segmenter:
    """Make a backend ready.

    Args:
        name: grabcut, which needs nothing; bisenet, with a file from `facewright import` as `weights`; mediapipe,
            with its selfie segmenter (.tflite) as `weights`; or rembg, with an .onnx file as `weights` or what rembg
            has on the machine.
        weights: see `name`.
        device: of bisenet.

    Raises:
        InputError: the name is unknown, a package is missing, or weights are missing or not taken.
        DataError: the weights do not fit.
    """
    if name not in SEGMENTERS:
        close = difflib.get_close_matches(name, SEGMENTERS, n=1)
        hint = f"Did you mean '{close[0]}'? " if close else ""
        raise InputError(f"unknown segmenter '{name}'. {hint}Known: {', '.join(SEGMENTERS)}.")
    return SEGMENTERS[name](weights, device)


def _grabcut(weights: Path | None, device: str) -> Segmenter:  # noqa: ARG001 - the shape of every backend
    if weights is not None:
        raise InputError(f"segmenter 'grabcut' takes no weights, got {weights}; leave them out or name another one")
    return GrabCut()


def _bisenet(weights: Path | None, device: str) -> Segmenter:
    if weights is None:
        raise InputError(
            "segmenter 'bisenet' needs its weights; make them with facewright import from the public file, and name "
            "the .safetensors file"
        )
    state, _ = load_weights(weights, kind="parser")
    network = BiSeNet()
    try:
        network.load_state_dict(state)
    except RuntimeError as error:
        raise DataError(f"{weights}: its tensors do not fit a BiSeNet of 19 classes ({error})") from error
    return FaceParser(network, device=device)


def _mediapipe(weights: Path | None, device: str) -> Segmenter:  # noqa: ARG001
    from facewright.personalise.subject_segment_extras import mediapipe_foreground

    return Foreground("mediapipe", mediapipe_foreground(weights))


def _rembg(weights: Path | None, device: str) -> Segmenter:  # noqa: ARG001
    from facewright.personalise.subject_segment_extras import rembg_foreground

    return Foreground("rembg", rembg_foreground(weights))


SEGMENTERS: dict[str, Callable[[Path | None, str], Segmenter]] = {
    "grabcut": _grabcut,
    "bisenet": _bisenet,
    "mediapipe": _mediapipe,
    "rembg": _rembg,
}


def _middle_and_unit(points: np.ndarray) -> tuple[np.ndarray, float]:
    """The middle of a face's five points, and its height from eyes to mouth in pixels."""
    return points.mean(0), max(1.0, float(np.linalg.norm(points[3:].mean(0) - points[:2].mean(0))))


def _mark(marks: np.ndarray, points: np.ndarray, value: int, *, heads: float, shoulders: float) -> None:
    """Draw a head and, where `shoulders` is not 0, what is below it; both lengths in heights from eyes to mouth."""
    (x, y), unit = _middle_and_unit(points)
    eyes = points[1] - points[0]
    angle = float(np.degrees(np.arctan2(eyes[1], eyes[0])))
    axes = (max(1, round(0.8 * heads * unit)), max(1, round(heads * unit)))
    cv2.ellipse(marks, (round(x), round(y - 0.1 * heads * unit)), axes, angle, 0, 360, value, -1)
    if shoulders:
        half, neck = shoulders * unit, y + 1.6 * unit
        foot = float(marks.shape[0])
        corners = [(x - 0.5 * half, y + unit), (x + 0.5 * half, y + unit), (x + half, neck + unit)]
        corners += [(x + 1.2 * half, foot), (x - 1.2 * half, foot), (x - half, neck + unit)]
        cv2.fillPoly(marks, [np.round(np.array(corners)).astype(np.int32)], value)


def _around(mask: np.ndarray, points: np.ndarray) -> np.ndarray:
    """The parts of a mask that touch the rectangle of the face's points."""
    _, parts = cv2.connectedComponents(mask.astype(np.uint8))
    height, width = mask.shape
    left, top = np.clip(np.floor(points.min(0)), 0, (width - 1, height - 1)).astype(int)
    right, bottom = np.clip(np.ceil(points.max(0)) + 1, 1, (width, height)).astype(int)
    own = set(np.unique(parts[top:bottom, left:right])) - {0}
    return np.isin(parts, list(own))
