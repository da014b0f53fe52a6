"""People in pictures that a prompt describes, as a part of the demo's report."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from facewright.cli.report.gallery import Gallery, Shown
from facewright.cli.report.model import Figure


@dataclass(frozen=True, eq=False)
class PersonalisedPicture:
    """A picture of one person or several; `cosines` of each to the face they come from, None where no face is left."""

    image: np.ndarray  # uint8 (H, W, 3) RGB
    prompt: str
    faces: int  # found in it
    cosines: Mapping[str, float | None]

    @property
    def weakest(self) -> float:
        """The smallest cosine, not below 0; 0 where somebody is missing."""
        return min(max(0.0, cosine or 0.0) for cosine in self.cosines.values())

    @property
    def complete(self) -> bool:
        """Whether there is a face for everybody."""
        return None not in self.cosines.values()


@dataclass(frozen=True, eq=False)
class Personalised:
    """What the personalising step drew, and how."""

    sources: Mapping[str, np.ndarray]  # of each person the picture that they come from, uint8 (H, W, 3) RGB
    pictures: tuple[PersonalisedPicture, ...]  # those of one person, person by person; then those of several
    steps: int
    guidance: float

    @property
    def alone(self) -> tuple[PersonalisedPicture, ...]:
        """Pictures of one person."""
        return tuple(picture for picture in self.pictures if len(picture.cosines) == 1)

    @property
    def together(self) -> tuple[PersonalisedPicture, ...]:
        """Pictures of several."""
        return tuple(picture for picture in self.pictures if len(picture.cosines) > 1)


def personalised_figures(drawn: Personalised) -> dict[str, Any]:
    """For programs; a cosine that is missing counts 0 in the means."""
    return {
        "people": len(drawn.sources),
        "steps": drawn.steps,
        "guidance": drawn.guidance,
        "one_person": _means(drawn.alone),
        "several_people": _means(drawn.together),
        "pictures": [
            {"prompt": picture.prompt, "faces": picture.faces, "cosines": dict(picture.cosines)}
            for picture in drawn.pictures
        ],
    }


def personalised_figure(drawn: Personalised) -> Figure:
    """The headline number."""
    means = _means(drawn.alone)
    return Figure(
        f"{means['identity']:.2f}",
        "Likeness in other pictures",
        f"mean cosine to the face they come from, {len(drawn.alone)} pictures by prompt, bundled encoder",
    )


def personalised_gallery(drawn: Personalised) -> Gallery:
    """Everybody's face, then the pictures of them alone; last the pictures of several people."""
    shown = list[Shown]()
    for name, face in drawn.sources.items():
        shown.append(Shown(face, name, "the one face they come from"))
        shown += [_shown(picture) for picture in drawn.alone if name in picture.cosines]
    shown += [_shown(picture) for picture in drawn.together]
    note = (
        "Each person goes into a prompt as two words made from a single face; nothing is trained for it. Under a "
        "picture stands the cosine to that face by the bundled encoder, whose embeddings the words are made from."
    )
    return Gallery("The same people, as a prompt says", tuple(shown), note)


def _shown(picture: PersonalisedPicture) -> Shown:
    if len(picture.cosines) == 1:
        return Shown(picture.image, picture.prompt, _said(*picture.cosines.values()))
    return Shown(
        picture.image, picture.prompt, ", ".join(f"{name}: {_said(own)}" for name, own in picture.cosines.items())
    )


def _said(cosine: float | None) -> str:
    return "no face found" if cosine is None else f"cosine {cosine:.2f}"


def _means(pictures: tuple[PersonalisedPicture, ...]) -> dict[str, float]:
    if not pictures:
        return {"pictures": 0}
    return {
        "pictures": len(pictures),
        "share_complete": float(np.mean([picture.complete for picture in pictures])),
        "identity": float(np.mean([picture.weakest for picture in pictures])),
    }
