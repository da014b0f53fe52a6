"""The licence of a set, from those of what it was made with: the most restrictive wins."""

import re
from collections.abc import Mapping
from dataclasses import dataclass

# From free to narrow; a text belongs to the narrowest kind that it matches. The rank is a rule of thumb, not advice.
_KINDS = (
    ("public domain", r"\bcc0\b|public domain|unlicense"),
    ("permissive", r"apache|\bmit\b|\bbsd\b|\bisc\b|\bcc[- ]by\b"),
    ("share alike", r"\bsa\b|share[- ]?alike|\bgpl|\blgpl|\bagpl|copyleft"),
    ("no derivatives", r"\bnd\b|no[- ]?deriv"),
    ("non-commercial", r"\bnc\b|non[- ]?commercial"),
    ("research only", r"research|academic|scientific"),
)
UNSTATED = "not stated"


@dataclass(frozen=True)
class Licence:
    """What a set may be used for."""

    text: str  # of the input that binds most
    source: str  # that input
    kind: str  # how the text was read
    inputs: Mapping[str, str]  # every input's own text


def narrowest_licence(inputs: Mapping[str, str | None]) -> Licence:
    """The most restrictive licence among those of a set's inputs.

    The order is: public domain, permissive, share alike, no derivatives, non-commercial, research only, a text that is
    not recognised, and no text at all, which grants nothing.

    Args:
        inputs: text by name of the input; None or "" where it is not stated.
    """
    texts = {name: (text or "").strip() or UNSTATED for name, text in inputs.items()}
    source = max(texts, key=lambda name: _rank(texts[name]))
    return Licence(texts[source], source, _kind(texts[source]), texts)


def _rank(text: str) -> int:
    kinds = [*(kind for kind, _ in _KINDS), "not recognised", UNSTATED]
    return kinds.index(_kind(text))


def _kind(text: str) -> str:
    if text == UNSTATED:
        return UNSTATED
    found = [kind for kind, pattern in _KINDS if re.search(pattern, text.lower())]
    return found[-1] if found else "not recognised"
