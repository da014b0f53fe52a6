import csv
import io
import tarfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tests.align.drawn import DRAWN_POINTS, draw_face, draw_shapes

from facewright.align import find_faces, load_detector
from facewright.align.backends.mtcnn import Mtcnn


def wave(count: int, side: int) -> np.ndarray:
    values = np.sin(np.arange(count * side * side * 3) * 0.37)
    return values.reshape(count, side, side, 3).astype(np.float32)


def test_networks_agree_with_the_onnx_reference(detector):
    """Numbers of onnx.reference.ReferenceEvaluator (onnx 1.23) for the last of three windows."""
    shifts, probabilities = detector._refinement(wave(3, 24))
    np.testing.assert_allclose(shifts[-1], [-0.179943, -0.332353, 0.256042, 0.485008], atol=1e-5)
    assert probabilities.shape == (3, 2)
    shifts, marks, probabilities = detector._output(wave(3, 48))
    np.testing.assert_allclose(shifts[-1], [0.020691, -0.062910, -0.037782, 0.016410], atol=1e-5)
    expected = [0.336709, 0.642667, 0.538800, 0.443687, 0.685828, 0.310514, 0.235110, 0.459529, 0.778888, 0.724989]
    np.testing.assert_allclose(marks[-1], expected, atol=1e-5)
    np.testing.assert_allclose(probabilities[-1], [0.999813, 0.000187], atol=1e-5)


def test_any_number_of_windows_gives_each_its_own_answer(detector):
    windows = wave(21, 48)
    together = detector._output(windows)
    for number in (0, 7, 8, 20):
        alone = detector._output(windows[number : number + 1])
        for many, one in zip(together, alone, strict=True):
            np.testing.assert_allclose(many[number], one[0], atol=1e-5)


@pytest.mark.parametrize(
    ("side", "centre", "unit"), [(160, (80, 80), 1.0), (400, (200, 200), 2.0), (112, (56, 60), 0.9)]
)
def test_finds_a_drawn_face_and_its_points(detector, side, centre, unit):
    faces = detector.detect(draw_face(side, side, centre=centre, unit=unit))
    assert len(faces) == 1
    error = np.linalg.norm(faces[0].points - (DRAWN_POINTS * unit + centre), axis=1)
    assert error.max() < 4 * unit
    left, top, right, bottom = faces[0].box
    assert left < centre[0] < right
    assert top < centre[1] < bottom
    assert 0.97 <= faces[0].score <= 1


def test_points_move_with_the_picture(detector):
    """A large photo is searched at a smaller size; what comes back is in its own pixels."""
    small = draw_face(300, 260, centre=(150, 120), unit=1.5)
    large = np.asarray(Image.fromarray(small).resize((1500, 1300), Image.Resampling.BICUBIC))
    first, second = detector.detect(small)[0], detector.detect(large)[0]
    np.testing.assert_allclose((second.points + 0.5) / 5, first.points + 0.5, atol=3)
    np.testing.assert_allclose(np.array(second.box) / 5, first.box, atol=8)


def test_two_faces_are_two(detector):
    both = np.hstack([draw_face(), draw_face(unit=0.9)])
    centres = sorted(float(face.points[:, 0].mean()) for face in detector.detect(both))
    np.testing.assert_allclose(centres, [80, 240], atol=4)


def test_the_same_photo_gives_the_same_answer(detector):
    image = draw_face()
    again = Mtcnn()
    again.detect(draw_shapes(3))
    np.testing.assert_array_equal(detector.detect(image)[0].points, again.detect(image)[0].points)


def test_pictures_without_people_give_nothing(detector):
    generator = np.random.default_rng(0)
    stripes = np.tile(((np.arange(300) // 7 % 2) * 255).astype(np.uint8)[None, :, None], (200, 1, 3))
    noise = generator.integers(0, 256, (200, 300, 3), dtype=np.uint8)
    clouds = np.asarray(Image.fromarray(noise[:12, :16]).resize((320, 240), Image.Resampling.BICUBIC))
    for picture in [stripes, noise, clouds, *(draw_shapes(seed) for seed in range(12))]:
        assert detector.detect(picture) == []


def test_samples_of_scikit_image_without_people_give_nothing(detector):
    data = pytest.importorskip("skimage.data")
    people_free = ["chelsea", "coffee", "rocket", "brick", "grass", "gravel", "coins", "moon", "page", "text", "clock"]
    people_free += ["horse", "hubble_deep_field", "immunohistochemistry", "colorwheel", "cell", "checkerboard"]
    for name in people_free:
        picture = getattr(data, name)()
        if picture.dtype == bool:
            picture = picture.astype(np.uint8) * 255
        if picture.ndim == 2:
            picture = np.repeat(picture[..., None], 3, axis=2)
        assert detector.detect(np.ascontiguousarray(picture[..., :3])) == [], name


@pytest.mark.parametrize("shape", [(1, 1), (5, 400), (400, 5), (11, 11), (23, 40)])
def test_tiny_and_thin_pictures_give_nothing(detector, shape):
    assert detector.detect(np.full((*shape, 3), 90, np.uint8)) == []


def members(path: Path, names: list[str]) -> list[np.ndarray]:
    with tarfile.open(path) as archive:
        return [np.asarray(Image.open(io.BytesIO(archive.extractfile(n).read())).convert("RGB")) for n in names]


def test_finds_the_faces_of_real_photos(shared: Path):
    """Every fifth single face; docs/ALIGN.md has the whole set."""
    with (shared / "data" / "photos.csv").open(encoding="utf-8") as table:
        rows = [row for row in csv.DictReader(table) if row["faces_detected"] == "1"][::5]
    detector = load_detector()
    hits = 0
    for row, image in zip(rows, members(shared / "data" / "photos.tar", [row["file"] for row in rows]), strict=True):
        left, top, right, bottom = (float(value) for value in row["boxes"].split())
        faces = detector.detect(image)
        if faces:
            x, y = max(faces, key=lambda face: face.area).points.mean(axis=0)
            hits += left < x < right and top < y < bottom
    assert hits >= 0.97 * len(rows)


def test_finds_faces_in_aligned_crops(shared: Path):
    with tarfile.open(shared / "data" / "lfw_pairs_112.tar") as archive:
        names = [member.name for member in archive if member.isreg()][:1000:20]
    crops = np.stack(members(shared / "data" / "lfw_pairs_112.tar", names))
    assert find_faces(crops).mean() >= 0.98
