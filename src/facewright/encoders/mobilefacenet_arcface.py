"""The wider MobileFaceNet of arcface_torch, with its keys: block outputs are scaled, hidden widths are not.

Input (B, 3, 112, 112), RGB in [-1, 1]; output (B, embedding), not normalised.
"""

from collections.abc import Callable

from torch import Tensor, nn

WIDTHS = (64, 128, 128)  # of the three stages, before scaling
HIDDEN = (128, 256, 256)
STEM_GROUPS = 64


class ConvBlock(nn.Module):
    """Convolution without bias, batch norm and, unless linear, a PReLU per channel."""

    def __init__(
        self,
        inputs: int,
        outputs: int,
        kernel: int = 1,
        *,
        stride: int = 1,
        padding: int = 0,
        groups: int = 1,
        linear: bool = False,
    ) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(inputs, outputs, kernel, stride, padding, groups=groups, bias=False), nn.BatchNorm2d(outputs)
        )
        if not linear:
            self.layers.append(nn.PReLU(outputs))

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x)


class Bottleneck(nn.Module):
    """Widen, filter each channel on its own, narrow; added to its input where `residual`."""

    def __init__(self, inputs: int, outputs: int, *, hidden: int, stride: int = 1, residual: bool = False) -> None:
        super().__init__()
        self.residual = residual
        self.layers = nn.Sequential(
            ConvBlock(inputs, hidden),
            ConvBlock(hidden, hidden, 3, stride=stride, padding=1, groups=hidden),
            ConvBlock(hidden, outputs, linear=True),
        )

    def forward(self, x: Tensor) -> Tensor:
        y = self.layers(x)
        return x + y if self.residual else y


class Residuals(nn.Module):
    """A run of residual bottlenecks of one width."""

    def __init__(self, width: int, blocks: int, *, hidden: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(*(Bottleneck(width, width, hidden=hidden, residual=True) for _ in range(blocks)))

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x)


class GlobalDepthwise(nn.Module):
    """One 7 x 7 filter a channel, then the linear embedding layer and its batch norm."""

    def __init__(self, width: int, embedding: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            ConvBlock(width, width, 7, groups=width, linear=True),
            nn.Flatten(),
            nn.Linear(width, embedding, bias=False),
            nn.BatchNorm1d(embedding),
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x)


class WideMobileFaceNet(nn.Module):
    """`mbf` (scale 2) and `mbf_large` (scale 4) of arcface_torch.

    Args:
        blocks: extra layers after the stem (one: a single grouped convolution, more: residual bottlenecks), then the
            residual bottlenecks of each stage.
        scale: factor on every width but the hidden ones.
        embedding: width of the output.
    """

    def __init__(
        self, blocks: tuple[int, int, int, int] = (1, 4, 6, 2), *, scale: int = 2, embedding: int = 512
    ) -> None:
        super().__init__()
        stem = WIDTHS[0] * scale
        layers: list[nn.Module] = [ConvBlock(3, stem, 3, stride=2, padding=1)]
        if blocks[0] == 1:
            layers.append(ConvBlock(stem, stem, 3, padding=1, groups=STEM_GROUPS))
        else:
            layers.append(Residuals(stem, blocks[0], hidden=HIDDEN[0]))
        inputs = stem
        for width, hidden, count, reduced in zip(WIDTHS, HIDDEN, blocks[1:], (128, 256, 512), strict=True):
            layers.append(Bottleneck(inputs, width * scale, hidden=reduced, stride=2))
            layers.append(Residuals(width * scale, count, hidden=hidden))
            inputs = width * scale
        self.layers = nn.ModuleList(layers)
        self.conv_sep = ConvBlock(inputs, 512)
        self.features = GlobalDepthwise(512, embedding)
        for module in self.modules():
            if isinstance(module, (nn.Conv2d, nn.Linear)):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, x: Tensor) -> Tensor:
        """Embed a batch of crops."""
        for layer in self.layers:
            x = layer(x)
        return self.features(self.conv_sep(x))


def mbf_large() -> WideMobileFaceNet:
    """Scale 4, blocks 2, 8, 12, 4."""
    return WideMobileFaceNet((2, 8, 12, 4), scale=4)


NETWORKS: dict[str, Callable[[], nn.Module]] = {"mbf": WideMobileFaceNet, "mbf_large": mbf_large}
