"""`facewright curves`: the learning curves of several runs side by side."""

from pathlib import Path
from typing import Annotated

import typer

from facewright.cli.console import summary
from facewright.errors import InputError

SUFFIXES = (".png", ".svg")


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("curves")(curves)


def curves(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN...", help="Run folders of facewright train.")],
    out: Annotated[Path, typer.Option("--out", metavar="FILE", help=".png or .svg to write.")],
    only: Annotated[
        list[str] | None, typer.Option("--only", metavar="NAME", help="A figure to draw, once for each; else all.")
    ] = None,
) -> None:
    """Draw the learning curves of several runs into one picture.

    One panel a figure of RUN/metrics.jsonl, one line a run, against the images seen.

    Example:

        facewright curves runs/real-0 runs/generated-0 --only validation_eer --out curves.svg
    """
    if out.suffix not in SUFFIXES:
        raise InputError(f"--out must end in .png or .svg, got {out.name}")
    for run in runs:
        if not (run / "metrics.jsonl").is_file():
            raise InputError(
                f"{run} is no run folder: it has no metrics.jsonl; give a folder of facewright train --out"
            )
    from facewright.cli.train_curves import draw_curves

    drawn = draw_curves(runs, out, only=only or ())
    if missing := sorted(set(only or ()) - set(drawn)):
        raise InputError(f"no run has the figure {', '.join(missing)}; the names are in RUN/metrics.jsonl")
    if not drawn:
        raise InputError(f"no figures yet in {', '.join(str(run / 'metrics.jsonl') for run in runs)}")
    summary([f"{', '.join(drawn)} of {len(runs)} runs in {out}"])
