"""Find a face in a photo and warp it to the 112 x 112 ArcFace template."""

from facewright.align.crops import crop, find_faces
from facewright.align.detector import DEFAULT_DETECTOR, Detector, Face, detector_names, load_detector
from facewright.align.folder import AlignReport, align_photos
from facewright.align.manifest import read_manifest
from facewright.align.pack import PackConfig, PackReport, PackSource, pack_faces
from facewright.align.photos import read_photo
from facewright.align.sources import open_photos
from facewright.align.template import ARCFACE_TEMPLATE, five_from_68, similarity
from facewright.align.warp import warp, warp_face

__all__ = [
    "ARCFACE_TEMPLATE",
    "DEFAULT_DETECTOR",
    "AlignReport",
    "Detector",
    "Face",
    "PackConfig",
    "PackReport",
    "PackSource",
    "align_photos",
    "crop",
    "detector_names",
    "find_faces",
    "five_from_68",
    "load_detector",
    "open_photos",
    "pack_faces",
    "read_manifest",
    "read_photo",
    "similarity",
    "warp",
    "warp_face",
]
