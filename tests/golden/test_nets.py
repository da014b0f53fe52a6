"""Networks with deterministic weights against the public projects' own code, at the tolerances of the README."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.golden import bridge, nets_cases

HERE = Path(__file__).resolve().parent / "data" / "nets"
BESIDE = Path(__file__).resolve().parents[3] / "shared" / "golden" / "nets"

TOLERANCE = {
    "f2d/msid": 8e-5,
    "arcface_torch/r18": 6e-4,
    "arcface_torch/r18:embedding_tamed": 4e-5,
    "arcface_torch/r50": 7e-1,
    "arcface_torch/r50:embedding_tamed": 9e-5,
    "arcface_torch/r100": 4e4,
    "arcface_torch/r100:embedding_tamed": 3e-4,
    "arcface_torch/mbf": 9e-3,
    "arcface_torch/vit_t": 4e-5,
    "elasticface/iresnet100": 4e4,
    "elasticface/iresnet100:embedding_tamed": 3e-4,
    "tface/ir_18": 7e-4,
    "tface/ir_18:embedding_tamed": 4e-5,
    "tface/ir_50": 6e-1,
    "tface/ir_50:embedding_tamed": 6e-5,
    "tface/ir_101": 3e4,
    "tface/ir_101:embedding_tamed": 3e-4,
    "tface/ir_se_50": 3e-3,
    "tface/ir_se_50:embedding_tamed": 4e-5,
    "tface/mobilefacenet": 7e-3,
}
"""Largest absolute difference, by layout or layout:output; integers must be equal."""


def cases() -> Iterator[Any]:
    """Every case with the tests, then those beside the checkout that are not among them."""
    own = {path.stem for path in HERE.glob("*.npz")}
    for folder in (HERE, BESIDE):
        for path in sorted(folder.glob("*.npz")):
            if nets_cases.layout_of(path.stem) and (folder == HERE or path.stem not in own):
                yield pytest.param(path, id=path.stem)


@pytest.mark.parametrize("path", list(cases()))
def test_case(path: Path) -> None:
    with np.load(path, allow_pickle=False) as opened:
        arrays = dict(opened)
    wanted = {key: value for key, value in arrays.items() if key.startswith("out_")}
    assert wanted
    computed = bridge.run("nets", path.stem, {key: value for key, value in arrays.items() if key not in wanted})
    layout = nets_cases.layout_of(path.stem)
    for key, expected in wanted.items():
        assert computed[key].shape == expected.shape, key
        if expected.dtype.kind in "iu":
            np.testing.assert_array_equal(computed[key], expected, err_msg=key)
            continue
        tolerance = TOLERANCE.get(f"{layout}:{key.removeprefix('out_')}", TOLERANCE.get(layout))
        assert tolerance is not None, f"{layout} has no tolerance"
        np.testing.assert_allclose(computed[key], expected, rtol=0, atol=tolerance, err_msg=key)


def test_another_seed_gives_other_numbers() -> None:
    with np.load(HERE / "tface__mobilefacenet.npz", allow_pickle=False) as opened:
        case = dict(opened)
    expected = case.pop("out_embedding")
    case["seed"] = case["seed"] + 1
    computed = nets_cases.run_net("tface__mobilefacenet", case)["out_embedding"]
    assert np.abs(computed - expected).max() > 1.0
