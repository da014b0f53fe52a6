"""What a face detector gives, and the detectors that are known."""

import difflib
import importlib
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from facewright.errors import InputError

DEFAULT_DETECTOR = "mtcnn"

_BACKENDS = {
    "mtcnn": "Mtcnn",
    "dlib": "Dlib",
    "insightface": "InsightFace",
    "face_alignment": "FaceAlignment",
    "mediapipe": "MediaPipe",
}


@dataclass(frozen=True, eq=False)
class Face:
    """One detected face, in pixels of the photo as it is looked at (EXIF orientation applied)."""

    box: tuple[float, float, float, float]
    """left, top, right, bottom; may reach outside the photo."""
    points: NDArray[np.float64]
    """(5, 2) x, y: eye, eye, nose tip, mouth corner, mouth corner, left before right as seen in the picture."""
    score: float
    """The detector's own confidence; higher is surer. Scores of two detectors cannot be compared."""

    @property
    def area(self) -> float:
        """Of the box, in square pixels."""
        left, top, right, bottom = self.box
        return (right - left) * (bottom - top)


@runtime_checkable
class Detector(Protocol):
    """Finds faces and their five points. One detector serves one thread at a time."""

    @property
    def name(self) -> str:
        """Short name, as given to `load_detector`."""
        ...

    def detect(self, image: NDArray[np.uint8]) -> list[Face]:
        """Faces in an RGB uint8 (H, W, 3) photo, surest first; an empty list where there is none."""
        ...


def detector_names() -> list[str]:
    """Names that `load_detector` knows, the default first."""
    return list(_BACKENDS)


def load_detector(name: str = DEFAULT_DETECTOR) -> Detector:
    """Make a detector ready by name; its libraries are imported and its model files read here.

    Raises:
        InputError: the name is unknown, or a package or model file it needs is missing (the message says what to
            install).
    """
    if name not in _BACKENDS:
        close = difflib.get_close_matches(name, _BACKENDS, n=1)
        hint = f"Did you mean '{close[0]}'? " if close else ""
        raise InputError(f"unknown detector '{name}'. {hint}Known: {', '.join(_BACKENDS)}.")
    module = importlib.import_module(f"facewright.align.backends.{name}")
    detector: Detector = getattr(module, _BACKENDS[name])()
    return detector
