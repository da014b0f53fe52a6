"""A face finder that needs no face."""

import numpy as np

from facewright.align import ARCFACE_TEMPLATE, Face


class Sides:
    """Finds a face in the left half of a picture and, where it is twice as wide as high, one in the right half."""

    name = "sides"

    def detect(self, image: np.ndarray) -> list[Face]:
        height, width = image.shape[:2]
        scale = height / 112
        faces = range(round(width / height))
        shifts = [np.array([112 * index, 0]) for index in faces]
        return [
            Face((index * height, 0.0, (index + 1) * height, height), (ARCFACE_TEMPLATE + shift) * scale, 1.0)
            for index, shift in zip(faces, shifts, strict=True)
        ]
