"""What the whole loop found, as a report for people and as figures for programs."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from facewright.cli.report.model import Curve, Figure, Histogram, Person, Report, Step, Table
from facewright.cli.report.personalised import (
    Personalised,
    personalised_figure,
    personalised_figures,
    personalised_gallery,
)
from facewright.evaluation import ScoreSummary, SetMeasures, Verification, error_rates, summarise

LICENCE = (
    "The bundled models were trained on photographs that are for research and non-commercial use only; the same holds "
    "for the models and for the faces made with them."
)


@dataclass(frozen=True, eq=False)
class PairTest:
    """One recogniser on one list of pairs."""

    recogniser: str
    trained_on: str
    result: Verification
    issame: np.ndarray  # (P,) bool

    @property
    def scores(self) -> ScoreSummary:
        """Error rates over all pairs at once."""
        return summarise(*self.cosines)

    @property
    def cosines(self) -> tuple[np.ndarray, np.ndarray]:
        """Of genuine and of impostor pairs; unit features at squared distance d have cosine 1 - d / 2."""
        cosines = 1 - self.result.distances / 2
        return cosines[self.issame], cosines[~self.issame]


@dataclass(frozen=True, eq=False)
class Loop:
    """Everything a run of the loop found; `own` is the recogniser that it trained, `bundled` the encoder beside it."""

    people: tuple[Person, ...]
    measures: SetMeasures
    faces_found: int
    detector: str
    pairs: str  # where the pairs come from, in words
    own: PairTest
    bundled: PairTest
    steps: tuple[Step, ...]
    versions: Mapping[str, str]
    settings: Mapping[str, Any]
    notes: tuple[str, ...]
    command: str
    personalised: Personalised | None = None  # None: this install cannot


def loop_figures(loop: Loop) -> dict[str, Any]:
    """The same figures for programs."""
    return {
        "settings": dict(loop.settings),
        "set": loop.measures.figures(),
        "detector": loop.detector,
        "share_with_face": loop.faces_found / loop.measures.images,
        "pairs": loop.pairs,
        "recognisers": {
            test.recogniser: {
                "trained_on": test.trained_on,
                "accuracy": test.result.accuracy,
                "accuracy_std": test.result.std,
                **test.scores.figures(),
            }
            for test in (loop.own, loop.bundled)
        },
        **({} if loop.personalised is None else {"personalised": personalised_figures(loop.personalised)}),
        "seconds": {step.title: round(step.seconds, 2) for step in loop.steps},
        "versions": dict(loop.versions),
        "notes": list(loop.notes),
    }


def loop_report(loop: Loop) -> Report:
    """The same figures for people."""
    measures, scores = loop.measures, loop.measures.scores
    share = loop.faces_found / measures.images
    tests = (loop.own, loop.bundled)
    return Report(
        title=f"{measures.identities} people who do not exist",
        lede=(
            "Each began as a face that the generator drew of nobody; its embedding, a point on the sphere of "
            "identities, was then shown to the generator again and again. Follow a face to see the rest of that person."
        ),
        people=loop.people,
        figures=(
            Figure(f"{scores.eer:.1%}", "Equal error rate of the set", f"{_pairs(scores)}, bundled encoder"),
            Figure(f"{share:.1%}", "Faces found", f"{loop.faces_found} of {measures.images} pictures, {loop.detector}"),
            Figure(
                f"{scores.genuine_mean:.2f}", "Mean cosine within a person", "1 would be one picture again and again"
            ),
            Figure(f"{loop.own.result.accuracy:.1%}", "A recogniser trained on them", f"accuracy on {loop.pairs}"),
            *(() if loop.personalised is None else (personalised_figure(loop.personalised),)),
        ),
        histogram=Histogram(
            "How alike two faces are",
            measures.genuine,
            measures.impostor,
            scores.eer_threshold,
            "Cosines by the bundled encoder. The dotted line is where both kinds of error are equally frequent.",
        ),
        roc=(
            _curve("the set, bundled encoder", measures.genuine, measures.impostor),
            *(_curve(f"pairs, {test.recogniser}", *test.cosines) for test in tests),
        ),
        roc_note="Pairs of one person that are accepted, over pairs of two people that are accepted by mistake.",
        tables=(_set_table(loop), _recogniser_table(loop, tests)),
        galleries=() if loop.personalised is None else (personalised_gallery(loop.personalised),),
        steps=loop.steps,
        versions=tuple(loop.versions.items()),
        notes=(*loop.notes, LICENCE),
        command=loop.command,
    )


def _pairs(scores: ScoreSummary) -> str:
    return f"{scores.genuine:,} genuine and {scores.impostor:,} impostor pairs"


def _curve(label: str, genuine: np.ndarray, impostor: np.ndarray) -> Curve:
    rates = error_rates(genuine, impostor)
    return Curve(label, rates.fmr, 1 - rates.fnmr, rates.impostor)


def _set_table(loop: Loop) -> Table:
    measures, scores = loop.measures, loop.measures.scores
    rows = [
        ("images", f"{measures.images:,}", f"{measures.identities} identities"),
        ("genuine cosine", f"{scores.genuine_mean:.3f}", f"standard deviation {scores.genuine_std:.3f}"),
        ("impostor cosine", f"{scores.impostor_mean:.3f}", f"standard deviation {scores.impostor_std:.3f}"),
        ("EER", f"{scores.eer:.2%}", "straight line between thresholds"),
        ("FMR100", f"{scores.fmr100.fnmr:.2%}", "lowest false non-match rate at a false match rate of at most 1%"),
        ("FMR1000", f"{scores.fmr1000.fnmr:.2%}", "the same at 0.1%"),
        ("Fisher ratio", f"{scores.fisher_ratio:.2f}", "squared difference of means over the sum of variances"),
        ("diversity", f"{measures.diversity:.3f}", "mean of 1 − cosine within an identity"),
    ]
    if measures.to_context is not None:
        rows.append(
            ("to context", f"{measures.to_context.mean:.3f}", "mean cosine of a picture to what it was made from")
        )
    return Table("The set in numbers", ("measure", "value", "definition"), tuple(rows))


def _recogniser_table(loop: Loop, tests: tuple[PairTest, ...]) -> Table:
    rows = tuple(
        (
            test.recogniser,
            f"{test.result.accuracy:.1%} ± {test.result.std:.1%}",
            f"{test.scores.eer:.1%}",
            test.trained_on,
        )
        for test in tests
    )
    note = (
        f"On {loop.pairs}: {loop.own.result.genuine:,} genuine and {loop.own.result.impostor:,} impostor pairs in "
        f"{len(loop.own.result.fold_accuracy)} folds, the threshold of each fold chosen on the others; ± is the "
        "standard deviation over folds."
    )
    return Table("Recognisers", ("recogniser", "accuracy", "EER", "trained on"), rows, note)
