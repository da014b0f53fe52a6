"""`facewright train`: train one of the toolkit's networks from a config file."""

from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from facewright.cli.console import progress_bar, summary

# What can be trained; facewright.cli.train_runs has a config and a function for each.
KINDS = {
    "encoder": "the identity encoder, distilled from a teacher over a pack of aligned faces",
}


def register(app: typer.Typer) -> None:
    """Add `train` and its commands."""
    commands = typer.Typer(
        help="Train a network; the same command again resumes.", no_args_is_help=True, rich_markup_mode=None
    )
    for kind, what in KINDS.items():
        commands.command(kind, help=_help(kind, what))(_command(kind))

    @commands.callback()
    def group() -> None:
        """Keep the kind a word of the command line while there is only one."""

    app.add_typer(commands, name="train")


def _help(kind: str, what: str) -> str:
    return (
        f"Train {what}.\n\n"
        "RUN holds the resolved config, metrics.jsonl and checkpoints; the same command resumes it.\n\n"
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
        from facewright.cli.train_runs import RUNS

        shape, run = RUNS[kind]
        resolved = read_config(shape, config, settings or ())
        with progress_bar(f"training the {kind}") as progress:
            lines = run(resolved, out, device, progress)
        summary([*lines, f"the run is in {out}"])

    return train
