from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from facewright.errors import InputError
from facewright.personalise.prompt_classifier import PromptClassifier, PromptClassifierConfig, save_prompt_classifier
from facewright.personalise.prompt_scorer import ClassifierScorer, load_prompt_scorer

PICTURE = np.zeros((32, 32, 3), np.uint8)


class Sees(PromptClassifier):
    """Answers the same to every picture, and counts them."""

    def __init__(self, style: str, gender: str, age: str) -> None:
        super().__init__(PromptClassifierConfig(stem=4, widths=(4,)))
        self.told = {"style": style, "gender": gender, "age": age}
        self.seen = 0

    def answers(self, images: np.ndarray) -> dict[str, list[str]]:
        self.seen += len(images)
        return {head: [answer] * len(images) for head, answer in self.told.items()}


@pytest.mark.parametrize(
    ("prompt", "whole", "parts"),
    [
        ("a photo of an old woman", 1.0, (1.0, 1.0, 1.0)),
        ("a photo of an old man", 2 / 3, (1.0, 0.0, 1.0)),
        ("a sepia photo of a young man", 0.0, (0.0, 0.0, 0.0)),
        ("a woman at night", 1 / 2, (0.0, 1.0, None)),
        ("a girl", 2 / 3, (1.0, 1.0, 0.0)),
        ("a portrait of a person", 1.0, (1.0, None, None)),
        ("a photo of an old person", 1.0, (1.0, None, 1.0)),
        ("a photo of a young man and an old woman", 1.0, (1.0, None, None)),
        ("a person on the beach", None, (None, None, None)),
    ],
)
def test_the_score_is_the_share_of_what_is_asked(
    prompt: str, whole: float | None, parts: tuple[float | None, ...]
) -> None:
    scorer = ClassifierScorer(Sees("photo", "woman", "old"), name="p")
    assert scorer.score([PICTURE], [prompt]) == [pytest.approx(whole)]
    own = scorer.parts()
    assert [part.name for part in own] == ["p style", "p gender", "p age"]
    assert tuple(part.score([PICTURE], [prompt])[0] for part in own) == parts


def test_only_what_can_be_judged_is_looked_at() -> None:
    network = Sees("night", "man", "young")
    scorer = ClassifierScorer(network)
    prompts = ["a man at night", "a man on a horse", "a man"]
    pictures = [np.zeros((side, side, 3), np.uint8) for side in (32, 64, 128)]
    assert scorer.score(pictures, prompts) == [1.0, None, 0.5]
    assert network.seen == 2
    assert scorer.score([], []) == []


def test_a_kept_classifier_scores(tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = PromptClassifier(PromptClassifierConfig(stem=8, widths=(8, 16))).eval()
    facts: dict[str, Any] = {"name": "toy", "data": "drawn", "licence": "Apache-2.0", "recipe": "by chance"}
    card = save_prompt_classifier(tmp_path / "p.safetensors", network, **facts, measured={"accuracy": 0.5})
    scorer = load_prompt_scorer(tmp_path / "p.safetensors")
    assert (scorer.name, scorer.sha256, scorer.measured) == ("toy", card.sha256, {"accuracy": 0.5})
    images = list(np.random.default_rng(0).integers(0, 256, (3, 48, 48, 3), np.uint8))
    answers = network.answers(np.stack(images))
    prompts = [f"a photo of a {gender}" for gender in answers["gender"]]
    found = [(1.0 + (style == "photo")) / 2 for style in answers["style"]]
    assert scorer.score(images, prompts) == found
    with pytest.raises(InputError, match="heads must be some of style, gender, age, got mood"):
        ClassifierScorer(network, heads=("mood",))
    with pytest.raises(InputError, match="no such weights file"):
        load_prompt_scorer(tmp_path / "none.safetensors")
