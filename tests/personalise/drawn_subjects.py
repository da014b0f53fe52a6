"""Folders of drawn people with captions and masks, and an encoder that needs no weights."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image, ImageDraw
from torch import Tensor

from facewright.align import Detector
from facewright.personalise.subject_folder import Segment, SubjectFolder, SubjectRecord, write_lists, write_subject

POINTS = np.array([[-6, -5], [6, -5], [0, 1], [-5, 8], [5, 8]], float)
"""Of a drawn face, around its middle."""


def draw_people(
    centres: Sequence[tuple[float, float]], seeds: Sequence[int], *, width: int = 64, height: int = 64
) -> tuple[np.ndarray, np.ndarray]:
    """uint8 (height, width, 3) RGB with flat faces of seeded colours, and their labels from 1, (height, width)."""
    picture = Image.new("RGB", (width, height), (40, 90, 60))
    labels = Image.new("I", (width, height), 0)
    for number, ((x, y), seed) in enumerate(zip(centres, seeds, strict=True), start=1):
        look = np.random.default_rng(seed)
        skin, eye = (tuple(int(v) for v in look.integers(0, 256, 3)) for _ in range(2))
        box = (x - 14, y - 17, x + 14, y + 18)
        draw = ImageDraw.Draw(picture)
        draw.ellipse(box, fill=skin)
        for dx, dy in POINTS:
            draw.ellipse((x + dx - 2, y + dy - 2, x + dx + 2, y + dy + 2), fill=eye)
        ImageDraw.Draw(labels).ellipse(box, fill=number)
    return np.asarray(picture), np.asarray(labels, np.int32)


def write_drawn(folder: Path, *, people: int = 4, photos: int = 2, pairs: int = 2, held_out: int = 1) -> SubjectFolder:
    """A folder with `photos` of each person alone, and `pairs` of two of them; the last people are held out."""
    trained, apart, number = list[str](), list[str](), 0
    for person in range(people):
        for photo in range(photos):
            name = f"{number:08d}"
            picture, labels = draw_people([(30 + 4 * photo, 33)], [person])
            segment = Segment(1, 19, 11, POINTS + np.array([30 + 4 * photo, 33]), f"p{person}")
            record = SubjectRecord("a photo of a person", (segment,))
            write_subject(folder, name, picture=picture, labels=labels, record=record, more={})
            (apart if person >= people - held_out else trained).append(name)
            number += 1
    for pair in range(pairs):
        name = f"{number:08d}"
        picture, labels = draw_people([(28, 30), (80, 34)], [pair, pair + 1], width=112)
        segments = (
            Segment(1, 7, None, POINTS + np.array([28, 30]), f"p{pair}"),
            Segment(2, 17, None, POINTS + np.array([80, 34]), f"p{pair + 1}"),
        )
        record = SubjectRecord("a woman and a man ride a tandem", segments)
        write_subject(folder, name, picture=picture, labels=labels, record=record, more={})
        trained.append(name)
        number += 1
    write_lists(folder, trained, apart)
    return SubjectFolder(folder)


def no_detector() -> Detector:
    """Where every face has its points."""
    raise AssertionError("a detector was asked for")


class PixelEncoder:
    """The crop in few pixels, as a unit vector."""

    name = "pixels"
    sha256 = "0" * 64
    width = 48

    def __init__(self) -> None:
        self.calls = 0

    def embed(self, crops: np.ndarray) -> np.ndarray:
        self.calls += 1
        return self.identify(torch.from_numpy(crops.copy()).permute(0, 3, 1, 2).float() / 127.5 - 1).numpy()

    @staticmethod
    def identify(crops: Tensor) -> Tensor:
        return F.normalize(F.adaptive_avg_pool2d(crops, 4).flatten(1))
