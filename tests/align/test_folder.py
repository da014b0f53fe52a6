import csv
import errno
import io
import json
import tarfile
from pathlib import Path

import numpy as np
import pytest
import typer
from PIL import Image
from tests.align.drawn import DRAWN_POINTS, Scripted, centre_face, draw_face, draw_shapes
from typer.testing import CliRunner

from facewright.align import Face, align_photos, folder, read_manifest, warp_face
from facewright.cli import align as command
from facewright.errors import ConfigError, DataError, InputError, WorkError


@pytest.fixture
def photos(save, tmp_path: Path) -> Path:
    """Four photos: two with a face (for the scripted detector), one without, one unreadable."""
    save("ann/1.png", draw_shapes(1))
    save("bob/1.png", draw_shapes(2))
    save("black.png", np.zeros((50, 50, 3), np.uint8))
    (tmp_path / "photos" / "text.jpg").write_text("no picture")
    return tmp_path / "photos"


def pixels(path: Path) -> np.ndarray:
    return np.asarray(Image.open(path))


def files(target: Path) -> list[str]:
    return sorted(path.relative_to(target).as_posix() for path in target.rglob("*") if path.is_file())


def test_crops_and_a_row_for_every_photo(photos, tmp_path, scripted):
    steps: list[tuple[int, int]] = []
    report = align_photos(
        photos, tmp_path / "out", detector=scripted, progress=lambda done, total: steps.append((done, total))
    )
    assert (report.photos, report.crops, report.without_face, report.unreadable) == (4, 2, 1, 1)
    assert steps == [(1, 4), (2, 4), (3, 4), (4, 4)]
    with report.manifest.open(encoding="utf-8") as table:
        rows = list(csv.DictReader(table))
    assert [row["source"] for row in rows] == ["ann/1.png", "black.png", "bob/1.png", "text.jpg"]
    ann, black, _, text = rows
    np.testing.assert_array_equal(pixels(tmp_path / "out" / ann["file"]), warp_face(draw_shapes(1), DRAWN_POINTS + 80))
    assert ann["face"] == "0"
    assert ann["reason"] == ""
    assert [float(ann[edge]) for edge in ("left", "top", "right", "bottom")] == [42, 30, 118, 130]
    assert [float(ann[f"mouth2_{axis}"]) for axis in "xy"] == [93, 107]
    assert float(ann["score"]) == 0.5
    assert (black["file"], black["face"], black["score"], black["reason"]) == ("", "", "", "no face found")
    assert text["reason"].startswith("unreadable: ")
    assert "text.jpg" in text["reason"]
    assert files(tmp_path / "out") == sorted(
        ["config.json", "manifest.csv", *(row["file"] for row in rows if row["file"])]
    )
    assert len(read_manifest(report.manifest)) == 4


def test_all_faces_are_largest_first(photos, tmp_path):
    small = Face((0.0, 0.0, 10.0, 10.0), DRAWN_POINTS * 0.1 + 5, 0.9)
    detector = Scripted(lambda image: [small, centre_face(image)])
    out = tmp_path / "out"
    report = align_photos(photos / "ann", out, detector=detector, all_faces=True, size=64, margin=4)
    assert report.crops == 2
    rows = read_manifest(report.manifest)
    assert [(row.face, row.score) for row in rows] == [(0, 0.5), (1, 0.9)]
    assert {pixels(out / row.file).shape for row in rows} == {(64, 64, 3)}
    one = align_photos(photos / "ann", tmp_path / "one", detector=detector)
    assert [row.score for row in read_manifest(one.manifest)] == [0.5]


def test_one_photo_is_a_source(save, tmp_path):
    report = align_photos(save("me.png", draw_face()), tmp_path / "out")
    (row,) = read_manifest(report.manifest)
    assert row.source == "me.png"
    assert np.abs(np.reshape(row.points, (5, 2)) - DRAWN_POINTS - 80).max() < 4


def test_names_in_a_tar_neither_leave_the_target_nor_collide(tmp_path, scripted):
    names = ["../../up.png", "/etc/root.png", "a.png", "a.jpg", "A.png", "x/../a.png", "b c\\d:*?.png", "é/ü.png"]
    names += ["long" * 60 + ".png", "x/./a.png", "con\nline.png", 'quote",.png']
    path = tmp_path / "odd.tar"
    with tarfile.open(path, "w") as archive:
        for seed, name in enumerate(names):
            stream = io.BytesIO()
            Image.fromarray(draw_shapes(seed)).save(stream, format="PNG")
            member = tarfile.TarInfo(name)
            member.size = stream.tell()
            archive.addfile(member, io.BytesIO(stream.getvalue()))
    out = tmp_path / "in" / "out"
    report = align_photos(path, out, detector=scripted)
    assert report.crops == len(names)
    rows = read_manifest(report.manifest)
    assert sorted(row.source for row in rows) == sorted(names)
    assert len({row.file.lower() for row in rows}) == len(names)
    for row in rows:
        assert (out / row.file).resolve().is_relative_to(out / "crops")
        expected = warp_face(draw_shapes(names.index(row.source)), DRAWN_POINTS + 80)
        np.testing.assert_array_equal(pixels(out / row.file), expected)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in", "odd.tar"]


class StoppedError(RuntimeError):
    pass


def run_until(photos: Path, out: Path, detector: Scripted, stop: int) -> None:
    def progress(done: int, total: int) -> None:
        if done == stop:
            raise StoppedError

    with pytest.raises(StoppedError):
        align_photos(photos, out, detector=detector, progress=progress)


def test_an_interrupted_run_goes_on(photos, tmp_path, scripted):
    whole = align_photos(photos, tmp_path / "whole", detector=scripted)
    out = tmp_path / "out"
    run_until(photos, out, scripted, stop=3)
    assert not (out / "manifest.csv").exists()
    asked = scripted.asked
    report = align_photos(photos, out, detector=scripted)
    assert scripted.asked == asked + 1  # the last photo may have been cut off and is done again
    assert report.manifest.read_text().replace(str(out), "") == whole.manifest.read_text()
    assert files(out) == files(tmp_path / "whole")

    asked = scripted.asked
    assert align_photos(photos, out, detector=scripted) == report
    assert scripted.asked == asked


def test_a_torn_last_line_does_no_harm(photos, tmp_path, scripted):
    out = tmp_path / "out"
    run_until(photos, out, scripted, stop=3)
    journal = out / "manifest.partial.csv"
    journal.write_text(journal.read_text()[:-20])
    report = align_photos(photos, out, detector=scripted)
    assert [row.source for row in read_manifest(report.manifest)] == ["ann/1.png", "black.png", "bob/1.png", "text.jpg"]


def test_only_what_changed_is_done_again(photos, tmp_path, scripted, save):
    out = tmp_path / "out"
    first = align_photos(photos, out, detector=scripted)
    rows = {row.source: row for row in read_manifest(first.manifest)}
    (out / rows["ann/1.png"].file).unlink()
    save("bob/1.png", draw_shapes(5, 300, 300))
    save("text.jpg", draw_shapes(6))
    (photos / "black.png").unlink()
    asked = scripted.asked
    run_until(photos, out, scripted, stop=3)
    report = align_photos(photos, out, detector=scripted)
    assert scripted.asked == asked + 4  # three photos, and the last one before the stop again
    again = read_manifest(report.manifest)
    assert [row.source for row in again] == ["ann/1.png", "bob/1.png", "text.jpg"]
    assert report.crops == 3
    np.testing.assert_array_equal(pixels(out / again[1].file), warp_face(draw_shapes(5, 300, 300), DRAWN_POINTS + 80))


@pytest.mark.parametrize("changed", [{"size": 96}, {"margin": 8.0}, {"all_faces": True}])
def test_another_run_in_the_same_folder_is_refused(photos, tmp_path, scripted, changed):
    align_photos(photos, tmp_path / "out", detector=scripted)
    before = files(tmp_path / "out")
    with pytest.raises(ConfigError, match=f"another run .differing in {next(iter(changed))}"):
        align_photos(photos, tmp_path / "out", detector=scripted, **changed)
    assert files(tmp_path / "out") == before


def test_folders_that_hold_something_else_are_refused(photos, tmp_path, scripted):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "manifest.csv").write_text("mine")
    with pytest.raises(ConfigError, match="did not make"):
        align_photos(photos, tmp_path / "out", detector=scripted)
    with pytest.raises(InputError, match="folder of its own"):
        align_photos(photos, photos, detector=scripted)
    with pytest.raises(InputError, match="folder of its own"):
        align_photos(photos, photos / "text.jpg", detector=scripted)
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "config.json").write_text('{"format": 1}')
    with pytest.raises(ConfigError, match="set holds something that facewright align did not make; choose another"):
        align_photos(photos, tmp_path / "set", detector=scripted)
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "config.json").write_text("{")
    with pytest.raises(DataError, match=r"config\.json cannot be read"):
        align_photos(photos, tmp_path / "broken", detector=scripted)


def test_crops_inside_the_source_are_not_taken_for_photos(photos, scripted):
    first = align_photos(photos, photos / "crops", detector=scripted)
    assert align_photos(photos, photos / "crops", detector=scripted) == first


def test_no_face_at_all_keeps_the_reasons(tmp_path, photos):
    with pytest.raises(WorkError, match=r"none of the 4 photos of .*3 without one, 1 unreadable") as caught:
        align_photos(photos, tmp_path / "out", detector=Scripted(lambda image: []))
    assert caught.value.exit_code == 1
    assert len(read_manifest(tmp_path / "out" / "manifest.csv")) == 4


def test_bad_calls_write_nothing(tmp_path, photos, scripted):
    (tmp_path / "bare").mkdir()
    for source, options in [
        (tmp_path / "bare", {}),
        (tmp_path / "gone", {}),
        (photos, {"size": 0}),
        (photos, {"detector": "eye"}),
    ]:
        with pytest.raises(InputError):
            align_photos(source, tmp_path / "out", **({"detector": scripted} | options))
    assert not (tmp_path / "out").exists()


def test_a_full_disk_keeps_what_was_made(photos, tmp_path, scripted, monkeypatch):
    out = tmp_path / "out"
    write = folder._write_png

    def full(path: Path, image: np.ndarray) -> None:
        if "bob" in path.parts:
            raise OSError(errno.ENOSPC, "No space left on device")
        write(path, image)

    monkeypatch.setattr(folder, "_write_png", full)
    with pytest.raises(OSError, match="No space left"):
        align_photos(photos, out, detector=scripted)
    assert len([name for name in files(out) if name.endswith(".png")]) == 1
    monkeypatch.undo()
    assert align_photos(photos, out, detector=scripted).crops == 2


def test_a_manifest_that_is_none_is_refused(tmp_path):
    (tmp_path / "m.csv").write_text("a,b\n1,2\n")
    with pytest.raises(DataError, match="no manifest of aligned crops"):
        read_manifest(tmp_path / "m.csv")
    with pytest.raises(DataError, match=r"cannot read .*gone\.csv"):
        read_manifest(tmp_path / "gone.csv")


def test_a_damaged_row_is_named(photos, tmp_path, scripted):
    report = align_photos(photos, tmp_path / "out", detector=scripted)
    report.manifest.write_text(report.manifest.read_text() + "more.png,x\n")
    with pytest.raises(DataError, match=r"manifest\.csv, row 5 cannot be read"):
        read_manifest(report.manifest)


@pytest.fixture
def app() -> typer.Typer:
    app = typer.Typer()
    app.callback()(lambda: None)
    command.register(app)
    return app


def test_the_command(save, tmp_path, app):
    save("face.png", draw_face())
    save("shapes.png", draw_shapes(1))
    out = tmp_path / "out"
    call = ["align", str(tmp_path / "photos"), str(out), "--size", "96", "--json", str(tmp_path / "figures.json")]
    result = CliRunner().invoke(app, call)
    assert result.exit_code == 0, result.output
    assert "crops             1, 96 x 96 px, by mtcnn" in result.stdout
    figures = json.loads((tmp_path / "figures.json").read_text())
    assert figures["photos"] == 2
    assert figures["crops"] == 1
    assert figures["manifest"] == str(out / "manifest.csv")


def test_help_holds_an_example(app):
    result = CliRunner().invoke(app, ["align", "--help"])
    assert "Example: facewright align" in result.stdout
