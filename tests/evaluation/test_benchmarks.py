"""Benchmarks from folders in every known form of list, and from `.bin` files."""

import io
import pickle
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from facewright.errors import DataError, InputError
from facewright.evaluation import embed_pairs, find_benchmark, fold_numbers, read_bin_pairs, read_folder_pairs


def picture(number: int, size: int = 112) -> np.ndarray:
    return np.full((size, size, 3), number, np.uint8)


def png(image: np.ndarray) -> bytes:
    held = io.BytesIO()
    Image.fromarray(image).save(held, format="PNG")
    return held.getvalue()


def write(path: Path, number: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(png(picture(number)))


def values(folder: Path, **options: object) -> tuple[list[tuple[int, int]], list[bool], int]:
    """Grey of both pictures of every pair, labels, folds."""
    found = read_folder_pairs(folder, **options)  # type: ignore[arg-type]
    greys = embed_pairs(found, lambda crops: crops[:, 0, 0, :1].astype(float))[:, 0]
    pairs = [(int(greys[a]), int(greys[b])) for a, b in zip(found.first, found.second, strict=True)]
    return pairs, found.issame.tolist(), found.folds


def test_lfw_form(tmp_path: Path) -> None:
    for person, number, grey in (("Ann", 1, 1), ("Ann", 2, 2), ("Bob", 1, 3), ("Cy", 1, 4), ("Cy", 2, 5), ("Di", 1, 6)):
        write(tmp_path / person / f"{person}_{number:04d}.png", grey)
    (tmp_path / "pairs.txt").write_text("2 1\nAnn 1 2\nAnn 1 Bob 1\nCy 1 2\nCy 1 Di 1\n")
    assert values(tmp_path) == ([(1, 2), (1, 3), (4, 5), (4, 6)], [True, False, True, False], 2)
    found = read_folder_pairs(tmp_path)
    assert found.shared_people(fold_numbers(4, 2)) == 0
    assert found.shared_people(fold_numbers(4, np.array([0, 1, 0, 1]))) == 2  # Ann and Cy


def test_two_line_form_is_dealt_out_to_folds(tmp_path: Path) -> None:
    for grey in range(8):
        write(tmp_path / f"p_{grey}.png", grey)
    genuine = "p_0.png 3\np_1.png 3\np_2.png 4\np_3.png 4\n"
    (tmp_path / "pairs_CALFW.txt").write_text(genuine + "p_4.png 0\np_5.png 0\np_6.png 0\np_7.png 0\n")
    assert values(tmp_path, folds=2) == ([(0, 1), (4, 5), (2, 3), (6, 7)], [True, False, True, False], 2)
    with pytest.raises(DataError, match="cannot be dealt out to 10 folds"):
        read_folder_pairs(tmp_path)


def test_one_line_form(tmp_path: Path) -> None:
    write(tmp_path / "a" / "x.png", 1)
    write(tmp_path / "b" / "x.png", 2)
    (tmp_path / "pairs.txt").write_text("a/x.png b/x.png 1\na/x.png a/x.png 0\n")
    assert values(tmp_path, folds=2) == ([(1, 2), (1, 1)], [True, False], 2)
    (tmp_path / "pairs.txt").write_text("a/x.png b/x.png 1\n\na/x.png b/x.png yes\n")
    with pytest.raises(DataError, match=r"pairs.txt, line 3: expected FILE FILE 0 or 1"):
        read_folder_pairs(tmp_path)
    (tmp_path / "pairs.txt").write_text("x.png b/x.png 1\n")
    with pytest.raises(DataError, match=r"the crop x\.png is there 2 times"):
        read_folder_pairs(tmp_path)


@pytest.fixture
def cfp(tmp_path: Path) -> Path:
    folder = tmp_path / "cfp"
    for side, base in (("F", 0), ("P", 100)):
        lines = []
        for number in range(1, 4):
            kind = "frontal" if side == "F" else "profile"
            write(folder / "Data" / "Images" / f"{number:03d}" / kind / "01.png", base + number)
            lines.append(f"{number} ../Data/Images/{number:03d}/{kind}/01.png\n")
        (folder / "Protocol").mkdir(exist_ok=True)
        (folder / "Protocol" / f"Pair_list_{side}.txt").write_text("".join(lines))
    for protocol in ("FF", "FP"):
        for fold in range(1, 11):
            split = folder / "Protocol" / "Split" / protocol / f"{fold:02d}"
            split.mkdir(parents=True)
            (split / "same.txt").write_text("1,1\n")
            (split / "diff.txt").write_text("2,3\n")
    return folder


def test_cfp_protocols(cfp: Path) -> None:
    assert values(cfp, protocol="FP") == ([(1, 101), (2, 103)] * 10, [True, False] * 10, 10)
    assert values(cfp, protocol="FF")[0] == [(1, 1), (2, 3)] * 10
    split = cfp / "Protocol" / "Split" / "FP" / "04" / "diff.txt"
    split.write_text("2,3\n2,9\n")
    with pytest.raises(DataError, match=r"04.diff.txt, line 2: expected two numbers of images, got '2,9'"):
        read_folder_pairs(cfp)


def write_bin(path: Path, images: list[bytes], issame: list[bool]) -> Path:
    path.write_bytes(pickle.dumps((images, issame), protocol=4))
    return path


def test_bin(tmp_path: Path) -> None:
    images = [png(picture(7)), png(picture(8)), png(picture(9, size=224)), b"no picture"]
    pairs = read_bin_pairs(write_bin(tmp_path / "mine.bin", images, [True, False]), folds=2)
    crops = np.stack([pairs.load(number) for number in range(3)])
    assert crops.shape == (3, 112, 112, 3)
    assert crops[:, 0, 0, 0].tolist() == [7, 8, 9]
    assert (pairs.rows().tolist(), pairs.issame.tolist()) == ([0, 1, 2, 3], [True, False])
    assert pairs.shared_people(fold_numbers(2, 2)) is None
    with pytest.raises(DataError, match=r"mine.bin: picture 3 \(pair 1\): not a readable picture"):
        embed_pairs(pairs, lambda crops: crops)
    with pytest.raises(InputError, match="no such file of pairs"):
        read_bin_pairs(tmp_path / "none.bin")


def test_benchmarks_by_name(tmp_path: Path, cfp: Path) -> None:
    image = png(picture(1))
    write_bin(tmp_path / "lfw.bin", [image] * 12_000, [pair // 300 % 2 == 0 for pair in range(6000)])
    whole = find_benchmark("lfw", tmp_path)
    assert (len(whole.issame), whole.folds, len(whole.images)) == (6000, 10, 12_000)
    write_bin(tmp_path / "lfw.bin", [image] * 4, [True, False])
    with pytest.raises(DataError, match=r"lfw.bin: 2 pairs, LFW has 6000"):
        find_benchmark("lfw", tmp_path)
    with pytest.raises(DataError, match=r"cfp: 20 pairs, CFP-FP has 7000"):
        find_benchmark("cfp_fp", tmp_path)
    with pytest.raises(InputError, match=r"unknown benchmark 'agedb'. Did you mean agedb_30\? Known: lfw, cfp_ff"):
        find_benchmark("agedb", tmp_path)
    with pytest.raises(InputError, match=r"holds neither calfw.bin nor a folder calfw"):
        find_benchmark("calfw", tmp_path)


def test_a_missing_crop_or_list_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no list of pairs"):
        read_folder_pairs(tmp_path)
    (tmp_path / "pairs.txt").write_text("a.png b.png 1\n")
    with pytest.raises(DataError, match=r"the crop a.png is missing"):
        read_folder_pairs(tmp_path)
    (tmp_path / "pairs.txt").write_text("\n")
    with pytest.raises(DataError, match="empty"):
        read_folder_pairs(tmp_path)
