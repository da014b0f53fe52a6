"""MobileFaceNet for 112 x 112 faces (Chen et al. 2018), in the layer layout of TFace.

Input (B, 3, 112, 112), RGB in [-1, 1]; output (B, 512), not normalised.
"""

from torch import Tensor, nn


class ConvBlock(nn.Module):
    """Convolution without bias, batch norm and, unless linear, a PReLU per channel."""

    def __init__(
        self,
        inputs: int,
        outputs: int,
        kernel: int,
        *,
        stride: int = 1,
        padding: int = 0,
        groups: int = 1,
        linear: bool = False,
    ) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, kernel, stride, padding, groups=groups, bias=False)
        self.bn = nn.BatchNorm2d(outputs)
        self.prelu = None if linear else nn.PReLU(outputs)

    def forward(self, x: Tensor) -> Tensor:
        x = self.bn(self.conv(x))
        return x if self.prelu is None else self.prelu(x)


class Bottleneck(nn.Module):
    """Inverted bottleneck: widen, filter each channel on its own, narrow; optionally added to its input."""

    def __init__(self, inputs: int, outputs: int, *, hidden: int, stride: int, residual: bool = False) -> None:
        super().__init__()
        self.conv = ConvBlock(inputs, hidden, 1)
        self.conv_dw = ConvBlock(hidden, hidden, 3, stride=stride, padding=1, groups=hidden)
        self.project = ConvBlock(hidden, outputs, 1, linear=True)
        self.residual = residual

    def forward(self, x: Tensor) -> Tensor:
        y = self.project(self.conv_dw(self.conv(x)))
        return x + y if self.residual else y


class Residuals(nn.Module):
    """A run of residual bottlenecks of one width."""

    def __init__(self, width: int, blocks: int, *, hidden: int) -> None:
        super().__init__()
        self.model = nn.Sequential(
            *(Bottleneck(width, width, hidden=hidden, stride=1, residual=True) for _ in range(blocks))
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.model(x)


class GlobalDepthwise(nn.Module):
    """Global depthwise convolution, then the linear embedding layer and its batch norm."""

    def __init__(self, width: int, embedding: int) -> None:
        super().__init__()
        self.conv_6_dw = ConvBlock(width, width, 7, groups=width, linear=True)
        self.linear = nn.Linear(width, embedding, bias=False)
        self.bn = nn.BatchNorm1d(embedding, affine=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.bn(self.linear(self.conv_6_dw(x).flatten(1)))


class MobileFaceNet(nn.Module):
    """1,199,488 parameters and about 0.44 GFLOP an image at the default width of 512."""

    def __init__(self, embedding: int = 512) -> None:
        super().__init__()
        self.conv1 = ConvBlock(3, 64, 3, stride=2, padding=1)
        self.conv2_dw = ConvBlock(64, 64, 3, padding=1, groups=64)
        self.conv_23 = Bottleneck(64, 64, hidden=128, stride=2)
        self.conv_3 = Residuals(64, 4, hidden=128)
        self.conv_34 = Bottleneck(64, 128, hidden=256, stride=2)
        self.conv_4 = Residuals(128, 6, hidden=256)
        self.conv_45 = Bottleneck(128, 128, hidden=512, stride=2)
        self.conv_5 = Residuals(128, 2, hidden=256)
        self.conv_6_sep = ConvBlock(128, 512, 1)
        self.output_layer = GlobalDepthwise(512, embedding)

    def stages(self, x: Tensor) -> list[Tensor]:
        """Feature maps at 28 x 28 (64 channels), 14 x 14 (128), 7 x 7 (128) and 7 x 7 (512)."""
        first = self.conv_3(self.conv_23(self.conv2_dw(self.conv1(x))))
        second = self.conv_4(self.conv_34(first))
        third = self.conv_5(self.conv_45(second))
        return [first, second, third, self.conv_6_sep(third)]

    def forward(self, x: Tensor) -> Tensor:
        """Embed x: (B, 3, 112, 112) in [-1, 1] RGB to (B, 512), not normalised."""
        return self.output_layer(self.stages(x)[-1])
