"""Crops from the pictures of a generator that was not trained on aligned faces."""

import numpy as np
from PIL import Image

from facewright.align import Detector, warp_face
from facewright.align.crops import choose_face
from facewright.align.template import TEMPLATE_SIZE
from facewright.synthesis.plan import NO_FACE


def align_pictures(pictures: np.ndarray, detector: Detector) -> tuple[np.ndarray, list[str]]:
    """Find the face nearest the middle of each picture and warp it to the ArcFace template.

    Args:
        pictures: uint8 (B, H, W, 3) RGB.
        detector: finds the faces.

    Returns:
        Crops, uint8 (B, 112, 112, 3), and for each what is wrong with it: "" or `NO_FACE`; a picture without a face is
        shrunk whole.
    """
    crops = np.empty((len(pictures), TEMPLATE_SIZE, TEMPLATE_SIZE, 3), np.uint8)
    faults = [""] * len(pictures)
    for place, picture in enumerate(pictures):
        if faces := detector.detect(picture):
            crops[place] = warp_face(picture, choose_face(faces, picture.shape, which="centre").points)
        else:
            small = Image.fromarray(picture).resize((TEMPLATE_SIZE, TEMPLATE_SIZE), Image.Resampling.BICUBIC)
            crops[place] = np.asarray(small)
            faults[place] = NO_FACE
    return crops, faults
