import csv
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tests.personalise.drawn_subjects import POINTS, draw_people

from facewright.align import Face
from facewright.errors import ConfigError, DataError, InputError, WorkError
from facewright.personalise.subject_build import SubjectConfig, make_subjects, read_captions
from facewright.personalise.subject_folder import SubjectFolder
from facewright.personalise.subject_segment import Foreground

CONFIG = SubjectConfig(smallest_face=8, held_out=0.0)


class Skin:
    """Finds the drawn faces by what their ground is not: one for each column of people."""

    name = "skin"

    def __init__(self) -> None:
        self.calls = 0

    def detect(self, image: np.ndarray) -> list[Face]:
        self.calls += 1
        columns = foreground(image).any(0).astype(int)
        starts = np.flatnonzero(np.diff(columns, prepend=0, append=0)).reshape(-1, 2)
        faces = []
        for left, right in starts:
            rows = np.flatnonzero(foreground(image)[:, left:right].any(1))
            x, y = (left + right - 1) / 2, (rows[0] + rows[-1]) / 2 - 0.5
            box = (float(left), float(rows[0]), float(right), float(rows[-1]))
            faces.append(Face(box, POINTS + np.array([x, y]), 1.0))
        return faces[::-1]


def foreground(image: np.ndarray) -> np.ndarray:
    return np.asarray(np.abs(image.astype(int) - [40, 90, 60]).sum(2) > 40)


SEGMENTER = Foreground("ground", foreground)


def write_photo(path: Path, *people: int) -> None:
    centres = [(30 + 50 * place, 32) for place in range(len(people))]
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(draw_people(centres, people, width=60 + 50 * max(0, len(people) - 1))[0]).save(path)


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    for person in range(3):
        for number in range(2):
            write_photo(folder / f"p{person}" / f"{number}.png", person)
    write_photo(folder / "pair.png", 3, 4)
    write_photo(folder / "empty.png")
    (folder / "torn.jpg").write_bytes(b"no picture")
    return folder


def captions_file(path: Path, rows: list[tuple[str, str]]) -> Path:
    with path.open("w", newline="", encoding="utf-8") as stream:
        csv.writer(stream).writerows([("photo", "caption"), *rows])
    return path


def test_a_folder_from_photos(photos: Path, tmp_path: Path) -> None:
    file = captions_file(
        tmp_path / "c.csv",
        [("pair.png", "{an old woman} and {a young man} on the beach"), ("p0/1.png", "a girl in the rain")],
    )
    out, done = tmp_path / "out", list[tuple[int, int]]()
    report = make_subjects(
        photos,
        out,
        CONFIG,
        detector=Skin(),
        segmenter=SEGMENTER,
        captions=read_captions(file),
        progress=lambda at, total: done.append((at, total)),
    )
    assert (report.photos, report.kept, report.people, report.held_out) == (9, 7, 8, 0)
    assert set(report.left_out) == {"empty.png", "torn.jpg"}
    assert "no face found" in report.left_out["empty.png"]
    assert done[-1] == (9, 9)
    with (out / "left_out.csv").open(newline="") as stream:
        assert [row["photo"] for row in csv.DictReader(stream)] == list(report.left_out)
    folder = SubjectFolder(out)
    records = {json.loads(folder.file(name, ".json").read_text())["photo"]: name for name in folder.ids}
    pair = folder.record(records["pair.png"])
    assert pair.caption == "an old woman and a young man on the beach"
    assert [pair.caption[s.start : s.end] for s in pair.segments] == ["an old woman", "a young man"]
    assert [s.person for s in pair.segments] == ["pair.png#1", "pair.png#2"]
    labels = folder.labels(records["pair.png"], (64, 110))
    for segment in pair.segments:
        assert segment.points is not None
        x, y = segment.points.mean(0).round().astype(int)
        assert labels[y, x] == segment.number
        assert 500 < (labels == segment.number).sum() < 900
    assert folder.record(records["p0/1.png"]).caption == "a girl in the rain"
    assert folder.record(records["p0/0.png"]).caption == "a photo of a person"


def test_the_same_call_goes_on_where_it_stopped(photos: Path, tmp_path: Path) -> None:
    out, detector = tmp_path / "out", Skin()

    class StoppedError(Exception):
        pass

    def stop(at: int, total: int) -> None:
        if at == 4:
            raise StoppedError

    with pytest.raises(StoppedError):
        make_subjects(photos, out, CONFIG, detector=detector, segmenter=SEGMENTER, progress=stop)
    assert not (out / "image_ids.txt").exists()
    kept = {path: path.stat().st_mtime_ns for path in out.rglob("*.npy")}
    calls = detector.calls
    report = make_subjects(photos, out, CONFIG, detector=detector, segmenter=SEGMENTER)
    assert report.kept == 7
    assert kept
    assert all(path.stat().st_mtime_ns == time for path, time in kept.items())
    assert detector.calls - calls == 8 - len(kept)
    with pytest.raises(ConfigError, match="holds a set with another noun; give the same to go on"):
        make_subjects(photos, out, replace(CONFIG, noun="man"), detector=detector, segmenter=SEGMENTER)
    write_photo(photos / "new.png", 5)
    with pytest.raises(ConfigError, match="holds a set with another photos"):
        make_subjects(photos, out, CONFIG, detector=detector, segmenter=SEGMENTER)


def test_a_folder_for_each_person(photos: Path, tmp_path: Path) -> None:
    config = replace(CONFIG, people="folder", held_out=0.5)
    report = make_subjects(photos, tmp_path / "out", config, detector=Skin(), segmenter=SEGMENTER)
    folder = SubjectFolder(tmp_path / "out")
    people = {name: {s.person for s in folder.record(name).segments} for name in folder.ids}
    assert set.union(*people.values()) == {"p0", "p1", "p2", "."}
    held_out = set(folder.held_out_ids or ())
    assert len(held_out) == report.held_out > 0
    apart = set.union(*(people[name] for name in held_out))
    assert not apart & set.union(*(people[name] for name in people if name not in held_out))


def test_more_faces_than_words_and_more_words_than_faces(tmp_path: Path) -> None:
    write_photo(tmp_path / "photos" / "a.png", 3, 4)
    write_photo(tmp_path / "photos" / "b.png", 3)
    write_photo(tmp_path / "photos" / "c.png", 3)
    captions = {"a.png": "a woman on a horse", "b.png": "a man and a woman", "c.png": "a horse"}
    report = make_subjects(
        tmp_path / "photos", tmp_path / "out", CONFIG, detector=Skin(), segmenter=SEGMENTER, captions=captions
    )
    assert "its caption 'a horse' names nobody; put the words for a person in braces" in report.left_out["c.png"]
    folder = SubjectFolder(tmp_path / "out")
    for name, phrase in zip(folder.ids, ("a woman", "a man"), strict=True):
        record = folder.record(name)
        [segment] = record.segments
        assert record.caption[segment.start : segment.end] == phrase


def test_photos_are_made_smaller(tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    picture = Image.fromarray(draw_people([(30, 32)], [3])[0]).resize((640, 640))
    picture.save(tmp_path / "photos" / "a.png")
    config = replace(CONFIG, longest=64)
    make_subjects(tmp_path / "photos", tmp_path / "out", config, detector=Skin(), segmenter=SEGMENTER)
    folder = SubjectFolder(tmp_path / "out")
    assert folder.picture(folder.ids[0]).shape == (64, 64, 3)


def test_what_cannot_be_done_is_said(photos: Path, tmp_path: Path) -> None:
    def make(out: Path, config: SubjectConfig = CONFIG, **more: object) -> None:
        make_subjects(photos, out, config, detector=Skin(), segmenter=SEGMENTER, **more)  # type: ignore[arg-type]

    with pytest.raises(InputError, match=r"the captions name 'x.png', which is no photo of"):
        make(tmp_path / "out", captions={"x.png": "a man"})
    with pytest.raises(WorkError, match=r"none of the 9 photos .* could be used; .*left_out.csv says why"):
        make(tmp_path / "out", replace(CONFIG, smallest_face=100))
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "a").write_text("")
    with pytest.raises(ConfigError, match="holds something else than a set of subjects"):
        make(tmp_path / "full")
    nobody = Foreground("nobody", lambda image: np.zeros(image.shape[:2], bool))
    with pytest.raises(WorkError):
        make_subjects(photos, tmp_path / "none", CONFIG, detector=Skin(), segmenter=nobody)
    assert "nobody finds nobody around face 1" in (tmp_path / "none" / "left_out.csv").read_text()


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ([("a.png", "a man"), ("a.png", "a man")], "line 3: 'a.png' twice"),
        ([("a.png", " ")], "line 2: 'a.png' without a caption"),
        ([("a.png", "{a man")], "line 2: the caption .* has braces that do not close"),
    ],
)
def test_bad_captions_are_named(rows: list[tuple[str, str]], said: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=said):
        read_captions(captions_file(tmp_path / "c.csv", rows))
    (tmp_path / "c.csv").write_text("file,text\n")
    with pytest.raises(DataError, match="expected photo and caption"):
        read_captions(tmp_path / "c.csv")
    with pytest.raises(InputError, match="no such file of captions"):
        read_captions(tmp_path / "none.csv")


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"template": "a photo"}, r"says \{people\} once"),
        ({"people": "faces"}, "people must be photo or folder"),
        ({"held_out": 1.0}, "held_out must be in"),
        ({"longest": 8}, "longest must be at least 64"),
        ({"most": 0}, "at least 1 face a photo"),
    ],
)
def test_wrong_settings_are_named(changes: dict[str, object], said: str) -> None:
    with pytest.raises((ConfigError, InputError), match=said):
        replace(CONFIG, **changes)  # type: ignore[arg-type]
