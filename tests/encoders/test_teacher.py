"""The ONNX teacher in torch against OpenCV's reading of the same file."""

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from tests.encoders.onnx_net import MAPS, write_teacher
from tests.training.toys import toy_face

from facewright.data.images import to_tensor
from facewright.encoders.teacher import OnnxTeacher
from facewright.errors import DataError


def test_embeddings_agree_with_opencv(tmp_path: Path) -> None:
    path = write_teacher(tmp_path / "t.onnx")
    faces = np.stack([toy_face(person, 0, size=112) for person in range(3)])
    with torch.inference_mode():
        ours = OnnxTeacher(path)(to_tensor(faces))
    net = cv2.dnn.readNetFromONNX(str(path))
    for face, embedding in zip(faces, ours.numpy(), strict=True):
        net.setInput(((face.astype(np.float32) - 127) / 128).transpose(2, 0, 1)[None].copy())
        theirs = net.forward().ravel()
        assert np.allclose(embedding, theirs, atol=1e-4 * np.abs(theirs).max())


def test_maps_are_given_on_request_and_nothing_is_trained(tmp_path: Path) -> None:
    teacher = OnnxTeacher(write_teacher(tmp_path / "t.onnx"))
    embedding, maps = teacher.with_maps(torch.zeros(2, 3, 112, 112), tuple(MAPS))
    assert embedding.shape == (2, 512)
    assert [tuple(m.shape) for m in maps] == [(2, 64, 28, 28), (2, 128, 14, 14), (2, 128, 7, 7)]
    assert not embedding.requires_grad
    assert not any(p.requires_grad for p in teacher.parameters())


def test_what_it_cannot_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="node Relu is not one of Conv, PRelu, Add, Reshape"):
        OnnxTeacher(write_teacher(tmp_path / "t.onnx", extra="Relu"))
    (tmp_path / "broken.onnx").write_bytes(b"no model")
    with pytest.raises(DataError, match=r"broken\.onnx is not a readable ONNX file"):
        OnnxTeacher(tmp_path / "broken.onnx")
    with pytest.raises(DataError, match=r"nowhere\.onnx is not a readable ONNX file"):
        OnnxTeacher(tmp_path / "nowhere.onnx")
