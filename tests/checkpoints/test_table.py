"""The table: what it declares is what is built, and what is built has the public projects' names and shapes."""

from pathlib import Path

import numpy as np
import pytest
import torch

from facewright.checkpoints import LAYOUTS
from facewright.checkpoints.layouts import WRAPPERS, signature

DATA = Path(__file__).resolve().parents[1] / "golden" / "data" / "nets"

CONTRACT = (
    "f2d/msid",
    "f2d/mapping",
    "fastcomposer/postfuse",
    "bisenet",
    "idiff/unet-ca",
    "idiff/unet-adagn",
    "idiff/unet-uncond",
    "idiff/controlnet",
    "ldm/vq-encoder",
    "ldm/vq-decoder",
    "arcface_torch/r18",
    "arcface_torch/r34",
    "arcface_torch/r50",
    "arcface_torch/r100",
    "arcface_torch/r200",
    "arcface_torch/mbf",
    "arcface_torch/vit_t",
    "arcface_torch/vit_s",
    "arcface_torch/vit_b",
    "elasticface/iresnet50",
    "elasticface/iresnet100",
    "tface/ir_18",
    "tface/ir_50",
    "tface/ir_101",
    "tface/ir_se_50",
    "tface/mobilefacenet",
    "curricularface/ir_101",
    "adaface/ir_18",
    "adaface/ir_50",
    "adaface/ir_101",
)


@pytest.mark.parametrize("name", CONTRACT)
def test_every_promised_layout_is_there(name: str) -> None:
    assert LAYOUTS[name].name == name


@pytest.mark.parametrize("name", list(LAYOUTS))
def test_declared_counts_are_those_of_the_network(name: str) -> None:
    layout = LAYOUTS[name]
    for generation in layout.generations:
        with torch.device("meta"):
            network = generation.build()
        state, files = network.state_dict(), signature(generation)
        assert len(files) == generation.tensors == len(state.keys() - generation.added().keys())
        assert sum(p.numel() for p in network.parameters()) == generation.parameters
        assert layout.family.landmark in files
        assert bool(generation.form) == (len(layout.generations) > 1), "several forms are told apart in words"
        assert not [name for name, _ in network.named_buffers() if name not in state]


@pytest.mark.parametrize("path", sorted(DATA.glob("*.npz")), ids=lambda path: path.stem)
def test_names_and_shapes_are_the_public_ones(path: Path) -> None:
    layout = LAYOUTS.get(path.stem.replace("__", "/"))
    if layout is None:
        pytest.skip("no layout of its own")
    with np.load(path, allow_pickle=False) as opened:
        keys, shapes = opened["keys"].tolist(), opened["shapes"].tolist()
    public = {
        layout.stripped(key): tuple(int(length) for length in shape.split(",") if length)
        for key, shape in zip(keys, shapes, strict=True)
    }
    assert {key: shape for key, (shape, _) in signature(layout.generations[0]).items()} == public


@pytest.mark.parametrize("name", list(LAYOUTS))
def test_no_name_of_a_network_is_mistaken_for_a_wrapper_or_left_out(name: str) -> None:
    layout = LAYOUTS[name]
    for generation in layout.generations:
        for key in signature(generation):
            assert not key.startswith((*WRAPPERS, *layout.family.prefixes))
            assert not layout.is_beside(key)
