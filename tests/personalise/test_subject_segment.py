"""Masks of drawn people, by the default and by backends that are told what to say."""

import sys
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw

from facewright.align import Face
from facewright.errors import DataError, InputError
from facewright.personalise.bisenet import BiSeNet
from facewright.personalise.subject_segment import FaceParser, GrabCut, load_segmenter, shared_out
from facewright.weights import Card, save_weights

POINTS = np.array([[-12, -10], [12, -10], [0, 2], [-10, 16], [10, 16]], float)


def drawn(centres: Sequence[tuple[int, int]], width: int = 240, height: int = 240) -> tuple[np.ndarray, np.ndarray]:
    """uint8 (height, width, 3): people with shoulders on a patterned ground; who is where, (N, height, width)."""
    rng = np.random.default_rng(0)
    ground = np.clip(np.array([60, 110, 70]) + rng.normal(0, 12, (height, width, 3)), 0, 255).astype(np.uint8)
    picture, masks = Image.fromarray(ground), []
    for x, y in centres:
        layer = Image.new("1", (width, height))
        draw, own = ImageDraw.Draw(picture), ImageDraw.Draw(layer)
        for shape, box, colour in (
            ("ellipse", (x - 34, y - 48, x + 34, y + 46), (90, 60, 40)),
            ("rectangle", (x - 50, y + 62, x + 50, y + 250), (150, 40, 60)),
            ("rectangle", (x - 14, y + 30, x + 14, y + 62), (215, 170, 140)),
            ("ellipse", (x - 27, y - 34, x + 27, y + 42), (225, 180, 150)),
        ):
            getattr(draw, shape)(box, fill=colour)
            getattr(own, shape)(box, fill=1)
        for dx, dy in POINTS:
            draw.ellipse((x + dx - 3, y + dy - 3, x + dx + 3, y + dy + 3), fill=(60, 40, 40))
        masks.append(np.asarray(layer))
    return np.asarray(picture), np.stack(masks)


def faces_at(centres: Sequence[tuple[int, int]]) -> list[Face]:
    return [Face((x - 30.0, y - 34.0, x + 30.0, y + 42.0), POINTS + np.array([x, y]), 1.0) for x, y in centres]


def overlap(one: np.ndarray, other: np.ndarray) -> float:
    return float((one & other).sum() / (one | other).sum())


@pytest.mark.parametrize("centres", [[(120, 90)], [(75, 90), (215, 80)]])
def test_grabcut_finds_head_and_shoulders(centres: list[tuple[int, int]]) -> None:
    picture, wanted = drawn(centres, width=150 * len(centres) if len(centres) > 1 else 240)
    masks = GrabCut().segment(picture, faces_at(centres))
    assert masks.dtype == np.bool_
    assert masks.sum(0).max() == 1, "no two overlap"
    for mask, own in zip(masks, wanted, strict=True):
        assert overlap(mask, own) > 0.8
    assert np.array_equal(masks, GrabCut().segment(picture, faces_at(centres))), "the same photo, the same mask"


def test_grabcut_takes_a_face_that_fills_the_photo() -> None:
    picture, _ = drawn([(30, 40)], width=60, height=80)
    [mask] = GrabCut().segment(picture, faces_at([(30, 40)]))
    assert mask.mean() > 0.5


def test_a_mask_of_everybody_is_shared_out() -> None:
    person = np.zeros((100, 200), bool)
    person[20:100, 20:180] = True
    person[:5, :5] = True  # touches no face
    masks = shared_out(person, faces_at([(60, 50), (140, 50)]))
    assert masks[0, 30, 30]
    assert masks[1, 30, 170]
    assert not masks[:, 0, 0].any()
    assert (masks.sum(0) <= 1).all()
    assert masks[:, 20:, 20:180].any(0).mean() > 0.99
    assert shared_out(person, []).shape == (0, 100, 200)


class Bright(torch.nn.Module):
    """Says 1 where red is above the mean of ImageNet, else background."""

    def labels(self, x: torch.Tensor) -> torch.Tensor:
        assert x.shape[2:] == (512, 512)
        return (x[:, 0] > 0).long()


def test_a_face_parser_works_around_each_face() -> None:
    picture = np.zeros((200, 400, 3), np.uint8)
    picture[40:160, 40:120] = 255
    picture[40:160, 300:360] = 255
    picture[:10, 195:205] = 255  # nobody
    masks = FaceParser(Bright()).segment(picture, faces_at([(80, 100), (330, 100)]))  # type: ignore[arg-type]
    assert overlap(masks[0], picture[..., 0] * (np.arange(400) < 190) > 0) > 0.95
    assert overlap(masks[1], picture[..., 0] * (np.arange(400) > 210) > 0) > 0.95


def test_bisenet_from_a_file(tmp_path: Path) -> None:
    torch.manual_seed(0)
    path = tmp_path / "parser.safetensors"
    save_weights(path, BiSeNet().state_dict(), Card("p", "parser", {}, "none", "MIT", "by chance"))
    segmenter = load_segmenter("bisenet", weights=path)
    masks = segmenter.segment(np.zeros((64, 64, 3), np.uint8), faces_at([(32, 32)]))
    assert (segmenter.name, masks.shape) == ("bisenet", (1, 64, 64))
    save_weights(path, {"a": torch.zeros(1)}, Card("p", "parser", {}, "none", "MIT", "by chance"))
    with pytest.raises(DataError, match="do not fit a BiSeNet"):
        load_segmenter("bisenet", weights=path)


def fake(monkeypatch: pytest.MonkeyPatch, name: str, **contents: Any) -> None:
    module = ModuleType(name)
    for key, value in contents.items():
        setattr(module, key, value)
    monkeypatch.setitem(sys.modules, name, module)


@pytest.mark.parametrize("classes", [1, 6])
def test_mediapipe(classes: int, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    person = np.zeros((50, 60), np.float32)
    person[10:, 10:50] = 0.9
    masks = [person] if classes == 1 else [1 - person, *[person / 5] * 5]
    result = SimpleNamespace(confidence_masks=[SimpleNamespace(numpy_view=lambda m=m: m[..., None]) for m in masks])
    asked = []

    def create(options: Any) -> Any:
        asked.append(options)
        return SimpleNamespace(segment=lambda pixels: result)

    vision = SimpleNamespace(
        ImageSegmenterOptions=lambda **given: given, ImageSegmenter=SimpleNamespace(create_from_options=create)
    )
    fake(monkeypatch, "mediapipe", Image=lambda **given: given, ImageFormat=SimpleNamespace(SRGB=1))
    fake(monkeypatch, "mediapipe.tasks", python=None)
    fake(monkeypatch, "mediapipe.tasks.python", vision=vision, BaseOptions=lambda **given: given)
    with pytest.raises(InputError, match=r"needs its model, such as selfie_segmenter.tflite"):
        load_segmenter("mediapipe")
    (tmp_path / "m.tflite").write_bytes(b"")
    [mask] = load_segmenter("mediapipe", weights=tmp_path / "m.tflite").segment(
        np.zeros((50, 60, 3), np.uint8), faces_at([(30, 25)])
    )
    assert np.array_equal(mask, person > 0.5)
    assert asked[0]["base_options"] == {"model_asset_path": str(tmp_path / "m.tflite")}


def test_rembg(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    person = np.zeros((100, 120), np.uint8)
    person[20:, 20:100] = 255
    sessions = []
    fake(
        monkeypatch,
        "rembg",
        new_session=lambda name, **given: sessions.append((name, given)),
        remove=lambda image, session, only_mask: Image.fromarray(person),
    )
    [mask] = load_segmenter("rembg").segment(np.zeros((50, 60, 3), np.uint8), faces_at([(30, 25)]))
    assert mask.shape == (50, 60)
    assert overlap(mask, person[::2, ::2] > 0) > 0.95
    with pytest.raises(InputError, match=r"no such .onnx file"):
        load_segmenter("rembg", weights=tmp_path / "no.onnx")
    (tmp_path / "yes.onnx").write_bytes(b"")
    load_segmenter("rembg", weights=tmp_path / "yes.onnx")
    assert sessions == [("u2net_human_seg", {}), ("u2net_custom", {"model_path": str(tmp_path / "yes.onnx")})]


@pytest.mark.parametrize("name", ["mediapipe", "rembg"])
def test_a_missing_package_is_named(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(InputError, match=f"segmenter '{name}' needs the package {name} .* run: pip install {name}"):
        load_segmenter(name)


def test_unknown_segmenters_and_weights_that_are_not_taken() -> None:
    with pytest.raises(InputError, match=r"unknown segmenter 'grabkut'. Did you mean 'grabcut'\? Known: grabcut, "):
        load_segmenter("grabkut")
    with pytest.raises(InputError, match="takes no weights"):
        load_segmenter(weights=Path("x"))
    with pytest.raises(InputError, match="needs its weights; make them with facewright import"):
        load_segmenter("bisenet")
