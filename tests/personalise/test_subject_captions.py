import pytest

from facewright.errors import InputError
from facewright.personalise.prompts import find_people
from facewright.personalise.subject_captions import filled_template, marked_phrases, named_prompt, phrase_start


@pytest.mark.parametrize(
    ("caption", "end", "phrase"),
    [
        ("a young man on a horse", 11, "a young man"),
        ("a photo of a person", 19, "a person"),
        ("a man and woman ride", 15, "woman"),
        ("two smiling girls", 17, "girls"),
        ("in the rain, man", 16, "man"),
        ("The Old Lady", 12, "The Old Lady"),
    ],
)
def test_a_phrase_begins_at_its_article(caption: str, end: int, phrase: str) -> None:
    assert caption[phrase_start(caption, end) : end] == phrase


def test_an_end_within_nothing_is_an_error() -> None:
    with pytest.raises(InputError, match="no word ends at character 2"):
        phrase_start("a man", 2)


def test_people_in_braces_or_by_their_nouns() -> None:
    plain, phrases = marked_phrases("{a young woman} and {an old man} on {the} beach")
    assert plain == "a young woman and an old man on the beach"
    assert [plain[start:end] for start, end in phrases] == ["a young woman", "an old man", "the"]
    plain, phrases = marked_phrases("A woman holds a baby girl, a man looks on")
    assert [plain[start:end] for start, end in phrases] == ["A woman", "a baby girl", "a man"]
    assert marked_phrases("a beach at night")[1] == []
    for wrong in ("{a man", "a man}", "{ } rides"):
        with pytest.raises(InputError, match="braces that do not close"):
            marked_phrases(wrong)


def test_a_template_names_everybody() -> None:
    assert filled_template("a photo of {people}", ["woman"]) == "a photo of {a woman}"
    assert filled_template("{people} ride", ["woman", "elf", "man"]) == "{a woman}, {an elf} and {a man} ride"
    with pytest.raises(InputError, match=r"says \{people\} once"):
        filled_template("a photo", ["woman"])


def test_names_stand_for_phrases() -> None:
    caption = "a subject: a young man, and a woman"
    prompt, nouns = named_prompt(caption, [(11, 22), (28, 35)])
    assert list(nouns.values()) == ["a young man", "a woman"]
    assert [name for name, _, _ in find_people(prompt, list(nouns))] == list(nouns)
    for name, noun in nouns.items():
        prompt = prompt.replace(name, noun)
    assert " ".join(prompt.replace(" ,", ",").split()) == caption
    assert named_prompt("a beach", []) == ("a beach", {})
