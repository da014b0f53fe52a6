"""The demo's personalised pictures by a small base model in the place of the bundled one."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tests.cli.sides import Sides
from tests.personalise.small_base import bundle

from facewright import encoders
from facewright.cli.demo_personalised import STYLES, TOGETHER, Source, bundled_personalise
from facewright.encoders import Encoder
from facewright.errors import InputError
from facewright.personalise import find_picture_folders, pictures

pytest.importorskip("diffusers", reason="needs the extra personalise")


@pytest.fixture(scope="module")
def encoder() -> Encoder:
    return encoders.load("bundled")


@pytest.fixture
def sources(tmp_path: Path) -> list[Source]:
    made = []
    for number in (1, 2):
        image = np.random.default_rng(number).integers(0, 256, (128, 128, 3), np.uint8)
        Image.fromarray(image).save(tmp_path / f"{number}.png")
        made.append(Source(f"Person {number}", tmp_path / f"{number}.png", image, image[8:120, 8:120]))
    return made


def test_everybody_is_drawn_once_by_each_prompt(
    encoder: Encoder, sources: list[Source], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle(tmp_path / "bundled", monkeypatch, drawing={"steps": 1})
    personalise = bundled_personalise(encoder, Sides(), device="cpu")
    assert personalise is not None
    seen = list[tuple[int, int]]()
    first = personalise(sources, tmp_path / "out", 3, lambda done, total: seen.append((done, total)))
    count = len(sources) * len(STYLES) + len(TOGETHER)
    assert seen == [(done, count) for done in range(1, count + 1)]
    assert (len(first.alone), len(first.together), first.steps, first.guidance) == (8, 2, 1, 3.0)
    assert [picture.prompt for picture in first.alone[:4]] == [
        "a photo of Person 1",
        "a pencil drawing of Person 1",
        "a sepia photo of Person 1",
        "a photo of Person 1 on a blue background",
    ]
    assert list(first.together[0].cosines) == ["Person 1", "Person 2"]
    for picture in first.pictures:  # this finder sees a face for each square that fits, about
        people = len(picture.cosines)
        assert picture.image.shape == (32, 32 if people == 1 else 56, 3)
        assert picture.faces == people
        assert None not in picture.cosines.values()
    facts = json.loads((tmp_path / "out/Person 1+Person 2/00/pictures.json").read_text())
    assert facts["text"] == "a photo of a person and a person"
    assert facts["settings"]["layout"] == "columns"
    assert len(find_picture_folders(tmp_path / "out")) == count

    (tmp_path / "out/Person 2/01/000.png").unlink()
    drawn, draw = list[str](), pictures.draw_pictures
    monkeypatch.setattr(
        "facewright.personalise.pictures.draw_pictures",
        lambda pipe, prompt, *more, **options: drawn.append(prompt) or draw(pipe, prompt, *more, **options),
    )
    second = personalise(sources, tmp_path / "out", 3, lambda done, total: None)
    assert drawn == ["a pencil drawing of Person 2"]
    for one, other in zip(first.pictures, second.pictures, strict=True):
        assert np.array_equal(one.image, other.image)
        assert one.cosines == other.cosines
    with pytest.raises(InputError, match=r"made with settings\.seed 3, now it is 4"):
        personalise(sources, tmp_path / "out", 4, lambda done, total: None)


def test_without_base_or_mapper_there_are_none(
    encoder: Encoder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = bundle(tmp_path / "bundled", monkeypatch)
    monkeypatch.setattr("facewright.cli.demo_personalised.find_spec", lambda name: None)
    assert bundled_personalise(encoder, Sides(), device="cpu") is None
    assert "facewright[personalise]" in capsys.readouterr().err
    (folder / "mapper.safetensors").unlink()
    assert bundled_personalise(encoder, Sides(), device="cpu") is None
    assert not capsys.readouterr().err
