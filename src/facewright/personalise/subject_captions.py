"""Captions and the words in them that name people."""

import re
from collections.abc import Sequence

from facewright.errors import InputError

# fmt: off
NOUNS = frozenset({
    "person", "man", "woman", "boy", "girl", "child", "baby", "kid", "toddler", "teenager", "lady",
    "gentleman", "guy", "actor", "actress", "bride", "groom", "grandmother", "grandfather", "mother", "father",
    "soldier", "player", "singer", "politician",
})
# fmt: on
"""Words that are taken for a person in a caption without braces."""
ARTICLES = frozenset({"a", "an", "the", "one", "another", "this", "that"})
LONGEST_PHRASE = 4  # words that are searched for an article before a noun

Phrase = tuple[int, int]
"""First character, and one past the last."""


def phrase_start(caption: str, end: int) -> int:
    """Where the words that end at `end` and name a person begin: at their article, or else the noun alone.

    Args:
        caption: such as "a young man on a horse".
        end: one past the noun's last character, 11 in the example.
    """
    words = list(re.finditer(r"[\w'-]+", caption[:end]))
    if not words or words[-1].end() < end:
        raise InputError(f"no word ends at character {end} of the caption {caption!r}")
    begun = words[-1]
    for word in reversed(words[-LONGEST_PHRASE - 1 :]):
        if re.search(r"[.,;:!?]", caption[word.end() : begun.start()]) or word[0].casefold() in {"and", "or"}:
            break
        if word[0].casefold() in ARTICLES:
            return word.start()
        begun = word
    return words[-1].start()


def marked_phrases(caption: str) -> tuple[str, list[Phrase]]:
    """A caption and where it names people: in braces, "{a young woman} and {an old man}", or else by known nouns.

    Returns:
        The caption without braces, and the phrases in its order.

    Raises:
        InputError: a brace without its other one, or with nothing in it.
    """
    if "{" not in caption and "}" not in caption:
        nouns = [word for word in re.finditer(r"\w+", caption) if word[0].casefold() in NOUNS]
        ends = [
            noun.end()
            for noun, after in zip(nouns, [*nouns[1:], None], strict=False)
            if after is None or caption[noun.end() : after.start()].strip()  # of "a baby girl" the girl
        ]
        return caption, [(phrase_start(caption, end), end) for end in ends]
    parts = re.split(r"\{([^{}]*)\}", caption)
    if any("{" in part or "}" in part for part in parts) or not all(part.strip() for part in parts[1::2]):
        raise InputError(f"the caption {caption!r} has braces that do not close, or nothing in them; write {{a woman}}")
    plain, phrases = "", list[Phrase]()
    for number, part in enumerate(parts):
        if number % 2:
            phrases.append((len(plain), len(plain) + len(part)))
        plain += part
    return plain, phrases


def filled_template(template: str, nouns: Sequence[str]) -> str:
    """A marked caption for people from left to right; `{people}` becomes "{a woman}, {a man} and {a person}".

    Raises:
        InputError: the template has no `{people}`.
    """
    if template.count("{people}") != 1:
        raise InputError(f"a template says {{people}} once, such as 'a photo of {{people}}'; got {template!r}")
    phrases = [f"{{{'an' if noun[0] in 'aeiou' else 'a'} {noun}}}" for noun in nouns]
    *first, last = phrases
    return template.replace("{people}", f"{', '.join(first)} and {last}" if first else last)


def named_prompt(caption: str, phrases: Sequence[Phrase]) -> tuple[str, dict[str, str]]:
    """A caption with names in place of phrases, and the phrase of each name, as `place_people` takes them.

    Args:
        caption: text.
        phrases: in its order; they do not overlap.
    """
    stem = "subject"
    while stem in caption.casefold():
        stem += "x"
    prompt, nouns, done = "", dict[str, str](), 0
    for number, (start, end) in enumerate(phrases):
        name = f"{stem}{number}"
        nouns[name] = caption[start:end]
        prompt += f"{caption[done:start]} {name} "
        done = end
    return prompt + caption[done:], nouns
