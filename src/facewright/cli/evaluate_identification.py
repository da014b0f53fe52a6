"""`facewright evaluate identification`: search probes in a gallery."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from facewright.cli.console import summary, write_json
from facewright.cli.evaluate_inputs import (
    Device,
    EncoderName,
    JsonFile,
    LabelledFaces,
    described,
    numbered,
    numbers_of,
    read_labelled,
    write_plots,
)
from facewright.errors import InputError

if TYPE_CHECKING:
    from facewright.evaluation import Identification, OpenSetPoint

PROTOCOL = (
    "cosine of {feature}; rank = 1 + {counting} of other people at least as similar as the own best one (ties count"
    " against); open set: probes whose person the gallery lacks are strangers, TPIR at rank 1 and the lowest threshold"
    " with FPIR at most the target; a probe without a face is never found; intervals: 95 % percentile bootstrap over"
    " probes, seed 0"
)


def identification(
    gallery: Annotated[
        Path, typer.Argument(metavar="GALLERY", help=".npz of embeddings, set, or folder or tar of crops by person.")
    ],
    probes: Annotated[Path, typer.Argument(metavar="PROBES", help="In the same forms.")],
    distractors: Annotated[
        Path | None, typer.Option("--distractors", help="Further gallery people whom no probe shows.")
    ] = None,
    ranks: Annotated[str, typer.Option("--ranks", help="Ranks reported, parted by commas.")] = "1,5,10,20",
    fpir: Annotated[str, typer.Option("--fpir", help="False positive rates of the open set.")] = "0.1,0.01,0.001",
    counting: Annotated[
        str, typer.Option("--counting", help="A rank counts gallery entries (TinyFace) or identities.")
    ] = "entries",
    encoder: EncoderName = "bundled",
    mirror: Annotated[bool, typer.Option(help="Add the embedding of the mirrored crop; not for .npz.")] = True,
    detector: Annotated[
        str | None, typer.Option("--detector", help="Sources are photos: find and align the faces with this detector.")
    ] = None,
    device: Device = "cpu",
    json_file: JsonFile = None,
    plots: Annotated[Path | None, typer.Option("--plots", help="Write the CMC curve as SVG to this folder.")] = None,
) -> None:
    """Identification: rank-k in a closed set, and TPIR at FPIR when some probes have no mate in the gallery.

    Example: facewright evaluate identification gallery.npz probes.npz --ranks 1,5,20 --json search.json
    """
    import numpy as np

    from facewright import encoders
    from facewright.align import load_detector
    from facewright.evaluation import identify, tpir_at_fpir

    if counting not in ("entries", "identities"):
        raise InputError(f"--counting takes entries or identities, got {counting!r}")
    wanted = [int(rank) for rank in numbers_of(ranks, "--ranks")]
    targets = numbers_of(fpir, "--fpir")
    network = encoders.load(encoder, device=device)
    finder = None if detector is None else load_detector(detector)
    known, asked = (read_labelled(path, network, detector=finder, mirror=mirror) for path in (gallery, probes))
    if distractors is not None:
        known = _joined(known, read_labelled(distractors, network, detector=finder, mirror=mirror))
    every = (*asked.people, *asked.missing)
    probe_labels, known_labels = numbered(every, known.people)
    rows = np.concatenate([asked.embeddings, np.ones((len(asked.missing), network.width), np.float32)])
    chosen: Literal["entries", "identities"] = "entries" if counting == "entries" else "identities"
    result = identify(
        rows,
        probe_labels,
        known.embeddings,
        known_labels,
        found=np.arange(len(every)) < len(asked.people),
        counting=chosen,
    )
    points = tpir_at_fpir(result, targets) if result.stranger_scores.size else []
    figures = {
        "gallery": str(gallery),
        "probes": str(probes),
        "distractors": None if distractors is None else str(distractors),
        "encoder": described(network),
        "protocol": PROTOCOL.format(feature=_feature(mirror, (gallery, probes)), counting=counting),
        **_figures(result, points, wanted),
        "gallery_without_face": len(known.missing),
    }
    write_json(json_file, figures)
    if plots is not None:
        from facewright.evaluation.plots import cmc_plot

        write_plots(plots, {"cmc": cmc_plot({probes.stem: result.cmc()})})
    title = f"{len(result.ranks):,} probes with a mate among {result.gallery:,} gallery {counting}"
    summary([f"{title}, encoder {network.name} {network.sha256[:12]}", *_lines(result, points, wanted)])


def _joined(first: LabelledFaces, second: LabelledFaces) -> LabelledFaces:
    """A gallery with distractors, whose people are kept apart whatever they are called."""
    import numpy as np

    people = (*first.people, *(f"distractor/{person}" for person in second.people))
    return LabelledFaces(np.concatenate([first.embeddings, second.embeddings]), people, first.missing + second.missing)


def _feature(mirror: bool, sources: tuple[Path, ...]) -> str:
    if any(path.suffix == ".npz" for path in sources):
        return "embeddings as the .npz holds them"
    return "embedding of the image + embedding of its mirror" if mirror else "embedding of the image"


def _figures(result: "Identification", points: "list[OpenSetPoint]", ranks: list[int]) -> dict[str, Any]:
    from dataclasses import asdict

    from facewright.evaluation import bootstrap_interval

    return {
        "probes_with_mate": len(result.ranks),
        "probes_without_mate": len(result.stranger_scores),
        "probes_without_face": result.missing,
        "gallery_size": result.gallery,
        "rank": {str(rank): result.rank_rate(rank) for rank in ranks},
        "rank_interval_95": {str(rank): list(bootstrap_interval(result.ranks <= rank)) for rank in ranks},
        "cmc": result.cmc().tolist(),
        "open_set": [asdict(point) for point in points],
    }


def _lines(result: "Identification", points: "list[OpenSetPoint]", ranks: list[int]) -> list[str]:
    lines = [f"rank {rank:<5} {result.rank_rate(rank):8.2%}  closed set, ties count against" for rank in ranks]
    for point in points:
        attained = f"FPIR {point.fpir:.2%} attained over {len(result.stranger_scores):,} strangers"
        lines.append(f"TPIR       {point.tpir:8.2%}  at FPIR <= {point.target:g}, rank 1, {attained}")
    if not points:
        lines.append("No open-set figures: no probe, or too few, are of people whom the gallery lacks.")
    if result.missing:
        lines.append(f"{result.missing:,} probes without a face count as never found.")
    return lines
