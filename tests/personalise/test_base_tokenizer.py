from pathlib import Path
from typing import Any

import pytest

from facewright.errors import ConfigError
from facewright.personalise import place_people
from facewright.personalise.base_tokenizer import SPARE_WORDS, caption_words, make_tokenizer, unread_words
from facewright.personalise.world_captions import caption_of, templates, vocabulary
from facewright.personalise.world_styles import STYLES

pytest.importorskip("diffusers", reason="needs the extra personalise")

WORDS = (*vocabulary(["asian"]), *SPARE_WORDS)


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    return make_tokenizer(WORDS, length=16)


def test_every_word_is_one_token(tokenizer: Any) -> None:
    numbers = {tuple(tokenizer(word, add_special_tokens=False).input_ids) for word in WORDS}
    assert {len(ids) for ids in numbers} == {1}
    assert len(numbers) == len(set(WORDS))
    assert tokenizer.tokenize("A photo of an old man, and a woman") == [
        f"{word}</w>" for word in ("a", "photo", "of", "an", "old", "man", ",", "and", "a", "woman")
    ]


def test_other_texts_are_made_of_pieces(tokenizer: Any) -> None:
    for text in ("zebra", "manchild", "señor", "8 o'clock", "🙂"):
        ids = tokenizer(text, add_special_tokens=False).input_ids
        assert tokenizer.decode(ids).replace(" ", "") == text.replace(" ", "")
        assert tokenizer.eos_token_id not in ids


def test_it_is_the_same_each_time_and_after_saving(tokenizer: Any, tmp_path: Path) -> None:
    from transformers import AutoTokenizer, CLIPTokenizer

    again = make_tokenizer(WORDS[::-1], length=16)
    assert again.get_vocab() == tokenizer.get_vocab()
    tokenizer.save_pretrained(tmp_path)
    read = AutoTokenizer.from_pretrained(tmp_path, local_files_only=True)
    assert isinstance(read, CLIPTokenizer)
    text = "a sepia photo of a zebra"
    assert read(text).input_ids == tokenizer(text).input_ids
    assert (read.model_max_length, read.pad_token_id) == (16, tokenizer.eos_token_id)
    assert len(tokenizer) == len(tokenizer.get_vocab())


def test_people_find_room_in_its_prompts(tokenizer: Any) -> None:
    placed = place_people("alice and bob at night", {"alice": "woman", "bob": "man"}, tokenizer, words={"alice": 2})
    assert placed.spans == {"alice": range(1, 3)}
    assert len(placed.ids) == 16
    assert not placed.cut


def test_words_of_no_caption_are_told(tokenizer: Any) -> None:
    for style in STYLES:
        for template in range(len(templates(style))):
            assert unread_words(caption_of(["an old Asian man", "a girl"], style, template=template), tokenizer) == ()
    assert unread_words("a person's Zebra on the beach at 3 (a zebra, i)", tokenizer) == (
        "zebra",
        "the",
        "beach",
        "3",
        "i",
    )
    assert unread_words("", tokenizer) == ()
    assert set(caption_words()) == {word for word in vocabulary() if word != ","}
    assert unread_words(" ".join(caption_words()), tokenizer) == ()


def test_wrong_vocabularies_are_named() -> None:
    with pytest.raises(ConfigError, match="words without spaces, at least one; got 'two words'"):
        make_tokenizer(["two words"], length=16)
    with pytest.raises(ConfigError, match="got a length of 2"):
        make_tokenizer(["word"], length=2)
