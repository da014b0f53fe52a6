from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tests.cli.sides import Sides
from tests.personalise.tiny_world import KNOWN, tiny_faces

from facewright.align import Face
from facewright.errors import ConfigError
from facewright.personalise.world_faces import WorldFaces
from facewright.personalise.world_people import choose_people, noun_of, write_people


class Blind(Sides):
    """Finds no face on some pictures."""

    def __init__(self, hidden: list[np.ndarray]) -> None:
        self.hidden = hidden

    def detect(self, image: np.ndarray) -> list[Face]:
        return [] if any(np.array_equal(image, other) for other in self.hidden) else super().detect(image)


@pytest.fixture
def faces(tmp_path: Path) -> WorldFaces:
    """Everybody with a number is held out too; the second photo of person 1 is another crop of the first."""
    faces = tiny_faces(tmp_path)
    held_out, files = faces.pack.held_out.copy(), faces.files.astype("U20")
    held_out[: 2 * KNOWN] = True
    files[2:4] = ["7.jpg", "loose/7.jpg"]
    return replace(faces, pack=replace(faces.pack, held_out=held_out), files=files)


def test_people_of_two_photos_are_chosen(faces: WorldFaces) -> None:
    seen = list[tuple[int, int]]()
    chosen = choose_people(faces, Sides(), count=KNOWN - 1, progress=lambda *done: seen.append(done))
    assert [person.name for person in chosen] == [f"person{label}" for label in (0, 2, 3, 4, 5)]
    assert [person.rows for person in chosen] == [(0, 1), (4, 5), (6, 7), (8, 9), (10, 11)]
    assert seen[-1] == (KNOWN - 1, KNOWN - 1)
    fewer = choose_people(faces, Sides(), count=3)
    assert set(fewer) < set(chosen), "more people are the same and further ones"
    assert set(choose_people(faces, Sides(), count=3, seed=1)) != set(fewer)
    with pytest.raises(ConfigError, match="6 held-out people with 2 photos or more are asked for, the pack has 5"):
        choose_people(faces, Sides(), count=KNOWN)
    with pytest.raises(ConfigError, match="must be at least 1, got 0 and 2"):
        choose_people(faces, Sides(), count=0)


def test_one_photo_takes_people_without_a_number(faces: WorldFaces) -> None:
    held_out = faces.rows(held_out=True)
    unknown = [int(row) for row in held_out if row >= 2 * KNOWN]
    chosen = choose_people(faces, Sides(), count=KNOWN + len(unknown), photos_each=1)
    rows = {person.name: person.rows for person in chosen}
    assert rows["person1"] == (2,)
    assert {name for name in rows if name.startswith("face")} == {f"face{row}" for row in unknown}
    assert all(set(own) <= set(held_out.tolist()) for own in rows.values())


def test_photos_without_a_face_are_left_out(faces: WorldFaces) -> None:
    blind = Blind([np.asarray(faces.pack.images[row]) for row in (4, 6)])
    everybody = KNOWN + int((faces.rows(held_out=True) >= 2 * KNOWN).sum())
    rows = {person.name: person.rows for person in choose_people(faces, blind, count=everybody, photos_each=1)}
    assert (rows["person0"], rows["person2"], rows["person3"]) == ((0, 1), (5,), (7,))
    with pytest.raises(ConfigError, match="the pack has 3"):
        choose_people(faces, blind, count=4)


def test_nouns_are_what_most_photos_say(faces: WorldFaces) -> None:
    gender, age = faces.gender.copy(), faces.age.copy()
    gender[:6], age[:6] = (0, 0, 1, -1, -1, 1), (2, 0, 0, -1, 3, -1)
    known = replace(faces, gender=gender, age=age)
    assert noun_of(known, (0, 1, 2)) == "a man"
    assert noun_of(known, (1, 0, 2)) == "a boy"
    assert noun_of(known, (2, 3)) == "a girl"
    assert noun_of(known, (0, 2)) == "a person", "divided"
    assert noun_of(known, (2, 0)) == "a child"
    assert noun_of(known, (3, 4)) == "a person"
    assert noun_of(known, (4, 5)) == "a woman"


def test_photos_and_nouns_are_written_once(faces: WorldFaces, tmp_path: Path) -> None:
    people = choose_people(faces, Sides(), count=2)
    write_people(faces, people, tmp_path / "out")
    lines = (tmp_path / "out" / "nouns.csv").read_text().splitlines()
    assert lines == ["identity,noun", *(f"{person.name},a person" for person in people)]
    for person in people:
        files = sorted((tmp_path / "out" / "people" / person.name).iterdir())
        assert [file.name for file in files] == ["000.png", "001.png"]
        for file, row in zip(files, person.rows, strict=True):
            with Image.open(file) as photo:
                assert np.array_equal(np.asarray(photo), faces.pack.images[row])
    before = files[0].stat().st_mtime_ns
    write_people(faces, people, tmp_path / "out")
    assert files[0].stat().st_mtime_ns == before
