"""State dicts of the small layouts, filled with numbers drawn in code."""

from pathlib import Path

import pytest
import torch
from tests.golden.fill import fill
from torch import Tensor

from facewright.checkpoints import LAYOUTS
from facewright.checkpoints.layouts import signature

State = dict[str, Tensor]


def filled(layout: str, *, form: int = 0, seed: int = 0) -> State:
    """A state dict that fits a layout."""
    shapes = {key: shape for key, (shape, _) in signature(LAYOUTS[layout].generations[form]).items()}
    return {key: torch.from_numpy(value) for key, value in fill(shapes, seed).items()}


@pytest.fixture
def state() -> State:
    """A MobileFaceNet of TFace: 331 tensors, 5 MB."""
    return filled("tface/mobilefacenet")


@pytest.fixture
def small() -> State:
    """FastComposer's postfuse: 14 tensors, 12 MB."""
    return filled("fastcomposer/postfuse")


@pytest.fixture
def saved(tmp_path: Path, state: State) -> Path:
    """The MobileFaceNet as torch saves it today."""
    path = tmp_path / "backbone.pth"
    torch.save(state, path)
    return path
