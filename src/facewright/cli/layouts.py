"""`facewright layouts`: the public checkpoint layouts that can be loaded and imported."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from facewright.cli.console import summary, write_json

if TYPE_CHECKING:
    from facewright.checkpoints import Layout


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("layouts")(layouts)


def layouts(
    json_file: Annotated[Path | None, typer.Option("--json", metavar="FILE", help="Write the table here.")] = None,
) -> None:
    """List the checkpoint layouts: network, size, what the network takes, where such files come from.

    Where files of a layout exist in two forms (generations), each has a line. The number of tensors counts buffers.

    Example:

        facewright layouts
    """
    from facewright.checkpoints import LAYOUTS

    rows = [row for layout in LAYOUTS.values() for row in _rows(layout)]
    write_json(json_file, {"layouts": rows})
    heads = {"layout": "layout", "network": "network", "tensors": "tensors", "parameters": "parameters"}
    heads |= {"input": "input", "source": "source"}
    shown = [heads, *({key: _text(row[key]) for key in heads} for row in rows)]
    widths = {key: max(len(row[key]) for row in shown) for key in heads}
    lines = ["  ".join(_aligned(key, row[key], widths[key]) for key in heads).rstrip() for row in shown]
    twice = len(rows) - len(LAYOUTS)
    summary(
        [
            *lines,
            "",
            f"{len(LAYOUTS)} layouts, {twice} of them in two forms with a line each; the form is found from the file",
            "facewright import SRC --layout NAME --out FILE.safetensors",
        ]
    )


def _rows(layout: "Layout") -> list[dict[str, Any]]:
    shape = layout.family.input
    takes = "" if shape is None else f"{shape.colour} {shape.low:g} to {shape.high:g}, {shape.height} px"
    return [
        {
            "layout": layout.name,
            "network": layout.title + (f" ({generation.form})" if generation.form else ""),
            "tensors": generation.tensors,
            "parameters": generation.parameters,
            "input": takes,
            "source": layout.family.source,
            "licence": layout.family.licence,
        }
        for generation in layout.generations
    ]


def _text(value: int | str) -> str:
    return f"{value:,}" if isinstance(value, int) else value


def _aligned(key: str, text: str, width: int) -> str:
    return text.rjust(width) if key in ("tensors", "parameters") else text.ljust(width)
