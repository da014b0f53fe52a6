"""The pictures of a protocol, drawn into a folder for each group of people and prompt; the same call completes them."""

import csv
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from facewright.cli.console import counted, note, progress_bar
from facewright.cli.evaluate_personalised_groups import spread_groups
from facewright.cli.personalise_drawing import (
    CheckedModels,
    DrawingCall,
    Studio,
    described_people,
    note_left_out,
    note_unread,
)
from facewright.errors import DataError, InputError

if TYPE_CHECKING:
    from facewright.align import Detector
    from facewright.evaluation.personalised_protocols import PromptProtocol
    from facewright.personalise.identities import PhotoOf
    from facewright.personalise.picture_folder import PictureFolder
    from facewright.personalise.pictures import Subject

NOUN = "a person"


@dataclass(frozen=True)
class _Case:
    """One prompt of one group of people."""

    names: tuple[str, ...]
    facts: dict[str, Any]
    folder: "PictureFolder"


def read_people(folder: Path) -> dict[str, list[Path]]:
    """Photos by person, both sorted by name: a folder a person, or a photo a person.

    Raises:
        InputError: no such folder, or nobody in it.
    """
    from facewright.align.photos import PHOTO_SUFFIXES

    if not folder.is_dir():
        raise InputError(f"{folder} is no folder; name one that holds a folder of photos for each person")
    people: dict[str, list[Path]] = {}
    for path in sorted(folder.rglob("*")):
        inside = path.relative_to(folder).parts
        if path.suffix.lower() in PHOTO_SUFFIXES and not any(part.startswith(".") for part in inside):
            people.setdefault(inside[0] if len(inside) > 1 else path.stem, []).append(path)
    if not people:
        raise InputError(f"{folder} holds no photo; give it a folder of photos for each person")
    return dict(sorted(people.items()))


def read_nouns(file: Path | None, people: Sequence[str]) -> dict[str, str]:
    """Everybody's noun, of a CSV with the columns identity and noun; "a person" for who is not in it."""
    nouns = dict.fromkeys(people, NOUN)
    if file is None:
        return nouns
    try:
        with file.open(encoding="utf-8-sig", newline="") as stream:
            rows = list(csv.DictReader(stream))
        given = {row["identity"].strip(): row["noun"].strip() for row in rows}
    except (OSError, KeyError, AttributeError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{file} cannot be read as a CSV with the columns identity and noun ({error})") from error
    return {name: given.get(name) or noun for name, noun in nouns.items()}


def largest_face(photo: Path, finder: "Detector") -> "PhotoOf":
    """A photo with its largest face chosen; DataError where there is none."""
    from facewright.align import read_photo
    from facewright.personalise.identities import PhotoOf

    faces = finder.detect(read_photo(photo))
    if not faces:
        raise DataError(f"no face found in {photo}; give a photo that shows the face larger, or leave the person out")
    if len(faces) > 1:
        note(f"{photo} shows {len(faces)} faces; the largest is taken")
    ordered = sorted(faces, key=lambda face: (face.box[0] + face.box[2]) / 2)
    return PhotoOf(photo, 1 + max(range(len(ordered)), key=lambda index: ordered[index].area))


def draw_protocol(
    root: Path,
    protocol: "PromptProtocol",
    people: Mapping[str, Sequence[Path]],
    nouns: Mapping[str, str],
    call: DrawingCall,
    checked: CheckedModels,
    *,
    count: int,
    groups: int | None,
    finder: "Detector",
) -> None:
    """Draw what is missing of a protocol; each person's first photo is what the models see.

    Args:
        root: a folder for each group of people, in it one for each prompt.
        checked: the models of the call, by `check_models`.
        count: pictures of each.
        groups: only so many (`spread_groups`, by the seed of the call); None: all.

    Raises:
        InputError: as `PictureFolder.check`, before any model is loaded.
        WorkError: the memory does not suffice; what was drawn is kept.
    """
    names = list(people)
    chosen = protocol.groups(names) if groups is None else spread_groups(names, protocol.people, groups, seed=call.seed)
    wanted = dict.fromkeys(name for names in chosen for name in names)
    _check_others(root, protocol)
    photos = {name: [largest_face(people[name][0], finder)] for name in wanted}
    described = described_people(photos, nouns)
    cases = list(_cases(root, protocol, chosen, described, nouns, call, checked))
    _note_words(cases, call, checked)
    studio = Studio(call, checked, finder)
    models = studio.models()
    for case in cases:
        case.folder.check({"models": models})
    subjects = {name: studio.subject(studio.reader.crops(name, own), nouns[name]) for name, own in photos.items()}
    total = len(cases) * count
    with progress_bar("drawing") as progress:
        done = sum(count - sum(map(len, case.folder.missing(count))) for case in cases)
        for case in cases:
            for numbers in _batches(case.folder.missing(count), call.config.batch):
                _draw(studio, case, [subjects[name] for name in case.names], models, numbers, f"{done:,} pictures are")
                done += len(numbers)
                progress(done, total)


def _check_others(root: Path, protocol: "PromptProtocol") -> None:
    """Refuse a folder that holds pictures of another number of people, which could not be measured together."""
    from facewright.personalise.picture_folder import RECORD, PictureFolder

    for record in sorted(root.rglob(RECORD)):
        count = len(PictureFolder(record.parent).facts.get("people", ()))
        if not record.parent.name.startswith(".") and count != protocol.people:
            raise InputError(
                f"{record.parent} shows {count}, the protocol {protocol.name} {protocol.people} in a picture, and they "
                "are measured apart; name another folder"
            )


def _cases(
    root: Path,
    protocol: "PromptProtocol",
    groups: Sequence[tuple[str, ...]],
    described: Mapping[str, Any],
    nouns: Mapping[str, str],
    call: DrawingCall,
    checked: CheckedModels,
) -> Iterator[_Case]:
    """Every prompt of every group; its folder agrees with what the call says, models apart."""
    from facewright.personalise.picture_folder import PictureFolder, prompt_text

    for names in groups:
        own = {name: nouns[name] for name in names}
        for number, template in enumerate(protocol.prompts):
            prompt = template.named(names)
            call.check_regions(prompt, names)
            facts = {
                "prompt": prompt,
                "text": prompt_text(prompt, own),
                "category": template.category,
                "protocol": protocol.name,
                "left_out": list(checked.place(prompt, own).cut),
                "people": {name: described[name] for name in names},
                "left_to_right": call.left_to_right(prompt, names),
                "settings": {**call.settings(), "best_of": 1},
            }
            folder = PictureFolder(root / "+".join(names) / f"{number:02d}")
            folder.check(facts)
            yield _Case(names, facts, folder)


def _note_words(cases: Sequence[_Case], call: DrawingCall, checked: CheckedModels) -> None:
    """Say of which words nothing is to be expected, and which prompts are too long."""
    note_left_out("--negative", checked.place(call.config.negative, {}).cut)
    note_unread(checked.unread(*dict.fromkeys(case.facts["text"] for case in cases), call.config.negative))
    if cut := {case.facts["prompt"]: case.facts["left_out"] for case in cases if case.facts["left_out"]}:
        first, words = next(iter(cut.items()))
        note(f"{counted(len(cut), 'prompt is', 'prompts are')} too long; left out of {first!r}: {' '.join(words)}")


def _draw(
    studio: Studio, case: _Case, subjects: Sequence["Subject"], models: Mapping[str, Any], numbers: range, kept: str
) -> None:
    scheduler = type(studio.pipe.scheduler).__name__
    case.folder.begin({**case.facts, "models": models, "scheduler": scheduler})
    drawn = studio.draw(case.facts["prompt"], subjects, numbers, kept=kept)
    for number, image, flagged in zip(numbers, drawn.images, drawn.flagged, strict=True):
        case.folder.add(number, image, {"candidate": 0, "blackened_by_filter": flagged})


def _batches(runs: Sequence[range], batch: int) -> Iterator[range]:
    for run in runs:
        for start in range(run.start, run.stop, batch):
            yield range(start, min(start + batch, run.stop))
