"""`facewright evaluate templates`: IJB-B and IJB-C, templates against templates."""

from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from facewright.cli.console import Progress, progress_bar, summary, write_json
from facewright.cli.evaluate_inputs import Device, EncoderName, JsonFile, Seed, described, write_plots
from facewright.errors import DataError, InputError

if TYPE_CHECKING:
    import numpy as np

    from facewright.encoders import Encoder
    from facewright.evaluation import PairScores, ScoreSummary, TemplateConfig
    from facewright.evaluation.ijb import IjbFaces

CHUNK = 256  # pictures read and embedded at once

DEFINITIONS = {
    "tar_at_far": "1 - lowest FNMR with FMR <= FAR, over all listed pairs",
    "tar_at_nearest_far": "TAR at the ROC point whose FAR is nearest to the target, which may exceed it: the definition"
    " of arcface_torch's and TFace's scripts",
    "scores": "EER on straight lines between thresholds; fmr100, fmr1000 the lowest FNMR with FMR <= 1/100, 1/1000",
    "missing": "pairs with a template in which no face was found, scored -1",
}


def templates(
    meta: Annotated[
        Path,
        typer.Argument(
            metavar="META",
            help="Folder with NAME_face_tid_mid.txt, NAME_template_pair_label.txt and NAME_name_5pts_score.txt.",
        ),
    ],
    images: Annotated[
        Path, typer.Option("--images", help="Folder loose_crop, or of aligned 112 x 112 crops with --aligned.")
    ],
    encoder: EncoderName = "bundled",
    aligned: Annotated[bool, typer.Option("--aligned", help="The images are aligned crops already.")] = False,
    flip: Annotated[
        str, typer.Option("--flip", help="Mirrored image: sum (F2), concatenate (F1) or none (F0).")
    ] = "sum",
    norm_score: Annotated[bool, typer.Option(help="Keep the length of features (N1) or not (N0).")] = True,
    detector_score: Annotated[bool, typer.Option(help="Weigh faces by the detector's score (D1) or not (D0).")] = True,
    missing: Annotated[
        str, typer.Option("--missing", help="Images that cannot be used: refuse, or reject their templates' pairs.")
    ] = "refuse",
    features: Annotated[
        Path | None,
        typer.Option("--features", metavar="FILE", help=".npz of raw features: read if it is there, else written."),
    ] = None,
    resamples: Annotated[
        int, typer.Option("--resamples", min=0, help="Draws of pairs for intervals; 0 leaves them out.")
    ] = 0,
    seed: Seed = 0,
    device: Device = "cpu",
    json_file: JsonFile = None,
    plots: Annotated[
        Path | None, typer.Option("--plots", help="Write histograms, ROC and DET as SVG to this folder.")
    ] = None,
) -> None:
    """IJB-B/C 1:1 template verification with the switches of arcface_torch; TFace's numbers are N0D0F0.

    Example: facewright evaluate templates IJBC/meta --images IJBC/loose_crop --features ijbc.npz --json ijbc.json
    """
    from facewright import encoders
    from facewright.evaluation import (
        build_templates,
        error_rates,
        face_features,
        rate_intervals,
        score_pairs,
        summarise,
    )
    from facewright.evaluation.ijb import find_lists, read_faces, read_pairs
    from facewright.evaluation.rates import tar_at_far
    from facewright.evaluation.templates import REPORTED_FARS, nearest_tar_at_far

    if missing not in ("refuse", "reject"):
        raise InputError(f"--missing takes refuse or reject, got {missing!r}")
    policy: Literal["refuse", "reject"] = "reject" if missing == "reject" else "refuse"
    config = _config(flip, norm_score, detector_score)
    lists = find_lists(meta)
    faces = read_faces(lists)
    if not aligned and faces.points is None:
        raise InputError(f"{meta}: holds no *_name_5pts_score.txt; give it, or aligned crops with --aligned")
    network = encoders.load(encoder, device=device)
    plain, mirrored, found = _features(features, faces, images, network, aligned=aligned, refuse=missing == "refuse")
    built = build_templates(
        face_features(plain, mirrored, faces.scores, config=config), faces.templates, faces.media, found=found
    )
    with progress_bar("comparing") as progress:
        scored = score_pairs(built, _counted(read_pairs(lists.pairs), progress), missing=policy)
    rates = error_rates(scored.genuine, scored.impostor)
    standard, nearest = tar_at_far(rates, REPORTED_FARS), nearest_tar_at_far(rates)
    scores = summarise(scored.genuine, scored.impostor)
    intervals = {}
    if resamples:
        with progress_bar("resampling") as progress:
            intervals = rate_intervals(
                scored.genuine,
                scored.impostor,
                targets=REPORTED_FARS,
                resamples=resamples,
                seed=seed,
                progress=progress,
            )
    figures = {
        "benchmark": lists.name,
        "encoder": described(network),
        "protocol": _protocol(config),
        "options": asdict(config),
        "faces": len(faces.images),
        "faces_missing": int((~found).sum()),
        "templates": len(built.numbers),
        "templates_dropped": built.dropped,
        "genuine": len(scored.genuine),
        "impostor": len(scored.impostor),
        "missing": {"genuine": scored.missing_genuine, "impostor": scored.missing_impostor},
        "tar_at_far": {f"{far:g}": rate for far, rate in standard.items()},
        "tar_at_nearest_far": {f"{far:g}": rate for far, rate in nearest.items()},
        "scores": scores.figures(),
        "intervals": {name: asdict(interval) for name, interval in intervals.items()},
        "definitions": DEFINITIONS,
    }
    write_json(json_file, figures)
    if plots is not None:
        _plot(plots, lists.name, scored, scores)
    counts = f"{len(built.numbers):,} templates, {len(scored.genuine):,} + {len(scored.impostor):,} pairs"
    title = f"{lists.name}: {counts}, encoder {network.name} {network.sha256[:12]}"
    summary([title, *_lines(standard, nearest, scores), f"Protocol: {_protocol(config)}."])


def _config(flip: str, norm_score: bool, detector_score: bool) -> "TemplateConfig":
    from facewright.evaluation import TemplateConfig

    flips: dict[str, Literal["sum", "concatenate", "none"]] = {
        "sum": "sum",
        "concatenate": "concatenate",
        "none": "none",
    }
    if flip not in flips:
        raise InputError(f"--flip takes sum, concatenate or none, got {flip!r}")
    return TemplateConfig(flip=flips[flip], norm_score=norm_score, detector_score=detector_score)


def _protocol(config: "TemplateConfig") -> str:
    flips = {
        "sum": "raw feature of the image + that of its mirror",
        "concatenate": "raw features of the image and of its mirror side by side",
        "none": "raw feature of the image",
    }
    steps = [
        flips[config.flip],
        "length kept" if config.norm_score else "unit length",
        "times the detector's score" if config.detector_score else "faces weigh alike",
        "mean of each medium, sum over media, unit length",
        "cosine",
    ]
    return f"{config.name}: {', '.join(steps)}"


def _features(
    cache: Path | None, faces: "IjbFaces", images: Path, network: "Encoder", *, aligned: bool, refuse: bool
) -> "tuple[np.ndarray, np.ndarray, np.ndarray]":
    """Raw features of every face and of its mirror, and which faces could be used."""
    import numpy as np

    if cache is not None and cache.is_file():
        return _read_features(cache, faces, network)
    plain = np.zeros((len(faces.images), network.width), np.float32)
    mirrored, found = np.zeros_like(plain), np.ones(len(plain), bool)
    with progress_bar("embedding") as progress:
        for start in range(0, len(plain), CHUNK):
            rows = np.arange(start, min(start + CHUNK, len(plain)))
            crops = [_crop(images, faces, int(row), aligned=aligned, refuse=refuse) for row in rows]
            found[rows] = [crop is not None for crop in crops]
            there = rows[found[rows]]
            if there.size:
                stacked = np.stack([crop for crop in crops if crop is not None])
                plain[there], mirrored[there] = _raw(network, stacked)
            progress(int(rows[-1]) + 1, len(plain))
    if cache is not None:
        from facewright.training.atomic import atomic_path

        with atomic_path(cache) as temporary, temporary.open("wb") as opened:
            np.savez(opened, plain=plain, mirrored=mirrored, found=found, encoder_sha256=np.array(network.sha256))
    return plain, mirrored, found


def _read_features(cache: Path, faces: "IjbFaces", network: "Encoder") -> "tuple[np.ndarray, np.ndarray, np.ndarray]":
    import numpy as np

    from facewright.data.embeddings import UNREADABLE

    try:
        with np.load(cache, allow_pickle=False) as opened:
            plain, mirrored, found = opened["plain"], opened["mirrored"], opened["found"]
            made_by = str(opened["encoder_sha256"])
    except (KeyError, *UNREADABLE) as error:
        raise DataError(
            f"{cache}: not a readable file of raw features ({error}); delete it to make it again"
        ) from error
    if made_by != network.sha256 or len(plain) != len(faces.images):
        raise DataError(
            f"{cache}: {len(plain)} features by encoder {made_by[:12]}, expected {len(faces.images)} by"
            f" {network.sha256[:12]}; name another file"
        )
    return plain, mirrored, found


def _raw(network: "Encoder", crops: "np.ndarray") -> "tuple[np.ndarray, np.ndarray]":
    """Features before they are brought to unit length, of crops (n, 112, 112, 3) and of their mirrors."""
    mirrored = crops[:, :, ::-1].copy()
    return network.embed(crops, unit=False), network.embed(mirrored, unit=False)


def _crop(images: Path, faces: "IjbFaces", row: int, *, aligned: bool, refuse: bool) -> "np.ndarray | None":
    from facewright.align import read_photo, similarity, warp
    from facewright.errors import FaceError

    path = images / faces.images[row]
    try:
        photo = read_photo(path)
        if aligned or faces.points is None:
            if photo.shape[:2] != (112, 112):
                raise DataError(
                    f"{path}: {photo.shape[1]} x {photo.shape[0]} px, expected an aligned crop of 112 x 112"
                )
            return photo
        return warp(photo, similarity(faces.points[row]))
    except FaceError:
        if refuse:
            raise
        return None


def _counted(
    chunks: "Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]", progress: Progress
) -> "Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]":
    """The same chunks, with the pairs met so far shown."""
    done = 0
    for chunk in chunks:
        yield chunk
        done += len(chunk[0])
        progress(done, done)


def _plot(folder: Path, name: str, scored: "PairScores", scores: "ScoreSummary") -> None:
    from facewright.evaluation import error_rates
    from facewright.evaluation.plots import det_plot, roc_plot, score_histograms

    curves = {name: error_rates(scored.genuine, scored.impostor)}
    title = "Similarity of pairs of templates"
    histograms = score_histograms(scored.genuine, scored.impostor, title=title, threshold=scores.eer_threshold)
    write_plots(folder, {"histograms": histograms, "roc": roc_plot(curves), "det": det_plot(curves)})


def _lines(standard: dict[float, float], nearest: dict[float, float], scores: "ScoreSummary") -> list[str]:
    lines = []
    for far in nearest:
        held = f"{standard[far]:8.2%}  FMR <= {far:g}" if far in standard else "       –  too few impostor pairs"
        lines.append(f"TAR@{far:<6g} {held}; {nearest[far]:.2%} at the nearest FAR (arcface_torch)")
    return [*lines, f"EER        {scores.eer:8.2%}  straight line between thresholds"]
