"""`facewright train`: train one of the toolkit's networks from a config file."""

from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from facewright.cli.console import summary

# What can be trained; facewright.cli.train_runs has a config and a function for each.
KINDS = {
    "encoder": "the identity encoder, distilled from a teacher over a pack of aligned faces",
    "autoencoder": "the autoencoder between pictures and the generator's latents, on a pack of aligned faces",
    "generator": "the generator, on the latents and embeddings of a pack of aligned faces",
    "recogniser": "a face recogniser from scratch, on a labelled set or a pack of aligned faces",
}


def register(app: typer.Typer) -> None:
    """Add `train` and its commands."""
    commands = typer.Typer(
        help="Train a network; the same command again resumes.", no_args_is_help=True, rich_markup_mode=None
    )
    for kind, what in KINDS.items():
        commands.command(kind, help=_help(kind, what))(_command(kind))
    app.add_typer(commands, name="train")


def _help(kind: str, what: str) -> str:
    return (
        f"Train {what}.\n\n"
        f"RUN holds config.json, metrics.jsonl, last.pt and in the end curves.png and {kind}.safetensors; the same "
        "command resumes it.\n\n"
        "Example:\n\n"
        f"    facewright train {kind} configs/{kind}.toml --out runs/{kind}"
    )


def _command(kind: str) -> Callable[..., None]:
    def train(
        config: Annotated[Path, typer.Argument(metavar="CONFIG", help="TOML file.")],
        out: Annotated[Path, typer.Option("--out", metavar="RUN", help="Folder of the run.")],
        settings: Annotated[
            list[str] | None, typer.Argument(metavar="[KEY=VALUE]...", help="Settings that override the file.")
        ] = None,
        device: Annotated[str, typer.Option("--device", help="cpu, cuda or cuda:N.")] = "cpu",
    ) -> None:
        from facewright.cli.configs import read_config
        from facewright.cli.train_curves import draw_curves
        from facewright.cli.train_runs import RUNS

        shape, run = RUNS[kind]
        written = run(read_config(shape, config, settings or ()), out, device)
        draw_curves(out)
        summary([f"averaged weights in {written}", f"the run is in {out}"])

    return train
