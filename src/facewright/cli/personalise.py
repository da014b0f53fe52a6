"""`facewright personalise`: one person or several in pictures that a prompt describes."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from facewright.cli.console import note, progress_bar, summary, write_json
from facewright.errors import ConfigError, InputError

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

    from facewright.personalise.base import BaseFacts
    from facewright.personalise.identities import IdentityEncoder, PersonCrops, PhotoOf
    from facewright.personalise.mapper import MapperCard
    from facewright.personalise.pictures import Drawn, Subject
    from facewright.personalise.prompts import Placed
    from facewright.personalise.scoring import Kept, PictureScore

LAYOUTS = ("columns", "none")


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("personalise")(personalise)


def personalise(
    prompt: Annotated[str, typer.Argument(metavar="PROMPT", help="What to draw; it names each person once.")],
    face: Annotated[
        list[str],
        typer.Option("--face", metavar="NAME=PHOTO", help="A photo of a person, PHOTO#2 for its second face."),
    ],
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="New folder for the pictures.")],
    base: Annotated[
        str, typer.Option("--base", help="Stable Diffusion 1.x, 2.x or XL: a directory, or owner/name.")
    ] = "bundled",
    mapper: Annotated[str, typer.Option("--mapper", help="bundled, or a .safetensors file.")] = "bundled",
    encoder: Annotated[
        str, typer.Option("--encoder", help="The mapper's: bundled, or a .safetensors file.")
    ] = "bundled",
    noun: Annotated[
        list[str] | None, typer.Option("--noun", metavar="NAME=NOUN", help="What a person is; person unless said.")
    ] = None,
    count: Annotated[int, typer.Option("--count", help="Pictures to keep.")] = 1,
    best_of: Annotated[int, typer.Option("--best-of", metavar="N", help="Draw N for each picture, keep the best.")] = 1,
    layout: Annotated[
        str, typer.Option("--layout", help="columns: each person in a column of their own; or none.")
    ] = "none",
    box: Annotated[
        list[str] | None,
        typer.Option("--box", metavar="NAME=L,T,R,B", help="Where a person is, as shares of width and height."),
    ] = None,
    steps: Annotated[int, typer.Option("--steps", help="Denoising steps.")] = 30,
    guidance: Annotated[float, typer.Option("--guidance", help="1 is none; more holds closer to the prompt.")] = 7.0,
    alpha: Annotated[float, typer.Option("--alpha", help="Share of the steps that see the people.")] = 1.0,
    negative: Annotated[str, typer.Option("--negative", help="What the pictures shall not show.")] = "",
    scheduler: Annotated[
        str | None, typer.Option("--scheduler", help="A class of diffusers; the base model's own unless said.")
    ] = None,
    width: Annotated[int | None, typer.Option("--width", help="Pixels.")] = None,
    height: Annotated[int | None, typer.Option("--height", help="Pixels.")] = None,
    batch: Annotated[int, typer.Option("--batch", help="Pictures drawn at a time.")] = 4,
    seed: Annotated[int, typer.Option("--seed", help="Another seed gives other pictures.")] = 0,
    safety_checker: Annotated[
        bool, typer.Option("--safety-checker/--no-safety-checker", help="The base model's filter of unsafe pictures.")
    ] = False,
    scorer: Annotated[str, typer.Option("--scorer", help="Encoder that scores who was met.")] = "bundled",
    detector: Annotated[str, typer.Option("--detector", help="Face finder.")] = "mtcnn",
    precision: Annotated[str, typer.Option("--precision", help="float32, float16 or bfloat16.")] = "float32",
    device: Annotated[str, typer.Option("--device", help="cpu, cuda or cuda:N.")] = "cpu",
    json_file: Annotated[
        Path | None, typer.Option("--json", metavar="FILE", help="Write the figures to this file too.")
    ] = None,
) -> None:
    """Draw pictures of the people on the photos; DIR/pictures.json says how alike each person came out.

    Example:

        facewright personalise "alice and bob ride a tandem" --face alice=a.jpg --face bob=b.jpg --base sd15
        --mapper mapping.safetensors --encoder msid.safetensors --layout columns --out tandem
    """
    from facewright.personalise.pictures import PictureConfig

    photos, nouns = _photos(face), _pairs(noun or [], "--noun NAME=NOUN")
    config = PictureConfig(steps, guidance, alpha, negative, width, height, batch)
    if min(count, best_of) < 1:
        raise ConfigError(f"--count and --best-of must be at least 1, got {count} and {best_of}")
    regions = _regions(layout, _pairs(box or [], "--box NAME=L,T,R,B"), list(photos))
    placed, card = _check(prompt, photos, nouns, base=base, mapper=mapper, out=out)
    if placed.cut:
        note(f"the prompt is too long, left out: {' '.join(placed.cut)}")

    from facewright import encoders
    from facewright.align import load_detector
    from facewright.personalise.base import load_base
    from facewright.personalise.identities import IdentityReader, load_identity_encoder
    from facewright.personalise.mapper import load_mapper

    finder = load_detector(detector)
    reader = IdentityReader(finder)
    people = [reader.crops(name, own) for name, own in photos.items()]
    network = load_identity_encoder(encoder, device=device)
    _check_encoder(card, network)
    measuring = encoders.load(scorer, device=device)
    references = {person.name: reader.identity(person, measuring) for person in people}
    made = load_mapper(mapper, device=device)
    subjects = _subjects(people, nouns, [made.words(_tensor(reader.identity(p, network))) for p in people])
    pipe = load_base(base, device=device, precision=precision, scheduler=scheduler, safety_checker=safety_checker)

    from facewright.personalise.pictures import draw_pictures
    from facewright.personalise.scoring import keep_best, score_picture

    with progress_bar("drawing") as progress:

        def draw(numbers: range) -> "Drawn":
            def report(done: int, total: int) -> None:
                share = (numbers.start + len(numbers) * done / total) * steps
                progress(round(share), count * best_of * steps)

            return draw_pictures(
                pipe,
                prompt,
                subjects,
                config,
                numbers=numbers,
                seed=seed,
                fuse=made.fuse,
                regions=regions,
                progress=report,
            )

        def score(image: "np.ndarray") -> "PictureScore":
            return score_picture(image, references, detector=finder, encoder=measuring)

        kept = keep_best(draw, score, count=count, best_of=best_of, batch=batch)
        rows = [_write(picture, out) for picture in kept]
    figures = {
        "prompt": prompt,
        "left_out": list(placed.cut),
        "people": {name: [str(photo.path) for photo in own] for name, own in photos.items()},
        "settings": {**vars(config), "seed": seed, "best_of": best_of, "layout": "boxes" if box else layout},
        "scheduler": type(pipe.scheduler).__name__,
        "safety_checker": safety_checker,
        "scored_by": measuring.name,
        "pictures": rows,
    }
    write_json(out / "pictures.json", figures)
    write_json(json_file, figures)
    weakest = sum(row["weakest"] for row in rows) / len(rows)
    met = sum(cosine is not None for row in rows for cosine in row["cosines"].values())
    summary(
        [
            f"{out}: {count:,} pictures, each the best of {best_of:,}; faces for {met} of {count * len(photos)} people",
            f"mean of the weakest cosine {weakest:.3f}, encoder {measuring.name}",
        ]
    )


def _check(
    prompt: str,
    photos: Mapping[str, Sequence["PhotoOf"]],
    nouns: Mapping[str, str],
    *,
    base: str,
    mapper: str,
    out: Path,
) -> tuple["Placed", "MapperCard"]:
    """Everything that can be wrong before a model is read."""
    from facewright.personalise.base import load_tokenizer
    from facewright.personalise.mapper import WORDS, read_mapper_card
    from facewright.personalise.pictures import NOUN
    from facewright.personalise.prompts import find_people, place_people

    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise InputError(f"{out} is not an empty folder; name a new one")
    if strangers := sorted(nouns.keys() - photos.keys()):
        raise InputError(f"--noun names {strangers[0]!r}, who has no --face; known: {', '.join(photos)}")
    find_people(prompt, list(photos))
    for own in photos.values():
        for photo in own:
            if not photo.path.is_file():
                raise InputError(f"{photo.path}: no such photo")
    card, facts = read_mapper_card(mapper), _base_facts(base)
    if card.config.word_width != facts.word_width:
        raise InputError(
            f"the mapper {mapper} makes words {card.config.word_width} wide, the text encoders of {base} take "
            f"{facts.word_width}; use a mapper trained for this base model"
        )
    tokenizer = load_tokenizer(facts.path)
    known = {name: nouns.get(name, NOUN) for name in photos}
    words = dict.fromkeys(photos, WORDS)
    return place_people(prompt, known, tokenizer, words=words, keep_nouns=card.mode == "fuse"), card


def _base_facts(base: str) -> "BaseFacts":
    from facewright.personalise.base import find_base, read_base

    if base == "bundled":
        raise InputError("this install has no bundled base model; name a Stable Diffusion directory with --base")
    return read_base(find_base(base))


def _check_encoder(card: "MapperCard", encoder: "IdentityEncoder") -> None:
    """The mapper maps the embeddings of this encoder."""
    if card.encoder_layout is not None and encoder.name != card.encoder_layout:
        raise InputError(
            f"the mapper is for an encoder of layout {card.encoder_layout}, got {encoder.name}; "
            "name its file with --encoder"
        )
    if card.encoder_sha256 is not None and encoder.sha256 != card.encoder_sha256:
        raise InputError(
            f"the mapper is for the encoder {card.encoder_sha256[:12]}, got {encoder.name} {encoder.sha256[:12]}; "
            "name the right one with --encoder"
        )
    if encoder.width != card.config.identity_width:
        raise InputError(
            f"the mapper takes embeddings {card.config.identity_width} wide, the encoder {encoder.name} makes "
            f"{encoder.width}; name the right one with --encoder"
        )


def _photos(faces: Sequence[str]) -> dict[str, list["PhotoOf"]]:
    """Photos by name, in the order of the call; a person may have several."""
    from facewright.personalise.identities import PhotoOf

    people: dict[str, list[PhotoOf]] = {}
    for text in faces:
        name, photo = _pair(text, "--face NAME=PHOTO")
        numbered = re.fullmatch(r"(.+)#(\d+)", photo)
        if numbered and not Path(photo).exists():
            own = PhotoOf(Path(numbered[1]), int(numbered[2]))
        else:
            own = PhotoOf(Path(photo))
        people.setdefault(name, []).append(own)
    return people


def _regions(layout: str, boxes: Mapping[str, str], names: Sequence[str]) -> "Tensor | str | None":
    """What `draw_pictures` takes: masks where boxes are given, else the layout."""
    if layout not in LAYOUTS:
        raise InputError(f"--layout must be {' or '.join(LAYOUTS)}, got {layout!r}")
    if not boxes:
        return None if layout == "none" else layout
    if boxes.keys() != set(names):
        raise InputError(
            f"--box is needed for everybody or nobody: faces of {', '.join(names)}, boxes of {', '.join(boxes)}"
        )
    from facewright.personalise.regions import box_masks

    return box_masks([_box(name, boxes[name]) for name in names], (256, 256))


def _box(name: str, text: str) -> tuple[float, float, float, float]:
    try:
        left, top, right, bottom = (float(part) for part in text.split(","))
    except ValueError as error:
        raise InputError(f"--box {name}={text}: expected left,top,right,bottom from 0 to 1") from error
    return left, top, right, bottom


def _pairs(texts: Sequence[str], form: str) -> dict[str, str]:
    return dict(_pair(text, form) for text in texts)


def _pair(text: str, form: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not (name.strip() and equals and value.strip()):
        raise InputError(f"{text!r} is not of the form {form}")
    return name.strip(), value.strip()


def _subjects(people: Sequence["PersonCrops"], nouns: Mapping[str, str], words: Sequence["Tensor"]) -> list["Subject"]:
    from facewright.personalise.pictures import NOUN, Subject

    return [Subject(person.name, own, nouns.get(person.name, NOUN)) for person, own in zip(people, words, strict=True)]


def _tensor(row: "np.ndarray") -> "Tensor":
    import torch

    return torch.from_numpy(row)


def _write(picture: "Kept", out: Path) -> dict[str, Any]:
    """Write a picture at once, so that nothing is lost when a later one fails; its row of pictures.json."""
    from PIL import Image

    from facewright.training.atomic import atomic_path

    path = out / f"{picture.number:03d}.png"
    with atomic_path(path) as temporary:
        Image.fromarray(picture.image).save(temporary, format="PNG")
    return {
        "file": path.name,
        "candidate": picture.candidate,
        "faces": picture.score.faces,
        "cosines": dict(picture.score.cosines),
        "weakest": picture.score.weakest,
        "blackened_by_filter": picture.flagged,
    }
