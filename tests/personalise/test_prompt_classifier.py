from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tests.personalise.tiny_world import WORLD, tiny_faces

from facewright.errors import ConfigError, DataError, InputError
from facewright.personalise.prompt_classifier import (
    HEADS,
    SIZE,
    PromptClassifier,
    PromptClassifierConfig,
    load_prompt_classifier,
    save_prompt_classifier,
    shown,
)
from facewright.personalise.prompt_classifier_training import (
    UNKNOWN,
    PromptPictures,
    PromptTraining,
    accuracies,
    train_prompt_classifier,
)
from facewright.personalise.world_styles import STYLES
from facewright.training.trainer import Schedule
from facewright.weights import read_card

NETWORK = PromptClassifierConfig(stem=8, widths=(8, 16))
SCHEDULE = Schedule(images=640, batch=32, learning_rate=5e-3, ema_maximum=0.8, log_every=64, save_every=320)
LARGE = replace(WORLD, size=64)


@pytest.fixture(scope="module")
def faces(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return tiny_faces(tmp_path_factory.mktemp("world"))


def card(**more: Any) -> dict[str, Any]:
    return {"name": "toy", "data": "drawn", "licence": "Apache-2.0", "recipe": "by chance", **more}


def test_it_judges_pictures_of_any_size_and_is_kept(tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = PromptClassifier(NETWORK).eval()
    images = np.random.default_rng(0).integers(0, 256, (3, 112, 112, 3), np.uint8)
    judged = network.judge(images)
    assert {name: value.shape for name, value in judged.items()} == {name: (3, len(HEADS[name])) for name in HEADS}
    assert all(np.allclose(value.sum(1), 1, atol=1e-5) for value in judged.values())
    assert network.answers(images)["style"] == [STYLES[place] for place in judged["style"].argmax(1)]
    assert network.judge(images[:0])["age"].shape == (0, 4)
    assert shown(images).shape == (3, SIZE, SIZE, 3)
    save_prompt_classifier(tmp_path / "p.safetensors", network, **card(measured={"accuracy": 0.5}))
    again = load_prompt_classifier(tmp_path / "p.safetensors")
    assert not again.training
    assert all(np.allclose(again.judge(images)[name], judged[name], atol=1e-2) for name in HEADS)
    assert read_card(tmp_path / "p.safetensors").measured == {"accuracy": 0.5}
    with pytest.raises(InputError, match=r"must be uint8 \(B, H, W, 3\)"):
        network.judge(images[0])


def test_labels_are_those_of_the_picture(faces: Any) -> None:
    pictures = PromptPictures(faces, LARGE, held_out=False, seed=0)
    images, labels = pictures.load(list(range(120)))
    again, _ = pictures.load([77])
    assert np.array_equal(images[77], again[0])
    kinds = np.arange(120) % 4
    assert (labels[kinds == 0, 1:] == UNKNOWN).all()
    assert (labels[kinds != 0, 1:] != UNKNOWN).all()
    assert (labels[kinds < 3, 0] != UNKNOWN).all()
    backgrounds = [place for place, style in enumerate(STYLES) if "background" in style]
    assert not np.isin(labels[kinds == 3, 0], backgrounds).any()
    greys = [STYLES.index("black and white"), STYLES.index("pencil")]
    colour = (images.max(3).astype(int) - images.min(3)).max((1, 2))
    assert (colour[np.isin(labels[:, 0], greys)] == 0).all()
    assert (colour[(labels[:, 0] >= 0) & ~np.isin(labels[:, 0], greys)] > 0).all()


def test_it_learns_styles_and_resumes_bit_for_bit(faces: Any, tmp_path: Path) -> None:
    config = PromptTraining(SCHEDULE, NETWORK, held_out=40)

    def stop(done: int, total: int) -> None:
        if done == 448:
            raise KeyboardInterrupt

    network, measured = train_prompt_classifier(faces, LARGE, config, out=tmp_path / "whole")
    assert set(measured) == {f"{name}_{where}" for name in HEADS for where in ("picture", "crop")}
    assert measured["style_picture"] > 0.3
    with pytest.raises(KeyboardInterrupt):
        train_prompt_classifier(faces, LARGE, config, out=tmp_path / "broken", progress=stop)
    again, their_measures = train_prompt_classifier(faces, LARGE, config, out=tmp_path / "broken")
    for name, value in network.state_dict().items():
        assert torch.equal(value, again.state_dict()[name])
    assert measured == their_measures


def test_accuracies_count_what_is_known(faces: Any) -> None:
    """Of a judge that always gives the first answer, the accuracy is that answer's share."""
    pictures = PromptPictures(faces, LARGE, held_out=True, seed=0)
    _, labels = pictures.load(list(range(60)))
    network = PromptClassifier(NETWORK).eval()
    for head in network.heads.values():
        torch.nn.init.zeros_(head.weight)
        torch.nn.init.zeros_(head.bias)
        head.bias.data[0] = 1
    found = accuracies(network, pictures, 60)
    whole = labels[np.arange(60) % 4 < 2]
    assert found["style_picture"] == pytest.approx((whole[:, 0] == 0).mean())
    known = whole[whole[:, 1] != UNKNOWN]
    assert found["gender_picture"] == pytest.approx((known[:, 1] == 0).mean())


def test_bad_input_is_named(faces: Any, tmp_path: Path) -> None:
    nobody = replace(faces, gender=np.full_like(faces.gender, -1))
    with pytest.raises(ConfigError, match="needs people whose gender and age are known"):
        train_prompt_classifier(nobody, LARGE, PromptTraining(SCHEDULE, NETWORK), out=tmp_path)
    with pytest.raises(ConfigError, match="held_out must be at least 1"):
        PromptTraining(SCHEDULE, held_out=0)
    with pytest.raises(ConfigError, match="dropout must be in"):
        PromptClassifierConfig(dropout=1)
    with pytest.raises(InputError, match="no such weights file"):
        load_prompt_classifier(tmp_path / "no.safetensors")


def test_a_classifier_with_other_answers_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "p.safetensors"
    save_prompt_classifier(path, PromptClassifier(NETWORK), **card())
    changed = {**HEADS, "style": ("photo", "etching")}
    monkeypatch.setattr("facewright.personalise.prompt_classifier.HEADS", changed)
    with pytest.raises(DataError, match="its card names other answers"):
        load_prompt_classifier(path)
