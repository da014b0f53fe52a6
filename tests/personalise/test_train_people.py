import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.personalise.drawn_subjects import POINTS, PixelEncoder, no_detector, write_drawn

from facewright.align import Face, warp_face
from facewright.errors import ConfigError, DataError, InputError
from facewright.personalise.subject_folder import SubjectFolder
from facewright.personalise.train_people import read_people


class Told:
    """A detector that finds faces where it is told, and counts its calls."""

    name = "told"

    def __init__(self, *centres: tuple[float, float]) -> None:
        self.centres, self.calls = centres, 0

    def detect(self, image: np.ndarray) -> list[Face]:
        self.calls += 1
        points = [POINTS + np.array(centre) for centre in self.centres]
        return [
            Face((x - 14.0 - n, y - 17.0, x + 14.0, y + 18.0), own, 1.0)
            for n, ((x, y), own) in enumerate(zip(self.centres, points, strict=True))
        ]


def edit(folder: SubjectFolder, name: str, change: Any) -> None:
    file = folder.file(name, ".json")
    read = json.loads(file.read_text())
    change(read)
    file.write_text(json.dumps(read))


def test_people_with_their_faces_and_words(tmp_path: Path) -> None:
    folder, encoder = write_drawn(tmp_path / "s", people=3, photos=2, pairs=1, held_out=1), PixelEncoder()
    edit(folder, "00000000", lambda read: read["segments"][0].update(expression=[1, 2]))
    done = list[tuple[int, int]]()
    people = read_people(
        folder,
        encoder,
        no_detector,
        cache=tmp_path / "c",
        expression_width=2,
        progress=lambda at, total: done.append((at, total)),
    )
    assert done == [(7, 7)]
    pair = people.ids.index("00000006")
    rows = people.rows_of(pair)
    caption = folder.record("00000006").caption
    assert [caption[start:end] for start, end in people.phrase[rows]] == ["a woman", "a man"]
    assert people.number[rows].tolist() == [1, 2]
    assert people.person[rows].tolist() == ["p0", "p1"]
    crop = warp_face(folder.picture("00000006"), people.points[rows[1]])
    wanted = encoder.embed(np.stack([crop, crop[:, ::-1]]))
    assert np.allclose(people.embedding[rows[1]], wanted, atol=1e-6)
    assert people.expression[people.rows_of(people.ids.index("00000000"))].tolist() == [[1, 2]]
    assert np.isnan(people.expression).sum() == 2 * (len(people.photo) - 1)
    assert people.photos(held_out=True).tolist() == [people.ids.index("00000004"), people.ids.index("00000005")]
    assert sorted([*people.photos(held_out=True), *people.photos(held_out=False)]) == list(range(7))
    others = people.others()
    assert people.photo[others[0]].tolist() == [1, people.ids.index("00000006")]


def test_the_second_call_reads_what_the_first_found(tmp_path: Path) -> None:
    folder, encoder = write_drawn(tmp_path / "s"), PixelEncoder()
    first = read_people(folder, encoder, no_detector, cache=tmp_path / "c", expression_width=4)
    calls = encoder.calls
    again = read_people(folder, encoder, no_detector, cache=tmp_path / "c", expression_width=4)
    assert encoder.calls == calls
    assert np.array_equal(first.embedding, again.embedding)
    with pytest.raises(ConfigError, match="was made with another expression_width; give the same, or another --out"):
        read_people(folder, encoder, no_detector, cache=tmp_path / "c", expression_width=8)
    (tmp_path / "c" / "00000.npz").write_bytes(b"nothing")
    with pytest.raises(DataError, match=r"00000.npz: cannot be read .* delete it"):
        read_people(folder, encoder, no_detector, cache=tmp_path / "c", expression_width=4)


def test_faces_that_are_not_said_are_found_in_their_segments(tmp_path: Path) -> None:
    folder = write_drawn(tmp_path / "s", people=1, photos=0, pairs=1, held_out=0)
    edit(folder, "00000000", lambda read: [segment.pop("points") for segment in read["segments"]])
    detector = Told((80, 34), (28, 30), (55, 8))  # the last one lies in nobody
    people = read_people(folder, PixelEncoder(), lambda: detector, cache=tmp_path / "c", held_out=0.0)
    assert detector.calls == 1
    assert np.allclose(people.points, [POINTS + np.array([28, 30]), POINTS + np.array([80, 34])])
    alone = read_people(folder, PixelEncoder(), lambda: Told((80, 34)), cache=tmp_path / "d", held_out=0.0)
    assert alone.number.tolist() == [2]
    with pytest.raises(InputError, match="no face was found for any person"):
        read_people(folder, PixelEncoder(), lambda: Told(), cache=tmp_path / "e", held_out=0.0)


def test_of_two_segments_with_the_same_words_the_larger_face_counts(tmp_path: Path) -> None:
    folder = write_drawn(tmp_path / "s", people=1, photos=0, pairs=1, held_out=0)

    def change(read: dict[str, Any]) -> None:
        read["segments"][0]["end"] = 17
        read["segments"][0]["points"] = (POINTS * 0.9 + np.array([28, 30])).tolist()

    edit(folder, "00000000", change)
    people = read_people(folder, PixelEncoder(), no_detector, cache=tmp_path / "c", held_out=0.0)
    assert people.number.tolist() == [2]


def test_without_a_list_a_share_of_the_people_is_held_out(tmp_path: Path) -> None:
    folder = write_drawn(tmp_path / "s", people=8, photos=2, pairs=0, held_out=0)
    people = read_people(folder, PixelEncoder(), no_detector, cache=tmp_path / "c", held_out=0.5)
    apart = set(people.person[people.held_out].tolist())
    assert len(apart) == 4
    assert not apart & set(people.person[~people.held_out].tolist())
    pair = write_drawn(tmp_path / "pair", people=1, photos=0, pairs=1, held_out=0)
    with pytest.raises(InputError, match="is held out; give more people or a smaller held_out"):
        read_people(pair, PixelEncoder(), no_detector, cache=tmp_path / "d", held_out=0.5)


def test_what_does_not_fit_is_named(tmp_path: Path) -> None:
    folder = write_drawn(tmp_path / "s", people=1, photos=1, pairs=0, held_out=0)
    edit(folder, "00000000", lambda read: read["segments"][0].update(expression=[1, 2, 3]))
    with pytest.raises(ConfigError, match=r"00000000.json has an expression of 3 numbers, the mapping takes 2"):
        read_people(folder, PixelEncoder(), no_detector, cache=tmp_path / "c", expression_width=2)
    edit(folder, "00000000", lambda read: read["segments"][0].update(end=2, start=None, expression=None))
    with pytest.raises(DataError, match=r"00000000.json, segment 1: no word ends at character 2"):
        read_people(folder, PixelEncoder(), no_detector, cache=tmp_path / "c", expression_width=2)
