"""Who judges personalised pictures by their prompts: CLIP, the miniature world's classifier, or both."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from facewright.evaluation.personalised_text import PromptScorer

Value = TypeVar("Value")

CLIP = "cosine of picture and text, not scaled"
CLASSIFIER = (
    "share of what a prompt in the miniature world's words asks for that a classifier trained on real faces sees in the"
    " picture: its style (a plain photo where none is named) and, where it names one person, their gender and age as"
    " far as it says them; each has a figure of its own too. The classifier errs, as its card says: compare with the"
    " same prompts drawn without the people (--alpha 0)"
)


@dataclass(frozen=True)
class PromptJudge:
    """A scorer and what is said of it."""

    scorer: "PromptScorer"
    definition: str
    parts: "Sequence[PromptScorer]" = ()  # of the score, each shown by itself
    sha256: str | None = None
    measured: Mapping[str, float | str] | None = None  # of its card

    def facts(self) -> dict[str, Any]:
        """As the JSON file names it."""
        own = {"sha256": self.sha256, "measured": None if self.measured is None else dict(self.measured)}
        known = {key: value for key, value in own.items() if value is not None}
        return {"name": self.scorer.name, "definition": self.definition, **known}

    def note(self) -> str:
        """As the page says it."""
        accuracies = ", ".join(f"{name} {value}" for name, value in _rounded(self.measured or {}).items())
        return f"Prompt score {self.scorer.name}: {self.definition}.{accuracies and f' Its card: {accuracies}.'}"


@dataclass(frozen=True)
class PromptJudges:
    """All of a call."""

    judges: tuple[PromptJudge, ...]

    @property
    def wholes(self) -> "list[PromptScorer]":
        """The scorers without the parts of their scores."""
        return [judge.scorer for judge in self.judges]

    @property
    def all(self) -> "list[PromptScorer]":
        """The scorers, each followed by its parts."""
        return [scorer for judge in self.judges for scorer in (judge.scorer, *judge.parts)]

    def of_wholes(self, values: Mapping[str, Value]) -> dict[str, Value]:
        """Of values by the name of a scorer those that are no part."""
        names = {scorer.name for scorer in self.wholes}
        return {name: value for name, value in values.items() if name in names}

    def facts(self) -> list[dict[str, Any]]:
        """As the JSON file names them."""
        return [judge.facts() for judge in self.judges]

    def notes(self) -> list[str]:
        """As the page says them."""
        return [judge.note() for judge in self.judges]


def load_judges(clip: Path | None, classifier: Path | None, *, device: str) -> PromptJudges:
    """The scorers of a call.

    Args:
        clip: directory of a CLIP model; None: it is not asked.
        classifier: .safetensors of `facewright train prompts`; None: it is not asked.
        device: such as "cpu" or "cuda".
    """
    from facewright.evaluation.personalised_text import load_clip
    from facewright.personalise.prompt_scorer import load_prompt_scorer

    judges = list[PromptJudge]()
    if clip is not None:
        judges.append(PromptJudge(load_clip(clip, device=device), CLIP))
    if classifier is not None:
        scorer = load_prompt_scorer(classifier, device=device)
        judges.append(PromptJudge(scorer, CLASSIFIER, scorer.parts(), scorer.sha256, scorer.measured))
    return PromptJudges(tuple(judges))


def _rounded(measured: Mapping[str, float | str]) -> dict[str, str]:
    return {name: value if isinstance(value, str) else f"{value:.3f}" for name, value in measured.items()}
