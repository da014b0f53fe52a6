"""Toy faces drawn in code, and a pack of them."""

from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from facewright.data.packs import FacePack, read_pack


def toy_face(person: int, pose: int, *, size: int = 128) -> np.ndarray:
    """A cartoon face, uint8 (size, size, 3): colours from `person`, place from `pose`."""
    look, change = np.random.default_rng(person), np.random.default_rng([person, pose])
    skin, ground, eye = (tuple(int(v) for v in look.integers(0, 256, 3)) for _ in range(3))
    x, y = size * (0.5 + change.uniform(-0.05, 0.05)), size * (0.5 + change.uniform(-0.05, 0.05))
    picture = Image.new("RGB", (size, size), ground)
    draw = ImageDraw.Draw(picture)
    draw.ellipse((x - size * 0.3, y - size * 0.4, x + size * 0.3, y + size * 0.4), fill=skin)
    for side in (-1, 1):
        draw.ellipse((x + side * size * 0.15 - 6, y - 16, x + side * size * 0.15 + 6, y - 8), fill=eye)
    draw.line((x - 14, y + 24, x + 14, y + 24), fill=eye, width=4)
    return np.asarray(picture)


def write_toy_pack(folder: Path, *, people: int = 6, poses: int = 3, unknown: int = 2) -> Path:
    """A pack on disk: `poses` faces of each known person, and some of people without a number."""
    persons = [person for person in range(people) for _ in range(poses)]
    count = len(persons) + unknown
    folder.mkdir(parents=True, exist_ok=True)
    faces = [toy_face(person, pose) for pose, person in enumerate([*persons, *range(900, 900 + unknown)])]
    np.save(folder / "images.npy", np.stack(faces))
    np.savez(
        folder / "index.npz",
        source=np.array([0] * len(persons) + [1] * unknown, np.int8),
        identity=np.array([10 * person for person in persons] + [-1] * unknown, np.int64),
        files=np.array([f"{number}.png" for number in range(count)]),
        mask=np.ones((count, 16, 16), np.uint8),
        keep=np.ones(count, bool),
    )
    return folder


def toy_pack(folder: Path, **sizes: int) -> FacePack:
    """The same, opened."""
    return read_pack(write_toy_pack(folder, **sizes))
