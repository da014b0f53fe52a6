"""The S3FD detector and 68-point network of face_alignment, with weights already on disk."""

import warnings
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from facewright.align.backends.packages import import_package
from facewright.align.detector import Face
from facewright.align.template import five_from_68
from facewright.errors import InputError

_WEIGHTS = ("s3fd-619a316812.pth", "2DFAN4-11f355bf06.pth.tar")


class FaceAlignment:
    """face_alignment (Bulat and Tzimiropoulos, ICCV 2017) as a `Detector`.

    Nothing is downloaded: its two weight files must lie in torch's checkpoint folder, where face_alignment keeps them.

    Args:
        device: torch device name.
    """

    name = "face_alignment"

    def __init__(self, *, device: str = "cpu") -> None:
        library = import_package("face_alignment", detector=self.name, pip="face-alignment")
        folder = Path(torch.hub.get_dir(), "checkpoints")
        missing = [file for file in _WEIGHTS if not (folder / file).is_file()]
        if missing:
            raise InputError(f"detector 'face_alignment' needs {' and '.join(missing)} in {folder}; put them there")
        self._aligner = library.FaceAlignment(
            library.LandmarksType.TWO_D, device=device, face_detector="sfd", compile=False
        )

    def detect(self, image: NDArray[np.uint8]) -> list[Face]:
        """Faces in an RGB photo (see `Detector`)."""
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="No faces were detected")
            marks, _, boxes = self._aligner.get_landmarks_from_image(image, return_bboxes=True)
        faces = [
            Face(
                (float(box[0]), float(box[1]), float(box[2]), float(box[3])), five_from_68(points[:, :2]), float(box[4])
            )
            for points, box in zip(marks or [], boxes if marks else [], strict=True)
        ]
        return sorted(faces, key=lambda face: -face.score)
