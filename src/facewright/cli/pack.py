"""`facewright pack`: the aligned faces that networks are trained on, in one array."""

from pathlib import Path
from typing import Annotated

import typer

from facewright.cli.console import progress_bar, summary


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("pack")(pack)


def pack(
    config: Annotated[Path, typer.Argument(metavar="CONFIG", help="TOML file that lists the sources.")],
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="Folder of the pack.")],
    settings: Annotated[
        list[str] | None, typer.Argument(metavar="[KEY=VALUE]...", help="Settings that override the file.")
    ] = None,
) -> None:
    """Align photos of several sources and pack them for training; after an interruption the same command goes on.

    A source with points = "dlib", as the last of configs/pack.toml, needs that face finder: pip install
    'facewright[dlib]'.

    Example:

        facewright pack configs/pack.toml data=photos --out runs/faces128
    """
    from facewright.align import PackConfig, pack_faces
    from facewright.cli.configs import read_config

    resolved = read_config(PackConfig, config, settings or ())
    with progress_bar("packing faces") as progress:
        report = pack_faces(resolved.sources(), out, progress=progress)
    kept = sum(report.kept.values())
    summary(
        [
            *(f"{name}: {count} faces" for name, count in report.kept.items()),
            f"{kept} of {report.faces} photos gave a face; the pack is in {out}",
        ]
    )
