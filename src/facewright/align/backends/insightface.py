"""The detector of an InsightFace model pack that is already on disk."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from facewright.align.backends.packages import import_package
from facewright.align.detector import Face
from facewright.errors import InputError


class InsightFace:
    """SCRFD as a `Detector`, run by the library insightface on the CPU.

    Nothing is downloaded: the pack's .onnx files must lie in `root/models/pack`, where insightface keeps them.

    Args:
        pack: name of the model pack.
        root: insightface's folder; None for the one it uses itself, ~/.insightface.
        threshold: smallest score.
        side: side of the square that a photo is fitted into for the search, in pixels.
    """

    name = "insightface"

    def __init__(
        self, *, pack: str = "buffalo_l", root: Path | None = None, threshold: float = 0.5, side: int = 640
    ) -> None:
        app = import_package("insightface.app", detector=self.name, pip="insightface onnxruntime")
        home = root or Path.home() / ".insightface"
        folder = home / "models" / pack
        if not any(folder.glob("*.onnx")):
            raise InputError(
                f"detector 'insightface' needs the model pack {pack} as .onnx files in {folder}; put it there"
            )
        self._analysis = app.FaceAnalysis(
            name=pack, root=str(home), allowed_modules=["detection"], providers=["CPUExecutionProvider"]
        )
        self._analysis.prepare(ctx_id=-1, det_thresh=threshold, det_size=(side, side))

    def detect(self, image: NDArray[np.uint8]) -> list[Face]:
        """Faces in an RGB photo (see `Detector`)."""
        found = self._analysis.get(np.ascontiguousarray(image[..., ::-1]))  # it takes BGR
        faces = [
            Face(
                (float(face.bbox[0]), float(face.bbox[1]), float(face.bbox[2]), float(face.bbox[3])),
                np.asarray(face.kps, dtype=np.float64),
                float(face.det_score),
            )
            for face in found
        ]
        return sorted(faces, key=lambda face: -face.score)
