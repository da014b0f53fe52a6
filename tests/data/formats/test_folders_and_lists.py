"""Folders of identities, lists of files, and which of all formats a path is."""

from pathlib import Path

import pytest
from tests.data.formats.toy_sets import Listed, content, drawn_jpeg, write

from facewright.data.formats import open_records
from facewright.errors import DataError, FaceError, InputError


def _fill(root: Path, files: list[str]) -> Path:
    for number, file in enumerate(files):
        (root / file).parent.mkdir(parents=True, exist_ok=True)
        (root / file).write_bytes(drawn_jpeg(number))
    return root


def test_numbers_are_in_the_order_of_numbers_and_texts_in_that_of_texts(tmp_path: Path) -> None:
    numbered = _fill(tmp_path / "a", ["10/2.jpg", "10/10.jpg", "2/1.png", "2/notes.txt"])
    (numbered / "2" / "notes.txt").write_text("no picture")
    assert [(record.label, record.name) for record in open_records(numbered)] == [
        (0, "2/1.png"),
        (1, "10/2.jpg"),
        (1, "10/10.jpg"),
    ]
    named = _fill(tmp_path / "b", ["b10/x.jpg", "b2/x.jpg", "b2/10.jpg", ".hidden/x.jpg"])
    assert [record.name for record in open_records(named)] == ["b10/x.jpg", "b2/10.jpg", "b2/x.jpg"]


def test_what_is_wrong_with_a_folder_is_named(tmp_path: Path) -> None:
    root = _fill(tmp_path / "a", ["0/0.jpg", "1/0.jpg"])
    (root / "1" / "0.jpg").write_bytes(b"")
    with pytest.raises(DataError, match=r"1/0\.jpg: the file is empty"):
        list(open_records(root))
    (root / "1" / "0.jpg").unlink()
    with pytest.raises(DataError, match=r"a/1: the folder of an identity holds no picture"):
        open_records(root)
    with pytest.raises(InputError, match="no such file or folder"):
        open_records(root / "2")
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="empty is empty"):
        open_records(tmp_path / "empty")
    (tmp_path / "empty" / "note.md").write_text("of something else")
    with pytest.raises(InputError, match="holds no set in a known format"):
        open_records(tmp_path / "empty")


@pytest.mark.parametrize(
    "lines",
    [
        ["images/b 1.jpg\t0", "images/a.jpg\t1"],
        ["images/b 1.jpg 0", "images/a.jpg 1"],
        ["0\t0.000000\timages/b 1.jpg", "1\t1.000000\timages/a.jpg"],
        ["7\t0\t5.5\timages/b 1.jpg", "9\t1\t2.5\timages/a.jpg"],
        ["1\timages/b 1.jpg\t0", "1\timages/a.jpg\t1\t10\t10"],
    ],
)
def test_every_form_of_a_list(tmp_path: Path, lines: list[str]) -> None:
    _fill(tmp_path, ["images/b 1.jpg", "images/a.jpg"])
    (tmp_path / "faces.lst").write_text("\n".join(lines))  # no line break at the end
    records = open_records(tmp_path / "faces.lst")
    assert [(record.label, record.name) for record in records] == [(0, "images/b 1.jpg"), (1, "images/a.jpg")]
    assert content(records) == [(0, drawn_jpeg(0)), (1, drawn_jpeg(1))]
    (tmp_path / "lists").mkdir()
    moved = (tmp_path / "faces.lst").rename(tmp_path / "lists" / "faces.lst")
    assert content(open_records(moved, root=tmp_path)) == content(records)


def test_what_is_wrong_with_a_list_is_named(tmp_path: Path) -> None:
    _fill(tmp_path, ["0.jpg", "1.jpg"])
    path = tmp_path / "list.txt"
    for line, message in (
        ("0.jpg\t1", r"list\.txt, line 2: 0\.jpg is listed twice"),
        ("1.jpg", r"line 2: expected a path and a label, got '1\.jpg'"),
        ("1.jpg\tone", r"line 2: expected a path and a label"),
        ("1.jpg\t0.5", r"line 2: the label is 0\.5"),
        ("1.jpg\t-1", r"line 2: the label is -1"),
        ("../1.jpg\t1", r"line 2: the path '\.\./1\.jpg' leaves the folder"),
        ("/1.jpg\t1", r"line 2: the path '/1\.jpg' leaves the folder"),
        ("C:/1.jpg\t1", r"leaves the folder"),
        ("0\t1.jpg\t1", r"line 2: the picture is not aligned"),
        ("1.jpg" + "\t3.5" * 10, r"line 2: expected a path and a label"),
        ("1.jpg\t5", r"1\.jpg \(line 2 of .*list\.txt\): has label 5, but no record has label 1: 2 of 6 labels occur"),
    ):
        path.write_text(f"0.jpg\t0\n{line}\n")
        with pytest.raises(DataError, match=message):
            open_records(path)
    path.write_text("0.jpg\t0\n2.jpg\t1\n")
    with pytest.raises(DataError, match=r"2\.jpg \(line 2 of .*list\.txt\): cannot be read"):
        list(open_records(path))
    path.write_bytes(b"\xff\xfe\0")
    with pytest.raises(FaceError, match=r"list\.txt: not a readable text file"):
        open_records(path)


def test_gaps_are_kept_or_renumbered_on_request(tmp_path: Path) -> None:
    _fill(tmp_path, ["0.jpg", "1.jpg", "2.jpg"])
    (tmp_path / "list.txt").write_text("0.jpg 7\n1.jpg 2\n2.jpg 7\n")
    assert open_records(tmp_path, gaps="keep").labels.tolist() == [7, 2, 7]
    renumbered = open_records(tmp_path, gaps="renumber")
    assert renumbered.labels.tolist() == [record.label for record in renumbered] == [1, 0, 1]
    assert "line 3" in renumbered.where(2)


def test_several_sets_in_a_folder_are_not_guessed_between(drawn: Listed, tmp_path: Path) -> None:
    out = write(drawn, tmp_path / "set", "list")
    (out / "other.txt").write_bytes((out / "img_list.txt").read_bytes())
    with pytest.raises(InputError, match=r"holds 2 sets \(img_list\.txt, other\.txt\); name one"):
        open_records(out)
    assert content(out / "other.txt") == content(drawn)
    (tmp_path / "notes.md").write_text("nothing")
    with pytest.raises(InputError, match=r"notes\.md: not a known kind of set"):
        open_records(tmp_path / "notes.md")


def test_a_folder_around_a_set_is_gone_through(drawn: Listed, tmp_path: Path) -> None:
    write(drawn, tmp_path / "deep" / "er" / "set", "recordio")
    assert content(tmp_path / "deep") == content(drawn)
