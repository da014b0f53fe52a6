"""Folders of captioned photos with a mask of each person: the form of FastComposer's FFHQ set (Xiao et al. 2023).

`image_ids.txt`, `image_ids_train.txt` and `image_ids_test.txt` list the photos. That of a photo lies in a folder named
after the first five characters of its id: `ID.jpg`; `ID.npy`, an integer for each pixel; and `ID.json` with the caption
and the segments, each with the integer that marks its pixels (`id`), its `bbox`, the character of the caption after the
words that name it (`end`) and what it is (`coco_label`).

facewright writes, and reads where they are there, further fields of a segment: `start` of these words, the five
`points` of the face, the `person`, whose photos then count as those of one, and `expression` coefficients.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from facewright.align import read_photo
from facewright.errors import DataError, InputError
from facewright.training.atomic import atomic_path
from facewright.training.seeds import seed_of

ALL, TRAINED, HELD_OUT = "image_ids.txt", "image_ids_train.txt", "image_ids_test.txt"
PERSON = "person"
"""The `coco_label` of people; other segments are left alone."""
QUALITY = 95  # of the JPEGs that are written


@dataclass(frozen=True)
class Segment:
    """One person of a photo."""

    number: int  # that marks their pixels
    end: int  # of the words that name them in the caption, one past the last character
    start: int | None = None  # of these words; None: not said
    points: np.ndarray | None = None  # of the face, (5, 2) x, y in pixels of the photo; None: not said
    person: str | None = None  # who it is; None: nobody else
    expression: np.ndarray | None = None  # (E,)


@dataclass(frozen=True)
class SubjectRecord:
    """What the JSON file of a photo says of its people."""

    caption: str
    segments: tuple[Segment, ...]


class SubjectFolder:
    """A folder of captioned photos with masks; nothing of it is read but the lists until it is asked for.

    Raises:
        InputError: no such folder, or it has no list of photos.
        DataError: a list is empty, or names a photo twice or by a path.
    """

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)
        lists = {name: _ids(self.path / name) for name in (ALL, TRAINED, HELD_OUT) if (self.path / name).is_file()}
        if not lists.keys() & {ALL, TRAINED}:
            raise InputError(
                f"{self.path} is no folder of subjects: it has neither {ALL} nor {TRAINED}; make one with "
                "facewright subjects"
            )
        self.held_out_ids: tuple[str, ...] | None = lists.get(HELD_OUT)
        """Where the folder says who is held out."""
        self.ids: tuple[str, ...] = lists.get(TRAINED) or lists[ALL]
        if self.held_out_ids is not None:
            self.ids = (*(name for name in self.ids if name not in set(self.held_out_ids)), *self.held_out_ids)

    def file(self, name: str, suffix: str) -> Path:
        """Where a file of a photo lies."""
        return self.path / name[:5] / f"{name}{suffix}"

    def record(self, name: str) -> SubjectRecord:
        """What is said of a photo's people.

        Raises:
            DataError: the file is missing, no JSON, or lacks something; or `end` lies outside the caption.
        """
        file = self.file(name, ".json")
        try:
            read = json.loads(file.read_text(encoding="utf-8"))
            segments = [_segment(entry) for entry in read["segments"] if entry.get("coco_label") == PERSON]
            record = SubjectRecord(str(read["caption"]), tuple(segments))
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            reason = f"the key {error} is missing" if isinstance(error, KeyError) else str(error)
            raise DataError(f"{file} does not describe a photo ({reason}); make it anew or take it off the list") from (
                error
            )
        for segment in record.segments:
            if not (segment.start or 0) < segment.end <= len(record.caption):
                raise DataError(
                    f"{file}: segment {segment.number} is named by characters {segment.start or 0} to {segment.end} of "
                    f"a caption of {len(record.caption)}; mend start and end"
                )
        return record

    def picture(self, name: str) -> np.ndarray:
        """The photo, uint8 (H, W, 3) RGB; raises as `align.read_photo`."""
        return read_photo(self.file(name, ".jpg"))

    def labels(self, name: str, shape: Sequence[int]) -> np.ndarray:
        """The number of whom each pixel belongs to, int32 (H, W).

        Args:
            name: the photo's id.
            shape: of the photo, (H, W, ...).

        Raises:
            DataError: the file is missing or damaged, holds no integers, or has another size than the photo.
        """
        file = self.file(name, ".npy")
        try:
            labels = np.load(file, allow_pickle=False)
        except (OSError, ValueError, EOFError) as error:
            raise DataError(f"{file} cannot be read ({error}); make it anew or take {name} off the list") from error
        if labels.shape != tuple(shape[:2]) or labels.dtype.kind not in "iub":
            raise DataError(
                f"{file} holds {labels.dtype} {labels.shape}, expected integers of the photo's size "
                f"{tuple(shape[:2])}; make it anew or take {name} off the list"
            )
        return labels.astype(np.int32)


def write_subject(
    folder: Path, name: str, *, picture: np.ndarray, labels: np.ndarray, record: SubjectRecord, more: Mapping[str, Any]
) -> None:
    """Write the three files of a photo; the JSON file, which is the last, says that the others are whole.

    Args:
        folder: the set's.
        name: the photo's id, of at least five characters.
        picture: uint8 (H, W, 3) RGB.
        labels: integers (H, W), 0 where nobody is.
        record: caption and people.
        more: further JSON values, such as where the photo came from.
    """
    place = folder / name[:5]
    with atomic_path(place / f"{name}.jpg") as temporary:
        Image.fromarray(picture).save(temporary, format="JPEG", quality=QUALITY, subsampling=0)
    with atomic_path(place / f"{name}.npy") as temporary, temporary.open("wb") as stream:
        np.save(stream, labels.astype(np.uint8 if labels.max(initial=0) < 256 else np.int32))
    segments = [_entry(segment, labels) for segment in record.segments]
    with atomic_path(place / f"{name}.json") as temporary:
        temporary.write_text(
            json.dumps({"caption": record.caption, "segments": segments, **more}, ensure_ascii=False) + "\n",
            encoding="utf-8",
        )


def write_lists(folder: Path, trained: Sequence[str], held_out: Sequence[str]) -> None:
    """Write the lists of a set's photos; without held-out ones there is no list of them."""
    lists = {ALL: sorted((*trained, *held_out)), TRAINED: trained, **({HELD_OUT: held_out} if held_out else {})}
    for name, ids in lists.items():
        with atomic_path(folder / name) as temporary:
            temporary.write_text("".join(f"{one}\n" for one in ids), encoding="utf-8")


def held_out_people(names: Iterable[str], share: float, *, seed: int) -> set[str]:
    """A share of the people by chance, to test on; at least one where the share is not 0, and never all.

    Args:
        names: of the people, in any order.
        share: in [0, 1].
        seed: another one chooses others.
    """
    ordered = sorted(set(names), key=lambda name: seed_of("subject", seed, name))
    count = max(1, round(share * len(ordered))) if share else 0
    return set(ordered[: min(count, len(ordered) - 1)])


def _ids(path: Path) -> tuple[str, ...]:
    ids = tuple(path.read_text(encoding="utf-8").split())
    if not ids:
        raise DataError(f"{path} is empty; it lists a photo's id on each line")
    if len(set(ids)) < len(ids):
        twice = next(name for name in ids if ids.count(name) > 1)
        raise DataError(f"{path} lists {twice} twice; keep one of the lines")
    if odd := [name for name in ids if "/" in name or "\\" in name or name.startswith(".")]:
        raise DataError(f"{path}: {odd[0]!r} is no id of a photo; an id is a file's name without its folder and suffix")
    return ids


def _segment(entry: Mapping[str, Any]) -> Segment:
    points, expression = entry.get("points"), entry.get("expression")
    return Segment(
        number=int(entry["id"]),
        end=int(entry["end"]),
        start=None if entry.get("start") is None else int(entry["start"]),
        points=None if points is None else np.asarray(points, np.float64).reshape(5, 2),
        person=None if entry.get("person") is None else str(entry["person"]),
        expression=None if expression is None else np.asarray(expression, np.float32).reshape(-1),
    )


def _entry(segment: Segment, labels: np.ndarray) -> dict[str, Any]:
    rows, columns = np.nonzero(labels == segment.number)
    box = [int(v) for v in (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)] if len(rows) else [0] * 4
    entry: dict[str, Any] = {"id": segment.number, "bbox": box, "end": segment.end, "coco_label": PERSON}
    for key, value in (("start", segment.start), ("person", segment.person)):
        if value is not None:
            entry[key] = value
    if segment.points is not None:
        entry["points"] = np.round(segment.points, 2).tolist()
    if segment.expression is not None:
        entry["expression"] = segment.expression.tolist()
    return entry
