"""What `facewright world` writes: scenes, people, and world.json, which says what they are of."""

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from facewright.align import load_detector
from facewright.cli.console import counted, progress_bar
from facewright.cli.train_runs_base import GuessedWorldRun
from facewright.errors import ConfigError, DataError, InputError
from facewright.personalise.base_latents import world_fingerprint
from facewright.personalise.world_folder import write_world
from facewright.personalise.world_people import FOLDER, NOUNS, WorldPerson, choose_people, write_people
from facewright.personalise.world_scenes import World
from facewright.training.atomic import atomic_path

SUBJECTS, RECORD = "subjects", "world.json"


@dataclass(frozen=True, kw_only=True)
class WorldFoldersRun(GuessedWorldRun):
    """Scenes for the training of a personaliser, and photos of held-out people."""

    count: int = 20_000  # scenes of people who are not held out
    held_out_count: int = 500  # scenes of those who are
    styles_said: bool = True  # false: captions to train on are those of plain photos, whatever is to be seen
    people: int = 60  # held-out people whose photos are written
    photos_each: int = 2  # that each of them must have, at least; 1 takes people without a number too
    detector: str = "mtcnn"  # finds a face on each of these photos, as the evaluation will
    seed: int = 0  # of the scenes and of the choice
    name: str = "miniature-world"

    def __post_init__(self) -> None:
        if min(self.count, self.people, self.photos_each) < 1 or self.held_out_count < 0:
            raise ConfigError(
                "count, people and photos_each must be at least 1 and held_out_count at least 0, got "
                f"{self.count}, {self.people}, {self.photos_each} and {self.held_out_count}"
            )


@dataclass(frozen=True)
class WrittenWorld:
    """What was written."""

    out: Path
    count: int
    held_out_count: int
    people: tuple[WorldPerson, ...]

    def lines(self) -> list[str]:
        """The same for a reader."""
        nouns = Counter(person.noun for person in self.people)
        people = counted(len(self.people), "held-out person", "held-out people")
        photos = counted(sum(len(person.rows) for person in self.people), "photo")
        told = ", ".join(f"{noun} {number}" for noun, number in nouns.most_common())
        return [
            f"scenes  {self.count:,} and {self.held_out_count:,} of held-out people in {self.out / SUBJECTS}",
            f"people  {people} with {photos} in {self.out / FOLDER}",
            f"nouns   {told} in {self.out / NOUNS}",
        ]


def write_world_folders(config: WorldFoldersRun, out: Path, device: str) -> WrittenWorld:
    """Write OUT/people, OUT/nouns.csv and OUT/subjects; what is already there is kept.

    Raises:
        InputError: OUT holds something else.
        ConfigError: OUT holds another world; or fewer people are held out than asked for.
    """
    _check_folder(out)
    faces, _ = config.guessed_faces(device)
    trained, unseen = (
        World(faces, faces.rows(held_out=held_out), config.world, seed=config.seed) for held_out in (False, True)
    )
    with progress_bar("choosing people") as progress:
        people = choose_people(
            faces,
            load_detector(config.detector),
            count=config.people,
            photos_each=config.photos_each,
            seed=config.seed,
            progress=progress,
        )
    _claim(out, config, {"scenes": world_fingerprint(trained), "held-out scenes": world_fingerprint(unseen)})
    write_people(faces, people, out)
    with progress_bar("writing scenes") as progress:
        write_world(
            trained,
            unseen,
            out / SUBJECTS,
            count=config.count,
            held_out_count=config.held_out_count,
            styles_said=config.styles_said,
            progress=progress,
        )
    return WrittenWorld(out, config.count, config.held_out_count, tuple(people))


def _check_folder(out: Path) -> None:
    """Refuse a folder that this command did not begin, before anything is read."""
    if (out / RECORD).is_file() or not out.exists():
        return
    if not out.is_dir() or any(not path.name.startswith(".") for path in out.iterdir()):
        raise InputError(f"{out} is not an empty folder, and holds no {RECORD} to go on from; name a new one")


def _claim(out: Path, config: WorldFoldersRun, fingerprints: Mapping[str, str]) -> None:
    """Write world.json into a new folder, or check that the folder was begun with the same world."""
    counts = ("count", "held_out_count", "people", "photos_each", "detector", "seed")
    made_with: dict[str, Any] = {**fingerprints, **{key: getattr(config, key) for key in counts}}
    if not config.styles_said:
        made_with["styles_said"] = False
    record = out / RECORD
    if record.is_file():
        try:
            before = json.loads(record.read_text(encoding="utf-8"))["made_with"]
            other = sorted(key for key in before | made_with if before.get(key) != made_with.get(key))
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise DataError(f"{record} cannot be read ({error}); name a new folder") from error
        if other:
            raise ConfigError(f"{out} holds a world with another {', '.join(other)}; give the same, or another folder")
        return
    facts = {"name": config.name, "data": config.data, "licence": config.licence, "made_with": made_with}
    with atomic_path(record) as temporary:
        temporary.write_text(json.dumps(facts, indent=2) + "\n", encoding="utf-8")
