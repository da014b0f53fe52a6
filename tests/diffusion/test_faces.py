"""Training faces from a pack, from sets and from a folder of pictures, and hints made of them."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tests.training.toys import toy_face, write_toy_pack

from facewright.diffusion import HINTS, fingerprint, open_faces
from facewright.diffusion.faces import training_rows
from facewright.errors import DataError, FaceError


def write_folder(folder: Path, *, size: int, people: int = 25, flat: bool = False) -> Path:
    for person in range(people):
        for pose in range(2):
            file = folder / f"{person}_{pose}.png" if flat else folder / f"{person:03d}" / f"{pose}.png"
            file.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(toy_face(person, pose, size=size)).save(file)
    return folder


def test_a_pack_is_a_pack(tmp_path: Path) -> None:
    faces = open_faces(write_toy_pack(tmp_path / "pack"))
    assert faces.images[np.array([1, 0])].shape == (2, 128, 128, 3)
    assert len(training_rows(faces)) + int(faces.held_out.sum()) == len(faces.images)


@pytest.mark.parametrize("size", [112, 128])
def test_a_labelled_folder_holds_whole_people_out(tmp_path: Path, size: int) -> None:
    faces = open_faces(write_folder(tmp_path / "set", size=size))
    assert len(faces.images) == 50
    pictures = faces.images[np.array([3, 0])]
    edge = (128 - size) // 2
    assert np.array_equal(pictures[0, edge : edge + size, edge : edge + size], toy_face(1, 1, size=size))
    assert np.array_equal(pictures[:, 0], pictures[:, edge])
    assert int(faces.masks[0].sum()) == (14 * 14 if size == 112 else 256)
    held_out = faces.held_out.reshape(25, 2)
    assert (held_out[:, 0] == held_out[:, 1]).all()
    assert 0 < held_out.sum() < 25


def test_in_a_folder_of_strangers_each_picture_stands_alone(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "loose", size=112, people=40, flat=True)
    faces = open_faces(folder)
    assert len(faces.images) == 80
    assert 0 < faces.held_out.sum() < 20
    before = fingerprint(folder)
    assert before == fingerprint(folder)
    Image.fromarray(toy_face(77, 0, size=112)).save(folder / "0_0.png")
    assert fingerprint(folder) != before


def test_pictures_of_other_sizes_are_named(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "set", size=112, people=2)
    Image.fromarray(toy_face(0, 0, size=128)).save(folder / "001" / "1.png")
    faces = open_faces(folder)
    with pytest.raises(DataError, match=r"1\.png: a picture of 128 x 128 px, expected 112 x 112 like the first"):
        faces.images[np.array([3])]
    with pytest.raises(DataError, match="64 px high, expected 112 or 128"):
        open_faces(write_folder(tmp_path / "small", size=64, people=1))
    with pytest.raises(FaceError, match="nothing"):
        open_faces(tmp_path / "nothing")


def test_hints_are_pictures_of_the_same_size() -> None:
    faces = np.stack([toy_face(0, 0), np.zeros((128, 128, 3), np.uint8)])
    lines = HINTS["edges"](faces)
    assert lines.shape == faces.shape
    assert set(np.unique(lines[0]).tolist()) == {0, 255}
    assert not lines[1].any()
    cells = HINTS["colours"](faces)
    assert cells.shape == faces.shape
    assert (cells[0, :16, :16] == cells[0, 0, 0]).all()
    assert np.abs(cells[0].mean((0, 1)) - faces[0].mean((0, 1))).max() < 1
