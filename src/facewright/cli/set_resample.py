"""`facewright set resample`: filter a set and make new images for those dropped."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from facewright.cli.console import counted, progress_bar, summary, write_json
from facewright.cli.contexts_file import variation_like
from facewright.cli.sample import start_of
from facewright.cli.set_filter import (
    Device,
    EncoderName,
    Json,
    MaxTraining,
    MinCentre,
    MinImages,
    MinSimilarity,
    SetDir,
    Training,
    figures,
    read_training,
    reasons,
    told,
)
from facewright.errors import WorkError


def register(app: typer.Typer) -> None:
    """Add the command to the group."""
    app.command("resample")(resample)


def resample(
    set_dir: SetDir,
    contexts: Annotated[Path, typer.Option("--contexts", metavar="FILE", help=".npz that the set was made from.")],
    min_similarity: MinSimilarity = None,
    min_centre: MinCentre = None,
    max_training: MaxTraining = None,
    training: Training = None,
    min_images: MinImages = None,
    rounds: Annotated[
        int, typer.Option("--rounds", help="Times that new images are made at most, by all calls with these limits.")
    ] = 3,
    generator: Annotated[
        str | None,
        typer.Option("--generator", help="A file, where neither bundled nor bundled-4steps made the set."),
    ] = None,
    encoder: EncoderName = "bundled",
    vary_like: Annotated[
        str | None, typer.Option("--vary-like", help="Of a set sampled with --vary: what it was given.")
    ] = None,
    start_from: Annotated[
        Path | None,
        typer.Option("--start-from", metavar="FACES", help="Of a set sampled with --start-from: the same again."),
    ] = None,
    device: Device = "cpu",
    json_file: Json = None,
) -> None:
    """Filter as `set filter` does, and make new images, with seeds of their own, in place of those dropped.

    The dropped ones stay, marked. It ends after --rounds, and says who still lacks images. The same command again goes
    on where it was stopped, rounds included.

    Example:

        facewright set resample faces --contexts people.npz --min-similarity 0.3
    """
    from facewright import diffusion, encoders
    from facewright.align import load_detector
    from facewright.data.embeddings import read_embeddings
    from facewright.data.sets import read_config
    from facewright.synthesis import SetLimits, resample_set

    limits = SetLimits(min_similarity, min_centre, max_training, min_images)
    people, config = read_embeddings(contexts), read_config(set_dir)
    aligned_by = config.get("align")
    with progress_bar("sampling") as progress:
        report = resample_set(
            diffusion.load(generator or _bundled(config), device=device),
            people,
            set_dir,
            limits,
            encoder=None if encoder == "none" else encoders.load(encoder, device=device),
            training=read_training(training),
            detector=None if aligned_by is None else load_detector(aligned_by),
            variation=variation_like(vary_like, wanted=config.get("vary") is not None),
            start=start_of(start_from, config.get("start_by"), config.get("start_least"), config.get("start_match")),
            rounds=rounds,
            progress=progress,
        )
    made = {"rounds": report.rounds, "made": report.made, "lacking": dict(report.lacking)}
    write_json(json_file, {**figures(set_dir, limits, report.filtered), **made})
    done = f"made {counted(report.made, 'image')}, {counted(report.rounds, 'round')} in all"
    summary([f"{set_dir}: {done}; {told(report.filtered)}", *reasons(report.filtered)])
    if not report.complete:
        name, count = next(iter(report.lacking.items()))
        who = counted(len(report.lacking), "identity still lacks", "identities still lack")
        raise WorkError(
            f"{who} images, {name!r} {count}, after {counted(report.rounds, 'round')}; what was made is kept: give more"
            " --rounds, or loosen the limits"
        )


def _bundled(config: Mapping[str, Any]) -> str:
    """That of the bundled generators which made the set; "bundled" if none did, which resampling then refuses."""
    from facewright import diffusion

    names, made_by = ("bundled", "bundled-4steps"), config.get("generator_sha256")
    return next((name for name in names if diffusion.load_card(name).sha256 == made_by), "bundled")
