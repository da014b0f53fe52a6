"""`facewright evaluate leakage`: do generated people pass for those who trained the generator?"""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from facewright.cli.console import progress_bar, summary, write_json
from facewright.cli.evaluate_inputs import (
    Device,
    EncoderName,
    JsonFile,
    described,
    numbered,
    read_labelled,
    write_plots,
)

if TYPE_CHECKING:
    from facewright.evaluation import Leakage

DEFINITIONS = {
    "threshold": "lowest cosine that at most a share fmr of all pairs of two training people reach",
    "images": "share of pictures whose nearest training picture is at or above the threshold",
    "identities": "share of identities more than half of whose pictures match one and the same training person",
    "pairs": "share of all pairs (picture, training picture) at or above the threshold; about fmr for strangers",
    "images_by_chance": "1 - (1 - attained fmr)^(training pictures): what images would be if all pairs were independent"
    " pairs of strangers",
    "held_out": "the same search with real people who took no part in the training",
}


def leakage(
    source: Annotated[
        Path, typer.Argument(metavar="SET", help="Folder of a set, folder of crops by person, or .npz of embeddings.")
    ],
    training: Annotated[
        Path,
        typer.Option(
            "--training", help="The training pictures: .npz of facewright embed, or a folder or tar of crops by person."
        ),
    ],
    held_out: Annotated[
        Path | None, typer.Option("--held-out", help="Real people who took no part, in the same form, to compare with.")
    ] = None,
    fmr: Annotated[float, typer.Option("--fmr", help="False match rate that sets the threshold.")] = 1e-4,
    listed: Annotated[int, typer.Option("--listed", min=0, help="Closest matches that are listed.")] = 20,
    encoder: EncoderName = "bundled",
    device: Device = "cpu",
    json_file: JsonFile = None,
    plots: Annotated[
        Path | None, typer.Option("--plots", help="Write the nearest similarities as SVG to this folder.")
    ] = None,
) -> None:
    """Search a set among the pictures its generator was trained on, at a threshold that real people set.

    Example: facewright evaluate leakage faces --training train.npz --held-out others.npz --json leakage.json
    """
    from facewright import encoders
    from facewright.evaluation import identity_leakage

    network = encoders.load(encoder, device=device)
    known = read_labelled(training, network)
    others = None if held_out is None else read_labelled(held_out, network)
    faces = read_labelled(source, network)
    labels, known_labels = numbered(faces.people)[0], numbered(known.people)[0]
    with progress_bar("searching") as progress:
        found = identity_leakage(
            faces.embeddings,
            labels,
            known.embeddings,
            known_labels,
            fmr=fmr,
            held_out=None if others is None else (others.embeddings, numbered(others.people)[0]),
            listed=listed,
            progress=progress,
        )
    figures = found.figures()
    for match in figures["closest"]:
        match["identity"], match["person"] = faces.people[match["image"]], known.people[match["training"]]
    protocol = f"cosine, every picture against every training picture, threshold at FMR {fmr:g} of training people"
    names = {
        "set": str(source),
        "training": str(training),
        "held_out_source": None if others is None else str(held_out),
    }
    write_json(
        json_file,
        {**names, "encoder": described(network), "protocol": protocol, **figures, "definitions": DEFINITIONS},
    )
    if plots is not None:
        _plot(plots, found)
    title = f"{source}: {len(faces.people):,} pictures searched among {len(known.people):,} training pictures"
    summary([f"{title}, encoder {network.name} {network.sha256[:12]}", *_lines(found)])


def _plot(folder: Path, found: "Leakage") -> None:
    from facewright.evaluation.plots import similarity_histograms

    groups = {"generated": found.generated.similarity}
    if found.held_out is not None:
        groups["held-out people"] = found.held_out.similarity
    title = "Similarity to the nearest training picture"
    label = f"FMR {found.fmr:g}"
    drawn = similarity_histograms(groups, title=title, threshold=found.threshold, threshold_label=label)
    write_plots(folder, {"nearest": drawn})


def _lines(found: "Leakage") -> list[str]:
    pairs = f"{found.calibration_pairs:,} pairs of {found.training_identities:,} training people"
    lines = [f"threshold   {found.threshold:8.3f}  cosine at FMR {found.fmr:g}, {pairs}"]
    for name, searched in (("generated", found.generated), ("held out", found.held_out)):
        if searched is not None:
            lines += [
                name,
                f"  images    {searched.images:8.2%}  nearest training picture at or above the threshold",
                f"  people    {searched.identities:8.2%}  most pictures match one training person",
                f"  pairs     {searched.pairs:8.4%}  of all pairs at or above it; {found.fmr:.4%} for strangers",
            ]
    lines.append(f"by chance   {found.by_chance:8.2%}  of images, if all pairs were independent pairs of strangers")
    if found.held_out is None:
        lines.append("No held-out people were given, so read the shares against chance only.")
    return lines
