"""The demo's personalised pictures: a few of its new people as prompts describe them, by the bundled base model."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from facewright.cli.console import Progress, note
from facewright.cli.personalise_drawing import CheckedModels, DrawingCall, Studio, check_models, described_people

if TYPE_CHECKING:
    import numpy as np

    from facewright.align import Detector
    from facewright.cli.report import Personalised
    from facewright.data.sets import FaceSet
    from facewright.personalise.picture_folder import PictureFolder
    from facewright.synthesis import CropEncoder

PEOPLE = 3
STYLES = ("photo", "pencil", "sepia", "blue background")  # of the pictures of one person
TOGETHER = ("photo", "blue background")  # of those of the first two people
NOUN = "a person"


@dataclass(frozen=True, eq=False)
class Source:
    """A new person, and the picture that their words are made from."""

    name: str
    file: Path
    image: "np.ndarray"  # uint8 (H, W, 3) RGB
    crop: "np.ndarray"  # uint8 (112, 112, 3) RGB


Personalise = Callable[[Sequence[Source], Path, int, Progress], "Personalised"]  # people, folder, seed, progress


def first_faces(faces: "FaceSet", count: int = PEOPLE) -> list[Source]:
    """The first picture of each of the first people of a set."""
    import numpy as np

    labels, rows = np.unique(faces.identities, return_index=True)
    crops = faces.crops(rows[:count].tolist())
    return [
        Source(f"Person {label + 1}", faces.path / faces.rows[row].file, faces.image(int(row)), crop)
        for label, row, crop in zip(labels[:count].tolist(), rows[:count].tolist(), crops, strict=True)
    ]


def bundled_personalise(encoder: "CropEncoder", detector: "Detector", *, device: str) -> Personalise | None:
    """What draws with the bundled base model and mapper; None where this install has not got both.

    Args:
        encoder: measures how alike people come out.
        detector: finds them.
        device: where the models go.
    """
    from facewright.personalise.base import bundled_base
    from facewright.weights import bundled_cards

    if not bundled_base().is_dir() or "mapper" not in bundled_cards():
        return None
    if find_spec("diffusers") is None or find_spec("transformers") is None:
        note("without personalised pictures, which need the packages of facewright[personalise]")
        return None

    def personalise(sources: Sequence[Source], out: Path, seed: int, progress: Progress) -> "Personalised":
        return draw_personalised(
            sources, out, encoder=encoder, detector=detector, seed=seed, device=device, progress=progress
        )

    return personalise


def draw_personalised(
    sources: Sequence[Source],
    out: Path,
    *,
    encoder: "CropEncoder",
    detector: "Detector",
    seed: int,
    device: str,
    progress: Progress,
) -> "Personalised":
    """Draw what is missing in `out`: everybody in each of `STYLES`, and the first two people together.

    Each picture is a folder that `facewright evaluate personalised` reads.

    Raises:
        InputError: the folder holds pictures of other people, models or settings.
    """
    import numpy as np

    from facewright.align import read_photo
    from facewright.cli.report import Personalised, PersonalisedPicture
    from facewright.personalise.identities import PersonCrops
    from facewright.personalise.pictures import PictureConfig
    from facewright.personalise.scoring import score_picture

    call = DrawingCall(
        base="bundled",
        mapper="bundled",
        encoder="bundled",
        config=PictureConfig(batch=1),
        seed=seed,
        scheduler=None,
        safety_checker=False,
        detector=detector.name,
        precision="float32",
        device=device,
        layout="columns",
    )
    checked = check_models(call)
    call = call.suited(checked.facts.drawing, {})
    studio = Studio(call, checked, detector)
    models = {**studio.models(), "scorer": {"name": encoder.name, "sha256": encoder.sha256}}
    subjects = {source.name: studio.subject(PersonCrops(source.name, source.crop[None]), NOUN) for source in sources}
    references = {
        source.name: embedding
        for source, embedding in zip(sources, encoder.embed(np.stack([each.crop for each in sources])), strict=True)
    }
    cases = list(_cases(sources, out, call, checked, models))
    pictures = list[PersonalisedPicture]()
    for case in cases:
        if case.folder.missing(1):
            case.folder.begin({**case.facts, "scheduler": type(studio.pipe.scheduler).__name__})
            kept = f"{len(pictures):,} pictures in {out} are"
            [image] = studio.draw(case.prompt, [subjects[name] for name in case.names], range(1), kept=kept).images
            own = {name: references[name] for name in case.names}
            score = score_picture(image, own, detector=detector, encoder=encoder)
            case.folder.add(0, image, {"candidate": 0, "faces": score.faces, "cosines": dict(score.cosines)})
        row = case.folder.rows[0]
        image = read_photo(case.folder.path / row["file"])
        pictures.append(PersonalisedPicture(image, case.prompt, row["faces"], row["cosines"]))
        progress(len(pictures), len(cases))
    config = call.config
    return Personalised(
        {source.name: source.image for source in sources}, tuple(pictures), config.steps, config.guidance
    )


@dataclass(frozen=True, eq=False)
class _Case:
    """One prompt of one person or two."""

    names: tuple[str, ...]
    prompt: str
    facts: dict[str, Any]
    folder: "PictureFolder"


def _cases(
    sources: Sequence[Source], out: Path, call: DrawingCall, checked: CheckedModels, models: Mapping[str, Any]
) -> Iterator[_Case]:
    """Every picture; its folder agrees with what is to be drawn."""
    from facewright.personalise.identities import PhotoOf
    from facewright.personalise.picture_folder import PictureFolder, prompt_text
    from facewright.personalise.world_captions import caption_of

    groups: list[tuple[tuple[Source, ...], tuple[str, ...]]] = [((source,), STYLES) for source in sources]
    if len(sources) > 1:
        groups.append((tuple(sources[:2]), TOGETHER))
    for people, styles in groups:
        names = tuple(source.name for source in people)
        nouns = dict.fromkeys(names, NOUN)
        described = described_people({source.name: [PhotoOf(source.file)] for source in people}, nouns)
        for number, style in enumerate(styles):
            prompt = caption_of(names, style)
            facts = {
                "prompt": prompt,
                "text": prompt_text(prompt, nouns),
                "category": style,
                "left_out": list(checked.place(prompt, nouns).cut),
                "people": described,
                "left_to_right": list(names),
                "settings": {**call.settings(), "best_of": 1},
                "models": models,
            }
            folder = PictureFolder(out / "+".join(names) / f"{number:02d}")
            folder.check(facts)
            yield _Case(names, prompt, facts, folder)
