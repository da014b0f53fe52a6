"""`facewright set oversample`: add the picture that each identity was taken from."""

from pathlib import Path
from typing import Annotated

import typer

from facewright.cli.console import counted, progress_bar, summary
from facewright.cli.set_filter import Device, EncoderName, SetDir


def register(app: typer.Typer) -> None:
    """Add the command to the group."""
    app.command("oversample")(oversample)


def oversample(
    set_dir: SetDir,
    pictures: Annotated[
        Path,
        typer.Option("--pictures", metavar="DIR|FILE", help="Folder of <name>.png, or a CSV of name,file below it."),
    ],
    contexts: Annotated[Path, typer.Option("--contexts", metavar="FILE", help=".npz that the set was made from.")],
    copies: Annotated[int, typer.Option("--copies", metavar="K", help="How often each is added.")] = 5,
    encoder: EncoderName = "bundled",
    detector: Annotated[
        str | None, typer.Option("--detector", help="Align the pictures by this face finder; default: they are crops.")
    ] = None,
    device: Device = "cpu",
) -> None:
    """Add each identity's own picture to its images, found by name; a picture of another identity is refused.

    Example:

        facewright set oversample faces --pictures nobody --contexts people.npz --copies 5
    """
    from facewright import encoders
    from facewright.align import load_detector
    from facewright.cli.contexts_packed import read_pairs
    from facewright.data.embeddings import read_embeddings
    from facewright.synthesis import add_context_images, pictures_by_name

    people = read_embeddings(contexts)
    if pictures.suffix.lower() == ".csv":
        found = {name: pictures.parent / file for name, file in read_pairs(pictures).items()}
    else:
        found = pictures_by_name(pictures, people.names)
    finder = None if detector is None else load_detector(detector)
    network = encoders.load(encoder, device=device)
    with progress_bar("adding") as progress:
        added = add_context_images(set_dir, found, people, network, copies=copies, detector=finder, progress=progress)
    of_each = counted(len(people), "identity", "identities")
    summary([f"{set_dir}: {counted(added, 'image')} added, {copies} of each of {of_each}"])
