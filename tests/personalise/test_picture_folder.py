import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from facewright.errors import DataError, InputError
from facewright.personalise.picture_folder import (
    PictureFolder,
    base_fingerprint,
    find_picture_folders,
    prompt_text,
)

FACTS = {
    "prompt": "ann",
    "people": {"ann": [{"file": "a.jpg", "sha256": "ab"}]},
    "settings": {"steps": 30, "box": (0, 1)},
}
IMAGE = np.full((8, 12, 3), 90, np.uint8)


def test_rows_and_pictures_are_kept(tmp_path: Path) -> None:
    folder = PictureFolder(tmp_path / "a")
    folder.begin(FACTS)
    for number in (0, 1, 4):
        folder.add(number, IMAGE, {"weakest": number / 10})
    again = PictureFolder(tmp_path / "a")
    assert [row["number"] for row in again.rows] == [0, 1, 4]
    assert again.missing(7) == [range(2, 4), range(5, 7)]
    assert again.missing(2) == []
    assert again.facts["settings"] == {"steps": 30, "box": [0, 1]}
    assert np.array_equal(np.asarray(Image.open(tmp_path / "a" / "004.png")), IMAGE)
    (tmp_path / "a" / "001.png").unlink()
    assert PictureFolder(tmp_path / "a").missing(5) == [range(1, 4)]


def test_an_interruption_before_the_first_picture_leaves_a_folder_to_go_on_with(tmp_path: Path) -> None:
    folder = tmp_path / "a"
    folder.mkdir()
    (folder / ".pictures.json.x.json").write_text("{")
    PictureFolder(folder).begin(FACTS)
    again = PictureFolder(folder)
    assert again.missing(1) == [range(1)]
    again.begin({**FACTS, "prompt": "bob"})  # nothing was made with the other settings
    assert PictureFolder(folder).facts["prompt"] == "bob"


def test_other_settings_are_named(tmp_path: Path) -> None:
    folder = PictureFolder(tmp_path)
    folder.begin(FACTS)
    folder.add(0, IMAGE, {})
    moved = {"ann": [{"file": "elsewhere/a.jpg", "sha256": "ab"}]}
    PictureFolder(tmp_path).check({"people": moved})
    for facts, sentence in (
        ({"settings": {"steps": 20, "box": (0, 1)}}, "settings.steps 30, now it is 20"),
        ({"settings": {"steps": 30, "box": (0, 2)}}, "settings.box 2 1, now it is 2"),
        ({"settings": {"steps": 30, "box": (0, 1), "alpha": 1}}, "settings.alpha None, now it is 1"),
        ({"people": {"ann": [{"sha256": "cd"}]}}, "people.ann 1.sha256 ab, now it is cd"),
        ({"people": {**moved, "bob": []}}, r"people.bob None, now it is \[\]"),
    ):
        with pytest.raises(InputError, match=sentence):
            PictureFolder(tmp_path).begin(facts)
    assert PictureFolder(tmp_path).facts == json.loads(json.dumps(FACTS))


def test_what_is_no_folder_of_pictures_is_refused(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(InputError, match="is not an empty folder"):
        PictureFolder(tmp_path)
    with pytest.raises(InputError, match="is not an empty folder"):
        PictureFolder(tmp_path / "notes.txt")
    with pytest.raises(InputError, match=r"holds no pictures.json"):
        find_picture_folders(tmp_path)
    for text in ("{", "[]", '{"pictures": [{"file": 1}]}'):
        (tmp_path / "pictures.json").write_text(text)
        with pytest.raises(DataError, match="is damaged"):
            PictureFolder(tmp_path)


def test_folders_are_found_by_path(tmp_path: Path) -> None:
    for name in ("b/1", "a", "b/0"):
        PictureFolder(tmp_path / name).begin(FACTS)
    assert [folder.path for folder in find_picture_folders(tmp_path)] == [
        tmp_path / "a",
        tmp_path / "b/0",
        tmp_path / "b/1",
    ]


def test_nouns_take_the_places_of_names() -> None:
    assert prompt_text("Ann and bob ride", {"bob": "a man", "ann": "a woman"}) == "a woman and a man ride"
    with pytest.raises(InputError, match="does not name 'cleo'"):
        prompt_text("ann", {"cleo": "a woman"})


def test_base_models_are_told_apart(tmp_path: Path) -> None:
    weights = np.random.default_rng(0).integers(0, 256, 1_000_000, np.uint8)
    for name in ("one", "two"):
        (tmp_path / name / "unet").mkdir(parents=True)
        (tmp_path / name / "unet" / "model.safetensors").write_bytes(weights.tobytes())
        (tmp_path / name / "model_index.json").write_text("{}")
    assert base_fingerprint(tmp_path / "one") == base_fingerprint(tmp_path / "two")
    (tmp_path / "one" / ".cache").write_text("left out")
    assert base_fingerprint(tmp_path / "one") == base_fingerprint(tmp_path / "two")
    weights[400_000:500_000] += 1  # a tenth of it trained further
    (tmp_path / "two" / "unet" / "model.safetensors").write_bytes(weights.tobytes())
    assert base_fingerprint(tmp_path / "one") != base_fingerprint(tmp_path / "two")
    (tmp_path / "two" / "unet" / "model.safetensors").write_bytes(
        (tmp_path / "one/unet/model.safetensors").read_bytes()
    )
    (tmp_path / "two" / "model_index.json").write_text("[]")
    assert base_fingerprint(tmp_path / "one") != base_fingerprint(tmp_path / "two")
