"""Folders of personalised pictures as the evaluation takes them: faces found, prompts judged, photos of the people."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from facewright.cli.console import note, progress_bar
from facewright.errors import DataError, FaceError

if TYPE_CHECKING:
    from facewright.align import Detector
    from facewright.evaluation.personalised import PersonalisedPicture, PersonPhotos
    from facewright.evaluation.personalised_text import PromptScorer
    from facewright.personalise.picture_folder import PictureFolder


@dataclass(frozen=True, eq=False)
class ReadPictures:
    """What is measured, and where each picture lies."""

    pictures: "list[PersonalisedPicture]"
    files: list[Path]
    found: list[int]  # faces in each picture, those that do not count too
    people: "dict[str, PersonPhotos]"
    made_with: set[str]  # hashes of the encoders whose embeddings the mappers took


def read_pictures(
    folders: Sequence["PictureFolder"],
    *,
    finder: "Detector",
    scorers: Sequence["PromptScorer"] = (),
    others: Mapping[str, Sequence[Path]] | None = None,
) -> ReadPictures:
    """Read every picture of the folders.

    Two people of one name are told apart by their photos.

    Args:
        folders: of `find_picture_folders`.
        finder: finds the faces.
        scorers: judge the pictures by their prompts.
        others: further photos by person; those that the models saw are left out.

    Raises:
        DataError: a photo of a person is gone or another one now, or a picture cannot be read.
    """
    people = _People(finder, others or {})
    read = ReadPictures([], [], [], people.photos, set())
    total = sum(len(folder.rows) for folder in folders)
    with progress_bar("looking at pictures") as progress:
        for folder in folders:
            try:
                _read_folder(folder, read, people, finder, scorers)
            except KeyError as error:
                raise DataError(f"{folder.path}: its record does not say {error}; draw the pictures again") from error
            progress(len(read.pictures), total)
    if people.refused:
        note(f"no face in {len(people.refused)} further photos, the first is {people.refused[0]}")
    return read


def _read_folder(
    folder: "PictureFolder",
    read: ReadPictures,
    people: "_People",
    finder: "Detector",
    scorers: Sequence["PromptScorer"],
) -> None:
    from facewright.align import read_photo
    from facewright.evaluation.personalised import PersonalisedPicture
    from facewright.evaluation.personalised_scores import find_faces_of

    facts = folder.facts
    names = tuple(people.label(name, facts["people"][name]["photos"]) for name in facts["left_to_right"])
    text = str(facts["text"])
    read.made_with.add(str(facts["models"]["encoder"]["sha256"]))
    paths = [folder.path / row["file"] for row in folder.rows]
    images = [read_photo(path) for path in paths]
    judged = {scorer.name: scorer.score(images, [text] * len(images)) for scorer in scorers if images}
    for index, (path, image) in enumerate(zip(paths, images, strict=True)):
        faces = find_faces_of(image, len(names), detector=finder)
        scores = {name: values[index] for name, values in judged.items()}
        read.pictures.append(PersonalisedPicture(names, faces.crops, text, str(facts.get("category", "")), scores))
        read.files.append(path)
        read.found.append(faces.found)


class _People:
    """Reads everybody's photos once."""

    def __init__(self, finder: "Detector", others: Mapping[str, Sequence[Path]]) -> None:
        from facewright.personalise.identities import IdentityReader

        self.reader = IdentityReader(finder)
        self.finder = finder
        self.others = others
        self.photos: dict[str, PersonPhotos] = {}
        self.refused: list[Path] = []
        self._labels: dict[tuple[str, tuple[Any, ...]], str] = {}

    def label(self, name: str, photos: Sequence[Mapping[str, Any]]) -> str:
        """What a person is called; their photos are read when they are new."""
        key = name, tuple((photo["sha256"], photo["face"]) for photo in photos)
        if key not in self._labels:
            same = sum(known == name for known, _ in self._labels)
            label = f"{name} ({same + 1})" if same else name
            self.photos[label] = self._read(name, photos)
            self._labels[key] = label
        return self._labels[key]

    def _read(self, name: str, photos: Sequence[Mapping[str, Any]]) -> "PersonPhotos":
        import numpy as np

        from facewright.cli.evaluate_personalised_drawing import largest_face
        from facewright.evaluation.personalised import PersonPhotos
        from facewright.personalise.identities import PhotoOf

        seen = set[str]()
        for photo in photos:
            path = Path(photo["file"])
            if not path.is_file() or _sha256(path) != photo["sha256"]:
                raise DataError(
                    f"{path}: the photo of {name} that the pictures were made from is gone or another one now; "
                    "put it back there"
                )
            seen.add(photo["sha256"])
        shown = self.reader.crops(name, [PhotoOf(Path(photo["file"]), photo["face"]) for photo in photos]).crops
        crops = []
        for path in self.others.get(name, ()):
            if _sha256(path) in seen:
                continue
            try:
                crops.append(self.reader.crops(name, [largest_face(path, self.finder)]).crops[0])
            except FaceError:
                self.refused.append(path)
        return PersonPhotos(shown, np.stack(crops) if crops else np.empty((0, 112, 112, 3), np.uint8))


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
