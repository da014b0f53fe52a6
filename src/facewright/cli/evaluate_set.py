"""`facewright evaluate set`: how well a labelled set holds its identities, by every measure of the field."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from facewright.cli.console import summary, write_json
from facewright.cli.evaluate_inputs import (
    Device,
    EncoderName,
    JsonFile,
    Seed,
    described,
    numbered,
    read_labelled,
    read_same_encoder,
    write_plots,
)
from facewright.errors import DataError

if TYPE_CHECKING:
    import numpy as np

    from facewright.encoders import Encoder
    from facewright.evaluation import SetMeasures

DEFINITIONS = {
    "scores": "cosines of single images (no mirror): every pair of one identity against pairs of two, all or a sample;"
    " EER on straight lines between thresholds; fmr100, fmr1000 the lowest FNMR with FMR <= 1/100, 1/1000",
    "pyeer": "the same rates as the package pyeer 0.5.6 defines them: FNMR at the threshold whose FMR is nearest to"
    " 1/100, 1/1000; EER the middle of both rates at one threshold",
    "fisher_ratio": "(difference of means)^2 / (sum of population variances)",
    "intra_identity_diversity": "mean over identities of 1 - cosine over their pairs",
    "class_uniqueness": "U_class of DCFace: share of identity centres kept when each must be farther (1 - cosine) than"
    " radius from all kept before",
    "class_consistency": "C_intra of DCFace: mean share of an identity's images with 1 - cosine to their centre below"
    " radius",
    "class_coverage": "D_intra of DCFace, per-identity improved recall with k = 3, here on unit embeddings of the named"
    " encoder and not on Inception features",
    "vendi": "effective number of different images: exp of the entropy of the eigenvalues of the cosines / N (Friedman"
    " and Dieng 2023)",
    "identity_vendi": "the same within each identity",
    "similarity_to_nearest_training_identity": "largest cosine of an identity's centre to a row of the training file",
    "frechet_distance": "Fréchet distance of this encoder's embeddings to those of the population; no FID, and only"
    " figures of equal numbers of pictures compare",
    "intervals": "95 % percentile bootstrap over identities",
}


def measure(
    source: Annotated[
        Path, typer.Argument(metavar="SET", help="Folder of a set, folder of crops by person, or .npz of embeddings.")
    ],
    encoder: EncoderName = "bundled",
    contexts: Annotated[
        Path | None, typer.Option("--contexts", help=".npz of what each identity of a set was conditioned on.")
    ] = None,
    training: Annotated[
        Path | None, typer.Option("--training", help=".npz with one row for each training identity of the generator.")
    ] = None,
    real: Annotated[
        Path | None,
        typer.Option("--real", help="Real pictures of people of the set, by the same names, for class_coverage."),
    ] = None,
    population: Annotated[
        Path | None, typer.Option("--population", help="Real pictures of anybody, for the Fréchet distance to them.")
    ] = None,
    radius: Annotated[float, typer.Option("--radius", help="1 - cosine, for uniqueness and consistency.")] = 0.7,
    impostors: Annotated[
        int, typer.Option("--impostors", min=1, help="Pairs of two identities drawn when there are more.")
    ] = 1_000_000,
    resamples: Annotated[
        int, typer.Option("--resamples", min=0, help="Draws of identities for intervals; 0 leaves them out.")
    ] = 200,
    seed: Seed = 0,
    device: Device = "cpu",
    json_file: JsonFile = None,
    plots: Annotated[
        Path | None, typer.Option("--plots", help="Write histograms, ROC and DET as SVG to this folder.")
    ] = None,
) -> None:
    """Every measure of a labelled set: error rates, uniqueness, consistency, diversity, nearest training people.

    Example: facewright evaluate set faces --training train.npz --json faces.json --plots faces-plots
    """
    from facewright import encoders
    from facewright.evaluation import frechet_distance, measure_set

    network = encoders.load(encoder, device=device)
    training_rows = None if training is None else read_same_encoder(training, network).embeddings
    context_rows = None if contexts is None else _contexts(contexts, source, network)
    pictures = None if real is None else read_labelled(real, network)
    anybody = None if population is None else read_labelled(population, network)
    faces = read_labelled(source, network)
    known = (faces.people,) if pictures is None else (faces.people, pictures.people)
    labels = numbered(*known)
    measures = measure_set(
        faces.embeddings,
        labels[0],
        contexts=context_rows,
        training=training_rows,
        real=None if pictures is None else (pictures.embeddings, labels[1]),
        impostor_limit=impostors,
        radius=radius,
        resamples=resamples,
        seed=seed,
    )
    distance = None if anybody is None else frechet_distance(faces.embeddings, anybody.embeddings)
    figures = {"set": str(source), "encoder": described(network), **measures.figures(), "frechet_distance": distance}
    write_json(json_file, {**figures, "definitions": DEFINITIONS})
    if plots is not None:
        _plot(plots, measures)
    title = f"{source}: {measures.images:,} images of {measures.identities:,} identities"
    lines = _lines(measures)
    if distance is not None:
        lines.append(f"Fréchet distance  {distance:8.4f}  to the population, of this encoder's embeddings")
    summary([f"{title}, encoder {network.name} {network.sha256[:12]}", *lines])


def _contexts(path: Path, source: Path, network: "Encoder") -> "np.ndarray":
    """What each kept image of a set was conditioned on, found by the name of its identity."""
    from facewright.data.sets import read_set

    read = read_same_encoder(path, network)
    places = {name: place for place, name in enumerate(read.names)}
    wanted = [row.name for row in read_set(source).rows if row.kept]
    missing = [name for name in wanted if name not in places]
    if missing:
        raise DataError(f"{path}: holds no context named {missing[0]!r}, which the set has; give the set's own")
    return read.embeddings[[places[name] for name in wanted]]


def _plot(folder: Path, measures: "SetMeasures") -> None:
    from facewright.evaluation import error_rates
    from facewright.evaluation.plots import det_plot, roc_plot, score_histograms

    curves = {"set": error_rates(measures.genuine, measures.impostor)}
    histograms = score_histograms(measures.genuine, measures.impostor, threshold=measures.scores.eer_threshold)
    write_plots(folder, {"histograms": histograms, "roc": roc_plot(curves), "det": det_plot(curves)})


def _lines(measures: "SetMeasures") -> list[str]:
    scores, pyeer, radius = measures.scores, measures.pyeer, f"{measures.radius:g}"
    lines = [
        f"genuine cosine    {scores.genuine_mean:8.3f}  std {scores.genuine_std:.3f}, {scores.genuine:,} pairs, all",
        f"impostor cosine   {scores.impostor_mean:8.3f}  std {scores.impostor_std:.3f}, {scores.impostor:,} pairs",
        f"EER               {scores.eer:8.2%}  straight line between thresholds; {pyeer.eer:.2%} by pyeer",
        f"FMR100            {scores.fmr100.fnmr:8.2%}  lowest FNMR, FMR <= 1 %; {pyeer.fmr100.fnmr:.2%} by pyeer",
        f"FMR1000           {scores.fmr1000.fnmr:8.2%}  lowest FNMR, FMR <= 0.1 %; {pyeer.fmr1000.fnmr:.2%} by pyeer",
        f"Fisher ratio      {scores.fisher_ratio:8.2f}  (difference of means)^2 / sum of variances",
        f"diversity         {measures.diversity:8.3f}  mean 1 - cosine within an identity",
        f"Vendi score       {measures.vendi:8.1f}  effective number of different images, of {measures.images:,}",
        f"  per identity    {measures.identity_vendi.mean:8.2f}  mean",
        f"U_class           {measures.class_uniqueness:8.2%}  centres farther apart than {radius} (DCFace)",
        f"C_intra           {measures.class_consistency:8.2%}  images within {radius} of their centre (DCFace)",
    ]
    if measures.coverage is not None:
        lines.append(f"D_intra           {measures.coverage:8.2%}  real pictures covered, on this encoder's embeddings")
    for name, interval in measures.intervals.items():
        lines.append(f"  {name:<16}{interval.low:8.2%}  to {interval.high:.2%}, 95 % bootstrap over identities")
    if measures.to_context is not None:
        spread = measures.to_context
        lines.append(f"to context        {spread.mean:8.3f}  mean cosine; 5 % below {spread.low:.3f}")
    if measures.to_training is not None:
        spread = measures.to_training
        lines.append(f"nearest training  {spread.mean:8.3f}  mean cosine of a centre; 5 % above {spread.high:.3f}")
    return lines
