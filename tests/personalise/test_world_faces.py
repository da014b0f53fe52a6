from pathlib import Path

import numpy as np
import pytest
from tests.personalise.tiny_world import KNOWN, UNKNOWN, tiny_faces, tiny_manifest, write_tiny

from facewright.errors import ConfigError, DataError, FaceError, InputError
from facewright.personalise.world_captions import Known
from facewright.personalise.world_faces import Manifest, read_world_faces, with_guesses

FIRST = 2 * KNOWN  # the first face that the manifest describes


def test_a_manifest_describes_the_faces_of_its_source(tmp_path: Path) -> None:
    faces = tiny_faces(tmp_path)
    assert faces.known(0) == Known()
    assert faces.known(FIRST) == Known("man", "child", "asian")
    assert faces.known(FIRST + 5) == Known("woman", "middle aged")
    assert faces.groups == ("asian",)
    apart, together = faces.rows(held_out=True), faces.rows(held_out=False)
    assert not set(apart) & set(together)
    assert set(apart) | set(together) == set(np.flatnonzero(faces.usable))
    assert set(faces.rows(held_out=False, known=True)) == {row for row in together if row >= FIRST}


def test_grey_photos_are_left_out(tmp_path: Path) -> None:
    images = np.load(write_tiny(tmp_path) / "faces" / "images.npy")
    images[3] = images[3].mean(2, keepdims=True)
    np.save(tmp_path / "faces" / "images.npy", images)
    faces = read_world_faces(tmp_path / "faces")
    assert not faces.usable[3]
    assert faces.usable.sum() > UNKNOWN


def test_a_classifier_fills_in_only_what_it_is_sure_of(tmp_path: Path) -> None:
    faces = tiny_faces(tmp_path)

    def guess(crops: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        assert crops.shape[1:] == (112, 112, 3)
        return np.tile([0.05, 0.95], (len(crops), 1)), np.tile([0.1, 0.2, 0.3, 0.4], (len(crops), 1))

    guessed = with_guesses(faces, guess, sure=0.9)
    usable = np.flatnonzero(faces.usable[:FIRST])
    assert all(guessed.known(row) == Known("woman") for row in usable)
    assert guessed.known(FIRST) == faces.known(FIRST)
    assert np.array_equal(guessed.age, faces.age)


@pytest.mark.parametrize(
    ("spoil", "error", "sentence"),
    [
        (lambda m: Manifest(m.file.with_name("no.csv"), 1), InputError, "no.csv does not exist"),
        (lambda m: Manifest(m.file, 7), ConfigError, "said to be about source 7, which .*faces has not"),
        (lambda m: Manifest(m.file, 1, age="years"), DataError, "has no column years; it has file, age"),
        (lambda m: Manifest(m.file, 1, age="gender"), DataError, "line 2: the age must be whole years, got 'male'"),
        (lambda m: Manifest(m.file, 1, gender="race"), DataError, "line 2: the gender must be male or female"),
        (lambda m: Manifest(m.file, 0, age="age"), DataError, "none of its files is in source 0"),
    ],
)
def test_wrong_manifests_are_named(tmp_path: Path, spoil: object, error: type[FaceError], sentence: str) -> None:
    write_tiny(tmp_path)
    with pytest.raises(error, match=sentence):
        read_world_faces(tmp_path / "faces", [spoil(tiny_manifest(tmp_path))])  # type: ignore[operator]
