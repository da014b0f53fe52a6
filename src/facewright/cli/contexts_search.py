"""`facewright contexts unconditional` and `filter`: identities searched for among drawn faces or given contexts."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from facewright.cli.console import progress_bar, write_json
from facewright.cli.contexts_file import (
    Avoid,
    AvoidAngle,
    Count,
    Force,
    MinAngle,
    Out,
    Seed,
    read_limits,
    write_contexts,
)
from facewright.cli.sample import Guidance, Sampler, Steps, check_width, sampler_of
from facewright.errors import WorkError

if TYPE_CHECKING:
    from facewright.synthesis import FoundContexts

Json = Annotated[Path | None, typer.Option("--json", metavar="FILE", help="Write the figures to this file.")]
Batch = Annotated[int, typer.Option("--batch", help="Images made at a time.")]
Device = Annotated[str, typer.Option("--device", help="cpu, cuda or cuda:N.")]
Encoder = Annotated[str, typer.Option("--encoder", help="bundled, or a .safetensors file.")]


def register(app: typer.Typer) -> None:
    """Add both commands to the group."""
    app.command("unconditional")(unconditional)
    app.command("filter")(filter_file)


def unconditional(
    count: Count,
    faces: Annotated[Path, typer.Option("--faces", metavar="DIR", help="Folder for the drawn pictures.")],
    out: Out,
    generator: Annotated[
        str,
        typer.Option("--generator", help="Unconditional, or trained with contexts left out: bundled, or a file."),
    ] = "bundled",
    encoder: Encoder = "bundled",
    detector: Annotated[
        str | None,
        typer.Option("--detector", help="Align the pictures by this face finder; default: they are aligned."),
    ] = None,
    min_angle: MinAngle = None,
    avoid: Avoid = None,
    avoid_angle: AvoidAngle = None,
    max_draws: Annotated[
        int | None, typer.Option("--max-draws", help="Pictures drawn at most; default 20 an identity.")
    ] = None,
    sampler: Sampler = None,
    steps: Steps = None,
    seed: Seed = 0,
    batch: Batch = 64,
    device: Device = "cpu",
    force: Force = False,
    json_file: Json = None,
) -> None:
    """People who do not exist: faces of an unconditional model, embedded. The same command again goes on.

    Example:

        facewright contexts unconditional --count 200 --min-angle 1.2 --faces nobody --out people.npz
    """
    from dataclasses import asdict

    from facewright import diffusion, encoders
    from facewright.align import load_detector
    from facewright.synthesis import generated_contexts

    limits = read_limits(min_angle, avoid, avoid_angle)
    way = sampler_of(asdict(diffusion.load_card(generator)), sampler, {"steps": steps})
    finder = None if detector is None else load_detector(detector)
    model, network = diffusion.load(generator, device=device), encoders.load(encoder, device=device)
    with progress_bar("drawing") as progress:
        found = generated_contexts(
            count,
            model,
            network,
            seed=seed,
            faces=faces,
            detector=finder,
            limits=limits,
            max_draws=max_draws,
            sampler=way,
            batch=batch,
            progress=progress,
        )
    _finish(out, found, json_file, cure="allow more draws by --max-draws", force=force)


def filter_file(
    contexts: Annotated[Path, typer.Argument(metavar="FILE", help=".npz of contexts.")],
    out: Out,
    count: Annotated[
        int | None, typer.Option("--count", metavar="N", help="Keep the first N that pass; default: all that do.")
    ] = None,
    min_angle: MinAngle = None,
    avoid: Avoid = None,
    avoid_angle: AvoidAngle = None,
    trials: Annotated[
        int, typer.Option("--trials", help="Samples of each identity that --min-to-context, --min-pairwise look at.")
    ] = 8,
    min_to_context: Annotated[
        float | None, typer.Option("--min-to-context", help="Least mean cosine of trial samples to the context.")
    ] = None,
    min_pairwise: Annotated[
        float | None, typer.Option("--min-pairwise", help="Least mean cosine between two trial samples.")
    ] = None,
    generator: Annotated[str, typer.Option("--generator", help="Makes the trial samples.")] = "bundled",
    encoder: Encoder = "bundled",
    sampler: Sampler = None,
    steps: Steps = None,
    guidance: Guidance = None,
    seed: Annotated[int, typer.Option("--seed", help="Of the trial samples.")] = 0,
    batch: Batch = 64,
    device: Device = "cpu",
    force: Force = False,
    json_file: Json = None,
) -> None:
    """The contexts that lie apart, far from given people, and that a generator holds; names and order stay.

    With --count it ends as soon as so many are found, or else with a report of why the others were left out.

    Example:

        facewright contexts filter people.npz --count 100 --min-angle 1.2 --min-pairwise 0.4 --out chosen.npz
    """
    from dataclasses import asdict, replace

    from facewright import diffusion, encoders
    from facewright.data.embeddings import read_embeddings
    from facewright.synthesis import consistent, filter_contexts
    from facewright.synthesis.plan import check_match

    given = read_embeddings(contexts)
    limits = read_limits(min_angle, avoid, avoid_angle)
    if min_to_context is not None or min_pairwise is not None:
        card = diffusion.load_card(generator)
        check_width(card, given)
        way = sampler_of(asdict(card), sampler, {"steps": steps, "guidance": guidance})
        model, network = diffusion.load(generator, device=device), encoders.load(encoder, device=device)
        check_match(model, given, network, force=False)
        accept = consistent(
            model,
            network,
            to_context=-1.0 if min_to_context is None else min_to_context,
            pairwise=-1.0 if min_pairwise is None else min_pairwise,
            samples=trials,
            seed=seed,
            sampler=way,
            batch=batch,
        )
        limits = replace(limits, accept=accept)
    with progress_bar("looking") as progress:
        found = filter_contexts(given, limits=limits, count=count, progress=progress)
    _finish(out, found, json_file, cure="give more contexts" if count is not None else None, force=force)


def _finish(out: Path, found: "FoundContexts", json_file: Path | None, *, cure: str | None, force: bool) -> None:
    """Write what was found and tell of it; too few are a failure where there is a cure besides looser limits."""
    from dataclasses import asdict

    write_contexts(out, found.contexts, f"; {found.report.sentence()}", force=force)
    write_json(json_file, {"contexts": str(out), **asdict(found.report)})
    if cure is not None and not found.report.complete:
        raise WorkError(
            f"{found.report.sentence()}; {out} holds those found: {cure}, or loosen the limits, and replace it by"
            " --force"
        )
