"""A score of how well a picture shows what a prompt of the miniature world asks for, by the prompt classifier."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from facewright.errors import InputError
from facewright.personalise.prompt_classifier import HEADS, PromptClassifier, load_prompt_classifier, shown
from facewright.personalise.world_captions import read_caption
from facewright.weights import read_card


class ClassifierScorer:
    """The share of what a prompt asks for that the classifier sees in the picture, in [0, 1].

    A prompt in the world's words (`read_caption`) asks for a style, a plain photo where it names none; and where it
    names exactly one person, for their gender and their age as far as it says them. Each counts alike, and is there
    when it is the classifier's likeliest answer. A perfect picture can score below 1, for the classifier errs: compare
    with the base model's pictures of the same prompts without the person.

    Args:
        network: in eval mode.
        name: of the score.
        heads: of `HEADS`, those that count.
        sha256: of the network's weights.
        measured: figures of the network's card, such as its accuracies.

    Raises:
        InputError: no heads, or unknown ones.
    """

    def __init__(
        self,
        network: PromptClassifier,
        *,
        name: str = "prompts",
        heads: Sequence[str] = tuple(HEADS),
        sha256: str = "",
        measured: Mapping[str, float | str] | None = None,
    ) -> None:
        if not heads or any(head not in HEADS for head in heads):
            raise InputError(f"heads must be some of {', '.join(HEADS)}, got {', '.join(heads) or 'none'}")
        self.network = network
        self.name = name
        self.heads = tuple(heads)
        self.sha256 = sha256
        self.measured = dict(measured or {})

    def parts(self) -> "list[ClassifierScorer]":
        """A scorer for each head alone, by whose name its own ends."""
        return [ClassifierScorer(self.network, name=f"{self.name} {head}", heads=(head,)) for head in self.heads]

    def score(self, images: Sequence[np.ndarray], prompts: Sequence[str]) -> list[float | None]:
        """The shares; None where a prompt is not in the world's words, or asks for nothing that counts here.

        Args:
            images: uint8 (H, W, 3) RGB, of any sizes.
            prompts: one a picture, with each person's noun in place of the name.
        """
        asked = [self._asked(prompt) for prompt in prompts]
        judged = [place for place, wanted in enumerate(asked) if wanted]
        if not judged:
            return [None] * len(asked)
        answers = self.network.answers(np.concatenate([shown(images[place][None]) for place in judged]))
        scores: list[float | None] = [None] * len(asked)
        for row, place in enumerate(judged):
            scores[place] = float(np.mean([answers[head][row] == want for head, want in asked[place].items()]))
        return scores

    def _asked(self, prompt: str) -> dict[str, str]:
        """The answer that each head shall give, of those that the prompt asks and that count."""
        read = read_caption(prompt)
        if read is None:
            return {}
        style, people = read
        wanted: dict[str, str | None] = {"style": style}
        if len(people) == 1:
            wanted |= {"gender": people[0].gender, "age": people[0].age}
        return {head: want for head, want in wanted.items() if want is not None and head in self.heads}


def load_prompt_scorer(source: Path, *, device: str = "cpu") -> ClassifierScorer:
    """Read a classifier of `facewright train prompts` with its card.

    Raises:
        InputError, DataError: as `load_prompt_classifier`.
    """
    network, card = load_prompt_classifier(source, device=device), read_card(source)
    return ClassifierScorer(network, name=card.name, sha256=card.sha256, measured=card.measured)
