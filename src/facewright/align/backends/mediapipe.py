"""MediaPipe's face landmarker, with a model file already on disk."""

import os
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from facewright.align.backends.packages import import_package
from facewright.align.detector import Face
from facewright.errors import InputError

MODEL_VARIABLE = "FACEWRIGHT_MEDIAPIPE_MODEL"

# Of the 478 points: iris centres, nose tip, mouth corners, left before right in the picture.
_FIVE = [468, 473, 1, 61, 291]


class MediaPipe:
    """MediaPipe's face landmarker as a `Detector`. It gives no score for a face; every face gets 1.

    Args:
        model: face_landmarker.task; None for the file that the environment variable FACEWRIGHT_MEDIAPIPE_MODEL names.
        most: largest number of faces in a photo.
    """

    name = "mediapipe"

    def __init__(self, *, model: Path | None = None, most: int = 32) -> None:
        self._library = import_package("mediapipe", detector=self.name, pip="mediapipe")
        tasks = import_package("mediapipe.tasks.python", detector=self.name, pip="mediapipe")
        path = model or Path(os.environ.get(MODEL_VARIABLE, "face_landmarker.task"))
        if not path.is_file():
            raise InputError(
                f"detector 'mediapipe' needs its model face_landmarker.task, which is not at {path}; "
                f"name the file in the environment variable {MODEL_VARIABLE}"
            )
        options = tasks.vision.FaceLandmarkerOptions(
            base_options=tasks.BaseOptions(model_asset_path=str(path)), num_faces=most
        )
        self._landmarker = tasks.vision.FaceLandmarker.create_from_options(options)

    def detect(self, image: NDArray[np.uint8]) -> list[Face]:
        """Faces in an RGB photo (see `Detector`)."""
        pixels = self._library.Image(image_format=self._library.ImageFormat.SRGB, data=np.ascontiguousarray(image))
        height, width = image.shape[:2]
        faces = []
        for landmarks in self._landmarker.detect(pixels).face_landmarks:
            marks = np.array([(mark.x * width, mark.y * height) for mark in landmarks])
            left, top = marks.min(axis=0)
            right, bottom = marks.max(axis=0)
            faces.append(Face((left, top, right, bottom), marks[_FIVE], 1.0))
        return faces
