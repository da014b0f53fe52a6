"""Held-out people of the miniature world as folders of photos, which `facewright evaluate personalised` draws."""

import csv
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np
from PIL import Image

from facewright.align import Detector
from facewright.errors import ConfigError
from facewright.personalise.world_captions import Known, phrase_of
from facewright.personalise.world_faces import WorldFaces
from facewright.training.atomic import atomic_path
from facewright.training.seeds import seed_of

FOLDER, NOUNS = "people", "nouns.csv"


@dataclass(frozen=True)
class WorldPerson:
    """Somebody and their photos."""

    name: str  # one word, as it can stand in a prompt
    rows: tuple[int, ...]  # of the pack: the photo that is drawn from, then those that judge
    noun: str  # such as "a woman"


def choose_people(
    faces: WorldFaces,
    detector: Detector,
    *,
    count: int,
    photos_each: int = 2,
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> list[WorldPerson]:
    """Held-out people by chance; more of them are these and further ones.

    Photos count once where the pack has two crops of one (one person, one file name), and not at all where the
    detector finds no face, for the evaluation would find none either. Faces of people without a number are somebody
    else each.

    Args:
        faces: with what is known of them.
        detector: the evaluation's.
        count: people.
        photos_each: photos that a person must have; who has more brings all.
        seed: another one chooses others.
        progress: called with (people found, people in all).

    Returns:
        The people, sorted by name.

    Raises:
        ConfigError: count or photos_each is below 1, or so many people are not held out.
    """
    if count < 1 or photos_each < 1:
        raise ConfigError(f"people and photos_each must be at least 1, got {count} and {photos_each}")
    photos = _photos(faces)
    chosen = list[WorldPerson]()
    for name in sorted(photos, key=lambda name: seed_of("people", seed, name)):
        if len(photos[name]) < photos_each:
            continue
        seen = tuple(row for row in photos[name] if detector.detect(np.asarray(faces.pack.images[row])))
        if len(seen) >= photos_each:
            chosen.append(WorldPerson(name, seen, noun_of(faces, seen)))
            if progress is not None:
                progress(len(chosen), count)
        if len(chosen) == count:
            return sorted(chosen, key=lambda person: person.name)
    raise ConfigError(
        f"{count} held-out people with {photos_each} photos or more are asked for, the pack has {len(chosen)}; "
        "lower people or photos_each"
    )


def noun_of(faces: WorldFaces, rows: tuple[int, ...]) -> str:
    """What a person is called in a prompt, with the article: "a man", "a girl", "a child", "a person".

    The gender is what most of the photos say, where they say anything and are not divided; a child is who is one on
    the first photo.
    """
    known = [faces.known(row) for row in rows]
    said = Counter(each.gender for each in known if each.gender is not None).most_common(2)
    gender = said[0][0] if said and (len(said) == 1 or said[0][1] > said[1][1]) else None
    return phrase_of(Known(gender, "child" if known[0].age == "child" else None))[0]


def write_people(faces: WorldFaces, people: list[WorldPerson], folder: Path) -> None:
    """Write people/NAME/000.png, 001.png ... of the packed faces as they are, and nouns.csv, which is the last.

    Photos that are already there are kept.

    Args:
        faces: whose rows the people name.
        people: as of `choose_people`.
        folder: for both.
    """
    for person in people:
        for number, row in enumerate(person.rows):
            path = folder / FOLDER / person.name / f"{number:03d}.png"
            if not path.is_file():
                with atomic_path(path) as temporary:
                    Image.fromarray(np.asarray(faces.pack.images[row])).save(temporary, format="PNG")
    with atomic_path(folder / NOUNS) as temporary, temporary.open("w", encoding="utf-8", newline="") as stream:
        csv.writer(stream, lineterminator="\n").writerows(_table(people))


def _photos(faces: WorldFaces) -> dict[str, list[int]]:
    """The rows of everybody who is held out, each photo once, in the pack's order."""
    photos, seen = dict[str, list[int]](), set[tuple[str, str]]()
    for row in faces.rows(held_out=True).tolist():
        label = int(faces.pack.labels[row])
        name = f"face{row}" if label < 0 else f"person{label}"
        photo = name, PurePosixPath(str(faces.files[row])).name
        if photo not in seen:
            seen.add(photo)
            photos.setdefault(name, []).append(row)
    return photos


def _table(people: list[WorldPerson]) -> Iterator[tuple[str, str]]:
    yield "identity", "noun"
    for person in people:
        yield person.name, person.noun
