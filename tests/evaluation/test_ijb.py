from pathlib import Path

import numpy as np
import pytest

from facewright.errors import DataError, InputError
from facewright.evaluation import ijb

POINTS = " ".join(str(number) for number in range(10))


@pytest.fixture
def meta(tmp_path: Path) -> Path:
    folder = tmp_path / "IJBX" / "meta"
    folder.mkdir(parents=True)
    (folder / "ijbx_face_tid_mid.txt").write_text("1.jpg 5 9\n2.jpg 5 8\n3.jpg 7 1\n")
    (folder / "ijbx_template_pair_label.txt").write_text("5 7 0\n7 5 1\n5 5 1\n")
    lines = [f"{number}.jpg {POINTS} 0.{number}\n" for number in (1, 2, 3)]
    (folder / "ijbx_name_5pts_score.txt").write_text("".join(lines))
    return folder


def test_lists_are_found_and_read(meta: Path) -> None:
    lists = ijb.find_lists(meta.parent)
    assert lists.name == "ijbx"
    faces = ijb.read_faces(lists)
    assert faces.images == ("1.jpg", "2.jpg", "3.jpg")
    assert (faces.templates.tolist(), faces.media.tolist()) == ([5, 5, 7], [9, 8, 1])
    assert faces.points is not None
    assert faces.scores is not None
    assert faces.points[1].tolist() == [[0, 1], [2, 3], [4, 5], [6, 7], [8, 9]]
    assert faces.scores == pytest.approx([0.1, 0.2, 0.3])


def test_pairs_come_in_blocks(meta: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ijb, "BLOCK", 8)
    chunks = list(ijb.read_pairs(ijb.find_lists(meta).pairs))
    assert len(chunks) > 1
    first, second, same = (np.concatenate(parts) for parts in zip(*chunks, strict=True))
    assert (first.tolist(), second.tolist(), same.tolist()) == ([5, 7, 5], [7, 5, 5], [False, True, True])


def test_broken_lists_are_named(meta: Path) -> None:
    lists = ijb.find_lists(meta)
    lists.pairs.write_text("5 7 0\n7 5 2\n")
    with pytest.raises(DataError, match=r"pair_label.txt, line 2: a label is 0 or 1, got 2"):
        list(ijb.read_pairs(lists.pairs))
    lists.pairs.write_text("5 7 0\n7 x 1\n")
    with pytest.raises(DataError, match=r"pair_label.txt: not a list with lines of the form 'first second label'"):
        list(ijb.read_pairs(lists.pairs))
    assert lists.points is not None
    lists.points.write_text(lists.points.read_text().replace("2.jpg", "9.jpg"))
    with pytest.raises(DataError, match=r"5pts_score.txt, line 2: does not name the image"):
        ijb.read_faces(lists)
    (meta / "other_face_tid_mid.txt").write_text("")
    with pytest.raises(InputError, match="several lists of one kind"):
        ijb.find_lists(meta)
    with pytest.raises(InputError, match="holds no list"):
        ijb.find_lists(meta.parent.parent)
