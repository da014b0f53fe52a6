"""dlib's two face detectors and its 68-point model, with the files of face_recognition_models."""

import cv2
import numpy as np
from numpy.typing import NDArray

from facewright.align.backends.packages import import_package, package_file
from facewright.align.detector import Face
from facewright.align.template import five_from_68

_MODELS = "face_recognition_models"


class Dlib:
    """dlib as a `Detector`: gradient histograms on the doubled photo and, where they find nothing, a small network.

    Args:
        max_side: a larger photo is shrunk to this longest side for the search, in pixels.
        second_try: search with the network where the histograms find nothing (slow: about a second a photo).
        threshold: smallest score of the network's detections.
    """

    name = "dlib"

    def __init__(self, *, max_side: int = 800, second_try: bool = True, threshold: float = 0.0) -> None:
        self.max_side = max_side
        self.second_try = second_try
        self.threshold = threshold
        dlib = import_package("dlib", detector=self.name, pip="dlib-bin")
        landmarks, network = (
            str(package_file(_MODELS, f"models/{file}.dat", detector=self.name, pip=_MODELS))
            for file in ("shape_predictor_68_face_landmarks", "mmod_human_face_detector")
        )
        self._rectangle = dlib.rectangle
        self._histograms = dlib.get_frontal_face_detector()
        self._landmarks = dlib.shape_predictor(landmarks)
        self._network = dlib.cnn_face_detection_model_v1(network)

    def detect(self, image: NDArray[np.uint8]) -> list[Face]:
        """Faces in an RGB photo (see `Detector`)."""
        shrink = min(1.0, self.max_side / max(image.shape[:2]))
        if shrink < 1:
            image = np.asarray(cv2.resize(image, None, fx=shrink, fy=shrink, interpolation=cv2.INTER_AREA), np.uint8)
        pixels = np.ascontiguousarray(image)
        boxes, scores, _ = self._histograms.run(pixels, 1, 0.0)
        if not boxes and self.second_try:
            found = [face for face in self._network(pixels, 0) if face.confidence >= self.threshold]
            boxes, scores = [face.rect for face in found], [face.confidence for face in found]
        faces = []
        for box, score in zip(boxes, scores, strict=True):
            marks = self._landmarks(pixels, self._rectangle(box.left(), box.top(), box.right(), box.bottom()))
            points = five_from_68([(marks.part(i).x, marks.part(i).y) for i in range(68)])
            edges = np.array([box.left(), box.top(), box.right(), box.bottom()]) / shrink
            faces.append(Face((edges[0], edges[1], edges[2], edges[3]), points / shrink, float(score)))
        return sorted(faces, key=lambda face: -face.score)
