"""`facewright set card`: write a set's page anew, with the licence that follows from its inputs."""

from typing import Annotated

import typer

from facewright.cli.console import note, summary
from facewright.cli.set_filter import SetDir
from facewright.errors import ConfigError


def register(app: typer.Typer) -> None:
    """Add the command to the group."""
    app.command("card")(card)


def card(
    set_dir: SetDir,
    licence: Annotated[
        list[str] | None,
        typer.Option(
            "--licence",
            metavar="INPUT=TEXT",
            help="Of generator, contexts, encoder, variation, start, or a further one.",
        ),
    ] = None,
) -> None:
    """Write card.md anew; the licence is the most restrictive of those of the set's inputs.

    What is said here is kept; what an input states itself stays in force beside it.

    Example:

        facewright set card faces --licence "contexts=CC BY 4.0, our own photos"
    """
    from facewright.synthesis import write_set_card

    stated = {}
    for text in licence or ():
        name, found, value = text.partition("=")
        if not (found and name.strip() and value.strip()):
            raise ConfigError(f"--licence takes INPUT=TEXT, such as contexts=CC0, got {text!r}")
        stated[name.strip()] = value.strip()
    made = write_set_card(set_dir, stated=stated)
    for name, value in stated.items():
        if made.inputs.get(name) != value:
            note(f"the {name} states a narrower licence itself, which stays: {made.inputs[name]}")
    summary([f"{set_dir / 'card.md'}: {made.text} (from the {made.source}, read as: {made.kind})"])
