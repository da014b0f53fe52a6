import io
import tarfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from facewright.align import open_photos
from facewright.errors import DataError, InputError


def png(value: int) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(np.full((3, 4, 3), value, np.uint8)).save(stream, format="PNG")
    return stream.getvalue()


def write_tar(path: Path, members: list[tuple[str, bytes]], *, mode: str = "w") -> Path:
    with tarfile.open(path, mode) as archive:
        for name, content in members:
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return path


def test_a_folder_is_searched_in_sorted_order(tmp_path: Path):
    for name in ("b/2.png", "b/10.PNG", "a.jpg", ".hidden.png", ".cache/x.png", "b/notes.txt", "out/crop.png"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(png(7))
    with open_photos(tmp_path, skip=tmp_path / "out") as photos:
        assert [photo.name for photo in photos] == ["a.jpg", "b/10.PNG", "b/2.png"]
        assert all(photo.size == len(png(7)) for photo in photos)
        assert photos[2].read()[0, 0, 0] == 7


@pytest.mark.parametrize("mode", ["w", "w:gz", "w:xz"])
def test_a_tar_is_read_in_place_and_sorted(tmp_path: Path, mode):
    path = write_tar(tmp_path / "p.tar", [("b.png", png(2)), ("d/a.png", png(3)), ("a.png", png(1))], mode=mode)
    with open_photos(path) as photos:
        assert [photo.name for photo in photos] == ["a.png", "b.png", "d/a.png"]
        assert [int(photo.read()[0, 0, 0]) for photo in photos] == [1, 2, 3]
    assert [found.name for found in tmp_path.iterdir()] == ["p.tar"]


def test_odd_members_of_a_tar(tmp_path: Path):
    path = tmp_path / "odd.tar"
    write_tar(path, [("../up.png", png(1)), ("/root.png", png(2)), ("same.png", png(3)), ("same.png", png(4))])
    with tarfile.open(path, "a") as archive:
        link = tarfile.TarInfo("link.png")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(link)
        device = tarfile.TarInfo("device.png")
        device.type = tarfile.CHRTYPE
        archive.addfile(device)
    with open_photos(path) as photos:
        read = {photo.name: int(photo.read()[0, 0, 0]) for photo in photos}
    assert read == {"../up.png": 1, "/root.png": 2, "same.png": 4}


def test_a_broken_member_is_named(tmp_path: Path):
    path = write_tar(tmp_path / "p.tar", [("bad.jpg", b"no picture"), ("good.png", png(1))])
    with open_photos(path) as photos:
        with pytest.raises(DataError, match=r"p\.tar:bad\.jpg"):
            photos[0].read()
        assert photos[1].read().shape == (3, 4, 3)


@pytest.mark.parametrize("mode", ["w", "w:gz"])
def test_a_truncated_tar_is_refused_by_name(tmp_path: Path, mode):
    noise = [(f"{i}.png", np.random.default_rng(i).bytes(30_000)) for i in range(4)]
    path = write_tar(tmp_path / "cut.tar", noise, mode=mode)
    path.write_bytes(path.read_bytes()[:50_000])
    with pytest.raises(DataError, match=r"cut\.tar is a broken tar"), open_photos(path):
        pass


def test_a_tar_that_is_none_is_refused(tmp_path: Path):
    (tmp_path / "text.tar").write_text("no archive at all")
    with pytest.raises(DataError, match=r"text\.tar is a broken tar"), open_photos(tmp_path / "text.tar"):
        pass


def test_a_single_file(tmp_path: Path):
    (tmp_path / "me.png").write_bytes(png(9))
    with open_photos(tmp_path / "me.png") as photos:
        assert [photo.name for photo in photos] == ["me.png"]
        assert photos[0].read()[0, 0, 0] == 9


def test_sources_without_photos_are_refused(tmp_path: Path):
    (tmp_path / "notes.txt").write_text("none")
    with pytest.raises(InputError, match="holds no photo"), open_photos(tmp_path):
        pass
    with pytest.raises(InputError, match="does not exist"), open_photos(tmp_path / "gone"):
        pass
    with pytest.raises(InputError, match="holds no photo"), open_photos(write_tar(tmp_path / "e.tar", [])):
        pass
