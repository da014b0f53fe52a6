"""`facewright evaluate verification`: pairs of faces in ten folds."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, cast

import typer

from facewright.cli.console import summary, write_json
from facewright.cli.evaluate_inputs import Device, EncoderName, JsonFile, Seed, described
from facewright.cli.evaluate_pair_figures import DEFINITIONS, LEAKAGE, Measured, figures, lines, plot
from facewright.cli.evaluate_pair_options import METRICS, Options, folds_of
from facewright.cli.evaluate_pairs import PairFeatures, PairSource, open_pairs, read_features, read_groups
from facewright.errors import DataError, InputError

if TYPE_CHECKING:
    import numpy as np

    from facewright.encoders import Encoder
    from facewright.evaluation import FacePairs, Interval, Verification

PROTOCOL = (
    "{folds} {kind} folds; feature = {feature}, unit length; same identity if the {metric} is below a threshold; the"
    " threshold of a fold is the first of 0, 0.01, ..., 3.99 with the best accuracy on the other folds"
)


def verification(
    pairs: Annotated[
        list[str],
        typer.Argument(
            metavar="PAIRS...",
            help="Lists of pairs, .bin files, folders with a list, or benchmarks by name (lfw, cfp_ff, cfp_fp, cplfw,"
            " agedb_30, calfw).",
        ),
    ],
    images: Annotated[
        Path | None, typer.Option("--images", help="Folder or tar of the aligned 112 x 112 crops that a list names.")
    ] = None,
    root: Annotated[
        Path | None, typer.Option("--root", help="Folder of the benchmarks: NAME.bin or a folder NAME for each.")
    ] = None,
    embeddings: Annotated[
        Path | None, typer.Option("--embeddings", help=".npz of facewright embed --mirror, instead of crops.")
    ] = None,
    missing: Annotated[
        str, typer.Option("--missing", help="Images that --embeddings lacks: refuse, or reject their pairs.")
    ] = "refuse",
    encoder: EncoderName = "bundled",
    manifest: Annotated[
        Path | None, typer.Option("--manifest", help="CSV with columns file and identity; only its files count.")
    ] = None,
    mirror: Annotated[bool, typer.Option(help="Add the embedding of the mirrored crop.")] = True,
    folds: Annotated[
        str, typer.Option("--folds", help="list (of the benchmark), a number, or disjoint (no person in two folds).")
    ] = "list",
    metric: Annotated[str, typer.Option("--metric", help="squared (distance of unit features) or angle.")] = "squared",
    subtract_mean: Annotated[
        bool, typer.Option("--subtract-mean", help="Centre on the other folds (facenet; with angle).")
    ] = False,
    components: Annotated[
        int | None, typer.Option("--components", help="Principal components kept, fitted on the other folds.")
    ] = None,
    far: Annotated[float, typer.Option("--far", help="False accept rate of VAL.")] = 1e-3,
    groups: Annotated[
        Path | None, typer.Option("--groups", help="CSV with columns identity (or file) and group.")
    ] = None,
    resamples: Annotated[int, typer.Option("--resamples", min=1, help="Draws of the bootstrap.")] = 2000,
    seed: Seed = 0,
    device: Device = "cpu",
    json_file: JsonFile = None,
    plots: Annotated[
        Path | None, typer.Option("--plots", help="Write histograms, ROC and DET as SVG to this folder.")
    ] = None,
) -> None:
    """Pair verification in ten folds, as in LFW tables; several lists are averaged as published tables do.

    Example: facewright evaluate verification lfw_pairs.txt --images lfw_pairs_112.tar --json lfw.json
    """
    from facewright import encoders

    if missing not in ("refuse", "reject"):
        raise InputError(f"--missing takes refuse or reject, got {missing!r}")
    if embeddings is not None and len(pairs) > 1:
        raise InputError("--embeddings belongs to one list of pairs; give one list, or crops")
    options = Options(folds, cast(Literal["squared", "angle"], metric), subtract_mean, components, far, resamples, seed)
    network = encoders.load(encoder, device=device)
    grouped = None if groups is None else read_groups(groups)
    source = PairSource(images, root, manifest, embeddings, missing)
    lists = [open_pairs(given, source) for given in pairs]
    folded = [folds_of(given, faces, options, width=network.width) for given, faces in zip(pairs, lists, strict=True)]
    sides = [None if grouped is None else _groups_of(faces, groups, grouped) for faces in lists]
    measured = [
        _measure(faces, read_features(faces, source, network, mirror=mirror), options, numbers, grouped_sides)
        for faces, numbers, grouped_sides in zip(lists, folded, sides, strict=True)
    ]
    _report(measured, pairs, images, network, json_file)
    if plots is not None:
        for one in measured:
            plot(plots / one.faces.name if len(measured) > 1 else plots, one)


def _measure(
    faces: "FacePairs",
    features: PairFeatures,
    options: Options,
    numbers: "np.ndarray",
    sides: tuple[list[str], list[str]] | None,
) -> Measured:
    import numpy as np

    from facewright.evaluation import (
        bootstrap_interval,
        error_rates,
        group_rates,
        pyeer_summary,
        summarise,
        tar_at_far,
        val_at_far,
        verify,
    )

    rows = faces.rows()
    result = verify(
        features.embeddings[rows],
        None,
        faces.issame,
        folds=numbers,
        found=None if features.found is None else features.found[rows],
        metric=options.metric,
        subtract_mean=options.subtract_mean,
        components=options.components,
    )
    cosines = _cosines(result.distances, options.metric)
    genuine, impostor = cosines[faces.issame], cosines[~faces.issame]
    intervals = _intervals(faces, result, genuine, impostor, options)
    at = float(_cosines(np.array(result.threshold), options.metric))
    return Measured(
        faces=faces,
        protocol=_protocol(int(numbers.max()) + 1, features.mirrored, options),
        result=result,
        cosines=cosines,
        accepted=val_at_far(result.distances, faces.issame, target=options.far, folds=numbers),
        scores=summarise(genuine, impostor),
        pyeer=pyeer_summary(genuine, impostor).figures(),
        tar=tar_at_far(error_rates(genuine, impostor)),
        interval=bootstrap_interval(result.correct, resamples=options.resamples, seed=options.seed),
        intervals=intervals,
        shared=faces.shared_people(numbers),
        groups=None if sides is None else group_rates(cosines, faces.issame, *sides, threshold=at),
    )


def _cosines(distances: "np.ndarray", metric: str) -> "np.ndarray":
    """Similarities of the distances that decided; -1 where no face was found."""
    import numpy as np

    return np.asarray(np.cos(np.pi * np.clip(distances, 0, 1)) if metric == "angle" else 1 - distances / 2)


def _protocol(folds: int, mirrored: bool, options: Options) -> str:
    protocol = PROTOCOL.format(
        folds=folds,
        kind="identity-disjoint" if options.folds == "disjoint" else "contiguous",
        feature="embedding of the image + embedding of its mirror" if mirrored else "embedding of the image",
        metric=METRICS[options.metric],
    )
    if options.components is not None:
        return f"{protocol}; {options.components} principal components of the other folds"
    return f"{protocol}; features centred on the other folds" if options.subtract_mean else protocol


def _intervals(
    faces: "FacePairs", result: "Verification", genuine: "np.ndarray", impostor: "np.ndarray", options: Options
) -> "dict[str, Interval]":
    """Over people where the list names them, else over pairs."""
    import numpy as np

    from facewright.evaluation import Interval, People, people_interval, rate_intervals

    people = None
    intervals = {}
    if faces.people is not None:
        _, numbers = np.unique(np.array(faces.people), return_inverse=True)
        first, second = numbers[faces.first], numbers[faces.second]
        everyone = People(first, second)
        same = faces.issame
        people = (People(first[same], second[same]), People(first[~same], second[~same]))
        ends = people_interval(result.correct, everyone, resamples=options.resamples, seed=options.seed)
        intervals["accuracy"] = Interval(*ends, 0.95, "people", options.resamples, options.seed)
    rates = rate_intervals(
        genuine, impostor, people=people, resamples=max(1, options.resamples // 2), seed=options.seed
    )
    return intervals | rates


def _groups_of(faces: "FacePairs", path: Path | None, grouped: dict[str, str]) -> tuple[list[str], list[str]]:
    """The groups of the two faces of each pair."""
    keys = [Path(name).stem for name in faces.images]
    people = faces.people or tuple(keys)
    of_image = [grouped.get(person, grouped.get(key)) for person, key in zip(people, keys, strict=True)]
    absent = [person for person, group in zip(people, of_image, strict=True) if group is None]
    if absent:
        raise DataError(f"{path}: no group is given for {absent[0]} and {len(absent) - 1} more images; complete it")
    first, second = ([str(of_image[image]) for image in side] for side in (faces.first, faces.second))
    return first, second


def _report(
    measured: list[Measured], given: list[str], images: Path | None, network: "Encoder", json_file: Path | None
) -> None:
    common = {"encoder": described(network), "definitions": DEFINITIONS, "overlap_with_training": LEAKAGE}
    by_list = [
        {"pairs": name, "images": None if images is None else str(images), **figures(one)}
        for name, one in zip(given, measured, strict=True)
    ]
    average = sum(one.result.accuracy for one in measured) / len(measured)
    if len(measured) == 1:
        write_json(json_file, {**common, **by_list[0]})
    else:
        benchmarks = dict(zip(given, by_list, strict=True))
        write_json(json_file, {**common, "average_accuracy": average, "benchmarks": benchmarks})
    said = []
    for name, one in zip(given, measured, strict=True):
        counts = f"{len(one.faces.issame):,} pairs, {len(one.faces.images):,} images"
        said += [f"{Path(name).name}: {counts}, encoder {network.name} {network.sha256[:12]}", *lines(one)]
    if len(measured) > 1:
        said.append(f"average   {average:8.2%}  of the accuracies of {len(measured)} lists")
    summary(said)
