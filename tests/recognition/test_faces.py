"""The faces that a recipe names: packs and every format, contiguous labels, held-out people, damaged pictures."""

import io
import logging
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tests.data.formats.toy_sets import Listed
from tests.training.toys import toy_face, write_toy_pack

from facewright.data.formats import FORMATS, ExportConfig, Record, export_records
from facewright.errors import ConfigError, DataError
from facewright.recognition.faces import open_faces
from facewright.recognition.recipe import RecogniserRecipe
from facewright.training.schedule import Schedule

PEOPLE = (0, 0, 1, 1, 1, 2, 2, 3)  # whose each picture is
RECIPE = RecogniserRecipe(Path("nowhere"), Schedule(images=8))


def png(picture: np.ndarray) -> bytes:
    opened = io.BytesIO()
    Image.fromarray(picture).save(opened, format="PNG")
    return opened.getvalue()


@pytest.fixture(scope="module")
def pictures() -> np.ndarray:
    """What the crops have to be, (8, 112, 112, 3)."""
    return np.stack([toy_face(person, pose) for pose, person in enumerate(PEOPLE)])[:, 8:120, 8:120]


@pytest.fixture(scope="module")
def records() -> Listed:
    faces = [png(toy_face(person, pose)) for pose, person in enumerate(PEOPLE)]
    return Listed(
        [Record(face, label, f"{label}/{n}.png") for n, (face, label) in enumerate(zip(faces, PEOPLE, strict=True))]
    )


@pytest.mark.parametrize("to", [name for name in FORMATS if name != "bin"])
def test_every_format_gives_the_same_crops(to: str, records: Listed, pictures: np.ndarray, tmp_path: Path) -> None:
    export_records(records, tmp_path / "faces", ExportConfig(to))
    recipe = replace(RECIPE, data=tmp_path / "faces", format=to, people=4, faces=8)
    training = open_faces(recipe).training
    assert (training.people, len(training)) == (4, 8)
    rows = np.array([5, 0, 7])
    crops, labels = training.read(rows)
    assert labels.tolist() == [2, 0, 3]
    assert np.array_equal(crops, pictures[rows])
    assert open_faces(replace(recipe, format="auto")).training.labels.tolist() == list(PEOPLE)


def test_crops_of_a_pack_are_its_centres_without_the_unknown_and_its_own_people_held_out(tmp_path: Path) -> None:
    folder = write_toy_pack(tmp_path / "pack", people=40, poses=2, unknown=5)
    faces = open_faces(replace(RECIPE, data=folder))
    training, held_out = faces.training, faces.held_out
    assert len(training) < 80
    assert len(training) + len(held_out) == 80
    for part in (training, held_out):
        assert sorted(set(part.labels.tolist())) == list(range(len(part) // 2))
    crops, _ = training.read(np.array([0]))
    assert np.array_equal(crops[0], toy_face(0, 0)[8:120, 8:120])
    assert not set(training.numbers) & set(held_out.numbers)
    with pytest.raises(ConfigError, match="is a pack and has people held out already"):
        open_faces(replace(RECIPE, data=folder, held_out_people=2))


def test_held_out_people_are_the_same_for_every_seed_and_have_two_pictures(records: Listed, tmp_path: Path) -> None:
    export_records(records, tmp_path / "faces", ExportConfig("folder"))
    recipe = replace(RECIPE, data=tmp_path / "faces", held_out_people=2)
    faces = open_faces(recipe)
    assert faces.held_out.people == 2
    assert np.bincount(faces.held_out.labels).min() >= 2
    assert faces.training.labels.max() + 1 == faces.training.people == 2
    assert len(faces.training) + len(faces.held_out) == 8
    other = open_faces(replace(recipe, schedule=Schedule(images=8, seed=9)))
    assert np.array_equal(other.held_out.numbers, faces.held_out.numbers)
    with pytest.raises(ConfigError, match="holds 3 people with two pictures or more, so 4 cannot be held out"):
        open_faces(replace(recipe, held_out_people=4))
    with pytest.raises(DataError, match="holds 1 people to train on; a recogniser needs at least 2"):
        open_faces(replace(recipe, held_out_people=3))


def test_gaps_are_refused_or_named(records: Listed, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    export_records(Listed([r for r in records.records if r.label != 1]), tmp_path / "faces", ExportConfig("recordio"))
    recipe = replace(RECIPE, data=tmp_path / "faces")
    with pytest.raises(DataError, match="no record has label 1"):
        open_faces(recipe)
    with caplog.at_level(logging.WARNING):
        training = open_faces(replace(recipe, gaps="renumber")).training
    assert training.labels.tolist() == [0, 0, 1, 1, 2]
    assert "1 of 4 labels have no picture (1); the others are renumbered" in caplog.text


def test_damaged_pictures_are_refused_or_skipped_and_counted(records: Listed, tmp_path: Path) -> None:
    damaged = [replace(r, image=r.image[:300]) if n == 3 else r for n, r in enumerate(records.records)]
    small = [replace(r, image=png(np.zeros((64, 64, 3), np.uint8))) if n == 6 else r for n, r in enumerate(damaged)]
    export_records(Listed(small), tmp_path / "faces", ExportConfig("recordio"))
    recipe = replace(RECIPE, data=tmp_path / "faces")
    with pytest.raises(DataError, match=r"record 3 .*not a readable picture"):
        open_faces(recipe).training.read(np.arange(8))
    faces = open_faces(replace(recipe, damaged="skip"))
    for _ in range(2):
        crops, labels = faces.training.read(np.arange(8))
        assert len(crops) == 6
        assert labels.tolist() == [0, 0, 1, 1, 2, 3]
    assert sorted(faces.skipped) == [3, 6]
    assert "64 x 64 px, smaller than a crop of 112 px" in faces.skipped[6]


def test_other_data_than_the_recipe_says_is_refused(records: Listed, tmp_path: Path) -> None:
    export_records(records, tmp_path / "faces", ExportConfig("folder"))
    recipe = replace(RECIPE, data=tmp_path / "faces")
    with pytest.raises(ConfigError, match="holds folder, and the recipe says format = 'recordio'"):
        open_faces(replace(recipe, format="recordio"))
    with pytest.raises(ConfigError, match=r"for 7 faces, and .* holds 8"):
        open_faces(replace(recipe, faces=7))
    with pytest.raises(DataError, match="is not a face pack"):
        open_faces(replace(recipe, format="pack"))
    pairs = Listed([replace(record, label=1) for record in records.records[:2]])
    export_records(pairs, tmp_path / "pairs.bin", ExportConfig("bin"))
    with pytest.raises(DataError, match="holds pairs, and no pictures of labelled people"):
        open_faces(replace(RECIPE, data=tmp_path / "pairs.bin"))
