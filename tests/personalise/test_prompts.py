from types import SimpleNamespace
from typing import Any

import pytest

from facewright.errors import InputError
from facewright.personalise import find_people, place_people

START, END, PAD = 1, 2, 0


class Letters:
    """A tokenizer that makes a token of every two letters, in the order in which words come up."""

    bos_token_id, eos_token_id, pad_token_id = START, END, PAD

    def __init__(self, length: int = 20) -> None:
        self.model_max_length = length
        self.seen: list[str] = []

    def __call__(self, text: str, *, add_special_tokens: bool) -> Any:
        assert not add_special_tokens
        return SimpleNamespace(
            input_ids=[self.number(word[at : at + 2]) for word in text.split() for at in range(0, len(word), 2)]
        )

    def number(self, part: str) -> int:
        if part not in self.seen:
            self.seen.append(part)
        return 10 + self.seen.index(part)

    def read(self, ids: tuple[int, ...]) -> list[str]:
        return [self.seen[number - 10] if number >= 10 else {START: "<", END: ">", PAD: "_"}[number] for number in ids]


NOUNS = {"alice": "she", "bob": "he"}


def test_names_are_found_in_the_order_of_the_prompt() -> None:
    assert find_people("Bob and alice's bike", ["alice", "bob"]) == [("bob", 0, 3), ("alice", 8, 13)]


def test_the_longer_of_two_names_is_meant() -> None:
    found = find_people("mary ann and ann", ["ann", "mary ann"])
    assert found == [("mary ann", 0, 8), ("ann", 13, 16)]


@pytest.mark.parametrize(
    ("prompt", "names", "sentence"),
    [
        ("a man rides", ["bob"], "does not name 'bob'"),
        ("a bobsled", ["bob"], "only inside 'bobsled'"),
        ("bob and BOB", ["bob"], "names 'bob' 2 times"),
        ("bob", ["bob", "Bob"], "the same name among bob, Bob"),
        ("bob", [" "], "name is empty"),
    ],
)
def test_a_prompt_that_does_not_name_everybody_once_is_refused(prompt: str, names: list[str], sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        find_people(prompt, names)


def test_people_take_their_words_and_others_their_nouns() -> None:
    tokenizer = Letters()
    placed = place_people("alice, bob on ice", NOUNS, tokenizer, words={"alice": 2})
    assert tokenizer.read(placed.ids)[:10] == ["<", "e", "e", ",", "he", "on", "ic", "e", ">", "_"]
    assert len(placed.ids) == 20
    assert placed.spans == {"alice": range(1, 3)}
    assert placed.cut == ()


def test_nouns_are_kept_for_fusion() -> None:
    tokenizer = Letters()
    placed = place_people("a alice", {"alice": "woman"}, tokenizer, words={"alice": 2}, keep_nouns=True)
    assert tokenizer.read(placed.ids)[:7] == ["<", "a", "wo", "ma", "n", "n", ">"]
    assert placed.spans == {"alice": range(4, 6)}


def test_the_last_words_are_cut_and_never_a_person() -> None:
    tokenizer = Letters(10)
    placed = place_people("on ice in red hats alice and bob", NOUNS, tokenizer, words={"alice": 2, "bob": 2})
    assert placed.cut == ("red", "hats", "and")
    assert tokenizer.read(placed.ids) == ["<", "on", "ic", "e", "in", "e", "e", "he", "he", ">"]
    assert placed.spans == {"alice": range(5, 7), "bob": range(7, 9)}


def test_too_many_people_are_refused() -> None:
    with pytest.raises(InputError, match="2 people take 8 tokens, and a prompt has room for 6"):
        place_people("alice bob", NOUNS, Letters(8), words={"alice": 4, "bob": 4})


def test_a_noun_without_tokens_is_refused() -> None:
    with pytest.raises(InputError, match="the noun ' ' of 'alice' gives no token"):
        place_people("alice", {"alice": " "}, Letters())
