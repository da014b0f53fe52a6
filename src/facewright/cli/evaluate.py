"""`facewright evaluate`: the field's measures, with the protocol named beside every figure."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from facewright.cli.console import progress_bar, summary, write_json

if TYPE_CHECKING:
    from facewright.evaluation import AcceptRate, ScoreSummary, Verification

PROTOCOL = (
    "{folds} contiguous folds; feature = embedding of the image + embedding of its mirror, unit length; same identity"
    " if the squared distance is below a threshold; the threshold of a fold is the first of 0, 0.01, ..., 3.99 with"
    " the best accuracy on the other folds"
)


def register(app: typer.Typer) -> None:
    """Add `evaluate` and its commands."""
    commands = typer.Typer(
        help="Measure an encoder, with the protocol named beside every figure.",
        no_args_is_help=True,
        rich_markup_mode=None,
    )
    commands.command()(verification)

    @commands.callback()
    def group() -> None:
        """Keep `verification` a word of the command line although it is the only one."""

    app.add_typer(commands, name="evaluate")


def verification(
    pairs: Annotated[Path, typer.Argument(metavar="PAIRS", help="List of pairs in the form of LFW's pairs.txt.")],
    images: Annotated[
        Path, typer.Option("--images", help="Folder or tar of aligned 112 x 112 crops, files named NAME_0004.jpg.")
    ],
    encoder: Annotated[str, typer.Option("--encoder", help="bundled, or a .safetensors file.")] = "bundled",
    manifest: Annotated[
        Path | None, typer.Option("--manifest", help="CSV with columns file and identity; only its files count.")
    ] = None,
    device: Annotated[str, typer.Option("--device", help="cpu, cuda or cuda:N.")] = "cpu",
    json_file: Annotated[Path | None, typer.Option("--json", help="Write the figures to this file.")] = None,
) -> None:
    """Pair verification in ten folds, as in LFW tables.

    Example: facewright evaluate verification lfw_pairs.txt --images lfw_pairs_112.tar --json lfw.json
    """
    import numpy as np

    from facewright import encoders
    from facewright.data.pairs import read_crops, read_pairs
    from facewright.evaluation import bootstrap_interval, summarise, val_at_far, verify

    listed = read_pairs(pairs)
    network = encoders.load(encoder, device=device)
    with progress_bar("reading crops") as progress:
        crops = read_crops(images, listed.images, manifest=manifest, progress=progress)
    with progress_bar("embedding") as progress:
        embeddings = network.embed(crops, mirror=True, progress=progress)[listed.rows()]

    result = verify(embeddings, None, listed.issame, folds=listed.folds)
    accepted = val_at_far(result.distances, listed.issame, folds=listed.folds)
    cosines = 1 - result.distances / 2
    scores = summarise(cosines[listed.issame], cosines[~listed.issame])
    interval = bootstrap_interval(result.correct.astype(np.float64))
    write_json(
        json_file,
        {
            "pairs": str(pairs),
            "images": str(images),
            "encoder": {"name": network.name, "sha256": network.sha256},
            "protocol": PROTOCOL.format(folds=listed.folds),
            **_figures(result, accepted, interval),
            "scores": scores.figures(),
        },
    )
    title = f"{pairs.name}: {len(listed.issame):,} pairs, {len(listed.images):,} images"
    summary([f"{title}, encoder {network.name} {network.sha256[:12]}", *_lines(result, accepted, interval, scores)])


def _figures(result: "Verification", accepted: "AcceptRate", interval: tuple[float, float]) -> dict[str, Any]:
    return {
        "accuracy": result.accuracy,
        "accuracy_std": result.std,
        "accuracy_interval_95": list(interval),
        "fold_accuracy": result.fold_accuracy.tolist(),
        "fold_threshold": result.fold_threshold.tolist(),
        "val": accepted.val,
        "val_std": accepted.std,
        "val_far": accepted.far,
        "val_far_target": accepted.target,
        "genuine": result.genuine,
        "impostor": result.impostor,
        "rejected_genuine": result.rejected_genuine.tolist(),
        "accepted_impostor": result.accepted_impostor.tolist(),
    }


def _lines(
    result: "Verification", accepted: "AcceptRate", interval: tuple[float, float], scores: "ScoreSummary"
) -> list[str]:
    folds = len(result.fold_accuracy)
    held = f"{accepted.far:.2%} attained"
    return [
        f"accuracy  {result.accuracy:8.2%}  std {result.std:.2%} over {folds} folds, threshold from the other folds",
        f"          {interval[0]:8.2%}  to {interval[1]:.2%}, 95 % percentile bootstrap over pairs",
        f"VAL       {accepted.val:8.2%}  std {accepted.std:.2%}, at most {accepted.target:.1%} false accepts, {held}",
        f"EER       {scores.eer:8.2%}  all pairs at once, straight line between thresholds",
        f"FMR100    {scores.fmr100.fnmr:8.2%}  all pairs at once, lowest FNMR with FMR <= 1 %",
        f"FMR1000   {scores.fmr1000.fnmr:8.2%}  all pairs at once, lowest FNMR with FMR <= 0.1 %",
        f"AUC       {scores.auc:8.4f}  all pairs at once, ties count one half",
        "Features are embeddings of image + mirror; accuracy and VAL use squared distance.",
    ]
