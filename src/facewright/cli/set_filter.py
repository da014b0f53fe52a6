"""`facewright set filter`: mark the images of a set that miss a limit."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from facewright.cli.console import counted, progress_bar, summary, write_json

if TYPE_CHECKING:
    from facewright.data.embeddings import Embeddings
    from facewright.synthesis import FilterReport, SetLimits

SetDir = Annotated[Path, typer.Argument(metavar="SET", help="Folder of the set.")]
MinSimilarity = Annotated[
    float | None, typer.Option("--min-similarity", help="Least cosine of an image to its context, as sampled.")
]
MinCentre = Annotated[
    float | None, typer.Option("--min-centre", help="Least cosine of an image to the mean of its identity's others.")
]
MaxTraining = Annotated[
    float | None, typer.Option("--max-training", help="Largest cosine of an identity to a person of --training.")
]
Training = Annotated[
    Path | None, typer.Option("--training", metavar="FILE", help=".npz of the generator's training people.")
]
MinImages = Annotated[int | None, typer.Option("--min-images", help="Drop identities that keep fewer than this.")]
EncoderName = Annotated[str, typer.Option("--encoder", help="bundled, or a .safetensors file.")]
Device = Annotated[str, typer.Option("--device", help="cpu, cuda or cuda:N.")]
Json = Annotated[Path | None, typer.Option("--json", metavar="FILE", help="Write the figures to this file.")]


def register(app: typer.Typer) -> None:
    """Add the command to the group."""
    app.command("filter")(filter_images)


def filter_images(
    set_dir: SetDir,
    min_similarity: MinSimilarity = None,
    min_centre: MinCentre = None,
    max_training: MaxTraining = None,
    training: Training = None,
    min_images: MinImages = None,
    encoder: EncoderName = "bundled",
    device: Device = "cpu",
    json_file: Json = None,
) -> None:
    """Mark images that miss a limit as not kept, with the reason; no limit at all marks every image as kept.

    Nothing is deleted, and each call judges anew.

    Example:

        facewright set filter faces --min-similarity 0.3 --min-images 8
    """
    from facewright import encoders
    from facewright.synthesis import SetLimits, filter_set

    limits = SetLimits(min_similarity, min_centre, max_training, min_images)
    network = encoders.load(encoder, device=device) if limits.needs_embeddings else None
    with progress_bar("embedding") as progress:
        report = filter_set(set_dir, limits, encoder=network, training=read_training(training), progress=progress)
    write_json(json_file, figures(set_dir, limits, report))
    summary([f"{set_dir}: {told(report)}", *reasons(report)])


def read_training(path: Path | None) -> "Embeddings | None":
    """The people of `--training`."""
    from facewright.data.embeddings import read_embeddings

    return None if path is None else read_embeddings(path)


def figures(set_dir: Path, limits: "SetLimits", report: "FilterReport") -> dict[str, object]:
    """What `--json` holds."""
    from dataclasses import asdict

    return {"set": str(set_dir), "limits": asdict(limits), **asdict(report)}


def told(report: "FilterReport") -> str:
    """What is left, in words."""
    people = counted(report.identities, "identity", "identities")
    return f"{report.kept:,} of {counted(report.images, 'image')} kept, {report.kept_identities:,} of {people}"


def reasons(report: "FilterReport") -> list[str]:
    """One line a reason, the most frequent first."""
    ordered = sorted(report.reasons.items(), key=lambda item: (-item[1], item[0]))
    return [f"dropped {count:,}: {reason}" for reason, count in ordered]
