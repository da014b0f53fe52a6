"""A CLIP tokenizer for a small text model: whole words of a given vocabulary, letters for everything else."""

import re
from collections import Counter
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

from facewright.errors import ConfigError
from facewright.personalise.base_networks import imported
from facewright.personalise.world_captions import vocabulary

START, END = "<|startoftext|>", "<|endoftext|>"
WORD_END = "</w>"  # what CLIP's byte pair encoding marks the last piece of a word with

# fmt: off
SPARE_WORDS = (
    "the", "in", "on", "with", "and", "is", "are", "his", "her", "their", "as", "at", "by", "for", "from", "together",
    "face", "head", "people", "friend", "friends", "smiling", "happy", "sad", "angry", "hair", "beard", "glasses",
    "hat", "painting", "art", "watercolor", "oil", "beach", "forest", "snow", "city", "garden", "ride", "tandem",
    "next", "to", "left", "right", "side", "small", "large", "black", "white", "gray", "purple", "orange", "pink",
    "brown",
)
# fmt: on
"""Words of other prompts; each is one token, and what it means is not learnt."""


def make_tokenizer(words: Sequence[str], *, length: int) -> Any:
    """A `transformers.CLIPTokenizer` to which each of the words is a single token.

    Anything else is made of letters and of pieces of these words, so every text can be tokenized. The same words give
    the same tokens.

    Args:
        words: at least one, without spaces; capitals make no difference.
        length: of a prompt in tokens, with its start and end.

    Raises:
        ConfigError: no word, one with a space in it, or a prompt without room.
    """
    from tokenizers import pre_tokenizers

    known = sorted({word.lower() for word in words})
    if not known or any(not word or word.split() != [word] for word in known):
        raise ConfigError(f"a vocabulary is words without spaces, at least one; got {', '.join(map(repr, known))}")
    if length < 3:
        raise ConfigError(f"a prompt needs room for its start, a word and its end, got a length of {length}")
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    merges = _merges([_as_bytes(word) for word in known])
    pieces = [*letters, *(f"{letter}{WORD_END}" for letter in letters), *("".join(pair) for pair in merges), START, END]
    vocabulary = {piece: number for number, piece in enumerate(dict.fromkeys(pieces))}
    return imported("transformers").CLIPTokenizer(vocab=vocabulary, merges=merges, model_max_length=length)


def caption_words() -> tuple[str, ...]:
    """The words that every small base model has read in its captions, sorted."""
    return tuple(word for word in vocabulary() if word.isalpha())


def unread_words(text: str, tokenizer: Any) -> tuple[str, ...]:
    """Words of a text that a small base model has not read in any caption, in small letters, each once, in order.

    They are `SPARE_WORDS` and what the tokenizer has to spell; words that only some manifests have, such as those of a
    group, are tokens of their own and count as read.

    Args:
        text: such as a prompt.
        tokenizer: as of `make_tokenizer`.
    """
    common = frozenset(caption_words())
    found = dict.fromkeys(re.findall(r"(?<!['’])\b[^\W_]+", text.lower()))
    return tuple(word for word in found if word not in common and not _own_token(word, tokenizer))


def _own_token(word: str, tokenizer: Any) -> bool:
    """Whether a word that is not spare is one token and no single letter, which every tokenizer has."""
    return word not in SPARE_WORDS and len(word) > 1 and len(tokenizer(word, add_special_tokens=False).input_ids) == 1


def _merges(words: Sequence[str]) -> list[tuple[str, str]]:
    """Byte pair encoding (Sennrich et al. 2016) until every word is one piece: the pairs in the order of their merging.

    Of pairs that are equally frequent the first in the alphabet is merged, so the same words give the same pairs,
    which the trainer of the tokenizers library does not promise.
    """
    split = [[*word[:-1], f"{word[-1]}{WORD_END}"] for word in words]
    merges = list[tuple[str, str]]()
    while pairs := Counter(pair for pieces in split for pair in pairwise(pieces)):
        most = min(pairs, key=lambda pair: (-pairs[pair], pair))
        merges.append(most)
        split = [_merged(pieces, most) for pieces in split]
    return merges


def _merged(pieces: Sequence[str], pair: tuple[str, str]) -> list[str]:
    """A word's pieces with every such pair made one."""
    joined = list[str]()
    for piece in pieces:
        if joined and (joined[-1], piece) == pair:
            joined[-1] += piece
        else:
            joined.append(piece)
    return joined


def _as_bytes(word: str) -> str:
    """A word in the alphabet of byte-level encodings."""
    from tokenizers import pre_tokenizers

    pieces = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False).pre_tokenize_str(word)
    return "".join(piece for piece, _ in pieces)
