"""IR and IR-SE, the residual networks of TFace, CurricularFace and AdaFace, with their keys.

Input (B, 3, size, size) in [-1, 1], RGB (published AdaFace weights: BGR); output (B, embedding), not normalised.
"""

from collections.abc import Callable
from functools import partial

from torch import Tensor, nn

from facewright.errors import ConfigError

UNITS = {
    18: (2, 2, 2, 2),
    34: (3, 4, 6, 3),
    50: (3, 4, 14, 3),
    101: (3, 13, 30, 3),
    152: (3, 8, 36, 3),
    200: (3, 24, 36, 3),
}
WIDTHS = (64, 128, 256, 512)
BOTTLENECK = 152  # from this depth on a unit is a bottleneck of four times the width
EXPANSION = 4
REDUCTION = 16  # from the picture to the last feature map, and within squeeze-and-excitation


class SqueezeExcite(nn.Module):
    """Scale each channel by a gate computed from all channel means (Hu et al. 2018)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.fc1 = nn.Conv2d(width, width // REDUCTION, 1, bias=False)
        self.relu = nn.ReLU(inplace=True)
        self.fc2 = nn.Conv2d(width // REDUCTION, width, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return x * self.fc2(self.relu(self.fc1(x.mean((2, 3), keepdim=True)))).sigmoid()


class EveryPixel(nn.Module):
    """Every stride-th pixel; the published max-pooling over 1 x 1 takes the same, and much longer over it."""

    def __init__(self, stride: int) -> None:
        super().__init__()
        self.stride = stride

    def forward(self, x: Tensor) -> Tensor:
        return x[:, :, :: self.stride, :: self.stride]


class Unit(nn.Module):
    """A residual branch between norms, added to a shortcut that has weights only where the width changes."""

    def __init__(self, inputs: int, outputs: int, *, stride: int, branch: list[nn.Module], squeeze: bool) -> None:
        super().__init__()
        self.shortcut_layer: nn.Module = nn.Identity() if stride == 1 else EveryPixel(stride)
        if inputs != outputs:
            self.shortcut_layer = nn.Sequential(
                nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs)
            )
        self.res_layer = nn.Sequential(*branch)
        if squeeze:
            self.res_layer.add_module("se_block", SqueezeExcite(outputs))

    def forward(self, x: Tensor) -> Tensor:
        return self.res_layer(x) + self.shortcut_layer(x)


def _basic(inputs: int, outputs: int, stride: int, middle_norm: bool) -> list[nn.Module]:
    """Two 3 x 3 convolutions, the second strided."""
    return [
        nn.BatchNorm2d(inputs),
        nn.Conv2d(inputs, outputs, 3, 1, 1, bias=False),
        *([nn.BatchNorm2d(outputs)] if middle_norm else []),
        nn.PReLU(outputs),
        nn.Conv2d(outputs, outputs, 3, stride, 1, bias=False),
        nn.BatchNorm2d(outputs),
    ]


def _bottleneck(inputs: int, outputs: int, stride: int) -> list[nn.Module]:
    """1 x 1 down to a quarter, 3 x 3, strided 1 x 1 back up."""
    width = outputs // EXPANSION
    return [
        nn.BatchNorm2d(inputs),
        nn.Conv2d(inputs, width, 1, bias=False),
        nn.BatchNorm2d(width),
        nn.PReLU(width),
        nn.Conv2d(width, width, 3, 1, 1, bias=False),
        nn.BatchNorm2d(width),
        nn.PReLU(width),
        nn.Conv2d(width, outputs, 1, stride, bias=False),
        nn.BatchNorm2d(outputs),
    ]


class IR(nn.Module):
    """Stem, four stages that each halve the resolution, one linear layer over the last map.

    Args:
        depth: 18, 34, 50, 101, 152 or 200 (the last two of bottlenecks, 2048 channels wide at the end).
        squeeze: squeeze-and-excitation in every unit (IR-SE).
        image_size: pixels; a multiple of 16.
        embedding: width of the output.
        dropout: share of the last feature map that is dropped while training.
        middle_norm: norm between the first convolution and the PReLU of a unit; the first CurricularFace weights were
            trained without it.
    """

    def __init__(
        self,
        depth: int,
        *,
        squeeze: bool = False,
        image_size: int = 112,
        embedding: int = 512,
        dropout: float = 0.4,
        middle_norm: bool = True,
    ) -> None:
        super().__init__()
        if depth not in UNITS:
            raise ConfigError(f"IR has the depths {', '.join(map(str, UNITS))}, got {depth}")
        if image_size < REDUCTION or image_size % REDUCTION:
            raise ConfigError(f"image_size must be a multiple of {REDUCTION}, got {image_size}")
        wide = depth >= BOTTLENECK
        widths = [width * (EXPANSION if wide else 1) for width in WIDTHS]
        self.input_layer = nn.Sequential(nn.Conv2d(3, WIDTHS[0], 3, 1, 1, bias=False), nn.BatchNorm2d(64), nn.PReLU(64))
        self.output_layer = nn.Sequential(
            nn.BatchNorm2d(widths[-1]),
            nn.Dropout(dropout),
            nn.Flatten(),
            nn.Linear(widths[-1] * (image_size // REDUCTION) ** 2, embedding),
            nn.BatchNorm1d(embedding, affine=False),
        )
        units, inputs = [], WIDTHS[0]
        for outputs, count in zip(widths, UNITS[depth], strict=True):
            for index in range(count):
                stride = 2 if index == 0 else 1
                branch = _bottleneck(inputs, outputs, stride) if wide else _basic(inputs, outputs, stride, middle_norm)
                units.append(Unit(inputs, outputs, stride=stride, branch=branch, squeeze=squeeze))
                inputs = outputs
        self.body = nn.Sequential(*units)
        for module in self.modules():
            if isinstance(module, (nn.Conv2d, nn.Linear)):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
                if module.bias is not None:
                    nn.init.zeros_(module.bias)

    def forward(self, x: Tensor) -> Tensor:
        """Embed a batch of crops."""
        return self.output_layer(self.body(self.input_layer(x)))


NETWORKS: dict[str, Callable[[], nn.Module]] = {
    **{f"ir_{depth}": partial(IR, depth) for depth in UNITS},
    **{f"ir_se_{depth}": partial(IR, depth, squeeze=True) for depth in UNITS},
    "ir_101_first": partial(IR, 101, middle_norm=False),
}
