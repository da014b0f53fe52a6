import json
from pathlib import Path

import numpy as np
import pytest
from tests.personalise.drawn_subjects import POINTS, draw_people, write_drawn

from facewright.errors import DataError, InputError
from facewright.personalise.subject_folder import Segment, SubjectFolder, SubjectRecord, write_lists, write_subject


def test_what_is_written_is_read(tmp_path: Path) -> None:
    picture, labels = draw_people([(20, 30), (60, 30)], [0, 1], width=80)
    segments = (
        Segment(1, 7, 0, POINTS + np.array([20, 30]), "anna", np.array([0.5, -1], np.float32)),
        Segment(2, 17),
    )
    record = SubjectRecord("a woman and a man", segments)
    write_subject(tmp_path, "00012345", picture=picture, labels=labels, record=record, more={"photo": "a.png"})
    write_lists(tmp_path, ["00012345"], [])
    folder = SubjectFolder(tmp_path)
    assert (folder.ids, folder.held_out_ids) == (("00012345",), None)
    assert (tmp_path / "00012" / "00012345.npy").is_file()
    read = folder.record("00012345")
    assert read.caption == record.caption
    first, second = read.segments
    assert (first.number, first.start, first.end, first.person) == (1, 0, 7, "anna")
    assert np.array_equal(first.points, POINTS + np.array([20, 30]))  # type: ignore[arg-type]
    assert np.array_equal(first.expression, [0.5, -1])  # type: ignore[arg-type]
    assert (second.start, second.points, second.person, second.expression) == (None, None, None, None)
    assert np.array_equal(folder.labels("00012345", picture.shape), labels)
    assert np.abs(folder.picture("00012345").astype(int) - picture).mean() < 4
    entry = json.loads(folder.file("00012345", ".json").read_text())
    assert entry["photo"] == "a.png"
    left, top, right, bottom = entry["segments"][0]["bbox"]
    rows, columns = np.nonzero(labels == 1)
    assert (left, top, right, bottom) == (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)


def test_other_segments_and_fields_are_left_alone(tmp_path: Path) -> None:
    folder = write_drawn(tmp_path, people=1, photos=1, pairs=0, held_out=0)
    file = folder.file("00000000", ".json")
    read = json.loads(file.read_text())
    read["segments"].append({"id": 9, "bbox": [0, 0, 1, 1], "end": 999, "coco_label": "dog", "score": 1})
    read["segments"][0]["isthing"] = True
    file.write_text(json.dumps(read))
    assert [segment.number for segment in folder.record("00000000").segments] == [1]


def test_the_lists_say_who_is_held_out(tmp_path: Path) -> None:
    folder = write_drawn(tmp_path, people=3, photos=1, pairs=0, held_out=1)
    assert folder.held_out_ids == ("00000002",)
    assert folder.ids == ("00000000", "00000001", "00000002")
    (tmp_path / "image_ids_train.txt").unlink()
    assert SubjectFolder(tmp_path).ids == folder.ids


def test_folders_that_are_none(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"is no folder of subjects: it has neither image_ids.txt nor"):
        SubjectFolder(tmp_path)
    for text, said in (("", "is empty"), ("a\nb\na\n", "lists a twice"), ("../a\n", "'../a' is no id of a photo")):
        (tmp_path / "image_ids.txt").write_text(text)
        with pytest.raises(DataError, match=said):
            SubjectFolder(tmp_path)


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda read: read.pop("caption"), "the key 'caption' is missing"),
        (lambda read: read["segments"][0].pop("end"), "the key 'end' is missing"),
        (lambda read: read["segments"][0].update(end=99), "named by characters 11 to 99 of a caption of 19"),
        (lambda read: read["segments"][0].update(start=19), "named by characters 19 to 19"),
        (lambda read: read["segments"][0].update(points=[1, 2]), "does not describe a photo"),
    ],
)
def test_a_damaged_description_is_named(damage: object, said: str, tmp_path: Path) -> None:
    folder = write_drawn(tmp_path, people=1, photos=1, pairs=0, held_out=0)
    file = folder.file("00000000", ".json")
    read = json.loads(file.read_text())
    damage(read)  # type: ignore[operator]
    file.write_text(json.dumps(read))
    with pytest.raises(DataError, match=said) as raised:
        folder.record("00000000")
    assert "00000000.json" in str(raised.value)


def test_damaged_masks_are_named(tmp_path: Path) -> None:
    folder = write_drawn(tmp_path, people=1, photos=1, pairs=0, held_out=0)
    file = folder.file("00000000", ".npy")
    with pytest.raises(DataError, match=r"00000000.npy holds uint8 \(64, 64\), expected integers of the photo's size"):
        folder.labels("00000000", (64, 65, 3))
    np.save(file, np.zeros((64, 64), np.float32))
    with pytest.raises(DataError, match="holds float32"):
        folder.labels("00000000", (64, 64, 3))
    file.write_bytes(b"nothing")
    with pytest.raises(DataError, match="cannot be read"):
        folder.labels("00000000", (64, 64, 3))
