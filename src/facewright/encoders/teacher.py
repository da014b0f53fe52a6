"""A face network in an ONNX file, run by torch in batches (to distil from)."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from facewright.errors import DataError, InputError


class OnnxTeacher(nn.Module):
    """A frozen chain of Conv, PRelu, Add and Reshape nodes, which is all that `fr_feature.onnx` holds.

    Input (B, 3, 112, 112) RGB in [-1, 1]; the rescaling to the file's own range, (x - 127) / 128, is done here.
    """

    def __init__(self, path: Path) -> None:
        super().__init__()
        try:
            import onnx
            from onnx import numpy_helper
        except ImportError as error:
            raise InputError("distilling needs the package onnx: pip install 'facewright[train]'") from error
        try:
            graph = onnx.load(str(path)).graph
        except Exception as error:  # protobuf raises its own classes
            raise DataError(f"{path} is not a readable ONNX file: {error}") from error
        self.constants = nn.ParameterDict()
        for constant in graph.initializer:
            array = numpy_helper.to_array(constant)
            if array.dtype == np.float32:
                tensor = torch.from_numpy(array.copy())
                self.constants[f"c{constant.name}"] = nn.Parameter(tensor, requires_grad=False)
        self.nodes = []
        for node in graph.node:
            if node.op_type not in ("Conv", "PRelu", "Add", "Reshape"):
                raise DataError(f"{path}: node {node.op_type} is not one of Conv, PRelu, Add, Reshape")
            attributes: dict[str, Any] = {a.name: list(a.ints) if a.ints else a.i for a in node.attribute}
            self.nodes.append((node.op_type, list(node.input), node.output[0], attributes))
        self.source, self.result = graph.input[0].name, graph.output[0].name

    def forward(self, images: Tensor) -> Tensor:
        """Embedding (B, 512), not normalised, of images (B, 3, 112, 112) RGB in [-1, 1]."""
        return self.with_maps(images, ())[0]

    def with_maps(self, images: Tensor, keep: tuple[str, ...]) -> tuple[Tensor, list[Tensor]]:
        """Embedding as `forward` gives it, and the feature maps named in `keep`."""
        values = {self.source: (images * 127.5 + 0.5) / 128.0}
        kept = {}
        for operation, inputs, output, attributes in self.nodes:
            x = values[inputs[0]]
            if operation == "Conv":
                weight, bias = self._constant(inputs[1]), self._constant(inputs[2])
                value = F.conv2d(
                    x, weight, bias, attributes["strides"], attributes["pads"][:2], groups=attributes["group"]
                )
            elif operation == "PRelu":
                value = F.prelu(x, self._constant(inputs[1]).flatten())
            elif operation == "Add":
                value = x + values[inputs[1]]
            else:
                value = x.flatten(1)
            values[output] = value
            if output in keep:
                kept[output] = value
        return values[self.result], [kept[name] for name in keep]

    def _constant(self, name: str) -> Tensor:
        return self.constants[f"c{name}"]
