"""Distilling on drawn faces."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from tests.encoders.onnx_net import write_teacher
from tests.training.toys import toy_pack

from facewright.data.images import centre_crop, to_tensor
from facewright.data.packs import FacePack
from facewright.encoders.teacher import OnnxTeacher
from facewright.recognition import DistillConfig, distill
from facewright.recognition.distill import views
from facewright.training.trainer import Schedule

CONFIG = DistillConfig(Schedule(images=96, batch=8, learning_rate=2e-3, ema_maximum=0.8, log_every=24, save_every=48))


@pytest.fixture(autouse=True)
def _uncompiled(monkeypatch: pytest.MonkeyPatch) -> None:
    """Compiling takes longer than these runs."""
    monkeypatch.setattr(torch, "compile", lambda module: module)


@pytest.fixture
def pack(tmp_path: Path) -> FacePack:
    return toy_pack(tmp_path / "pack", people=8, poses=2, unknown=4)


@pytest.fixture
def teacher(tmp_path: Path) -> OnnxTeacher:
    return OnnxTeacher(write_teacher(tmp_path / "teacher.onnx"))


def test_the_student_comes_to_agree_with_the_teacher(pack: FacePack, teacher: OnnxTeacher, tmp_path: Path) -> None:
    seen: list[bool] = []
    torch.manual_seed(0)
    student = distill(
        pack, teacher, CONFIG, out=tmp_path / "run", validate=lambda net: seen.append(net.training) or {"checked": 1.0}
    )
    assert not student.training
    assert seen == [False, False]
    rows = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    losses = [row for row in rows if "embedding" in row]
    assert {"embedding", "maps", "arcface", "grad_norm"} <= losses[0].keys()
    assert losses[-1]["embedding"] < losses[0]["embedding"]
    faces = to_tensor(centre_crop(np.asarray(pack.images), 112))
    with torch.inference_mode():
        cosine = torch.cosine_similarity(student(faces), teacher(faces)[0])
    assert float(cosine.mean()) > 0.1  # chance gives 0 +- 0.04


def test_a_resumed_run_gives_the_same_student(pack: FacePack, teacher: OnnxTeacher, tmp_path: Path) -> None:
    config = replace(CONFIG, schedule=replace(CONFIG.schedule, images=24, save_every=8, log_every=8))

    def stop(done: int, total: int) -> None:
        if done == 16:
            raise KeyboardInterrupt

    torch.manual_seed(0)
    whole = distill(pack, teacher, config, out=tmp_path / "whole")
    torch.manual_seed(0)
    with pytest.raises(KeyboardInterrupt):
        distill(pack, teacher, config, out=tmp_path / "broken", progress=stop)
    resumed = distill(pack, teacher, config, out=tmp_path / "broken")
    for name, value in whole.state_dict().items():
        assert torch.equal(value, resumed.state_dict()[name]), name


def test_views_have_the_crop_size_and_say_which_are_blends() -> None:
    images = torch.stack([torch.full((3, 128, 128), level) for level in torch.linspace(-0.9, 0.9, 400)])
    config = replace(CONFIG, mixed_share=0.25)
    x, mixed = views(images, config, torch.Generator().manual_seed(0))
    assert x.shape == (400, 3, 112, 112)
    assert 60 < int(mixed.sum()) < 140
    assert float(x.abs().max()) <= 1 + 1e-6
    none, unmixed = views(images, replace(config, mixed_share=0.0), torch.Generator().manual_seed(0))
    assert not unmixed.any()
    assert none.shape == x.shape
