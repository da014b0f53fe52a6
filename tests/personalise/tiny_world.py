"""A world of drawn faces, and networks for it that are made and trained in a second."""

from dataclasses import replace
from pathlib import Path

import numpy as np
from tests.training.toys import write_toy_pack

from facewright.personalise.base_networks import AutoencoderSizes, DenoiserSizes, TextSizes
from facewright.personalise.world_faces import Manifest, WorldFaces, read_world_faces
from facewright.personalise.world_scenes import World, WorldConfig

KNOWN, UNKNOWN = 6, 60  # people with a number, of two poses each; and people without
WORLD = WorldConfig(size=32, people=(0.6, 0.4), sides=((0.75, 0.9), (0.5, 0.6)))
AUTOENCODER = AutoencoderSizes(widths=(8, 8, 16), channels=4, groups=4)  # 32 px to 4 x 8 x 8
TEXT = TextSizes(length=24, width=32, layers=1, head_width=16)
DENOISER = DenoiserSizes(widths=(16, 32), attention=(True, False), head_width=16, groups=8)


def write_tiny(folder: Path) -> Path:
    """A pack, folder/faces, whose people without a number have an age, a gender and a group in folder/people.csv."""
    write_toy_pack(folder / "faces", people=KNOWN, poses=2, unknown=UNKNOWN)
    lines = ["file,age,gender,race"]
    for number in range(UNKNOWN):
        gender, group = ("male", "female")[number % 2], ("Asian", "Others")[number % 2]
        lines.append(f"{2 * KNOWN + number}.png,{3 + 7 * (number % 10)},{gender},{group}")
    (folder / "people.csv").write_text("\n".join(lines) + "\n")
    return folder


def tiny_manifest(folder: Path) -> Manifest:
    return Manifest(folder / "people.csv", 1, age="age", gender="gender", group="race")


def tiny_faces(folder: Path) -> WorldFaces:
    """The faces of `write_tiny`; every fourth person without a number is held out."""
    faces = read_world_faces(write_tiny(folder) / "faces", [tiny_manifest(folder)])
    held_out = np.arange(len(faces.usable)) % 4 == 3
    held_out[: 2 * KNOWN] = False
    return replace(faces, pack=replace(faces.pack, held_out=held_out))


def tiny_world(folder: Path, *, seed: int = 0, config: WorldConfig = WORLD) -> World:
    faces = tiny_faces(folder)
    return World(faces, faces.rows(held_out=False), config, seed=seed)
