"""The golden cases as calls of facewright: names on one side, public functions on the other, no arithmetic between.

A JSON file of cases is read as arrays too: a figure's name is its path in the file joined by underscores, such as
`overlap_standard_fmr100` in scores.json or `results_0_kept_classes` in dataset_metrics.json.
"""

import hashlib
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import fields
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tests.golden import loss_cases, nets_cases, personalise_cases
from torch import nn

from facewright import evaluation
from facewright.align import five_from_68, similarity, warp
from facewright.data.formats import Decoder, open_records
from facewright.diffusion import ConditionalUNet, UNetConfig, samplers, schedules
from facewright.errors import FaceError
from facewright.training.ema import EMA, decay_at

Case = dict[str, np.ndarray]

RADII = (0.7, 0.3, 0.5)  # of dataset_metrics.json, for a case that does not name its own


def run(folder: str, name: str, case: Case) -> Case:
    """Compute with facewright every output array that the folder's README names for this case, under its name there.

    Args:
        folder: align, diffusion, losses, nets, personalise or verification.
        name: the file's stem.
        case: the file's arrays without its outputs.
    """
    if folder == "nets" and nets_cases.covers_net(name):
        # The files say out_NAME and the README says NAME: both are given.
        outputs = nets_cases.run_net(name, case)
        return {**outputs, **{key.removeprefix("out_"): value for key, value in outputs.items()}}
    compute = _find(folder, name)
    if compute is None:
        raise KeyError(f"facewright has nothing for {folder}/{name}")
    return {key: np.asarray(value) for key, value in compute(case).items()}


def read(path: Path) -> list[dict[str, Any]]:
    """Records of a data set in any of the sample formats, in order: {"label": int, "sha256": hex of the image bytes}.

    Every picture is decoded as well, so that one that does not decode is an error here as it is in training. The label
    of a picture of a pair is 1 where the pair matches and 0 where not.
    """
    records, decoder, found = open_records(path), Decoder(), []
    for number, record in enumerate(records):
        if not records.latents:
            decoder.decode(record.image, records.where(number))
        found.append({"label": record.label, "sha256": hashlib.sha256(record.image).hexdigest()})
    return found


def covers(folder: str, name: str) -> bool:
    """Whether `run` knows cases of this name."""
    return (folder == "nets" and nets_cases.covers_net(name)) or _find(folder, name) is not None


def _find(folder: str, name: str) -> Callable[[Case], dict[str, Any]] | None:
    cases = _CASES.get(folder, {})
    known = [prefix for prefix in cases if name.startswith(prefix)]
    return cases[max(known, key=len)] if known else None


def _pairs(case: Case) -> dict[str, Any]:
    result = evaluation.verify(case["embeddings"], case["embeddings_flipped"], case["issame"])
    val = evaluation.val_at_far(result.distances, case["issame"], target=float(case.get("val_far_target", 1e-3)))
    return {
        "squared_distance": result.distances,
        "arcface_fold_accuracy": result.fold_accuracy,
        "arcface_fold_threshold": result.fold_threshold,
        "arcface_mean": result.accuracy,
        "arcface_std": result.std,
        "arcface_xnorm": result.mean_norm,
        "arcface_mean_tpr": result.tpr,
        "arcface_mean_fpr": result.fpr,
        "tface_fold_accuracy": result.fold_accuracy,
        "tface_fold_threshold": result.fold_threshold,
        "tface_mean": result.accuracy,
        "tface_mean_threshold": result.threshold,
        "tface_bad_case": result.rejected_genuine,
        "val_standard_fold": val.fold_val,
        "val_standard_far_fold": val.fold_far,
        "val_standard_threshold": val.fold_threshold,
    }


_STANDARD_NAMES = {"eer": "eer_interpolated", "fisher_ratio": "fdr"}
_PYEER_NAMES = {
    "genuine_mean": "gmean",
    "genuine_std": "gstd",
    "impostor_mean": "imean",
    "impostor_std": "istd",
    "fisher_ratio": "fdr",
}


def _scores(case: Case) -> dict[str, Any]:
    out: dict[str, Any] = {}
    for key in case:
        if not key.endswith("genuine"):
            continue
        kind = key.removesuffix("genuine")
        genuine, impostor = case[key], case[f"{kind}impostor"]
        for figure, value in evaluation.summarise(genuine, impostor).figures().items():
            out[f"{kind}standard_{_STANDARD_NAMES.get(figure, figure)}"] = np.nan if value is None else value
        for figure, value in _pyeer_figures(evaluation.pyeer_summary(genuine, impostor)):
            out[f"{kind}pyeer_{_PYEER_NAMES.get(figure, figure)}"] = value
    return out


def _pyeer_figures(summary: evaluation.PyeerSummary) -> Iterator[tuple[str, float]]:
    for field in fields(summary):
        value = getattr(summary, field.name)
        if isinstance(value, evaluation.OperatingPoint):
            yield field.name, value.fnmr
            yield f"{field.name}_threshold", value.threshold
            yield f"{field.name}_attained_fmr", value.fmr
        else:
            yield field.name, value


def _dataset_metrics(case: Case) -> dict[str, Any]:
    embeddings, labels = case["embeddings"], case["labels"]
    named = {key: float(value) for key, value in case.items() if key.startswith("results_") and key.endswith("_r")}
    radii = named or {f"results_{number}_r": radius for number, radius in enumerate(RADII)}
    out: dict[str, Any] = {}
    for key, radius in radii.items():
        prefix = key.removesuffix("r")
        consistency = evaluation.class_consistency(embeddings, labels, radius=radius)
        images = evaluation.unique_rows(embeddings, radius=radius)
        out[f"{prefix}u_class"] = evaluation.class_uniqueness(embeddings, labels, radius=radius)
        out[f"{prefix}kept_classes"] = evaluation.unique_classes(embeddings, labels, radius=radius)
        out[f"{prefix}c_intra"] = consistency.mean()
        out[f"{prefix}c_intra_per_class"] = consistency
        out[f"{prefix}u"] = len(images)
        out[f"{prefix}kept_images"] = images
    return out


def _multi_subject_identity(case: Case) -> dict[str, Any]:
    out: dict[str, Any] = {}
    for key, cosines in case.items():
        if key.endswith("similarity"):
            prefix = key.removesuffix("similarity")
            out[f"{prefix}greedy_min"] = evaluation.weakest_match(cosines)
            out[f"{prefix}score"] = evaluation.multi_subject_identity(cosines)
    return out


def _points(case: Case) -> dict[str, Any]:
    double, double_found = _similarities(case["points"], case["template"])
    single, single_found = _similarities(np.float32(case["points"]), np.float32(case["template"]))
    return {
        "matrix_float64": double,
        "estimate_ok_float64": double_found,
        "matrix_float32_input": single,
        "estimate_ok_float32": single_found,
        "closed_form_similarity": double,
    }


def _points68(case: Case) -> dict[str, Any]:
    corners = np.stack([five_from_68(points, eyes="corners") for points in case["points68"]])
    contours = np.stack([five_from_68(points, eyes="contour") for points in case["points68"]])
    return {
        "five_two_corner_eyes": corners,
        "five_mean_eyes": contours,
        "matrix_two_corner_eyes": np.stack([similarity(points) for points in corners]),
        "matrix_mean_eyes": np.stack([similarity(points) for points in contours]),
    }


def _similarities(points: np.ndarray, template: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Matrices and whether each exists; where facewright refuses the points the matrix is NaN."""
    matrices, found = np.full((len(points), 3, 3), np.nan), np.ones(len(points), bool)
    for index, five in enumerate(points):
        try:
            matrices[index] = similarity(five, template)
        except FaceError:
            found[index] = False
    return matrices, found


def _warps(case: Case) -> dict[str, Any]:
    """One crop for all five names: the README accepts it within one level of the exact one or equal to an OpenCV's."""
    crops = np.stack([warp(case["source"], matrix) for matrix in case["matrices"]])
    names = ("affine_opencv4", "affine_opencv5", "perspective_area_opencv4", "perspective_area_opencv5")
    return dict.fromkeys(("exact_bilinear", *names), crops)


def _linear_schedule(case: Case) -> dict[str, Any]:
    return _tables(schedules.linear_betas(int(case["T"])))


def _cosine_schedule(case: Case) -> dict[str, Any]:
    return _tables(
        schedules.cosine_betas(
            int(case["T"]),
            power=float(case["k"]),
            beta_min=float(case["beta_min"]),
            beta_max=float(case["beta_max"]),
        )
    )


def _tables(betas: torch.Tensor) -> dict[str, Any]:
    single = schedules.constants(betas.float())
    return {
        "betas_float64": betas.numpy(),
        "alpha_bars_float64": schedules.alpha_bars(betas).numpy(),
        **{f"reference_{name}": table.numpy() for name, table in single.items()},
    }


_SCHEDULES = {"linear": schedules.linear_betas, "cosine": schedules.cosine_betas}
_SEQUENCES = [f"{kind}_1000_s{steps}" for kind in _SCHEDULES for steps in (10, 20, 50, 250)]  # where none is named
_SEQUENCE_NAME = re.compile(r"(?P<kind>linear|cosine)_(?P<times>\d+)_s(?P<steps>\d+)")


def _ddim_sequence(case: Case) -> dict[str, Any]:
    named = sorted({match[0] for match in map(_SEQUENCE_NAME.match, case) if match})
    out: dict[str, Any] = {}
    for name in named or _SEQUENCES:
        found = _SEQUENCE_NAME.match(name)
        assert found is not None
        bars = schedules.alpha_bars(_SCHEDULES[found["kind"]](int(found["times"])))
        plans = {
            variant: samplers.ddim_plan(bars, int(found["steps"]), eta=1.0, variant=variant)
            for variant in ("exact", "published")
        }
        times = plans["exact"].times
        out[f"{name}_skip"] = times[-2] if len(times) > 1 else len(bars)  # the last but one is one stride above 0
        out[f"{name}_t"] = times
        out[f"{name}_alpha_bar"] = plans["exact"].alpha_bar
        for variant, plan in plans.items():
            out[f"{name}_alpha_bar_prev_{variant}"] = plan.alpha_bar_next
            out[f"{name}_sigma_eta1_{variant}"] = plan.sigma
    return out


def _toy_noise(bars: torch.Tensor, spread: float) -> samplers.Predict:
    """The noise model that the README of the case gives: exact for data of this spread."""

    def predict(x: torch.Tensor, time: int) -> torch.Tensor:
        bar = float(bars[time])
        return x * (1 - bar) ** 0.5 / (bar * spread**2 + 1 - bar)

    return predict


def _partial_dropout(case: Case) -> dict[str, Any]:
    out: dict[str, Any] = {}
    for prefix in [key.removesuffix("linear_weight") for key in case if key.endswith("linear_weight")]:
        given = {key.removeprefix(prefix): torch.from_numpy(case[key]) for key in case if key.startswith(prefix)}
        unet = _projection(given["linear_weight"], given["linear_bias"], rate=float(given["p"]))
        project = partial(unet.project, count=len(given["context"]))
        factor = 1 / (1 - unet.config.partial_dropout)  # of a kept component, as `project` takes it
        with torch.no_grad():
            for name, drop in (("", None), ("whole_drop_", given["whole_drop"])):
                keep = given[f"{name}keep_mask"] * factor
                unet.train()
                out[f"{prefix}{name}train_output"] = project(given["context"], drop=drop, keep=keep)
                unet.eval()
                out[f"{prefix}{name}eval_output"] = project(given["context"], drop=drop)
            out[f"{prefix}none_output"] = project(None)
    return out


def _projection(weight: torch.Tensor, bias: torch.Tensor, *, rate: float) -> ConditionalUNet:
    """A small denoiser that projects its context by these numbers."""
    width, inputs = weight.shape
    sizes = UNetConfig(
        width=32,
        multipliers=(1,),
        attention=(False,),
        blocks=1,
        context_inputs=inputs,
        context_width=width,
        partial_dropout=rate,
    )
    unet = ConditionalUNet(sizes)
    assert unet.context_emb is not None
    unet.context_emb.load_state_dict({"weight": weight, "bias": bias})
    return unet


def _ddim_toy(case: Case) -> dict[str, Any]:
    bars, start = torch.from_numpy(case["alpha_bars"]), torch.from_numpy(case["x_T"])
    predict = _toy_noise(bars, float(case["s0"]))
    named = {int(match[1]) for match in (re.match(r"s(\d+)_", key) for key in case) if match}
    out: dict[str, Any] = {}
    for steps in sorted(named) or (20, 50):
        for variant in ("exact", "published"):
            path = [start]
            samplers.ddim(predict, start, samplers.ddim_plan(bars, steps, variant=variant), on_step=path.append)
            out[f"s{steps}_{variant}"] = torch.stack(path)
        clean = float(case["s0"]) * start
        out[f"s{steps}_published_inversion_of_x0"] = samplers.ddim_invert(
            predict, clean, bars, steps, variant="published"
        )
    return out


def _ddpm_toy(case: Case) -> dict[str, Any]:
    betas, noise = torch.from_numpy(case["betas"]), torch.from_numpy(case["noise"])
    predict = _toy_noise(schedules.alpha_bars(betas), float(case["s0"]))
    start = torch.from_numpy(case["x_T"])
    return {
        variant: samplers.ancestral(predict, start, betas, noise=lambda i: noise[i], variant=variant)
        for variant in ("exact", "published")
    }


def _ema(case: Case) -> dict[str, Any]:
    settings = {
        "inv_gamma": float(case["inv_gamma"]),
        "power": float(case["power"]),
        "minimum": float(case["min_value"]),
        "maximum": float(case["max_value"]),
    }
    module = nn.ParameterDict({"walk": torch.from_numpy(case["initial"].copy())})
    average = EMA(module, maximum=settings["maximum"], power=settings["power"])
    averaged = []
    for weights in case["parameters"]:
        with torch.no_grad():
            module["walk"].copy_(torch.from_numpy(weights))
        average.update(module)
        averaged.append(average.averaged["walk"].numpy().copy())
    return {
        "decay": [decay_at(int(step), **settings) for step in case["step"]],
        "averaged": np.stack(averaged),
        "published_average": case["parameters"],  # the public average is the raw weights; facewright has no such mode
    }


_CASES: Mapping[str, Mapping[str, Callable[[Case], dict[str, Any]]]] = {
    "align": {"points": _points, "points68": _points68, "warps": _warps},
    "diffusion": {
        "context_partial_dropout": _partial_dropout,
        "ddim_sequence": _ddim_sequence,
        "ddim_toy": _ddim_toy,
        "ddpm_toy": _ddpm_toy,
        "ema": _ema,
        "schedule_cosine": _cosine_schedule,
        "schedule_linear": _linear_schedule,
    },
    "losses": loss_cases.CASES,
    "personalise": personalise_cases.CASES,
    "verification": {
        "dataset_metrics": _dataset_metrics,
        "multi_subject_identity": _multi_subject_identity,
        "pairs": _pairs,
        "scores": _scores,
    },
}
