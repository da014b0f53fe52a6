"""Packing faces: geometry, masks, sources, resuming, refusals."""

import csv
import errno
import tarfile
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image
from tests.align.drawn import DRAWN_POINTS, Scripted, centre_face, draw_face

from facewright.align import ARCFACE_TEMPLATE, PackConfig, PackSource, pack, pack_faces, warp_face
from facewright.data.packs import read_pack
from facewright.errors import ConfigError, DataError, InputError

NAMES = ("eye1", "eye2", "nose", "mouth1", "mouth2")
HERE = ARCFACE_TEMPLATE + 8  # points of a 128-px photo that is already aligned

Points = Sequence[tuple[float, float]]


def fixed(points: np.ndarray) -> tuple[tuple[float, float], ...]:
    return tuple((float(x), float(y)) for x, y in points)


@pytest.fixture
def source(tmp_path: Path) -> Callable[..., PackSource]:
    """Write photos and their manifest."""

    def write(photos: Sequence[np.ndarray], rows: Sequence[dict[str, object]] = (), **options: object) -> PackSource:
        name = str(options.pop("name", "drawn"))
        folder = tmp_path / name
        folder.mkdir()
        cells = [{"file": f"{n:03d}.png", **(rows[n] if rows else {})} for n in range(len(photos))]
        for row, photo in zip(cells, photos, strict=True):
            Image.fromarray(photo).save(folder / str(row["file"]))
        with (tmp_path / f"{name}.csv").open("w", newline="") as stream:
            writer = csv.DictWriter(stream, cells[0].keys())
            writer.writeheader()
            writer.writerows(cells)
        options.setdefault("points", "fixed")
        if options["points"] == "fixed":
            options.setdefault("fixed", fixed(HERE))
        return PackSource(name, folder, tmp_path / f"{name}.csv", **options)  # type: ignore[arg-type]

    return write


def noise(seed: int, size: int = 128) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (size, size, 3), dtype=np.uint8)


def columns(points: np.ndarray) -> dict[str, object]:
    return {f"{name}_{axis}": float(points[k, j]) for k, name in enumerate(NAMES) for j, axis in enumerate("xy")}


def test_an_aligned_photo_is_packed_as_it_is(source: Callable[..., PackSource], tmp_path: Path) -> None:
    photos = [noise(seed) for seed in range(3)]
    report = pack_faces([source(photos)], tmp_path / "pack")
    packed = read_pack(tmp_path / "pack")
    assert np.array_equal(packed.images, photos)
    assert packed.masks.all()
    assert packed.labels.tolist() == [-1, -1, -1]
    assert (report.faces, report.kept) == (3, {"drawn": 3})


def test_a_face_lands_where_warp_face_puts_it(source: Callable[..., PackSource], tmp_path: Path) -> None:
    photo = cv2.GaussianBlur(draw_face(), (0, 0), 1.5)
    points = DRAWN_POINTS + 80
    pack_faces([source([photo], [columns(points)], points="columns")], tmp_path / "pack")
    face = read_pack(tmp_path / "pack").images[0].astype(int)
    expected = warp_face(photo, points, size=128, margin=8).astype(int)
    assert np.abs(face - expected)[16:-16, 16:-16].mean() < 1.5


def test_a_large_photo_is_averaged_and_stays_in_place(source: Callable[..., PackSource], tmp_path: Path) -> None:
    small = cv2.GaussianBlur(noise(0, 64), (0, 0), 3)
    wanted = cv2.resize(small, (128, 128), interpolation=cv2.INTER_CUBIC)
    large = cv2.resize(small, (512, 512), interpolation=cv2.INTER_CUBIC)
    speckled = np.clip(large + np.random.default_rng(1).normal(0, 40, large.shape), 0, 255).astype(np.uint8)
    points = (HERE + 0.5) * 4 - 0.5
    pack_faces([source([large, speckled], fixed=fixed(points))], tmp_path / "pack")
    smooth, averaged = read_pack(tmp_path / "pack").images[:].astype(int)
    assert np.abs(smooth - wanted).max() <= 3
    assert np.abs(averaged - smooth).mean() < 10  # sampling single pixels would leave about 30


def test_the_mask_marks_cells_that_lie_wholly_inside(source: Callable[..., PackSource], tmp_path: Path) -> None:
    photo = noise(0)[:, :100]
    pack_faces([source([photo[:, 20:]], fixed=fixed(HERE - (20, 0)))], tmp_path / "pack")
    packed = read_pack(tmp_path / "pack")
    # The photo covers columns 20 ... 99 of the face: cells 3 ... 11 of 16, whole only from 24 to 96.
    expected = np.zeros((16, 16), np.uint8)
    expected[:, 3:12] = 1
    assert np.array_equal(packed.masks[0], expected)
    assert np.array_equal(packed.images[0][:, 20:100], photo[:, 20:])
    assert (packed.images[0][:, :20] == photo[:, 20:21]).all(), "the border is repeated"
    assert (packed.images[0][:, 100:] == photo[:, 99:]).all()


def test_people_are_numbered_and_some_left_out(source: Callable[..., PackSource], tmp_path: Path) -> None:
    listed = tmp_path / "overlap.csv"
    listed.write_text("set,identity\nother,31\n")
    rows = [{"identity": value} for value in (30, 31, "", 30)]
    made = source([noise(n) for n in range(4)], rows, identity="identity", leave_out=listed)
    plain = source([noise(9)], name="plain")
    pack_faces([made, plain], tmp_path / "pack")
    with np.load(tmp_path / "pack" / "index.npz") as index:
        assert index["identity"].tolist() == [30, -1, 30, -1]
        assert index["files"].tolist() == ["000.png", "002.png", "003.png", "000.png"]
        assert index["source"].tolist() == [0, 0, 0, 1]
        assert (index["source"].dtype, index["identity"].dtype) == (np.int8, np.int64)
    assert np.array_equal(read_pack(tmp_path / "pack").images[1], noise(2))


def test_a_detector_finds_the_points_and_a_photo_without_a_face_is_not_kept(
    source: Callable[..., PackSource], tmp_path: Path
) -> None:
    finder = Scripted(lambda image: [centre_face(image)] if image.any() else [])
    photos = [draw_face(), np.zeros((160, 160, 3), np.uint8)]
    report = pack_faces([source(photos, points="scripted")], tmp_path / "pack", detectors={"scripted": finder})
    assert (report.faces, report.kept) == (2, {"drawn": 1})
    packed = read_pack(tmp_path / "pack")
    assert packed.sources.tolist() == [0, -1]
    assert not packed.images[1].any()
    assert not packed.masks[1].any()


def test_a_broken_photo_is_named_and_not_kept(
    source: Callable[..., PackSource], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    made = source([noise(0), noise(1)])
    (made.archive / "000.png").write_bytes(b"no picture")
    assert pack_faces([made], tmp_path / "pack").kept == {"drawn": 1}
    assert "000.png" in caplog.text


def test_a_tar_gives_the_same_pack_as_its_folder(source: Callable[..., PackSource], tmp_path: Path) -> None:
    made = source([noise(n) for n in range(3)])
    with tarfile.open(tmp_path / "drawn.tar", "w") as archive:
        for path in made.archive.iterdir():
            archive.add(path, path.name)
    pack_faces([made], tmp_path / "a")
    pack_faces([replace(made, archive=tmp_path / "drawn.tar")], tmp_path / "b")
    for name in ("images.npy",):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


@pytest.mark.parametrize("stop_at", [0, 3, 4, 7])
@pytest.mark.parametrize("error", [KeyboardInterrupt(), OSError(errno.ENOSPC, "No space left on device")])
def test_an_interrupted_pack_goes_on_where_it_stopped(
    source: Callable[..., PackSource],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    stop_at: int,
    error: BaseException,
) -> None:
    monkeypatch.setattr(pack, "SAVE_EVERY", 2)
    made = source([draw_face() for _ in range(8)], points="scripted")
    whole = Scripted(lambda image: [centre_face(image)])
    pack_faces([made], tmp_path / "whole", detectors={"scripted": whole})

    def failing(image: np.ndarray) -> list[object]:
        if broken.asked > stop_at:
            raise error
        return [centre_face(image)]

    broken = Scripted(failing)  # type: ignore[arg-type]
    with pytest.raises(type(error)):
        pack_faces([made], tmp_path / "pack", detectors={"scripted": broken})
    with pytest.raises(DataError, match="not a face pack"):
        read_pack(tmp_path / "pack")
    rest = Scripted(lambda image: [centre_face(image)])
    pack_faces([made], tmp_path / "pack", detectors={"scripted": rest})
    assert rest.asked == 8 - stop_at // 2 * 2
    assert (tmp_path / "pack" / "images.npy").read_bytes() == (tmp_path / "whole" / "images.npy").read_bytes()
    assert sorted(path.name for path in (tmp_path / "pack").iterdir()) == ["config.json", "images.npy", "index.npz"]
    assert read_pack(tmp_path / "pack").masks.any()
    pack_faces([made], tmp_path / "pack", detectors={"scripted": rest})
    assert rest.asked == 8 - stop_at // 2 * 2, "a finished pack is not made again"


def test_a_folder_of_another_pack_is_refused(source: Callable[..., PackSource], tmp_path: Path) -> None:
    made = source([noise(0)])
    pack_faces([made], tmp_path / "pack")
    with pytest.raises(ConfigError, match="other sources or settings"):
        pack_faces([replace(made, fixed=fixed(HERE + 1))], tmp_path / "pack")
    (tmp_path / "pack" / "config.json").unlink()
    with pytest.raises(ConfigError, match="did not make"):
        pack_faces([made], tmp_path / "pack")


@pytest.mark.parametrize(
    ("rows", "options", "said"),
    [
        (
            [{"identity": "x"}],
            {"identity": "identity"},
            r"drawn\.csv, line 2: identity must be a whole number, got 'x'",
        ),
        ([{"age": 3}], {"identity": "person"}, r"drawn\.csv, line 2 has no column person; it has file, age"),
        ([{"file": "lost.png"}], {}, None),
        ([{**columns(HERE), "nose_x": ""}], {"points": "columns"}, r"nose_x must be a number, got ''"),
        ([columns(HERE * 0)], {"points": "columns"}, r"000\.png: its five points cannot be aligned"),
    ],
)
def test_a_wrong_manifest_is_named(
    source: Callable[..., PackSource],
    tmp_path: Path,
    rows: list[dict[str, object]],
    options: dict[str, object],
    said: str | None,
) -> None:
    made = source([noise(0)], rows, **options)
    if said is None:
        (made.archive / "lost.png").rename(made.archive / "found.png")
        said = r"line 2 names lost\.png, which .*drawn does not hold"
    with pytest.raises(DataError, match=said):
        pack_faces([made], tmp_path / "pack")
    assert not (tmp_path / "pack" / "index.npz").exists()


def test_sources_that_do_not_exist_or_contradict_themselves(source: Callable[..., PackSource], tmp_path: Path) -> None:
    made = source([noise(0)])
    with pytest.raises(InputError, match="does not exist"):
        pack_faces([replace(made, archive=tmp_path / "nowhere")], tmp_path / "pack")
    with pytest.raises(InputError, match=r"none\.csv does not exist"):
        pack_faces([replace(made, manifest=tmp_path / "none.csv")], tmp_path / "pack")
    with pytest.raises(InputError, match="1 to 127 sources, got 0"):
        pack_faces([], tmp_path / "pack")
    with pytest.raises(InputError, match="unknown detector 'column'"):
        pack_faces([replace(made, points="column", fixed=None)], tmp_path / "pack")
    assert not (tmp_path / "pack").exists()
    with pytest.raises(ConfigError, match="fixed must hold five points, got 1"):
        replace(made, fixed=((1.0, 2.0),))
    with pytest.raises(ConfigError, match="give the five points"):
        replace(made, fixed=None)
    with pytest.raises(ConfigError, match="needs the identity column"):
        replace(made, leave_out=tmp_path / "x.csv")


def test_paths_of_a_config_start_from_its_data_folder(tmp_path: Path) -> None:
    one = PackSource("a", Path("a.tar"), Path("a.csv"), identity="who", leave_out=Path("out.csv"))
    [placed] = PackConfig((one,), data=tmp_path).sources()
    assert (placed.archive, placed.manifest) == (tmp_path / "a.tar", tmp_path / "a.csv")
    assert placed.leave_out == tmp_path / "out.csv"
