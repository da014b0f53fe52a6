"""A folder of subjects from any photos: faces found, masks made, captions taken from a template or a file."""

import csv
import json
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path, PurePosixPath

import cv2
import numpy as np

from facewright.align import Detector, Face, open_photos
from facewright.align.sources import Photo
from facewright.errors import ConfigError, DataError, InputError, WorkError
from facewright.personalise.subject_captions import filled_template, marked_phrases
from facewright.personalise.subject_folder import Segment, SubjectRecord, held_out_people, write_lists, write_subject
from facewright.personalise.subject_segment import Segmenter
from facewright.training.atomic import atomic_path
from facewright.training.seeds import seed_of

SETTINGS = "subjects.json"
LEFT_OUT = "left_out.csv"
PEOPLE = ("photo", "folder")

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class SubjectConfig:
    """How a folder of subjects is made."""

    template: str = "a photo of {people}"  # caption of photos that the captions file does not name
    noun: str = "person"  # what a template calls each of the people
    people: str = "photo"  # photo: everybody on it is somebody else; folder: photos of a folder show one person
    most: int = 4  # faces of a photo, the largest
    longest: int | None = 2048  # pixels; photos are made smaller to this side; None: they are not
    smallest_face: int = 24  # pixels between its eyes and its mouth; smaller faces are background
    held_out: float = 0.05  # share of the people who are not trained on
    seed: int = 0  # another one holds out others

    def __post_init__(self) -> None:
        filled_template(self.template, [self.noun or "person"])
        if not self.noun.strip() or self.most < 1 or self.smallest_face < 0:
            raise ConfigError(
                "a noun, and at least 1 face a photo are needed, and smallest_face of at least 0; got "
                f"{self.noun!r}, {self.most} and {self.smallest_face}"
            )
        if self.people not in PEOPLE:
            raise ConfigError(f"people must be {' or '.join(PEOPLE)}, got {self.people!r}")
        if self.longest is not None and self.longest < 64:
            raise ConfigError(f"longest must be at least 64 pixels, got {self.longest}")
        if not 0 <= self.held_out < 1:
            raise ConfigError(f"held_out must be in [0, 1), got {self.held_out}")


@dataclass(frozen=True)
class SubjectReport:
    """What a run made, earlier parts of it included."""

    photos: int
    kept: int
    people: int  # faces with a mask and words
    held_out: int  # photos
    left_out: Mapping[str, str]  # the reason by photo


def read_captions(path: Path) -> dict[str, str]:
    """Captions by photo, from a CSV file with the columns `photo` (its path in the folder) and `caption`.

    Raises:
        InputError: no such file.
        DataError: a column is missing, a photo is named twice, or braces do not close.
    """
    if not path.is_file():
        raise InputError(f"{path}: no such file of captions")
    captions: dict[str, str] = {}
    with path.open(encoding="utf-8-sig", newline="") as stream:
        rows = csv.DictReader(stream)
        if not {"photo", "caption"} <= set(rows.fieldnames or ()):
            raise DataError(f"{path} has the columns {rows.fieldnames}, expected photo and caption")
        for row in rows:
            name, caption = str(row["photo"]), str(row["caption"] or "").strip()
            if name in captions or not caption:
                raise DataError(
                    f"{path}, line {rows.line_num}: {name!r} {'twice' if name in captions else 'without a caption'}; "
                    "give each photo one caption"
                )
            try:
                marked_phrases(caption)
            except InputError as error:
                raise DataError(f"{path}, line {rows.line_num}: {error}") from error
            captions[name] = caption
    return captions


def make_subjects(
    source: Path | str,
    out: Path,
    config: SubjectConfig,
    *,
    detector: Detector,
    segmenter: Segmenter,
    captions: Mapping[str, str] | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> SubjectReport:
    """Make a folder of subjects (`SubjectFolder`) of photos; after an interruption the same call goes on.

    In a caption people are in braces, "{a young woman} and {an old man}", or else the words for people that are known
    (`subject_captions.NOUNS`) are taken. The k-th is the k-th face from the left; where there are more faces than
    words, the largest faces count, and where there are more words, the first words.

    Args:
        source: folder of photos, tar or photo.
        out: folder of the set.
        config: what is made.
        detector: finds faces.
        segmenter: gives each person's mask.
        captions: by photo, as `read_captions` gives them.
        progress: called with (photos done, photos).

    Raises:
        InputError: `source` holds no photo, or captions name photos that are not there.
        ConfigError: `out` holds a set that was made otherwise.
        WorkError: no photo could be used; the reasons are kept in left_out.csv.
    """
    with open_photos(source, skip=out) as photos:
        named = dict(captions or {})
        if strangers := sorted(named.keys() - {photo.name for photo in photos}):
            raise InputError(
                f"the captions name {strangers[0]!r}, which is no photo of {source}; mend or drop the line"
            )
        _claim(out, source, config, detector=detector, segmenter=segmenter, photos=photos, captions=named)
        maker = _Maker(out, config, detector, segmenter, named)
        left_out: dict[str, str] = {}
        made: dict[str, tuple[str, int]] = {}
        for number, photo in enumerate(photos):
            name = f"{number:08d}"
            try:
                made[name] = maker.make(name, photo)
            except DataError as error:
                log.warning("left out: %s", error)
                left_out[photo.name] = str(error)
            if progress is not None:
                progress(number + 1, len(photos))
    with atomic_path(out / LEFT_OUT) as temporary, temporary.open("w", encoding="utf-8", newline="") as stream:
        csv.writer(stream).writerows([("photo", "reason"), *left_out.items()])
    if not made:
        raise WorkError(f"none of the {len(photos)} photos of {source} could be used; {out / LEFT_OUT} says why")
    apart = held_out_people((who for who, _ in made.values()), config.held_out, seed=config.seed)
    held_out = {name for name, (who, _) in made.items() if who in apart}
    write_lists(out, [name for name in made if name not in held_out], [name for name in made if name in held_out])
    return SubjectReport(len(photos), len(made), sum(count for _, count in made.values()), len(held_out), left_out)


@dataclass(frozen=True)
class _Maker:
    out: Path
    config: SubjectConfig
    detector: Detector
    segmenter: Segmenter
    captions: Mapping[str, str]

    def make(self, name: str, photo: Photo) -> tuple[str, int]:
        """Make a photo's files where they are not there yet: who is on it, and how many."""
        file = self.out / name[:5] / f"{name}.json"
        if file.is_file():
            done = json.loads(file.read_text(encoding="utf-8"))
            return str(done["group"]), len(done["segments"])
        image = _smaller(photo.read(), self.config.longest)
        faces = self._faces(image)
        if not faces:
            raise DataError(f"{photo.name}: no face found that is large enough")
        caption, phrases = marked_phrases(self._caption(photo.name, len(faces)))
        if not phrases:
            raise DataError(f"{photo.name}: its caption {caption!r} names nobody; put the words for a person in braces")
        largest = sorted(faces, key=lambda face: -face.area)[: len(phrases)]
        faces = sorted(largest, key=lambda face: float(face.points[:, 0].mean()))
        group = str(PurePosixPath(photo.name).parent) if self.config.people == "folder" else photo.name
        masks = self.segmenter.segment(image, faces)
        segments, labels = list[Segment](), np.zeros(image.shape[:2], np.int32)
        for number, (face, mask, (start, end)) in enumerate(zip(faces, masks, phrases, strict=False), start=1):
            if not mask.any():
                raise DataError(f"{photo.name}: {self.segmenter.name} finds nobody around face {number}")
            labels[mask] = number
            who = group if self.config.people == "folder" else f"{photo.name}#{number}"
            segments.append(Segment(number, end, start, face.points, who))
        record = SubjectRecord(caption, tuple(segments))
        more = {"photo": photo.name, "group": group}
        write_subject(self.out, name, picture=image, labels=labels, record=record, more=more)
        return group, len(segments)

    def _faces(self, image: np.ndarray) -> list[Face]:
        least = self.config.smallest_face
        found = [
            face
            for face in self.detector.detect(image)
            if np.linalg.norm(face.points[3:].mean(0) - face.points[:2].mean(0)) >= least
        ]
        most = 1 if self.config.people == "folder" else self.config.most
        found = sorted(found, key=lambda face: -face.area)[:most]
        return sorted(found, key=lambda face: float(face.points[:, 0].mean()))

    def _caption(self, photo: str, faces: int) -> str:
        own = self.captions.get(photo)
        return filled_template(self.config.template, [self.config.noun] * faces) if own is None else own


def _smaller(image: np.ndarray, longest: int | None) -> np.ndarray:
    height, width = image.shape[:2]
    if longest is None or max(height, width) <= longest:
        return image
    factor = longest / max(height, width)
    size = (max(1, round(width * factor)), max(1, round(height * factor)))
    return np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA))


def _claim(
    out: Path,
    source: Path | str,
    config: SubjectConfig,
    *,
    detector: Detector,
    segmenter: Segmenter,
    photos: Sequence[Photo],
    captions: Mapping[str, str],
) -> None:
    """Write what the set is made of, or check that an earlier call made it of the same."""
    wanted = {
        "source": str(Path(source).resolve()),
        "detector": detector.name,
        "segmenter": segmenter.name,
        **asdict(config),
        "photos": seed_of(*(f"{photo.name} {photo.size}" for photo in photos)),
        "captions": seed_of(*(f"{name} {text}" for name, text in sorted(captions.items()))),
    }
    file = out / SETTINGS
    if file.exists():
        try:
            found = json.loads(file.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise DataError(f"{file} cannot be read ({error}); choose another folder") from error
        differing = [key for key in wanted if not isinstance(found, dict) or found.get(key) != wanted[key]]
        if differing:
            raise ConfigError(
                f"{out} holds a set with another {', '.join(differing)}; give the same to go on, or another folder"
            )
        return
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise ConfigError(f"{out} holds something else than a set of subjects; name a new folder")
    with atomic_path(file) as temporary:
        temporary.write_text(json.dumps(wanted, indent=2) + "\n", encoding="utf-8")
