"""The people of a folder of subjects as a personaliser's training knows them: faces found and embedded once."""

import hashlib
import json
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from facewright.align import Detector, warp_face
from facewright.errors import ConfigError, DataError, InputError
from facewright.personalise.identities import IdentityEncoder
from facewright.personalise.subject_captions import phrase_start
from facewright.personalise.subject_folder import Segment, SubjectFolder, held_out_people
from facewright.training.atomic import atomic_path

PART = 256  # photos of a file of the cache
ARRAYS = ("photo", "number", "phrase", "points", "embedding", "expression", "person")


@dataclass(frozen=True)
class People:
    """Everybody with a face on the photos of a folder, by photo and in the order of its caption.

    A row for each: P rows.
    """

    folder: SubjectFolder
    ids: tuple[str, ...]
    """Photos, in the folder's order; one without a usable person has no row."""
    photo: np.ndarray
    """(P,), which of `ids`."""
    number: np.ndarray
    """(P,), that marks their pixels."""
    phrase: np.ndarray
    """(P, 2), first character of the words that name them and one past the last."""
    points: np.ndarray
    """(P, 5, 2) x, y in pixels of the photo."""
    embedding: np.ndarray
    """float32 (P, 2, D): of the face and of its mirror image."""
    expression: np.ndarray
    """float32 (P, E), NaN where none is known."""
    person: np.ndarray
    """(P,) str; rows of one person have the same."""
    held_out: np.ndarray
    """bool (P,)."""

    def rows_of(self, photo: int) -> np.ndarray:
        """The rows of a photo."""
        return np.arange(*np.searchsorted(self.photo, [photo, photo + 1]))

    def photos(self, *, held_out: bool) -> np.ndarray:
        """The photos with a person that are, or are not, held out."""
        return np.unique(self.photo[self.held_out == held_out])

    def others(self) -> list[np.ndarray]:
        """For each row the rows of the same person on other photos."""
        by_person: dict[str, list[int]] = {}
        for row, name in enumerate(self.person.tolist()):
            by_person.setdefault(name, []).append(row)
        return [
            np.array([other for other in by_person[name] if self.photo[other] != self.photo[row]], np.int64)
            for row, name in enumerate(self.person.tolist())
        ]


def read_people(
    folder: SubjectFolder,
    encoder: IdentityEncoder,
    detector: Callable[[], Detector],
    *,
    cache: Path,
    expression_width: int = 64,
    held_out: float = 0.05,
    progress: Callable[[int, int], None] | None = None,
) -> People:
    """Find and embed the faces of everybody on the photos of a folder.

    Where a segment has no points its face is found: the largest one whose nose lies in it. A segment without a face,
    and one whose words another segment of the photo has too, are left out.

    Args:
        folder: photos.
        encoder: the mapper's.
        detector: makes the detector, when it is needed.
        cache: folder for what is found, so that an interrupted call goes on and the next one is quick.
        expression_width: of the expressions.
        held_out: share of the people who are not trained on, where the folder has no list of them.
        progress: called with (photos done, photos).

    Raises:
        ConfigError: the cache was made with another encoder or of other photos, or expressions are of another width.
        DataError: a photo, its mask or its description is damaged.
        InputError: nobody has a face, or nobody is left to train on.
    """
    made_with = {
        "encoder": encoder.sha256 or encoder.name,
        "photos": hashlib.sha256("\n".join(folder.ids).encode()).hexdigest(),
        "expression_width": str(expression_width),
    }
    finder = _Finder(folder, encoder, detector, expression_width)
    parts = []
    for start in range(0, len(folder.ids), PART):
        file = cache / f"{start // PART:05d}.npz"
        if not file.is_file():
            found = finder.part(range(start, min(start + PART, len(folder.ids))))
            with atomic_path(file) as temporary, temporary.open("wb") as stream:
                np.savez(stream, allow_pickle=False, made_with=np.array(json.dumps(made_with)), **found)
        parts.append(_read(file, made_with))
        if progress is not None:
            progress(min(start + PART, len(folder.ids)), len(folder.ids))
    arrays = {name: np.concatenate([part[name] for part in parts]) for name in ARRAYS}
    if not len(arrays["photo"]):
        raise InputError(
            f"no face was found for any person of {folder.path}; give photos whose people show their faces"
        )
    apart = _held_out(folder, arrays["photo"], arrays["person"], held_out)
    if apart.all():
        raise InputError(f"everybody of {folder.path} is held out; give more people or a smaller held_out")
    return People(folder, folder.ids, held_out=apart, **arrays)


class _Finder:
    """Finds the people of photos; the detector is made when the first photo needs it."""

    def __init__(
        self,
        folder: SubjectFolder,
        encoder: IdentityEncoder,
        detector: Callable[[], Detector],
        expression_width: int,
    ) -> None:
        self._folder, self._encoder, self._width = folder, encoder, expression_width
        self._make = detector
        self._detector: Detector | None = None

    def part(self, photos: range) -> dict[str, np.ndarray]:
        """The arrays of some photos."""
        rows, crops = list[tuple[int, Segment, tuple[int, int]]](), list[np.ndarray]()
        for photo in photos:
            name = self._folder.ids[photo]
            record = self._folder.record(name)
            if not record.segments:
                continue
            picture = self._folder.picture(name)
            segments = self._with_faces(name, picture, record.segments)
            for segment, phrase in _phrases(record.caption, segments, self._folder.file(name, ".json")):
                assert segment.points is not None
                crop = warp_face(picture, segment.points)
                rows.append((photo, segment, phrase))
                crops += [crop, crop[:, ::-1]]
        embedded = self._encoder.embed(np.stack(crops)) if crops else np.empty((0, self._encoder.width), np.float32)
        return {
            "photo": np.array([photo for photo, _, _ in rows], np.int64),
            "number": np.array([segment.number for _, segment, _ in rows], np.int64),
            "phrase": np.array([phrase for _, _, phrase in rows], np.int64).reshape(-1, 2),
            "points": np.array([segment.points for _, segment, _ in rows], np.float64).reshape(-1, 5, 2),
            "embedding": embedded.reshape(-1, 2, self._encoder.width).astype(np.float32),
            "expression": np.array([self._expression(p, s) for p, s, _ in rows], np.float32).reshape(-1, self._width),
            "person": np.array([s.person or f"{self._folder.ids[p]}#{s.number}" for p, s, _ in rows], np.str_),
        }

    def _with_faces(self, name: str, picture: np.ndarray, segments: Sequence[Segment]) -> list[Segment]:
        """The segments that have a face, the one with the largest first."""
        placed = [segment for segment in segments if segment.points is not None]
        if len(placed) < len(segments):
            labels = self._folder.labels(name, picture.shape)
            self._detector = self._detector or self._make()
            wanted = {segment.number: segment for segment in segments if segment.points is None}
            for face in sorted(self._detector.detect(picture), key=lambda face: -face.area):
                x, y = np.clip(np.rint(face.points[2]), 0, (labels.shape[1] - 1, labels.shape[0] - 1)).astype(int)
                if (segment := wanted.pop(int(labels[y, x]), None)) is not None:
                    placed.append(_with_points(segment, face.points))
        return sorted(placed, key=lambda segment: -_height(segment))

    def _expression(self, photo: int, segment: Segment) -> np.ndarray:
        if segment.expression is None:
            return np.full(self._width, np.nan, np.float32)
        if len(segment.expression) != self._width:
            raise ConfigError(
                f"{self._folder.file(self._folder.ids[photo], '.json')} has an expression of {len(segment.expression)} "
                f"numbers, the mapping takes {self._width}; set recipe.expression_width"
            )
        return segment.expression


def _phrases(caption: str, segments: Sequence[Segment], file: Path) -> list[tuple[Segment, tuple[int, int]]]:
    """The words of each segment, in the order of the caption; of two with the same end the first segment counts."""
    by_end: dict[int, Segment] = {}
    for segment in segments:
        by_end.setdefault(segment.end, segment)
    placed, done = list[tuple[Segment, tuple[int, int]]](), 0
    for end in sorted(by_end):
        segment = by_end[end]
        try:
            start = phrase_start(caption, end) if segment.start is None else segment.start
        except InputError as error:
            raise DataError(f"{file}, segment {segment.number}: {error}; mend its end") from error
        start = max(start, done)
        if caption[start:end].strip():
            placed.append((segment, (start, end)))
            done = end
    return placed


def _with_points(segment: Segment, points: np.ndarray) -> Segment:
    return Segment(segment.number, segment.end, segment.start, points, segment.person, segment.expression)


def _height(segment: Segment) -> float:
    """Of the face from eyes to mouth, in pixels."""
    assert segment.points is not None
    return float(np.linalg.norm(segment.points[3:].mean(0) - segment.points[:2].mean(0)))


def _held_out(folder: SubjectFolder, photo: np.ndarray, person: np.ndarray, share: float) -> np.ndarray:
    """bool (P,): the rows of photos on the folder's list, or of photos with a person from the chosen share."""
    if folder.held_out_ids is not None:
        listed = set(folder.held_out_ids)
        return np.array([folder.ids[index] in listed for index in photo.tolist()], np.bool_)
    apart = held_out_people(person.tolist(), share, seed=0)
    return np.isin(photo, photo[np.isin(person, list(apart))])


def _read(file: Path, made_with: dict[str, str]) -> dict[str, np.ndarray]:
    try:
        with file.open("rb") as stream, np.load(stream, allow_pickle=False) as kept:
            before = json.loads(str(kept["made_with"]))
            arrays = {name: kept[name] for name in ARRAYS}
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise DataError(f"{file}: cannot be read ({error}); delete it to find its faces anew") from error
    if other := sorted(key for key in made_with if before.get(key) != made_with[key]):
        raise ConfigError(f"{file} was made with another {', '.join(other)}; give the same, or another --out")
    return arrays
