"""What is loaded when: nothing where the call is wrong, encoder and mapper no longer than for everybody's words."""

import json
import shutil
import weakref
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from tests.cli.sides import Sides
from tests.personalise.small_base import FACTS, save_small, save_small_mapper
from tests.personalise.tiny_world import TEXT

from facewright.cli.app import run
from facewright.personalise import Mapper, Mapping, MappingConfig, base, identities, mapper, pictures, save_mapper

pytest.importorskip("diffusers", reason="needs the extra personalise")


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A base model, mappers for it and for others, a photo."""
    folder = tmp_path_factory.mktemp("models")
    save_small(folder / "base")
    broken = shutil.copytree(folder / "base", folder / "broken")
    (broken / "vae" / "diffusion_pytorch_model.safetensors").unlink()
    save_small_mapper(folder / "m.safetensors", None)
    for name, width, encoder in (("wide", 64, "ab" * 32), ("other", TEXT.width, "ab" * 32)):
        network = Mapping(MappingConfig(identity_width=512, width=16, word_width=width))
        save_mapper(folder / f"{name}.safetensors", Mapper(network), name=name, encoder_sha256=encoder, **FACTS)
    pixels = np.random.default_rng(0).integers(0, 256, (120, 120, 3), np.uint8)
    Image.fromarray(pixels).save(folder / "a.png")
    return folder


def call(models: Path, out: Path, prompt: str = "alice at night", *more: str) -> list[str]:
    given = ["--base", str(models / "base"), "--mapper", str(models / "m.safetensors"), "--steps=1"]
    return ["personalise", prompt, f"--face=alice={models / 'a.png'}", *given, "--out", str(out), *more]


@pytest.mark.parametrize(
    ("prompt", "more", "sentence"),
    [
        ("a person at night", [], "does not name 'alice'"),
        ("alice and Alice at night", [], "names 'alice' 2 times"),
        ("malice at night", [], "only inside 'malice'"),
        ("alice at night", ["--mapper={}/other.safetensors"], "is for the encoder abababababab"),
        ("alice at night", ["--mapper={}/wide.safetensors"], "makes words 64 wide"),
        ("alice at night", ["--encoder=nowhere.safetensors"], "no such weights file"),
        ("alice at night", ["--base={}/broken"], "holds no weights"),
        ("alice at night", ["--safety-checker"], "has no safety_checker"),
        ("alice at night", ["--scheduler=EulerDiscreteSchedular"], "did you mean EulerDiscreteScheduler"),
        ("alice at night", ["--precision=fp16"], "precision must be one of float32, float16, bfloat16"),
        ("alice at night", ["--width=33"], "multiples of 8"),
        ("alice at night", ["--face=alice=nowhere.png"], "nowhere.png: no such photo"),
        ("alice at night", ["--box=alice=0,0,2,1"], "a box is left, top, right, bottom from 0 to 1"),
        ("alice at night", ["--noun=alice=woman", "--noun=alice=man"], "given twice for 'alice'"),
    ],
)
def test_a_wrong_call_loads_nothing(
    models: Path,
    tmp_path: Path,
    prompt: str,
    more: list[str],
    sentence: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def loaded(*args: Any, **options: Any) -> Any:
        raise AssertionError("a model was loaded")

    for module, name in ((base, "load_base"), (identities, "load_identity_encoder"), (mapper, "load_mapper")):
        monkeypatch.setattr(module, name, loaded)
    monkeypatch.setattr("facewright.align.load_detector", loaded)
    monkeypatch.setattr("facewright.encoders.load", loaded)
    assert run(call(models, tmp_path / "out", prompt, *(each.format(models) for each in more))) == 2
    assert sentence in capsys.readouterr().err.strip().splitlines()[-1]
    assert not (tmp_path / "out").exists()


def test_a_photo_without_the_face_meant_loads_no_encoder(
    models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("facewright.align.load_detector", lambda name: Sides())
    monkeypatch.setattr(identities, "load_identity_encoder", None)
    pixels = np.random.default_rng(0).integers(0, 256, (60, 180, 3), np.uint8)
    Image.fromarray(pixels).save(tmp_path / "three.png")
    Image.fromarray(pixels[:, :20]).save(tmp_path / "none.png")
    for face, sentence in (
        ("three.png", "shows 3 faces; choose one by its number from left to right, such as three.png#1"),
        ("three.png#4", "shows 3 faces, face 4 was asked for"),
        ("none.png", "no face found in"),
    ):
        given = call(models, tmp_path / "out")
        given[2] = f"--face=alice={tmp_path / face}"
        assert run(given) == 2
        assert sentence in capsys.readouterr().err


def test_what_finds_no_room_is_said(
    models: Path, tmp_path: Path, drawn: list[Sequence[int]], capsys: pytest.CaptureFixture[str]
) -> None:
    more = [f"--negative={'a ' * TEXT.length}night"]
    assert run(call(models, tmp_path / "out", f"{'a ' * TEXT.length}night alice", *more)) == 0
    said = capsys.readouterr().err
    assert "the prompt is too long, left out: a a a a night\n" in said
    assert "--negative is too long, left out: a a night\n" in said


def test_encoder_and_mapping_are_gone_while_drawing(
    models: Path, tmp_path: Path, drawn: list[Sequence[int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = list[weakref.ref[Any]]()
    draw = pictures.draw_pictures

    def kept(load: Any) -> Any:
        def one(*args: Any, **options: Any) -> Any:
            model = load(*args, **options)
            seen.append(weakref.ref(model))
            return model

        return one

    def drawing(*args: Any, **options: Any) -> Any:
        assert len(seen) == 2
        assert all(model() is None for model in seen)
        return draw(*args, **options)

    monkeypatch.setattr(identities, "load_identity_encoder", kept(identities.load_identity_encoder))
    monkeypatch.setattr(mapper, "load_mapper", kept(mapper.load_mapper))
    monkeypatch.setattr(pictures, "draw_pictures", drawing)
    assert run(call(models, tmp_path / "out", "alice at night", "--count=3", "--batch=1")) == 0
    assert len(drawn) == 3
    assert len(json.loads((tmp_path / "out" / "pictures.json").read_text())["pictures"]) == 3
