"""`facewright world`: what a personaliser of the miniature world is trained on, and who it is measured with."""

from pathlib import Path
from typing import Annotated

import typer

from facewright.cli.console import summary


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("world")(world)


def world(
    config: Annotated[Path, typer.Argument(metavar="CONFIG", help="TOML file.")],
    out: Annotated[Path, typer.Argument(metavar="DIR", help="New folder, or that of an interrupted run.")],
    settings: Annotated[
        list[str] | None, typer.Argument(metavar="[KEY=VALUE]...", help="Settings that override the file.")
    ] = None,
    device: Annotated[str, typer.Option("--device", help="Of the prompt classifier: cpu, cuda or cuda:N.")] = "cpu",
) -> None:
    """Write scenes of a pack's faces to train a personaliser on, and photos of held-out people to measure it with.

    DIR/subjects is for facewright train personaliser; its last scenes are of held-out people. DIR/people and
    DIR/nouns.csv are for facewright evaluate personalised: the first photo of a person is drawn from, the others
    judge. The same command again continues.

    Example:

        facewright world configs/world.toml runs/world
    """
    from facewright.cli.configs import read_config
    from facewright.cli.world_run import WorldFoldersRun, write_world_folders

    written = write_world_folders(read_config(WorldFoldersRun, config, settings or ()), out, device)
    summary(written.lines())
