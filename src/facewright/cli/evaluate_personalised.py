"""`facewright evaluate personalised`: are these the people, and do the pictures show what the prompts say?"""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from facewright.cli.console import progress_bar, summary, write_json
from facewright.cli.evaluate_inputs import Device, JsonFile, Seed, described
from facewright.errors import ConfigError, InputError

if TYPE_CHECKING:
    from facewright.cli.evaluate_personalised_pictures import ReadPictures
    from facewright.cli.evaluate_personalised_prompts import PromptJudges
    from facewright.encoders import Encoder
    from facewright.evaluation.personalised import PersonalisedMeasures
    from facewright.evaluation.personalised_means import Estimate

DEFINITIONS = {
    "faces": "of each picture the largest faces, as many as people were asked for, from left to right",
    "identity": "FastComposer's: faces matched to photos greedily by cosine, the smallest cosine of a picture, not"
    " below 0; 0 where a face is missing; the reference is the mean of the photos that the model saw",
    "identity_of_found": "mean cosine of the matched faces alone",
    "to_other_photos": "the same to photos of the person that the model did not see",
    "copy_paste": "(angle to another photo - angle to the reference) / angle between those two (WithAnyone): 1 copies"
    " the reference, 0 is as near to either",
    "complete": "share of pictures with a face for everybody",
    "swapped": "of complete pictures of several people, the share whose best matching (Hungarian) puts somebody in"
    " another's place; places are the boxes, or the order of the prompt from left to right",
    "right": "share of all pictures that are complete and not swapped",
    "prompts": "mean score of the prompt by each of prompt_scorers, nouns in place of names, over the pictures whose"
    " prompt it can judge",
    "harmonic_mean": "of the mean identity and the mean prompt score (Face2Diffusion's trade-off)",
    "face_diversity": "mean 1 - SSIM of aligned grey crops over pairs of one person's faces, averaged over people;"
    " published figures use LPIPS",
    "intervals": "95 % percentile bootstrap over identities",
}


def personalised(
    source: Annotated[
        Path,
        typer.Argument(metavar="PICTURES", help="Folder that facewright personalise or this command wrote, or many."),
    ],
    protocol: Annotated[
        str | None,
        typer.Option("--protocol", help="Draw what is missing of: single, multi, or a .csv of prompts with {}."),
    ] = None,
    people: Annotated[
        Path | None,
        typer.Option("--people", help="A folder of photos for each person: the first is drawn from, the others judge."),
    ] = None,
    nouns: Annotated[
        Path | None, typer.Option("--nouns", help="CSV with columns identity and noun; a person unless said.")
    ] = None,
    groups: Annotated[
        int | None,
        typer.Option("--groups", min=1, help="Only so many people, or groups that spread evenly over all people."),
    ] = None,
    base: Annotated[str, typer.Option("--base", help="As of facewright personalise.")] = "bundled",
    mapper: Annotated[str, typer.Option("--mapper", help="bundled, or a .safetensors file.")] = "bundled",
    encoder: Annotated[str, typer.Option("--encoder", help="The mapper's.")] = "bundled",
    count: Annotated[int | None, typer.Option("--count", min=1, help="Pictures of each prompt.")] = None,
    layout: Annotated[str, typer.Option("--layout", help="columns or none.")] = "none",
    regions: Annotated[
        str | None,
        typer.Option("--regions", help="Columns are kept apart as by facewright personalise."),
    ] = None,
    steps: Annotated[int | None, typer.Option("--steps", help="Denoising steps.")] = None,
    guidance: Annotated[float | None, typer.Option("--guidance", help="1 is none.")] = None,
    alpha: Annotated[
        float | None, typer.Option("--alpha", help="Share of the steps that see the people; 0 draws without them.")
    ] = None,
    negative: Annotated[str, typer.Option("--negative", help="What the pictures shall not show.")] = "",
    scheduler: Annotated[str | None, typer.Option("--scheduler", help="A class of diffusers.")] = None,
    width: Annotated[int | None, typer.Option("--width", help="Pixels.")] = None,
    height: Annotated[int | None, typer.Option("--height", help="Pixels.")] = None,
    batch: Annotated[int, typer.Option("--batch", help="Pictures drawn at a time.")] = 4,
    picture_seed: Annotated[int | None, typer.Option("--picture-seed", help="The protocol's unless said.")] = None,
    scorer: Annotated[
        list[str] | None, typer.Option("--scorer", help="Encoder that measures identity; up to three.")
    ] = None,
    clip: Annotated[Path | None, typer.Option("--clip", help="Directory of a CLIP model, for prompt scores.")] = None,
    prompts: Annotated[
        Path | None,
        typer.Option("--prompts", metavar="FILE", help="Classifier of facewright train prompts, for prompt scores."),
    ] = None,
    detector: Annotated[str, typer.Option("--detector", help="Face finder.")] = "mtcnn",
    resamples: Annotated[
        int, typer.Option("--resamples", min=0, help="Draws of people for intervals; 0 leaves them out.")
    ] = 1000,
    seed: Seed = 0,
    precision: Annotated[str, typer.Option("--precision", help="float32, float16 or bfloat16.")] = "float32",
    device: Device = "cpu",
    report: Annotated[Path | None, typer.Option("--report", metavar="FILE", help="Write a page with pictures.")] = None,
    json_file: JsonFile = None,
) -> None:
    """Identity, prompt and copy-paste scores of personalised pictures, drawn here or before.

    With --protocol the pictures that are missing are drawn first, picture by picture; the same call again completes
    them. The steps, guidance, alpha, count and seed are the protocol's unless said. --alpha 0 in another folder gives
    the base model without the people, to compare with. --prompts judges prompts in the words of the miniature world
    (facewright train base) by what they ask for: style, gender, age.

    Example:

        facewright evaluate personalised runs/single --protocol single --people people --base sd15
        --mapper mapping.safetensors --encoder msid.safetensors --scorer dlib --clip clip-vit-large-patch14
        --report single.html --json single.json
    """
    from facewright.align import load_detector
    from facewright.cli.evaluate_personalised_drawing import draw_protocol, read_nouns, read_people
    from facewright.cli.evaluate_personalised_pictures import read_pictures
    from facewright.cli.evaluate_personalised_prompts import load_judges
    from facewright.cli.personalise_drawing import DrawingCall, check_models
    from facewright.evaluation.personalised import ENCODERS, measure_personalised
    from facewright.evaluation.personalised_protocols import read_protocol
    from facewright.personalise.picture_folder import find_picture_folders
    from facewright.personalise.pictures import PictureConfig

    names = scorer or ["bundled"]
    if len(names) > ENCODERS:
        raise ConfigError(f"--scorer is given at most {ENCODERS} times, got {len(names)}")
    photos = None if people is None else read_people(people)
    if protocol is None:
        folders = find_picture_folders(source)
        finder = load_detector(detector)
    else:
        if photos is None:
            raise InputError("--protocol draws people, so it needs --people with a folder of photos for each")
        chosen = read_protocol(protocol)
        config = PictureConfig(
            steps=chosen.steps if steps is None else steps,
            guidance=chosen.guidance if guidance is None else guidance,
            alpha=chosen.alpha if alpha is None else alpha,
            negative=negative,
            width=width,
            height=height,
            batch=batch,
            regional=regions or "attention",
        )
        call = DrawingCall(
            base=base,
            mapper=mapper,
            encoder=encoder,
            config=config,
            seed=chosen.seed if picture_seed is None else picture_seed,
            scheduler=scheduler,
            safety_checker=False,
            detector=detector,
            precision=precision,
            device=device,
            layout=layout,
        )
        own = read_nouns(nouns, list(photos))
        number = chosen.count if count is None else count
        checked = check_models(call)
        said = {"steps": config.steps, "guidance": config.guidance, **({"regional": regions} if regions else {})}
        call = call.suited(checked.facts.drawing, said)
        finder = load_detector(detector)
        _encoders(names, device)  # loaded to see that they are there, and let go: they shall take no room while drawing
        load_judges(clip, prompts, device=device)
        draw_protocol(source, chosen, photos, own, call, checked, count=number, groups=groups, finder=finder)
        folders = find_picture_folders(source)
    measuring = _encoders(names, device)
    judges = load_judges(clip, prompts, device=device)
    read = read_pictures(folders, finder=finder, scorers=judges.all, others=photos)
    with progress_bar("measuring") as progress:
        found = measure_personalised(
            read.pictures, read.people, measuring, resamples=resamples, seed=seed, progress=progress
        )
    figures = {
        "source": str(source),
        "protocol": protocol,
        "detector": detector,
        "scorers": [
            {**described(one), "made_the_pictures": one.sha256 in read.made_with} for one in measuring.values()
        ],
        "prompt_scorers": judges.facts(),
        **found.figures(),
        "resamples": resamples,
        "seed": seed,
        "definitions": DEFINITIONS,
        "each": _each(source, read, found),
    }
    write_json(json_file, figures)
    if report is not None:
        from facewright.cli.evaluate_personalised_report import write_report

        write_report(report, source, read, found, judges)
    summary(_lines(source, read, found, measuring, judges))


def _encoders(names: list[str], device: str) -> "dict[str, Encoder]":
    """The encoders by their own names."""
    from facewright import encoders

    found: dict[str, Encoder] = {}
    for name in names:
        network = encoders.load(name, device=device)
        if network.name in found:
            raise InputError(f"--scorer names two encoders called {network.name}; give each once")
        found[network.name] = network
    return found


def _each(source: Path, read: "ReadPictures", found: "PersonalisedMeasures") -> list[dict[str, Any]]:
    """A row for every picture."""
    return [
        {
            "file": path.relative_to(source).as_posix(),
            "people": list(picture.people),
            "prompt": picture.prompt,
            "faces": read.found[index],
            "identity": {name: rows[index].score for name, rows in found.scores.items()},
            "cosines": {
                name: dict(zip(picture.people, rows[index].cosines, strict=True)) for name, rows in found.scores.items()
            },
            "prompts": dict(picture.prompt_scores or {}),
        }
        for index, (path, picture) in enumerate(zip(read.files, read.pictures, strict=True))
    ]


def _lines(
    source: Path,
    read: "ReadPictures",
    found: "PersonalisedMeasures",
    encoders: "Mapping[str, Encoder]",
    judges: "PromptJudges",
) -> list[str]:
    several = found.people_in_each > 1
    lines = [
        f"{source}: {found.pictures:,} pictures of {found.identities:,} people, {found.people_in_each} in each",
        _line("complete", found.complete, "pictures with a face for everybody", share=True),
    ]
    for name, own in found.encoders.items():
        made = "; its embeddings made the pictures" if encoders[name].sha256 in read.made_with else ""
        weakest = "smallest cosine of a picture" if several else "cosine to the photo"
        lines += [f"encoder {name}{made}", _line("  identity", own.identity, f"{weakest}, a missing face 0")]
        rows = (
            ("  of found", own.identity_of_found, "mean cosine of the faces found", False),
            ("  other photos", own.to_other_photos, "cosine to photos that the model did not see", False),
            ("  copy-paste", own.copy_paste, "1 copies the photo, 0 is as near to another", False),
            ("  swapped", own.swapped, "of complete pictures, people in each other's places", True),
            ("  right", own.right, "complete, and everybody in their own place", True),
        )
        lines += [_line(title, value, told, share=share) for title, value, told, share in rows if value is not None]
        means = judges.of_wholes(found.harmonic[name])
        lines += [_line("  harmonic", mean, f"mean of identity and {by}") for by, mean in means.items()]
    lines += [_line("prompt", value, name) for name, value in found.prompts.items()]
    if found.diversity is not None:
        lines.append(_line("face diversity", found.diversity, "mean 1 - SSIM of a person's faces"))
    return lines


def _line(title: str, found: "Estimate", told: str, *, share: bool = False) -> str:
    form = ".2%" if share else ".3f"
    interval = "" if found.interval is None else f"; {found.interval[0]:{form}} to {found.interval[1]:{form}}"
    return f"{title:<16}{format(found.value, form):>8}  {told}{interval}"
