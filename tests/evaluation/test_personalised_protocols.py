from collections import Counter
from pathlib import Path

import pytest

from facewright.errors import ConfigError, DataError, FaceError, InputError
from facewright.evaluation.personalised_protocols import MULTI, SINGLE, PromptProtocol, ProtocolPrompt, read_protocol


def test_the_kinds_and_numbers_are_fastcomposers() -> None:
    assert Counter(prompt.category for prompt in SINGLE.prompts) == {
        "accessory": 10,
        "style": 10,
        "action": 10,
        "context": 10,
    }
    assert Counter(prompt.category for prompt in MULTI.prompts) == {"style": 7, "action": 8, "context": 6}
    assert (SINGLE.people, MULTI.people) == (1, 2)
    for protocol in (SINGLE, MULTI):
        assert len({prompt.template for prompt in protocol.prompts}) == len(protocol.prompts)
        settings = (protocol.count, protocol.steps, protocol.guidance, protocol.alpha, protocol.seed)
        assert settings == (4, 50, 5.0, 0.5, 42)


def test_fifteen_people_are_105_pairs() -> None:
    names = [f"p{number}" for number in range(15)]
    assert len(MULTI.groups(names)) == 105
    assert len(SINGLE.groups(names)) == 15
    with pytest.raises(InputError, match="shows 2 people in a picture, got 1"):
        MULTI.groups(["ann"])


def test_names_take_their_places() -> None:
    assert ProtocolPrompt("{} and {} on a beach").named(["ann", "{}"]) == "ann and {} on a beach"


def test_a_protocol_of_ones_own(tmp_path: Path) -> None:
    path = tmp_path / "mine.csv"
    path.write_text('prompt,category\n{} in sepia,style\n"{}, at night",context\n')
    mine = read_protocol(path)
    assert mine.name == "mine"
    assert mine.prompts == (ProtocolPrompt("{} in sepia", "style"), ProtocolPrompt("{}, at night", "context"))
    assert read_protocol("multi") is MULTI


@pytest.mark.parametrize(
    ("text", "error", "sentence"),
    [
        ("words\n{} in sepia\n", DataError, "no row under a column prompt"),
        ("", DataError, "no row under a column prompt"),
        ("prompt\na beach\n", ConfigError, "'a beach' has 0"),
        ("prompt\n{} in sepia\n{} and {}\n", ConfigError, "'{} and {}' has 2, the first has 1"),
    ],
)
def test_unusable_files_are_refused(tmp_path: Path, text: str, error: type[FaceError], sentence: str) -> None:
    path = tmp_path / "mine.csv"
    path.write_text(text)
    with pytest.raises(error, match=sentence):
        read_protocol(path)
    with pytest.raises(InputError, match="is no protocol; name single or multi"):
        read_protocol("triple")
    with pytest.raises(ConfigError, match="has no prompt"):
        PromptProtocol("empty", ())
