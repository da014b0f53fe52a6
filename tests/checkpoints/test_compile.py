"""torch.compile captures every recogniser, encoder and mapping, and gives what the plain network gives.

Capturing alone (the "eager" backend) shows that nothing in a forward pass breaks the graph; generating code for all of
them would take minutes. U-Nets, autoencoders and the parser are captured in the tests of their own rooms.
"""

import pytest
import torch
from torch import Tensor, nn

from facewright.checkpoints import LAYOUTS
from facewright.encoders.ir import IR

CROPS = (3, 112, 112)


def assert_captured(network: nn.Module, *inputs: Tensor, whole: bool = True, **named: Tensor) -> None:
    network.eval()
    captured = torch.compile(network, backend="eager", fullgraph=whole)
    with torch.no_grad():
        plain, found = network(*inputs, **named), captured(*inputs, **named)
    torch.testing.assert_close(found, plain)


@pytest.mark.parametrize(
    "layout", ["f2d/msid", "arcface_torch/r18", "arcface_torch/mbf", "arcface_torch/vit_t", "tface/mobilefacenet"]
)
def test_encoders(layout: str) -> None:
    assert_captured(LAYOUTS[layout].generations[0].build(), torch.randn(2, *CROPS))


@pytest.mark.parametrize("squeeze", [False, True])
def test_ir(squeeze: bool) -> None:
    assert_captured(IR(18, squeeze=squeeze), torch.randn(2, *CROPS))


def test_mapping() -> None:
    assert_captured(LAYOUTS["f2d/mapping"].generations[0].build(), torch.randn(2, 1536))


def test_postfuse() -> None:  # in two graphs: it looks at how many subjects are marked, to refuse another number
    marked = torch.zeros(2, 77, dtype=torch.bool)
    marked[:, 5] = True
    counts = torch.ones(2, dtype=torch.int64)
    network = LAYOUTS["fastcomposer/postfuse"].generations[0].build()
    assert_captured(network, torch.randn(2, 77, 768), torch.randn(2, 1, 768), whole=False, marked=marked, counts=counts)
