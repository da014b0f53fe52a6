"""IR to IResNet: the same embeddings under other names."""

import pytest
import torch
from tests.checkpoints.conftest import filled

from facewright.checkpoints import iresnet_from_ir
from facewright.encoders.ir import IR, NETWORKS
from facewright.encoders.iresnet import IResNet
from facewright.errors import DataError


@pytest.mark.parametrize(("ir", "depth"), [(18, 18), (50, 50)])
def test_embeddings_stay_the_same(ir: int, depth: int) -> None:
    state = filled(f"tface/ir_{ir}")
    for key in state:
        if key.endswith("res_layer.5.weight"):
            state[key] = state[key] * 0.25  # keeps the activations near one
    with torch.device("meta"):
        one, other = IR(ir), IResNet(depth)
    one.load_state_dict(state, assign=True)
    other.load_state_dict(iresnet_from_ir(state), assign=True)
    images = torch.randn(2, 3, 112, 112, generator=torch.Generator().manual_seed(0)).clamp(-1, 1)
    with torch.inference_mode():
        torch.testing.assert_close(other.eval()(images), one.eval()(images), rtol=0, atol=1e-5)


@pytest.mark.parametrize(("ir", "depth"), [("ir_34", 34), ("ir_101", 100)])
def test_other_depths_have_every_name_and_shape(ir: str, depth: int) -> None:
    with torch.device("meta"):
        converted = iresnet_from_ir(NETWORKS[ir]().state_dict())
        wanted = IResNet(depth).state_dict()
    assert {key: value.shape for key, value in converted.items()} == {key: value.shape for key, value in wanted.items()}


@pytest.mark.parametrize("network", ["ir_152", "ir_se_50", "ir_101_first"])
def test_forms_without_a_counterpart_are_refused(network: str) -> None:
    with torch.device("meta"):
        state = NETWORKS[network]().state_dict()
    with pytest.raises(DataError, match=r"no IResNet|8, 16, 24 or 49 units"):
        iresnet_from_ir(state)


def test_every_tensor_is_accounted_for() -> None:
    with torch.device("meta"):
        state = NETWORKS["ir_18"]().state_dict()
    wrapped = iresnet_from_ir({f"module.{key}": tensor for key, tensor in state.items()})
    assert wrapped.keys() == iresnet_from_ir(state).keys()
    bias = state.pop("output_layer.3.bias")
    with pytest.raises(DataError, match=r"no IResNet has its numbers: missing: output_layer\.3\.bias; give"):
        iresnet_from_ir(state)
    with pytest.raises(DataError, match=r"of another shape or type: output_layer\.3\.bias"):
        iresnet_from_ir({**state, "output_layer.3.bias": bias[:-1]})
