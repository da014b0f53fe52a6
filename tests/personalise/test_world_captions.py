import numpy as np
import pytest

from facewright.errors import InputError
from facewright.personalise.subject_captions import marked_phrases
from facewright.personalise.world_captions import (
    AGES,
    Known,
    Said,
    age_of,
    caption_of,
    drawn_phrase,
    joined,
    phrase_of,
    read_caption,
    templates,
    vocabulary,
)
from facewright.personalise.world_styles import STYLES


def test_ages_change_at_their_limits() -> None:
    assert [age_of(years) for years in (0, 12, 13, 34, 35, 59, 60, 116)] == [age for age in AGES for _ in range(2)]


@pytest.mark.parametrize(
    ("known", "said"),
    [
        (Known(), ("a person", "person")),
        (Known("woman"), ("a woman", "woman")),
        (Known("man", "old"), ("an old man", "man")),
        (Known("woman", "middle aged", "indian"), ("a middle aged indian woman", "woman")),
        (Known("man", "child"), ("a boy", "boy")),
        (Known("woman", "child", "asian"), ("an asian girl", "girl")),
        (Known(None, "child"), ("a child", "child")),
    ],
)
def test_people_in_words(known: Known, said: tuple[str, str]) -> None:
    assert phrase_of(known) == said


def test_as_much_is_said_as_asked_for() -> None:
    rng, known = np.random.default_rng(0), Known("woman", "old", "asian")
    assert {drawn_phrase(known, Said(1, 1, 1), rng) for _ in range(9)} == {("an old asian woman", "woman")}
    assert {drawn_phrase(known, Said(0, 0, 0), rng) for _ in range(9)} == {("a person", "person")}
    assert drawn_phrase(Known("man", "child"), Said(1, 0, 0), rng) == ("a boy", "boy")
    drawn = [drawn_phrase(known, Said(0.5, 0.5, 0.5), rng)[0] for _ in range(400)]
    assert 150 < sum("asian" in text for text in drawn) < 250


def test_captions_say_people_and_style() -> None:
    assert joined(["a boy"]) == "a boy"
    assert joined(["a", "b", "c"]) == "a, b and c"
    assert caption_of(["a boy", "an old man"]) == "a photo of a boy and an old man"
    assert caption_of(["alice"], "night") == "a photo of alice at night"
    assert caption_of(["alice"], "black and white", template=1) == "a photo of alice in black and white"
    assert caption_of(["a boy"], "red background") == "a photo of a boy on a red background"
    different = [template for style in STYLES for template in templates(style)]
    assert len(set(different)) == len(different), "two styles would share a caption"
    caption, phrases = marked_phrases(caption_of(["{a boy}", "{an old man}"], "sepia"))
    assert [caption[start:end] for start, end in phrases] == ["a boy", "an old man"]


def test_the_vocabulary_holds_every_word() -> None:
    known = set(vocabulary(["asian"]))
    for style in STYLES:
        for number in range(len(templates(style))):
            phrases = [phrase_of(Known(gender, age, "asian"))[0] for gender in (None, "man") for age in AGES]
            words = caption_of(phrases, style, template=number).replace(",", " , ").split()
            assert set(words) <= known


def test_bad_input_is_named() -> None:
    with pytest.raises(InputError, match="at least one person"):
        joined([])
    with pytest.raises(InputError, match="one of man, woman, or it is unknown; got 'male'"):
        Known("male")
    with pytest.raises(InputError, match="unknown style 'etching'"):
        templates("etching")


@pytest.mark.parametrize("style", STYLES)
def test_captions_are_read_back(style: str) -> None:
    everybody = [
        Known(gender, age, group)
        for gender in (None, "man", "woman")
        for age in (None, *AGES)
        for group in (None, "asian")
    ]
    for template in range(len(templates(style))):
        for place, known in enumerate(everybody):
            people = (known, everybody[place - 7], everybody[place - 11])[: place % 3 + 1]
            caption = caption_of([phrase_of(each)[0] for each in people], style, template=template)
            assert read_caption(caption) == (style, people), caption
            assert read_caption(f"{caption.capitalize()}.") == (style, people)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "a photo of ",
        "a photo of alice",
        "a man on the beach",
        "a watercolour of a woman",
        "a photo of a woman at night in sepia",
        "a photo of a very old asian woman",
        "a man and alice",
    ],
)
def test_what_is_no_caption_of_the_world_is_not_read(text: str) -> None:
    assert read_caption(text) is None
