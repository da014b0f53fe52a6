"""An ONNX file of the teacher's kind, written by the tests."""

from pathlib import Path

import numpy as np
import pytest

MAPS = {"395": (64, 4), "471": (128, 2), "503": (128, 2)}  # channels and stride, as in the teacher


def write_teacher(path: Path, *, extra: str | None = None) -> Path:
    """Three strided convolutions with PReLUs and one addition, then a 7 x 7 convolution to 512 numbers."""
    onnx = pytest.importorskip("onnx")
    from onnx import TensorProto, helper, numpy_helper

    rng = np.random.default_rng(0)
    constants, nodes = [], []

    def constant(name: str, values: np.ndarray) -> str:
        constants.append(numpy_helper.from_array(values, name))
        return name

    def convolution(source: str, result: str, shape: tuple[int, int, int, int], stride: int, pad: int) -> None:
        scale = (2 / np.prod(shape[1:])) ** 0.5
        weight = constant(f"w{result}", (scale * rng.standard_normal(shape)).astype(np.float32))
        bias = constant(f"b{result}", (0.1 * rng.standard_normal(shape[0])).astype(np.float32))
        nodes.append(
            helper.make_node(
                "Conv", [source, weight, bias], [result], kernel_shape=list(shape[2:]), strides=[stride] * 2,
                pads=[pad] * 4, dilations=[1, 1], group=1,
            )
        )  # fmt: skip

    source, inputs = "input", 3
    for name, (width, stride) in MAPS.items():
        convolution(source, f"c{name}", (width, inputs, 3, 3), stride, 1)
        slope = constant(f"s{name}", rng.uniform(0.1, 0.4, (width, 1, 1)).astype(np.float32))
        nodes.append(helper.make_node("PRelu", [f"c{name}", slope], [f"p{name}"]))
        convolution(f"p{name}", f"d{name}", (width, width, 1, 1), 1, 0)
        nodes.append(helper.make_node("Add", [f"p{name}", f"d{name}"], [name]))
        source, inputs = name, width
    convolution(source, "last", (512, inputs, 7, 7), 1, 0)
    if extra is not None:
        nodes.append(helper.make_node(extra, ["last"], ["more"]))
    shape = constant("shape", np.array([1, 512], np.int64))
    nodes.append(helper.make_node("Reshape", ["more" if extra else "last", shape], ["embedding"]))
    graph = helper.make_graph(
        nodes,
        "teacher",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, [1, 3, 112, 112])],
        [helper.make_tensor_value_info("embedding", TensorProto.FLOAT, [1, 512])],
        constants,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 11)], ir_version=7)
    onnx.checker.check_model(model)
    onnx.save(model, str(path))
    return path
