from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from facewright import checkpoints
from facewright.align import ARCFACE_TEMPLATE, Face
from facewright.encoders.msid import MSID
from facewright.errors import DataError, InputError
from facewright.personalise import IdentityReader, PhotoOf, average_identities, load_identity_encoder


class Marks:
    """Finds a face, 112 pixels wide, at each column whose top pixel is pure red."""

    name = "marks"

    def __init__(self) -> None:
        self.looked = 0

    def detect(self, image: np.ndarray) -> list[Face]:
        self.looked += 1
        starts = np.flatnonzero((image[0] == (255, 0, 0)).all(1))
        faces = [
            Face((float(x), 0.0, float(x + 112), 112.0), ARCFACE_TEMPLATE + np.array([x, 0]), float(index))
            for index, x in enumerate(starts)
        ]
        return faces[::-1]


class Means:
    """The mean colour of a crop, three wide."""

    name, sha256, width = "means", "", 3

    def __init__(self) -> None:
        self.embedded = 0

    def embed(self, crops: np.ndarray) -> np.ndarray:
        self.embedded += len(crops)
        return crops.mean((1, 2)).astype(np.float32)


def photo(path: Path, colours: list[int]) -> Path:
    """A photo of one face for each level of grey."""
    image = np.zeros((112, 112 * max(1, len(colours)), 3), np.uint8)
    for index, level in enumerate(colours):
        image[:, 112 * index : 112 * (index + 1)] = level
        image[0, 112 * index] = (255, 0, 0)
    Image.fromarray(image).save(path)
    return path


@pytest.fixture
def reader() -> IdentityReader:
    return IdentityReader(Marks())


def test_photos_are_averaged_and_kept(reader: IdentityReader, tmp_path: Path) -> None:
    photos = [PhotoOf(photo(tmp_path / f"{level}.png", [level])) for level in (40, 80)]
    encoder = Means()
    person = reader.crops("alice", photos)
    assert person.crops.shape == (2, 112, 112, 3)
    np.testing.assert_allclose(reader.identity(person, encoder), [60, 60, 60], atol=0.5)
    again = reader.identity(reader.crops("anna", photos[:1]), encoder)
    np.testing.assert_allclose(again, [40, 40, 40], atol=0.5)
    assert reader.detector.looked == 2  # type: ignore[attr-defined]
    assert encoder.embedded == 2


def test_of_several_faces_the_chosen_one_is_taken(reader: IdentityReader, tmp_path: Path) -> None:
    path = photo(tmp_path / "three.png", [30, 90, 200])
    for number, level in ((1, 30), (2, 90), (3, 200)):
        crop = reader.crops("bob", [PhotoOf(path, number)]).crops[0]
        assert crop[50, 50].tolist() == [level] * 3


def test_a_photo_that_does_not_show_one_face_is_refused(reader: IdentityReader, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"three.png shows 3 faces; choose one .* such as three.png#1"):
        reader.crops("bob", [PhotoOf(photo(tmp_path / "three.png", [1, 2, 3]))])
    with pytest.raises(InputError, match=r"one.png shows 1 face, face 2 was asked for"):
        reader.crops("bob", [PhotoOf(photo(tmp_path / "one.png", [1]), 2)])
    with pytest.raises(InputError, match=r"face 0 was asked for"):
        reader.crops("bob", [PhotoOf(photo(tmp_path / "one.png", [1]), 0)])
    with pytest.raises(DataError, match=r"no face found in .*none.png"):
        reader.crops("bob", [PhotoOf(photo(tmp_path / "none.png", []))])
    with pytest.raises(InputError, match="bob has no photo"):
        reader.crops("bob", [])


def test_means_of_unit_embeddings_are_unit() -> None:
    rows = np.array([[1.0, 0.0], [0.0, 1.0]])
    np.testing.assert_allclose(average_identities(rows, unit=True), np.sqrt([0.5, 0.5]))
    np.testing.assert_allclose(average_identities(rows, unit=False), [0.5, 0.5])


def test_an_imported_msid_is_an_encoder(tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = MSID().eval()
    torch.save(network.state_dict(), tmp_path / "msid.pt")
    checkpoints.import_checkpoint(tmp_path / "msid.pt", tmp_path / "msid.safetensors")
    encoder = load_identity_encoder(tmp_path / "msid.safetensors")
    assert (encoder.name, encoder.width) == ("f2d/msid", 1536)
    crop = np.random.default_rng(0).integers(0, 256, (1, 112, 112, 3), np.uint8)
    with torch.no_grad():
        wanted = network(torch.from_numpy(crop).permute(0, 3, 1, 2) / 127.5 - 1)
    np.testing.assert_allclose(encoder.embed(crop), wanted.numpy(), atol=1e-5)


def test_the_bundled_encoder_is_the_default() -> None:
    assert load_identity_encoder().width == 512
