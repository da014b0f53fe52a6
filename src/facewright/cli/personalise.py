"""`facewright personalise`: one person or several in pictures that a prompt describes."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from facewright.cli.console import note, progress_bar, summary, write_json
from facewright.cli.personalise_drawing import (
    DrawingCall,
    Studio,
    check_models,
    check_photos,
    described_people,
    note_left_out,
    note_unread,
    pair,
    pairs,
)
from facewright.errors import ConfigError, InputError

if TYPE_CHECKING:
    import numpy as np

    from facewright.personalise.identities import PhotoOf
    from facewright.personalise.picture_folder import PictureFolder
    from facewright.personalise.pictures import Drawn, Subject
    from facewright.personalise.scoring import Kept, PictureScore


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("personalise")(personalise)


def personalise(
    prompt: Annotated[str, typer.Argument(metavar="PROMPT", help="What to draw; it names each person once.")],
    face: Annotated[
        list[str],
        typer.Option("--face", metavar="NAME=PHOTO", help="A photo of a person, PHOTO#2 for its second face."),
    ],
    out: Annotated[
        Path,
        typer.Option("--out", metavar="DIR", help="Folder for the pictures; what the same call made there is kept."),
    ],
    base: Annotated[
        str, typer.Option("--base", help="bundled, or Stable Diffusion 1.x, 2.x or XL: a directory, or owner/name.")
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
    regions: Annotated[
        str | None,
        typer.Option(
            "--regions",
            help="What keeps columns and boxes apart: attention; estimates, at a higher cost; or windows, which suit a "
            "small base model: a wider picture, in which each person's part is drawn as a picture of one.",
        ),
    ] = None,
    steps: Annotated[
        int | None, typer.Option("--steps", help="Denoising steps; 30, or what suits a small base model.")
    ] = None,
    guidance: Annotated[
        float | None,
        typer.Option("--guidance", help="1 is none, more holds closer to the prompt; 7, or what suits a small model."),
    ] = None,
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

    The same call again completes an interrupted one; another --count, --batch or --device makes no difference to it.
    The bundled base model draws 128 px and knows few words; a prompt with others is drawn, and they are named.

    Example:

        facewright personalise "alice and bob ride a tandem" --face alice=a.jpg --face bob=b.jpg --base sd15
        --mapper mapping.safetensors --encoder msid.safetensors --layout columns --out tandem
    """
    from facewright.personalise.picture_folder import PictureFolder, prompt_text
    from facewright.personalise.pictures import NOUN, PictureConfig
    from facewright.personalise.prompts import find_people

    photos, given = _photos(face), pairs(noun or [], "--noun NAME=NOUN")
    if min(count, best_of) < 1:
        raise ConfigError(f"--count and --best-of must be at least 1, got {count} and {best_of}")
    config = PictureConfig(alpha=alpha, negative=negative, width=width, height=height, batch=batch)
    said: dict[str, Any] = {
        name: value
        for name, value in (("steps", steps), ("guidance", guidance), ("regional", regions))
        if value is not None
    }
    call = DrawingCall(
        base=base,
        mapper=mapper,
        encoder=encoder,
        config=replace(config, **said),
        seed=seed,
        scheduler=scheduler,
        safety_checker=safety_checker,
        detector=detector,
        precision=precision,
        device=device,
        layout=layout,
        boxes=_boxes(pairs(box or [], "--box NAME=L,T,R,B"), list(photos)),
    )
    folder = PictureFolder(out)
    if strangers := sorted(given.keys() - photos.keys()):
        raise InputError(f"--noun names {strangers[0]!r}, who has no --face; known: {', '.join(photos)}")
    nouns = {name: given.get(name, NOUN) for name in photos}
    find_people(prompt, list(photos))
    check_photos(photos)
    checked = check_models(call)
    call = call.suited(checked.facts.drawing, said)
    call.check_regions(prompt, list(photos))
    if len(photos) > 1 and call.regions(list(photos)) is None:
        if regions is not None:
            raise ConfigError(f"--regions {regions} keeps columns or boxes apart; give --layout columns, or --box")
        if checked.facts.is_small:
            note("this base model does not tell people apart by words; --layout columns draws them side by side")
    placed = checked.place(prompt, nouns)
    facts = {
        "prompt": prompt,
        "text": prompt_text(prompt, nouns),
        "left_out": list(placed.cut),
        "people": described_people(photos, nouns),
        "left_to_right": call.left_to_right(prompt, list(photos)),
        "settings": {**call.settings(), "best_of": best_of},
    }
    folder.check(facts)
    note_left_out("the prompt", placed.cut)
    note_left_out("--negative", checked.place(negative, {}).cut)
    note_unread(checked.unread(prompt_text(prompt, nouns), negative))

    from facewright import encoders
    from facewright.align import load_detector

    finder = load_detector(detector)
    studio = Studio(call, checked, finder)
    people = [studio.reader.crops(name, own) for name, own in photos.items()]
    measuring = encoders.load(scorer, device=device)
    scored_by = {"name": measuring.name, "sha256": measuring.sha256}
    facts |= {"models": {**studio.models(), "scorer": scored_by}}
    folder.check(facts)

    from facewright.personalise.scoring import score_picture

    if missing := folder.missing(count):
        references = {person.name: studio.reader.identity(person, measuring) for person in people}
        subjects = [studio.subject(person, nouns[person.name]) for person in people]

        def score(image: "np.ndarray") -> "PictureScore":
            return score_picture(image, references, detector=finder, encoder=measuring)

        folder.begin({**facts, "scheduler": type(studio.pipe.scheduler).__name__})
        if folder.rows:
            note(f"{out} holds {len(folder.rows):,} of the pictures already")
        _draw(studio, folder, subjects, score, missing, best_of=best_of)
    figures = {**folder.facts, "pictures": folder.rows}
    write_json(json_file, figures)
    summary(_lines(out, folder.rows, best_of=best_of, people=len(photos), scorer=measuring.name))


def _draw(
    studio: "Studio",
    folder: "PictureFolder",
    subjects: "Sequence[Subject]",
    score: "Callable[[np.ndarray], PictureScore]",
    missing: Sequence[range],
    *,
    best_of: int,
) -> None:
    """Draw the pictures that are missing, and write each as soon as it is chosen."""
    from facewright.personalise.scoring import keep_best

    prompt, steps = str(folder.facts["prompt"]), studio.call.config.steps
    total = sum(map(len, missing)) * best_of * steps
    with progress_bar("drawing") as progress:
        done = 0

        def draw(numbers: range) -> "Drawn":
            nonlocal done

            def report(calls: int, of: int) -> None:
                progress(done + round(len(numbers) * calls / of * steps), total)

            kept = f"{len(folder.rows):,} pictures in {folder.path} are"
            drawn = studio.draw(prompt, subjects, numbers, report, kept=kept)
            done += len(numbers) * steps
            return drawn

        for run in missing:
            for picture in keep_best(
                draw, score, count=run.stop, best_of=best_of, batch=studio.call.config.batch, start=run.start
            ):
                folder.add(picture.number, picture.image, _row(picture))


def _row(picture: "Kept") -> dict[str, Any]:
    """A picture as pictures.json names it."""
    return {
        "candidate": picture.candidate,
        "faces": picture.score.faces,
        "cosines": dict(picture.score.cosines),
        "weakest": picture.score.weakest,
        "blackened_by_filter": picture.flagged,
    }


def _lines(out: Path, rows: Sequence[Mapping[str, Any]], *, best_of: int, people: int, scorer: str) -> list[str]:
    weakest = sum(row["weakest"] for row in rows) / len(rows)
    met = sum(cosine is not None for row in rows for cosine in row["cosines"].values())
    return [
        f"{out}: {len(rows):,} pictures, each the best of {best_of:,}; faces for {met} of {len(rows) * people} people",
        f"mean of the weakest cosine {weakest:.3f}, encoder {scorer}",
    ]


def _photos(faces: Sequence[str]) -> dict[str, list["PhotoOf"]]:
    """Photos by name, in the order of the call; a person may have several."""
    from facewright.personalise.identities import PhotoOf

    people: dict[str, list[PhotoOf]] = {}
    for text in faces:
        name, photo = pair(text, "--face NAME=PHOTO")
        numbered = re.fullmatch(r"(.+)#(\d+)", photo)
        if numbered and not Path(photo).exists():
            own = PhotoOf(Path(numbered[1]), int(numbered[2]))
        else:
            own = PhotoOf(Path(photo))
        people.setdefault(name, []).append(own)
    return people


def _boxes(boxes: Mapping[str, str], names: Sequence[str]) -> dict[str, tuple[float, float, float, float]]:
    """A box for everybody, or none."""
    if boxes and boxes.keys() != set(names):
        raise InputError(
            f"--box is needed for everybody or nobody: faces of {', '.join(names)}, boxes of {', '.join(boxes)}"
        )
    return {name: _box(name, boxes[name]) for name in names if boxes}


def _box(name: str, text: str) -> tuple[float, float, float, float]:
    try:
        left, top, right, bottom = (float(part) for part in text.split(","))
    except ValueError as error:
        raise InputError(f"--box {name}={text}: expected left,top,right,bottom from 0 to 1") from error
    return left, top, right, bottom
