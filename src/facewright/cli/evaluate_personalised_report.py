"""The page of `facewright evaluate personalised`: everybody's photo and faces, the figures, and the pictures."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np

from facewright import __version__
from facewright.align import read_photo
from facewright.cli.report import Figure, Gallery, Person, Report, Shown, Table, render
from facewright.training.atomic import atomic_path

if TYPE_CHECKING:
    from facewright.cli.evaluate_personalised_pictures import ReadPictures
    from facewright.cli.evaluate_personalised_prompts import PromptJudges
    from facewright.evaluation.personalised import PersonalisedMeasures
    from facewright.evaluation.personalised_means import Estimate

PEOPLE = 24  # shown, and as many groups of people
FACES = 15  # of each person
PICTURES = 40  # of each group
WIDEST = 256  # pixels of a picture on the page


def write_report(
    path: Path, source: Path, read: "ReadPictures", found: "PersonalisedMeasures", judges: "PromptJudges"
) -> None:
    """Write the page, whole or not at all."""
    several = found.people_in_each > 1
    report = Report(
        title="Personalised pictures",
        lede=f"{found.pictures:,} pictures of {found.identities:,} people, {found.people_in_each} in each.",
        people=tuple(_people(read, found)),
        figures=tuple(_figures(found, judges)),
        tables=(_people_table(read, found), *_category_tables(found)),
        galleries=tuple(_galleries(read, found)),
        versions=(("facewright", __version__),),
        notes=(
            "Intervals are 95 % and come from drawing people, not pictures, with replacement.",
            "A face that was not found counts 0. "
            + ("A picture of several people counts as the one kept worst." if several else ""),
            "An encoder whose embeddings made the pictures flatters them; quote one that took no part.",
            *judges.notes(),
        ),
        command=f"facewright evaluate personalised {source} --report {path}",
    )
    text = render(report)
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def _people(read: "ReadPictures", found: "PersonalisedMeasures") -> Iterator[Person]:
    """Everybody: the photo first, then the faces of the pictures and their cosines by the first encoder."""
    scores = next(iter(found.scores.values()))
    for name in list(read.people)[:PEOPLE]:
        faces, cosines = [read.people[name].shown[0]], [1.0]
        for picture, score in zip(read.pictures, scores, strict=True):
            if name not in picture.people or len(faces) > FACES:
                continue
            place = picture.people.index(name)
            face, cosine = score.faces[place], score.cosines[place]
            if face is not None and cosine is not None:
                faces.append(picture.crops[face])
                cosines.append(cosine)
        yield Person(name, np.stack(faces), np.array(cosines))


def _figures(found: "PersonalisedMeasures", judges: "PromptJudges") -> Iterator[Figure]:
    yield _figure("Complete", found.complete, "pictures with a face for everybody", share=True)
    for name, own in found.encoders.items():
        yield _figure("Identity", own.identity, name)
        if own.right is not None:
            yield _figure("In their own place", own.right, name, share=True)
        if own.copy_paste is not None:
            yield _figure("Copy-paste", own.copy_paste, f"{name}; 1 copies the photo")
    for name, value in found.prompts.items():
        yield _figure("Prompt", value, name)
    for encoder, row in found.harmonic.items():
        for name, value in judges.of_wholes(row).items():
            yield _figure("Harmonic mean", value, f"{encoder} and {name}")
    if found.diversity is not None:
        yield _figure("Face diversity", found.diversity, "1 - SSIM")


def _figure(label: str, found: "Estimate", told: str, *, share: bool = False) -> Figure:
    form = ".1%" if share else ".3f"
    interval = "" if found.interval is None else f", {found.interval[0]:{form}} to {found.interval[1]:{form}}"
    return Figure(format(found.value, form), label, told + interval)


def _people_table(read: "ReadPictures", found: "PersonalisedMeasures") -> Table:
    """Mean identity of every group of people."""
    groups: dict[tuple[str, ...], list[int]] = {}
    for index, picture in enumerate(read.pictures):
        groups.setdefault(picture.people, []).append(index)
    rows = tuple(
        (
            " and ".join(names),
            f"{len(own)}",
            *(f"{np.mean([scores[index].score for index in own]):.3f}" for scores in found.scores.values()),
        )
        for names, own in groups.items()
    )
    return Table("Identity by person", ("people", "pictures", *found.scores), rows)


def _category_tables(found: "PersonalisedMeasures") -> Iterator[Table]:
    if found.categories:
        header = ("kind", "pictures", *(f"identity, {name}" for name in found.encoders), *found.prompts)
        rows = tuple(
            (
                category,
                f"{own.pictures}",
                *(f"{own.identity[name]:.3f}" for name in found.encoders),
                *(f"{own.prompt[name]:.3f}" if name in own.prompt else "" for name in found.prompts),
            )
            for category, own in found.categories.items()
        )
        yield Table("Kinds of prompts", header, rows)


def _galleries(read: "ReadPictures", found: "PersonalisedMeasures") -> Iterator[Gallery]:
    """The first picture of each prompt, then the second, up to `PICTURES` of a group."""
    encoder, scores = next(iter(found.scores.items()))
    groups: dict[tuple[str, ...], dict[str, list[int]]] = {}
    for index, picture in enumerate(read.pictures):
        groups.setdefault(picture.people, {}).setdefault(picture.prompt, []).append(index)
    for names, prompts in list(groups.items())[:PEOPLE]:
        rounds = max(map(len, prompts.values()))
        order = [own[turn] for turn in range(rounds) for own in prompts.values() if turn < len(own)]
        shown = tuple(
            Shown(
                _small(read_photo(read.files[index])),
                read.pictures[index].prompt,
                ", ".join(
                    [
                        f"{encoder} {scores[index].score:.2f}",
                        *(
                            f"{name} {value:.2f}"
                            for name, value in (read.pictures[index].prompt_scores or {}).items()
                            if value is not None
                        ),
                    ]
                ),
            )
            for index in order[:PICTURES]
        )
        yield Gallery(" and ".join(names), shown)


def _small(image: np.ndarray) -> np.ndarray:
    scale = WIDEST / max(image.shape[:2])
    if scale >= 1:
        return image
    return np.asarray(cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA))
