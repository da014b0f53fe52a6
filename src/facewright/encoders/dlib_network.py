"""dlib's face network as a second opinion: it shares neither data nor teacher with the bundled models."""

import hashlib

import numpy as np
import torch
from torch import Tensor, nn

from facewright.align.backends.packages import import_package, package_file
from facewright.data.images import to_uint8

MODELS = "face_recognition_models"
FACE = (15, 27, 96, 109)
"""Left, top, right, bottom of the face in a 112 px ArcFace crop as dlib's detector frames it: mean over LFW, pixels."""


class DlibNetwork(nn.Module):
    """dlib's 29-layer residual network (King 2017), (B, 3, 112, 112) RGB in [-1, 1] to (B, 128); CPU, extra `dlib`.

    Embeddings of different people have cosines near 0.8 or more, so its error rates compare with those of other
    encoders, its cosines do not.
    """

    width = 128

    def __init__(self) -> None:
        super().__init__()
        self._dlib = import_package("dlib", detector="dlib", pip="dlib-bin")
        landmarks, network = (
            package_file(MODELS, f"models/{file}.dat", detector="dlib", pip=MODELS)
            for file in ("shape_predictor_68_face_landmarks", "dlib_face_recognition_resnet_model_v1")
        )
        self._landmarks = self._dlib.shape_predictor(str(landmarks))
        self._network = self._dlib.face_recognition_model_v1(str(network))
        self.sha256 = hashlib.sha256(network.read_bytes()).hexdigest()

    def forward(self, images: Tensor) -> Tensor:
        """Raw embeddings; the face is taken where the ArcFace template puts it and cut out as dlib wants it."""
        rectangle = self._dlib.rectangle(*FACE)
        chips = [
            self._dlib.get_face_chip(pixels, self._landmarks(pixels, rectangle), 150) for pixels in to_uint8(images)
        ]
        return torch.from_numpy(np.array(self._network.compute_face_descriptor(chips), np.float32))
