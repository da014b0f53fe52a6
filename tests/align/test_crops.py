import numpy as np
import pytest
from tests.align.drawn import DRAWN_POINTS, Scripted, centre_face, draw_face, draw_shapes

from facewright import align
from facewright.align import Face, find_faces, warp_face
from facewright.errors import DataError, InputError


def face_at(left: float, top: float, side: float, score: float) -> Face:
    points = DRAWN_POINTS * (side / 100) + [left + side / 2, top + side / 2]
    return Face((left, top, left + side, top + side), points, score)


def test_public_names():
    """What the room offers; a change here is a change for users."""
    assert sorted(align.__all__) == [
        "ARCFACE_TEMPLATE",
        "AlignReport",
        "DEFAULT_DETECTOR",
        "Detector",
        "Face",
        "PackConfig",
        "PackReport",
        "PackSource",
        "align_photos",
        "crop",
        "detector_names",
        "find_faces",
        "five_from_68",
        "load_detector",
        "open_photos",
        "pack_faces",
        "read_manifest",
        "read_photo",
        "similarity",
        "warp",
        "warp_face",
    ]
    assert all(hasattr(align, name) for name in align.__all__)


def test_a_file_and_its_pixels_give_the_same_crop(save, detector):
    image = draw_face(200, 180, centre=(90, 85))
    crop = align.crop(save("one.png", image), detector=detector)
    assert crop.shape == (112, 112, 3)
    assert crop.dtype == np.uint8
    np.testing.assert_array_equal(crop, align.crop(image, detector=detector))
    found = detector.detect(crop)
    np.testing.assert_allclose(found[0].points, align.ARCFACE_TEMPLATE, atol=6)


def test_the_default_detector_is_loaded_by_name():
    assert align.crop(draw_face(), size=128, margin=8).shape == (128, 128, 3)


@pytest.mark.parametrize(("which", "expected"), [("largest", 0), ("surest", 1), ("centre", 2)])
def test_which_of_several_faces(which, expected):
    faces = [face_at(0, 0, 80, 0.5), face_at(150, 0, 40, 0.9), face_at(85, 70, 40, 0.6)]
    image = draw_shapes(0, 200, 180)
    crop = align.crop(image, detector=Scripted(lambda _: faces), which=which)
    np.testing.assert_array_equal(crop, warp_face(image, faces[expected].points))


def test_no_face_is_a_data_error_that_names_the_photo(save, detector):
    path = save("empty street.png", draw_shapes(1))
    with pytest.raises(DataError, match=r"no face found in .*empty street\.png by detector 'mtcnn'"):
        align.crop(path, detector=detector)


def test_arguments_out_of_range_are_refused(scripted):
    image = draw_shapes(0)
    with pytest.raises(InputError, match="largest, surest, centre, got 'best'"):
        align.crop(image, detector=scripted, which="best")
    with pytest.raises(InputError, match="size"):
        align.crop(image, detector=scripted, size=0)
    with pytest.raises(DataError, match="float64"):
        align.crop(image.astype(float), detector=scripted)
    with pytest.raises(InputError, match="unknown detector"):
        align.crop(image, detector="eye")


def test_find_faces_repeats_the_border_and_reports_each():
    def inner(image: np.ndarray) -> list[Face]:
        assert image.shape == (60, 60, 3)
        np.testing.assert_array_equal(image[:10], np.repeat(image[10:11], 10, axis=0))
        return [centre_face(image)] if image[30, 30, 0] else []

    crops = np.zeros((4, 40, 40, 3), np.uint8)
    crops[[1, 3], 20, 20] = 255
    steps: list[tuple[int, int]] = []
    found = find_faces(crops, detector=Scripted(inner), progress=lambda done, total: steps.append((done, total)))
    assert found.dtype == np.bool_
    assert found.tolist() == [False, True, False, True]
    assert steps == [(1, 4), (2, 4), (3, 4), (4, 4)]


def test_find_faces_of_a_real_detector(detector):
    crops = np.stack([draw_face(112, 112, centre=(56, 60), unit=0.9), draw_shapes(2, 112, 112)])
    assert find_faces(crops, detector=detector).tolist() == [True, False]
    assert find_faces(np.zeros((0, 112, 112, 3), np.uint8), detector=detector).shape == (0,)


def test_find_faces_refuses_other_arrays(scripted):
    with pytest.raises(InputError, match=r"\(112, 112, 3\)"):
        find_faces(np.zeros((112, 112, 3), np.uint8), detector=scripted)
    with pytest.raises(InputError, match="float32"):
        find_faces(np.zeros((1, 112, 112, 3), np.float32), detector=scripted)
