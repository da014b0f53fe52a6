"""`facewright set check`: read a labelled set, embed it and measure how well its identities hold."""

from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from facewright.cli.console import Progress, counted, progress_bar, summary, write_json
from facewright.cli.evaluate_inputs import described, embed_set, read_same_encoder, write_plots
from facewright.errors import DataError, InputError

if TYPE_CHECKING:
    import numpy as np

    from facewright.align import Detector
    from facewright.data.sets import FaceSet
    from facewright.encoders import Encoder
    from facewright.evaluation import SetMeasures

# The other commands of the group, one a file.
FURTHER = ("set_filter", "set_resample", "set_oversample", "set_card", "set_export")

DEFINITIONS = {
    "scores": "cosines of single images (no mirror): every pair of one identity against pairs of two, all or a sample",
    "eer": "straight line between thresholds",
    "fmr100, fmr1000": "lowest FNMR with FMR <= 1/100, 1/1000 (standard definition)",
    "fisher_ratio": "(difference of means)^2 / (sum of population variances)",
    "intra_identity_diversity": "mean over identities of 1 - cosine over their pairs",
    "class_uniqueness": "share of identity centres kept when each must be farther than radius from all kept before",
    "class_consistency": "mean share of an identity's images with 1 - cosine to their centre below radius",
    "similarity_to_nearest_training_identity": "largest cosine of an identity's centre to a row of the training file",
}


def register(app: typer.Typer) -> None:
    """Add `set` and its commands."""
    commands = typer.Typer(help="Work on a labelled set.", no_args_is_help=True, rich_markup_mode=None)
    commands.command()(check)
    for name in FURTHER:
        import_module(f"facewright.cli.{name}").register(commands)
    app.add_typer(commands, name="set")


def check(
    set_dir: Annotated[Path, typer.Argument(metavar="SET", help="Folder of the set.")],
    encoder: Annotated[str, typer.Option("--encoder", help="bundled, or a .safetensors file.")] = "bundled",
    contexts: Annotated[
        Path | None,
        typer.Option("--contexts", help=".npz of what the set was conditioned on, made with the same encoder."),
    ] = None,
    training: Annotated[
        Path | None,
        typer.Option("--training", help=".npz of the generator's training identities, made with the same encoder."),
    ] = None,
    detector: Annotated[
        str | None, typer.Option("--detector", help="Also count the pictures in which this detector finds a face.")
    ] = None,
    impostors: Annotated[
        int, typer.Option("--impostors", min=1, help="Pairs of two identities drawn when there are more.")
    ] = 1_000_000,
    seed: Annotated[int, typer.Option("--seed", help="Of that draw.")] = 0,
    device: Annotated[str, typer.Option("--device", help="cpu, cuda or cuda:N.")] = "cpu",
    json_file: Annotated[Path | None, typer.Option("--json", help="Write the figures to this file.")] = None,
    plots: Annotated[
        Path | None, typer.Option("--plots", help="Write histograms.svg, roc.svg and det.svg to this folder.")
    ] = None,
) -> None:
    """Check that a set is whole and measure how well its identities hold; rows that a filter dropped do not count.

    Example: facewright set check faces --training train.npz --json faces.json --plots faces-plots
    """
    import numpy as np

    from facewright import encoders
    from facewright.align import load_detector
    from facewright.data.sets import read_set
    from facewright.evaluation import measure_set

    faces = read_set(set_dir)
    kept = np.flatnonzero(faces.kept)
    dropped = len(faces) - len(kept)
    made, planned = _progress_of(faces)
    finder = None if detector is None else load_detector(detector)
    network = encoders.load(encoder, device=device)
    context_rows = None if contexts is None else _context_rows(contexts, network, faces, kept)
    training_rows = None if training is None else read_same_encoder(training, network).embeddings
    embeddings = embed_set(faces, kept, network)
    measures = measure_set(
        embeddings,
        faces.identities[kept],
        contexts=context_rows,
        training=training_rows,
        impostor_limit=impostors,
        seed=seed,
    )
    found = None
    if finder is not None:
        with progress_bar("finding faces") as progress:
            found = _share_with_face(faces, kept, finder, progress)
    figures = {
        "set": str(set_dir),
        "dropped": dropped,
        "planned": planned,
        "made": made,
        "encoder": described(network),
        **measures.figures(),
        "detector": detector,
        "share_with_face": found,
        "definitions": DEFINITIONS,
    }
    if plots is not None:
        _plot(plots, measures)
    write_json(json_file, figures)
    people = counted(measures.identities, "identity", "identities")
    title = f"{set_dir}: {counted(measures.images, 'image')} of {people}, {dropped:,} dropped"
    lines = [f"{title}, encoder {network.name} {network.sha256[:12]}", *_lines(measures)]
    if made < planned:
        lines.insert(1, f"{made:,} of {planned:,} pictures; complete it with the same sample command")
    if found is not None:
        lines.append(f"faces found       {found:7.2%}  of the pictures, by {detector}")
    summary(lines)


def _progress_of(faces: "FaceSet") -> tuple[int, int]:
    """How many pictures of the set's plan are there, and how many it has; pictures added to it later do not count."""
    plan = {"identities", "per_identity"}
    if not plan <= faces.config.keys():  # no plan of facewright sample
        return len(faces), len(faces)
    each = faces.config["per_identity"]
    return sum(row.index < each for row in faces.rows), each * faces.config["identities"]


def _context_rows(path: Path, network: "Encoder", faces: "FaceSet", numbers: "np.ndarray") -> "np.ndarray":
    """What each image was conditioned on, found by the name of its identity."""
    read = read_same_encoder(path, network)
    # An encoder that took no part has embeddings of its own for the people of a set that was made from photos.
    other = faces.config.get("encoder_sha256") not in (None, network.sha256)
    embedded_anew = other and read.provenance.get("encoder_sha256") == network.sha256
    if not embedded_anew and faces.config.get("contexts_sha256") not in (None, read.sha256):
        raise InputError(f"{faces.path} was not made from {path}; give the contexts that it was sampled with")
    places = {name: place for place, name in enumerate(read.names)}
    wanted = [faces.rows[number].name for number in numbers]
    missing = [name for name in wanted if name not in places]
    if missing:
        raise DataError(
            f"{path}: holds no context named {missing[0]!r}, which the set has; give the set's own contexts"
        )
    return read.embeddings[[places[name] for name in wanted]]


def _share_with_face(faces: "FaceSet", numbers: "np.ndarray", finder: "Detector", progress: Progress) -> float:
    """Share of the pictures, whole and not cut to crops, in which the detector finds a face."""
    from facewright.align import find_faces

    found = 0
    for done, number in enumerate(numbers, start=1):
        found += int(find_faces(faces.image(int(number))[None], detector=finder).sum())
        progress(done, len(numbers))
    return found / len(numbers)


def _plot(folder: Path, measures: "SetMeasures") -> None:
    from facewright.evaluation import error_rates
    from facewright.evaluation.plots import det_plot, roc_plot, score_histograms

    curves = {"set": error_rates(measures.genuine, measures.impostor)}
    histograms = score_histograms(measures.genuine, measures.impostor, threshold=measures.scores.eer_threshold)
    write_plots(folder, {"histograms": histograms, "roc": roc_plot(curves), "det": det_plot(curves)})


def _lines(measures: "SetMeasures") -> list[str]:
    scores, radius = measures.scores, f"{measures.radius:g}"
    lines = [
        f"genuine cosine    {scores.genuine_mean:7.3f}  std {scores.genuine_std:.3f}, {scores.genuine:,} pairs, all",
        f"impostor cosine   {scores.impostor_mean:7.3f}  std {scores.impostor_std:.3f}, {scores.impostor:,} pairs",
        f"EER               {scores.eer:7.2%}  straight line between thresholds",
        f"FMR100            {scores.fmr100.fnmr:7.2%}  lowest FNMR with FMR <= 1 %",
        f"FMR1000           {scores.fmr1000.fnmr:7.2%}  lowest FNMR with FMR <= 0.1 %",
        f"Fisher ratio      {scores.fisher_ratio:7.2f}  (difference of means)^2 / sum of variances",
        f"diversity         {measures.diversity:7.3f}  mean 1 - cosine within an identity",
        f"class uniqueness  {measures.class_uniqueness:7.2%}  centres farther apart than {radius} (DCFace)",
        f"class consistency {measures.class_consistency:7.2%}  images within {radius} of their centre (DCFace)",
    ]
    if measures.to_context is not None:
        spread = measures.to_context
        lines.append(f"to context        {spread.mean:7.3f}  mean cosine; 5 % below {spread.low:.3f}")
    if measures.to_training is not None:
        spread = measures.to_training
        lines.append(f"nearest training  {spread.mean:7.3f}  mean cosine of a centre; 5 % above {spread.high:.3f}")
    return lines
