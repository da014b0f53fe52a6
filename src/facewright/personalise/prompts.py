"""A prompt that names people, as token numbers with room for each person's words."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from facewright.errors import InputError

LONGEST = 100_000  # tokens; a tokenizer without a length of its own says a number beyond all reason


class Tokenizer(Protocol):
    """What is asked of a tokenizer; those of transformers have it."""

    @property
    def model_max_length(self) -> int: ...
    @property
    def bos_token_id(self) -> int: ...
    @property
    def eos_token_id(self) -> int: ...
    @property
    def pad_token_id(self) -> int: ...
    def __call__(self, text: str, *, add_special_tokens: bool) -> Any: ...


@dataclass(frozen=True)
class Placed:
    """A prompt's tokens and where its people stand among them."""

    ids: tuple[int, ...]
    """The whole prompt: start, words, end, padding."""
    spans: Mapping[str, range]
    """Tokens that take each person's words, in the order of the prompt."""
    cut: tuple[str, ...]
    """Words that found no room, in the order of the prompt."""


@dataclass(frozen=True)
class _Piece:
    text: str
    ids: list[int]
    name: str | None = None


def find_people(prompt: str, names: Sequence[str]) -> list[tuple[str, int, int]]:
    """Where a prompt names each person: (name, first character, one past the last), in the order of the prompt.

    Capitals make no difference, and where one name holds another ("ann", "mary ann") the longer one is meant.

    Raises:
        InputError: a name is empty, given twice, missing from the prompt, used twice in it, or only a part of a word.
    """
    known = {name.casefold(): name for name in names}
    if "" in {name.strip() for name in names}:
        raise InputError("a person's name is empty; give one that stands in the prompt, such as alice")
    if len(known) < len(names):
        raise InputError(f"two people have the same name among {', '.join(names)}; give each a name of their own")
    if not names:
        return []
    choice = "|".join(re.escape(name) for name in sorted(names, key=len, reverse=True))
    found = [
        (known[match[0].casefold()], match.start(), match.end())
        for match in re.finditer(rf"(?<!\w)(?:{choice})(?!\w)", prompt, re.IGNORECASE)
        if match[0].casefold() in known
    ]
    for name in names:
        times = sum(other == name for other, _, _ in found)
        if times > 1:
            raise InputError(
                f"the prompt names {name!r} {times} times; name each person once and say she, he or they after that"
            )
        if times == 0:
            raise InputError(f"the prompt {prompt!r} {_missing(prompt, name)}")
    return found


def place_people(
    prompt: str,
    nouns: Mapping[str, str],
    tokenizer: Tokenizer,
    *,
    words: Mapping[str, int] | None = None,
    keep_nouns: bool = False,
) -> Placed:
    """Turn a prompt into tokens, each name into tokens of its own.

    A name itself is never tokenized, so how the tokenizer would split it does not matter. In a prompt that is too long
    the last words are left out, never a person's.

    Args:
        prompt: text that names every person once.
        nouns: a class noun for each person by name, such as "woman"; who is not in `words` is written as it.
        tokenizer: of the text encoder.
        words: how many tokens take a person's words, by name.
        keep_nouns: False: these tokens stand in place of the noun, as Face2Diffusion needs; True: they are the end of
            the noun, whose last token is repeated for every word after the first, as FastComposer needs.

    Raises:
        InputError: as `find_people`; a noun without tokens; the people alone are more than the prompt can hold; or
            the tokenizer gives no length.
    """
    if tokenizer.model_max_length > LONGEST:
        raise InputError("the tokenizer does not say how long a prompt may be; get the base model again")
    pieces, end = list[_Piece](), 0
    for name, start, stop in find_people(prompt, list(nouns)):
        pieces += _words(prompt[end:start], tokenizer)
        pieces.append(_person(name, nouns[name], tokenizer, (words or {}).get(name, 0), keep_noun=keep_nouns))
        end = stop
    pieces += _words(prompt[end:], tokenizer)
    room = tokenizer.model_max_length - 2  # without the start and the end
    needed = sum(len(piece.ids) for piece in pieces if piece.name is not None)
    if needed > room:
        raise InputError(
            f"{len(nouns)} people take {needed} tokens, and a prompt has room for {room}; name fewer people"
        )
    cut = list[str]()
    while sum(len(piece.ids) for piece in pieces) > room:
        last = max(index for index, piece in enumerate(pieces) if piece.name is None)
        cut.insert(0, pieces.pop(last).text)
    return _joined(pieces, words or {}, tokenizer, tuple(cut))


def _joined(pieces: list[_Piece], words: Mapping[str, int], tokenizer: Tokenizer, cut: tuple[str, ...]) -> Placed:
    ids, spans = [tokenizer.bos_token_id], dict[str, range]()
    for piece in pieces:
        ids += piece.ids
        if piece.name is not None and piece.name in words:
            spans[piece.name] = range(len(ids) - words[piece.name], len(ids))
    ids.append(tokenizer.eos_token_id)
    ids += [tokenizer.pad_token_id] * (tokenizer.model_max_length - len(ids))
    return Placed(tuple(ids), spans, cut)


def _words(text: str, tokenizer: Tokenizer) -> list[_Piece]:
    return [_Piece(word, _ids(word, tokenizer)) for word in text.split()]


def _person(name: str, noun: str, tokenizer: Tokenizer, words: int, *, keep_noun: bool) -> _Piece:
    ids = _ids(noun, tokenizer)
    if not ids:
        raise InputError(f"the noun {noun!r} of {name!r} gives no token; use a word such as person")
    if words:
        ids = ids + ids[-1:] * (words - 1) if keep_noun else ids[-1:] * words
    return _Piece(name, ids, name)


def _ids(text: str, tokenizer: Tokenizer) -> list[int]:
    return list(tokenizer(text, add_special_tokens=False).input_ids)


def _missing(prompt: str, name: str) -> str:
    """Why a name was not found."""
    inside = re.search(rf"\w*{re.escape(name)}\w*", prompt, re.IGNORECASE)
    if inside is None:
        return f"does not name {name!r}; write the name where the person shall be"
    return f"holds {name!r} only inside {inside[0]!r}; write the name as a word of its own"
