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
    sampler: Annotated[str, typer.Option("--sampler", help="Way through the noise levels.")] = "ddim",
    steps: Annotated[int, typer.Option("--steps", help="Network evaluations per image.")] = 25,
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
    from facewright import diffusion, encoders
    from facewright.align import load_detector
    from facewright.synthesis import generated_contexts

    limits = read_limits(min_angle, avoid, avoid_angle)
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
            sampler=sampler,
            steps=steps,
            batch=batch,
            progress=progress,
        )
    _finish(out, found, json_file, force=force)
    if not found.report.complete:
        raise WorkError(
            f"{found.report.sentence()}; {out} holds those found: allow more draws by --max-draws, or loosen the"
            " limits, and replace it by --force"
        )


def filter_file(
    contexts: Annotated[Path, typer.Argument(metavar="FILE", help=".npz of contexts.")],
    out: Out,
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
    sampler: Annotated[str, typer.Option("--sampler", help="Of the trial samples.")] = "ddim",
    steps: Annotated[int, typer.Option("--steps", help="Of the trial samples.")] = 25,
    guidance: Annotated[float, typer.Option("--guidance", help="Of the trial samples.")] = 1.0,
    seed: Annotated[int, typer.Option("--seed", help="Of the trial samples.")] = 0,
    batch: Batch = 64,
    device: Device = "cpu",
    force: Force = False,
    json_file: Json = None,
) -> None:
    """The contexts that lie apart, far from given people, and that a generator holds; names and order stay.

    Example:

        facewright contexts filter people.npz --min-angle 1.2 --min-pairwise 0.4 --out chosen.npz
    """
    from dataclasses import replace

    from facewright import diffusion, encoders
    from facewright.data.embeddings import read_embeddings
    from facewright.synthesis import consistent, filter_contexts
    from facewright.synthesis.plan import check_match

    given = read_embeddings(contexts)
    limits = read_limits(min_angle, avoid, avoid_angle)
    if min_to_context is not None or min_pairwise is not None:
        model, network = diffusion.load(generator, device=device), encoders.load(encoder, device=device)
        check_match(model, given, network, force=False)
        accept = consistent(
            model,
            network,
            to_context=-1.0 if min_to_context is None else min_to_context,
            pairwise=-1.0 if min_pairwise is None else min_pairwise,
            samples=trials,
            seed=seed,
            sampler=sampler,
            steps=steps,
            guidance=guidance,
            batch=batch,
        )
        limits = replace(limits, accept=accept)
    _finish(out, filter_contexts(given, limits=limits), json_file, force=force)


def _finish(out: Path, found: "FoundContexts", json_file: Path | None, *, force: bool) -> None:
    from dataclasses import asdict

    write_contexts(out, found.contexts, f"; {found.report.sentence()}", force=force)
    write_json(json_file, {"contexts": str(out), **asdict(found.report)})
