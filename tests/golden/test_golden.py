"""Every golden case that facewright has something for, at the tolerance of its folder's README.

The cases in `data/` travel with the tests; where the reference material lies beside the checkout, its copies and any
further cases of the same folders are run as well.
"""

import json
from collections.abc import Iterator
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.golden import bridge

HERE = Path(__file__).resolve().parent / "data"
BESIDE = Path(__file__).resolve().parents[3] / "shared" / "golden"

INPUTS = {
    "align/points": ("points", "kind", "template", "template_96_wide"),
    "align/points68": ("points68",),
    "align/warps": ("source", "points", "matrices"),
    "diffusion/context_partial_dropout": ("*_p", "*_context", "*_linear_*", "*_keep_mask", "*_whole_drop"),
    "diffusion/ddim_sequence": (),
    "diffusion/ddim_toy": ("T", "s0", "x_T", "alpha_bars"),
    "diffusion/ddpm_toy": ("T", "s0", "x_T", "noise", "betas"),
    "diffusion/ema": (
        "inv_gamma",
        "power",
        "min_value",
        "max_value",
        "update_after_step",
        "step",
        "initial",
        "parameters",
    ),
    "diffusion/schedule_": ("T", "k", "beta_min", "beta_max"),
    "losses/": (
        *("embeddings", "weight", "labels", "angle", "reference_gradient_finite", "step?_embeddings", "step?_labels"),
        *("scale", "margin", "margins", "m", "std", "m1", "m2", "m3", "filter", "alpha", "h", "t_alpha", "eps"),
        *("initial_mean", "initial_std", "sample_rate", "num_sample", "sampled_classes", "world_size"),
    ),
    "personalise/cgdr": ("prediction_subject", "noise", "prediction_class", "mask"),
    "personalise/delayed_conditioning": ("cases_*_steps", "cases_*_alpha", "cases_*_whole_number"),
    "personalise/localization": ("batch", "heads", "segmaps", "token_*", "attention_*", "grad_columns"),
    "personalise/masked_denoise": ("prediction", "target", "segmaps"),
    "personalise/total": ("weight", "denoise", "localization"),
    "verification/dataset_metrics": ("embeddings", "labels", "results_*_r"),
    "verification/multi_subject_identity": ("cases_*_similarity",),
    "verification/pairs": ("embeddings", "embeddings_flipped", "issame", "val_far_target"),
    "verification/scores": ("*_genuine", "*_impostor"),
}
"""What a case is asked with; all other arrays of its file are outputs."""

NO_OUTPUT = {
    "verification/multi_subject_identity": ("cases_*_optimal_assignment_min",),
    "verification/pairs": ("val_reference_mean_std_far",),
}
"""Arrays that facewright has no function for: what greedy matching is compared with, NaN."""

RELATIVE, ABSOLUTE, POINTS, CROP = "relative", "absolute", "points", "crop"
GRADIENT, FINITE = "gradient", "finite"  # absolute and 1e-6 relative; any number
RULES: dict[str, tuple[str, float]] = {
    "align/points*:matrix_float64": (RELATIVE, 1e-9),
    "align/points*:closed_form_similarity": (RELATIVE, 1e-9),
    "align/points*:matrix_*": (POINTS, 0.02),
    "align/points68*:five_*": (ABSOLUTE, 1e-4),  # float32 pixels
    "align/warps*:*": (CROP, 1.0),
    "diffusion/schedule_*:*_float64": (RELATIVE, 1e-10),
    "diffusion/schedule_*:reference_betas": (ABSOLUTE, 1e-7),
    "diffusion/schedule_cosine_*_max0999:reference_alpha_bars": (RELATIVE, 2e-5),
    "diffusion/schedule_*:reference_alpha_bars": (RELATIVE, 2e-6),
    "diffusion/schedule_cosine_*_max0999:reference_*alphas*": (RELATIVE, 2e-5),
    "diffusion/schedule_*:reference_*one_minus_*": (ABSOLUTE, 2e-6),  # float32 cancels in 1 - alpha_bar near 1
    "diffusion/schedule_*:reference_*": (RELATIVE, 2e-6),
    "diffusion/ddim_sequence*:*_alpha_bar*": (RELATIVE, 1e-10),
    "diffusion/ddim_sequence*:*_sigma_*": (RELATIVE, 1e-10),
    "diffusion/context_partial_dropout*:*": (ABSOLUTE, 1e-6),
    "diffusion/dd[ip]m_toy*:*": (ABSOLUTE, 1e-9),
    "diffusion/ema*:decay": (ABSOLUTE, 1e-7),
    "diffusion/ema*:*average*": (ABSOLUTE, 1e-9),
    "losses/*_edge:grad_*": (FINITE, 0.0),
    "losses/*_edge:*": (ABSOLUTE, 5e-2),
    "losses/*:*grad_*": (GRADIENT, 1e-8),
    "losses/*:*loss*": (ABSOLUTE, 1e-10),
    "losses/*:remapped_labels": (ABSOLUTE, 0.0),
    "losses/*:shard_*": (ABSOLUTE, 0.0),
    "losses/*:*": (ABSOLUTE, 1e-9),
    "personalise/delayed*:*": (ABSOLUTE, 0.0),
    "personalise/*:*_float32": (RELATIVE, 1e-5),
    "personalise/*:*": (ABSOLUTE, 1e-9),
    "verification/pairs*:squared_distance": (ABSOLUTE, 1e-6),
    "verification/pairs*:arcface_mean_[tf]pr": (ABSOLUTE, 1e-9),
    "verification/pairs*:arcface_xnorm": (RELATIVE, 1e-9),
    "verification/scores*:*": (ABSOLUTE, 1e-9),
    "verification/dataset_metrics*:*c_intra*": (ABSOLUTE, 1e-9),
    "verification/multi_subject_identity*:*": (ABSOLUTE, 1e-9),
}
"""The first rule that fits a case and array; where none does the values must be equal."""


def cases() -> Iterator[Any]:
    """Each case that the bridge covers: the tests' own, then those beside the checkout that are not among them.

    Whole networks have a test file of their own.
    """
    for root, label in ((HERE, "own"), (BESIDE, "beside")):
        for folder in sorted(path for path in root.glob("*") if path.is_dir()):
            for name in sorted({path.stem for path in folder.iterdir() if path.suffix in (".npz", ".json")}):
                if folder.name == "nets" or not bridge.covers(folder.name, name):
                    continue
                if label == "own" or not (HERE / folder.name / f"{name}.npz").exists():
                    yield pytest.param(folder, name, id=f"{label}-{folder.name}-{name}")


def load(folder: Path, name: str) -> bridge.Case:
    """The arrays of NAME.npz and the figures of NAME.json, whichever there are."""
    arrays: bridge.Case = {}
    if (folder / f"{name}.npz").is_file():
        with np.load(folder / f"{name}.npz", allow_pickle=False) as opened:
            arrays.update(opened)
    if (folder / f"{name}.json").is_file():
        arrays.update(flat(json.loads((folder / f"{name}.json").read_text(encoding="utf-8"))))
    return arrays


def flat(value: Any, path: str = "") -> bridge.Case:
    """Figures of a JSON value by their path, joined by underscores; null is NaN, texts and empty lists are left out."""
    if isinstance(value, list) and value and isinstance(value[0], dict):
        value = {str(number): entry for number, entry in enumerate(value)}
    if isinstance(value, dict):
        return {
            key: array
            for name, entry in value.items()
            for key, array in flat(entry, f"{path}_{name}" if path else name).items()
        }
    if isinstance(value, str) or value == []:
        return {}
    return {path: np.array(np.nan if value is None else value)}


def matches(table: dict[str, tuple[str, ...]], case: str, array: str) -> bool:
    """Whether the longest entry of `table` that begins the case's name lists the array."""
    known = max((prefix for prefix in table if case.startswith(prefix)), key=len, default=None)
    return known is not None and any(fnmatchcase(array, pattern) for pattern in table[known])


def rule_for(case: str, array: str) -> tuple[str, float]:
    """How an array is compared."""
    return next((rule for pattern, rule in RULES.items() if fnmatchcase(f"{case}:{array}", pattern)), (ABSOLUTE, 0.0))


@pytest.mark.parametrize(("folder", "name"), list(cases()))
def test_case(folder: Path, name: str) -> None:
    case = f"{folder.name}/{name}"
    arrays = load(folder, name)
    inputs = {key: value for key, value in arrays.items() if matches(INPUTS, case, key)}
    wanted = {key for key in arrays.keys() - inputs.keys() if not matches(NO_OUTPUT, case, key)}
    assert wanted, f"{case} holds no output"
    computed = bridge.run(folder.name, name, inputs)
    assert wanted - computed.keys() == set(), "outputs that the bridge does not give"
    for key in sorted(wanted):
        assert computed[key].shape == arrays[key].shape, key
        compare(case, key, computed[key], arrays)


def compare(case: str, key: str, computed: np.ndarray, arrays: bridge.Case) -> None:
    """Assert that an output agrees with its reference."""
    kind, tolerance = rule_for(case, key)
    expected = arrays[key]
    if kind == CROP:
        exact = np.abs(computed - arrays["exact_bilinear"].astype(np.float64)).max() <= tolerance
        assert exact or any(np.array_equal(computed, arrays[f"affine_opencv{version}"]) for version in (4, 5)), key
    elif kind == POINTS:
        source = arrays["points"] if "points" in arrays else arrays[key.replace("matrix", "five")]
        sent, wanted = (_send(matrices, source) for matrices in (computed, expected))
        np.testing.assert_allclose(sent, wanted, rtol=0, atol=tolerance, err_msg=key)
    elif kind == GRADIENT:
        np.testing.assert_allclose(computed, expected, rtol=1e-6, atol=tolerance, err_msg=key)
    elif kind == FINITE:
        assert np.isfinite(computed).all(), key
    elif key.startswith(("matrix", "closed")):
        largest = np.abs(expected).max(axis=(1, 2), keepdims=True)
        np.testing.assert_allclose(computed / largest, expected / largest, rtol=0, atol=tolerance, err_msg=key)
    else:
        relative, absolute = (tolerance, 0.0) if kind == RELATIVE else (0.0, tolerance)
        np.testing.assert_allclose(computed, expected, rtol=relative, atol=absolute, err_msg=key)


def _send(matrices: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Where each matrix sends its five points."""
    return np.einsum("nij,npj->npi", matrices[:, :2, :2], points.astype(np.float64)) + matrices[:, None, :2, 2]


def test_a_wrong_number_would_be_noticed() -> None:
    folder = HERE / "verification"
    arrays = load(folder, "pairs_600")
    compare("verification/pairs_600", "arcface_mean", arrays["arcface_mean"], arrays)
    with pytest.raises(AssertionError, match="arcface_mean"):
        compare("verification/pairs_600", "arcface_mean", arrays["arcface_mean"] + 1e-12, arrays)


def test_a_case_of_another_kind_is_refused() -> None:
    with pytest.raises(KeyError, match="nothing for verification/unheard_of"):
        bridge.run("verification", "unheard_of", {})
