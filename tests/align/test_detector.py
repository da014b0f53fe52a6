import importlib.util
import sys
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest
from tests.align.drawn import DRAWN_POINTS, draw_face, draw_shapes

from facewright.align import DEFAULT_DETECTOR, Detector, Face, detector_names, load_detector
from facewright.align.backends import packages
from facewright.errors import InputError

IMAGE = np.zeros((40, 60, 3), np.uint8)


def test_the_default_is_known_and_fits_the_protocol(detector):
    assert detector_names()[0] == DEFAULT_DETECTOR == detector.name
    assert isinstance(detector, Detector)


def test_an_unknown_name_gets_a_suggestion():
    with pytest.raises(InputError, match=r"unknown detector 'mtcn'\. Did you mean 'mtcnn'\? Known: mtcnn, dlib"):
        load_detector("mtcn")


@pytest.mark.parametrize("name", ["mtcnn", "dlib", "insightface", "face_alignment", "mediapipe"])
def test_a_missing_package_is_named_with_its_cure(monkeypatch, name):
    def absent(package: str) -> ModuleType:
        raise ImportError(f"No module named '{package}'")

    monkeypatch.setattr(packages.importlib, "import_module", absent)
    monkeypatch.setattr(packages.importlib.util, "find_spec", lambda package: None)
    backend = __import__(f"facewright.align.backends.{name}", fromlist=["_"])
    made = {"mtcnn": "Mtcnn", "dlib": "Dlib", "insightface": "InsightFace"}
    made |= {"face_alignment": "FaceAlignment", "mediapipe": "MediaPipe"}
    with pytest.raises(InputError, match=rf"detector '{name}' needs .*run: pip install "):
        getattr(backend, made[name])()


def test_a_package_without_the_file_is_named(tmp_path, monkeypatch):
    (tmp_path / "emptied").mkdir()
    (tmp_path / "emptied" / "__init__.py").write_text("raise RuntimeError('imported')")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(InputError, match=r"needs net\.onnx of the package some-models.*pip install some-models"):
        packages.package_file("emptied", "net.onnx", detector="x", pip="some-models")
    (tmp_path / "emptied" / "net.onnx").write_bytes(b"1")
    assert packages.package_file("emptied", "net.onnx", detector="x", pip="p") == tmp_path / "emptied" / "net.onnx"


def test_area_of_a_face():
    assert Face((10.0, 20.0, 30.0, 50.0), DRAWN_POINTS, 1.0).area == 600


def test_dlib_finds_a_drawn_face():
    pytest.importorskip("dlib")
    if importlib.util.find_spec("face_recognition_models") is None:
        pytest.skip("needs face_recognition_models")
    detector = load_detector("dlib")
    faces = detector.detect(draw_face())
    assert faces
    assert np.linalg.norm(faces[0].points - (DRAWN_POINTS + 80), axis=1).max() < 12
    assert detector.detect(draw_shapes(1, 120, 100)) == []


def test_insightface_is_asked_for_detection_only(monkeypatch, tmp_path):
    """A stand-in with the calls of insightface 2.1, which ships no weights."""
    asked = {}

    class Analysis:
        def __init__(self, **options):
            asked.update(options)

        def prepare(self, ctx_id, det_thresh, det_size):
            asked.update(det_thresh=det_thresh, det_size=det_size)

        def get(self, image):
            asked["image"] = image
            face = SimpleNamespace(bbox=np.array([1, 2, 30, 40], np.float32), kps=DRAWN_POINTS, det_score=0.5)
            return [face, SimpleNamespace(**(vars(face) | {"det_score": 0.9}))]

    monkeypatch.setitem(sys.modules, "insightface", ModuleType("insightface"))
    monkeypatch.setitem(sys.modules, "insightface.app", SimpleNamespace(FaceAnalysis=Analysis))
    from facewright.align.backends.insightface import InsightFace

    with pytest.raises(InputError, match=r"needs the model pack buffalo_l as \.onnx files"):
        InsightFace(root=tmp_path)
    (tmp_path / "models" / "buffalo_l").mkdir(parents=True)
    (tmp_path / "models" / "buffalo_l" / "det.onnx").touch()
    red = IMAGE.copy()
    red[..., 0] = 255
    faces = InsightFace(root=tmp_path).detect(red)
    assert asked["allowed_modules"] == ["detection"]
    assert asked["image"][0, 0].tolist() == [0, 0, 255]  # BGR
    assert [face.score for face in faces] == [0.9, 0.5]
    assert faces[0].box == (1, 2, 30, 40)


def test_face_alignment_reduces_68_points(monkeypatch, tmp_path):
    """A stand-in with the calls of face-alignment 1.5, which ships no weights."""
    marks = np.random.default_rng(0).uniform(0, 40, (68, 2)).astype(np.float32)
    answers = [([marks], None, [np.array([1, 2, 30, 40, 0.8])]), (None, None, None)]

    class Aligner:
        def __init__(self, kind, **options):
            assert options == {"device": "cpu", "face_detector": "sfd", "compile": False}

        def get_landmarks_from_image(self, image, return_bboxes):
            return answers.pop(0)

    library = SimpleNamespace(FaceAlignment=Aligner, LandmarksType=SimpleNamespace(TWO_D=1))
    monkeypatch.setitem(sys.modules, "face_alignment", library)
    from facewright.align.backends import face_alignment

    monkeypatch.setattr(face_alignment.torch.hub, "get_dir", lambda: str(tmp_path))
    with pytest.raises(InputError, match=r"needs s3fd-619a316812\.pth and 2DFAN4"):
        face_alignment.FaceAlignment()
    (tmp_path / "checkpoints").mkdir()
    for file in face_alignment._WEIGHTS:
        (tmp_path / "checkpoints" / file).touch()
    detector = face_alignment.FaceAlignment()
    (face,) = detector.detect(IMAGE)
    np.testing.assert_allclose(face.points[0], marks[[36, 39]].mean(axis=0), rtol=1e-6)
    np.testing.assert_array_equal(face.points[2], marks[30])
    assert face.score == 0.8
    assert detector.detect(IMAGE) == []


def test_mediapipe_takes_irises_nose_and_mouth(monkeypatch, tmp_path):
    """A stand-in with the calls of mediapipe 1.2, which ships no model."""
    relative = np.random.default_rng(0).uniform(0.1, 0.9, (478, 2))

    class Landmarker:
        @classmethod
        def create_from_options(cls, options):
            assert options.num_faces == 32
            return cls()

        def detect(self, image):
            return SimpleNamespace(face_landmarks=[[SimpleNamespace(x=x, y=y) for x, y in relative]])

    vision = SimpleNamespace(FaceLandmarker=Landmarker, FaceLandmarkerOptions=SimpleNamespace)
    tasks = SimpleNamespace(vision=vision, BaseOptions=SimpleNamespace)
    library = SimpleNamespace(Image=SimpleNamespace, ImageFormat=SimpleNamespace(SRGB=1))
    monkeypatch.setitem(sys.modules, "mediapipe", library)
    monkeypatch.setitem(sys.modules, "mediapipe.tasks", SimpleNamespace(python=tasks))
    monkeypatch.setitem(sys.modules, "mediapipe.tasks.python", tasks)
    from facewright.align.backends.mediapipe import MODEL_VARIABLE, MediaPipe

    monkeypatch.setenv(MODEL_VARIABLE, str(tmp_path / "face.task"))
    with pytest.raises(InputError, match=r"face_landmarker\.task, which is not at .*face\.task"):
        MediaPipe()
    (tmp_path / "face.task").touch()
    (face,) = MediaPipe().detect(IMAGE)
    np.testing.assert_allclose(face.points, relative[[468, 473, 1, 61, 291]] * [60, 40])
    np.testing.assert_allclose(face.box[:2], relative.min(axis=0) * [60, 40])
