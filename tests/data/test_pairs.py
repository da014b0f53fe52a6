import io
import tarfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from facewright.data.pairs import read_crops, read_pairs
from facewright.errors import DataError, InputError

LIST = """2\t1
Ada\t1\t2
Ada\t1\tBo\t1
Bo\t1\t2
Bo\t2\tCy\t10
"""


def write_list(folder: Path, text: str = LIST) -> Path:
    path = folder / "pairs.txt"
    path.write_text(text, encoding="utf-8")
    return path


def picture(shade: int, *, size: int = 112, mode: str = "RGB", form: str = "PNG") -> bytes:
    pixels = np.full((size, size, 3), shade, np.uint8)
    pixels[: size // 2, :, 0] = 255 - shade
    held = io.BytesIO()
    Image.fromarray(pixels).convert(mode).save(held, form)
    return held.getvalue()


FILES = {
    "Ada/Ada_0001.png": picture(10),
    "Ada/Ada_0002.png": picture(20),
    "Bo/Bo_0001.png": picture(30, mode="L"),
    "Bo/Bo_0002.png": picture(40, mode="RGBA"),
    "Cy/Cy_0010.png": picture(50, mode="P"),
    "Cy/Cy_0011.png": b"never opened",
    "README.md": b"no picture",
}


def write_folder(folder: Path, files: dict[str, bytes] = FILES) -> Path:
    for name, data in files.items():
        path = folder / "images" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return folder / "images"


def write_tar(folder: Path, name: str = "images.tar", files: dict[str, bytes] = FILES) -> Path:
    with tarfile.open(folder / name, "w:gz" if name.endswith("gz") else "w") as archive:
        for inside, data in files.items():
            member = tarfile.TarInfo(inside)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
        archive.addfile(_link("Cy/Cy_0012.png", "/etc/hostname"))
    return folder / name


def _link(name: str, target: str) -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.type, member.linkname = tarfile.SYMTYPE, target
    return member


def test_both_forms_of_line(tmp_path: Path) -> None:
    pairs = read_pairs(write_list(tmp_path))
    assert pairs.images == (("Ada", 1), ("Ada", 2), ("Bo", 1), ("Bo", 2), ("Cy", 10))
    assert pairs.first.tolist() == [0, 0, 2, 3]
    assert pairs.second.tolist() == [1, 2, 3, 4]
    assert pairs.rows().tolist() == [0, 1, 0, 2, 2, 3, 3, 4]
    assert pairs.issame.tolist() == [True, False, True, False]
    assert pairs.folds == 2


def test_spaces_and_empty_last_lines_are_fine(tmp_path: Path) -> None:
    text = LIST.replace("\t", " ") + "\n\n"
    assert read_pairs(write_list(tmp_path, text)).images == read_pairs(write_list(tmp_path)).images


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "line 1: expected the number of folds"),
        ("10\n", "line 1: expected the number of folds"),
        ("2\t0\n", "line 1: expected the number of folds"),
        (LIST.replace("2\t1\n", "3\t1\n", 1), "promises 3 folds of 1 \\+ 1 pairs, 6 lines, but 4 follow"),
        (LIST.replace("Ada\t1\t2", "Ada\t1"), "line 2: expected a pair of one person"),
        (LIST.replace("Ada\t1\tBo\t1", "Ada\t1\t2"), "line 3: expected a pair of two people"),
        (LIST.replace("Bo\t1\t2", "Bo\tone\t2"), "line 4: image numbers are positive whole numbers"),
        (LIST.replace("Bo\t1\t2", "Bo\t2\t2"), "line 4: expected two images of one person"),
        (LIST.replace("Cy\t10", "Bo\t10"), "line 5: expected two images of two people"),
    ],
)
def test_broken_lists_are_refused_by_line(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(DataError, match=message) as caught:
        read_pairs(write_list(tmp_path, text))
    assert "pairs.txt" in str(caught.value)


def test_a_list_that_is_no_text_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "pairs.txt"
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(DataError, match="not a readable text file"):
        read_pairs(path)
    with pytest.raises(InputError, match="no such list"):
        read_pairs(tmp_path / "absent.txt")


@pytest.mark.parametrize("form", ["folder", "images.tar", "images.tar.gz"])
def test_crops_come_in_the_order_asked(tmp_path: Path, form: str) -> None:
    source = write_folder(tmp_path) if form == "folder" else write_tar(tmp_path, form)
    seen: list[tuple[int, int]] = []
    crops = read_crops(source, [("Bo", 2), ("Ada", 1)], progress=lambda done, total: seen.append((done, total)))
    assert crops.shape == (2, 112, 112, 3)
    assert crops[:, 111, 0].tolist() == [[40, 40, 40], [10, 10, 10]]
    assert crops[:, 0, 0, 0].tolist() == [215, 245]
    assert seen == [(1, 2), (2, 2)]


def test_grey_and_palette_pictures_become_rgb(tmp_path: Path) -> None:
    crops = read_crops(write_tar(tmp_path), [("Bo", 1), ("Cy", 10)])
    assert crops[0, 111, 0].tolist() == [30, 30, 30]
    assert crops[1, 111, 0].tolist() == pytest.approx([50, 50, 50], abs=1)


def test_a_manifest_names_people_and_limits_files(tmp_path: Path) -> None:
    source = write_folder(tmp_path, {"x/face_1.png": picture(60), "x/other_1.png": picture(70)})
    manifest = tmp_path / "list.csv"
    manifest.write_text("file,identity,width\nx/face_1.png,Ada,112\n", encoding="utf-8")
    assert read_crops(source, [("Ada", 1)], manifest=manifest)[0, 111, 0, 0] == 60
    with pytest.raises(DataError, match="image 1 of other"):
        read_crops(source, [("other", 1)], manifest=manifest)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("file,name\na_1.png,A\n", "needs the columns file and identity"),
        ("file,identity\na_1.png,A\nb.png,B\n", "line 3: expected an identity and a file that ends in a number"),
        ("file,identity\na_1.png\n", "line 2: expected an identity"),
    ],
)
def test_broken_manifests_are_refused(tmp_path: Path, text: str, message: str) -> None:
    manifest = tmp_path / "list.csv"
    manifest.write_text(text, encoding="utf-8")
    with pytest.raises(DataError, match=message):
        read_crops(write_folder(tmp_path), [("Ada", 1)], manifest=manifest)
    with pytest.raises(InputError, match="no such manifest"):
        read_crops(tmp_path, [("Ada", 1)], manifest=tmp_path / "absent.csv")


def test_missing_doubled_and_unreadable_images_are_named(tmp_path: Path) -> None:
    source = write_folder(tmp_path)
    with pytest.raises(DataError, match=r"1 of 2 images are missing, the first is image 3 of Ada .*Ada_0003\.jpg"):
        read_crops(source, [("Ada", 1), ("Ada", 3)])
    with pytest.raises(DataError, match=r"Cy_0011\.png: not a readable picture"):
        read_crops(source, [("Cy", 11)])
    with pytest.raises(DataError, match="asked for twice"):
        read_crops(source, [("Ada", 1), ("Ada", 1)])
    (source / "Ada_1.png").write_bytes(picture(1))
    with pytest.raises(DataError, match=r"both .*Ada_1\.png are image 1 of Ada"):
        read_crops(source, [("Ada", 1)])


def test_links_in_a_tar_are_not_followed(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="image 12 of Cy"):
        read_crops(write_tar(tmp_path), [("Cy", 12)])


def test_truncated_and_oversized_pictures_are_refused(tmp_path: Path) -> None:
    broken = {"Ada_1.jpg": picture(9, form="JPEG")[:700], "Bo_1.png": picture(9, size=250)}
    source = write_folder(tmp_path, broken)
    with pytest.raises(DataError, match=r"Ada_1\.jpg: not a readable picture"):
        read_crops(source, [("Ada", 1)])
    with pytest.raises(DataError, match=r"Bo_1\.png: a picture of 250 x 250 px, expected .* run facewright align"):
        read_crops(source, [("Bo", 1)])


def test_sources_that_cannot_be_read_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such folder or tar"):
        read_crops(tmp_path / "absent", [("Ada", 1)])
    (tmp_path / "text.tar").write_bytes(b"no tar at all")
    with pytest.raises(DataError, match=r"text\.tar: not a readable tar"):
        read_crops(tmp_path / "text.tar", [("Ada", 1)])


@pytest.mark.parametrize(
    ("name", "share"), [("cut.tar", 0.1), ("cut.tar", 0.5), ("cut.tar.gz", 0.1), ("cut.tar.gz", 0.9)]
)
def test_a_tar_cut_short_is_refused(tmp_path: Path, name: str, share: float) -> None:
    whole = write_tar(tmp_path, name)
    data = whole.read_bytes()
    whole.write_bytes(data[: int(share * len(data))])
    with pytest.raises(DataError, match=name):
        read_crops(whole, [("Ada", 1), ("Cy", 10), ("Zed", 1)])


def test_lfw_list_and_crops(shared: Path) -> None:
    pairs = read_pairs(shared / "data" / "lfw_pairs.txt")
    assert (len(pairs.issame), int(pairs.issame.sum()), len(pairs.images), pairs.folds) == (6000, 3000, 7701, 10)
    manifest = shared / "data" / "lfw_pairs_112.csv"
    crops = read_crops(shared / "data" / "lfw_pairs_112.tar", pairs.images[:20], manifest=manifest)
    assert crops.std(axis=(1, 2, 3)).min() > 10
