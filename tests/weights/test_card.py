import json
import math
from dataclasses import replace

import pytest

from facewright.errors import ConfigError, DataError
from facewright.weights import Card, InputConvention

CARD = Card(
    name="tiny",
    kind="encoder",
    architecture={"width": 8, "blocks": [1, 2]},
    data="drawn faces",
    licence="Apache-2.0",
    recipe="none, random",
    input=InputConvention(colour="BGR", low=0.0, high=1.0, height=64, width=48),
    measured={"lfw_accuracy": 0.5},
    encoder_sha256="ab" * 32,
)


def test_json_round_trip() -> None:
    assert Card.from_json(CARD.to_json(), source="here") == CARD


def test_model_that_takes_no_picture() -> None:
    card = replace(CARD, input=None)
    assert Card.from_json(card.to_json(), source="here") == card
    assert "input" not in card.to_markdown()


def test_markdown_says_every_fact() -> None:
    page = CARD.to_markdown()
    for fact in ("tiny", "encoder", "width 8", "drawn faces", "Apache-2.0", "BGR", "64 x 48", "0.5", "ab" * 32):
        assert fact in page


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"format": 2}, "upgrade facewright"),
        ({"format": "1"}, "cannot be read"),
        ({"colour": 1}, "'colour'"),
        ({"input": {"colour": "GRB"}}, "'RGB' or 'BGR'"),
        ({"licence": " "}, "licence"),
        ({"name": None}, "cannot be read"),
    ],
)
def test_bad_card_is_refused_with_its_file(change: dict[str, object], said: str) -> None:
    values = json.loads(CARD.to_json()) | change
    with pytest.raises(DataError, match=r"model\.safetensors") as caught:
        Card.from_json(json.dumps(values), source="model.safetensors")
    assert said in str(caught.value)


@pytest.mark.parametrize("text", ["", "[]", "null", "{}", '{"format": 1}'])
def test_text_that_is_no_card(text: str) -> None:
    with pytest.raises(DataError, match=r"m\.safetensors"):
        Card.from_json(text, source="m.safetensors")


def test_value_that_json_cannot_hold() -> None:
    card = Card("tiny", "encoder", {}, "d", "l", "r", measured={"eer": math.nan})
    with pytest.raises(ConfigError, match="plain JSON"):
        card.to_json()


def test_input_ranges() -> None:
    with pytest.raises(ConfigError, match="rise"):
        InputConvention(low=1.0, high=1.0)
    with pytest.raises(ConfigError, match="size"):
        InputConvention(height=0)
