"""IResNet, the residual network of InsightFace (Deng et al. 2019), with the keys of arcface_torch and ElasticFace.

Input (B, 3, 112, 112), RGB in [-1, 1]; output (B, embedding), not normalised.
"""

from collections.abc import Callable
from functools import partial

from torch import Tensor, nn

from facewright.errors import ConfigError

BLOCKS = {18: (2, 2, 2, 2), 34: (3, 4, 6, 3), 50: (3, 4, 14, 3), 100: (3, 13, 30, 3), 200: (6, 26, 60, 6)}
WIDTHS = (64, 128, 256, 512)
MAP = 7  # side of the last feature map


class Block(nn.Module):
    """Norm, 3 x 3, norm, PReLU, strided 3 x 3, norm, added to the shortcut; nothing follows the sum."""

    def __init__(self, inputs: int, outputs: int, *, stride: int) -> None:
        super().__init__()
        self.bn1 = nn.BatchNorm2d(inputs)
        self.conv1 = nn.Conv2d(inputs, outputs, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.prelu = nn.PReLU(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, stride, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(outputs)
        self.downsample: nn.Module = nn.Identity()
        if stride > 1:
            self.downsample = nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))

    def forward(self, x: Tensor) -> Tensor:
        y = self.prelu(self.bn2(self.conv1(self.bn1(x))))
        return self.bn3(self.conv2(y)) + self.downsample(x)


class IResNet(nn.Module):
    """Four stages, each of which halves the resolution, then one linear layer over the 7 x 7 map.

    Args:
        depth: 18, 34, 50, 100 or 200.
        embedding: width of the output.
        dropout: share of the last feature map that is dropped while training.
    """

    def __init__(self, depth: int, *, embedding: int = 512, dropout: float = 0.0) -> None:
        super().__init__()
        if depth not in BLOCKS:
            raise ConfigError(f"IResNet has the depths {', '.join(map(str, BLOCKS))}, got {depth}")
        self.conv1 = nn.Conv2d(3, WIDTHS[0], 3, 1, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(WIDTHS[0])
        self.prelu = nn.PReLU(WIDTHS[0])
        self.layer1, self.layer2, self.layer3, self.layer4 = (
            _stage(inputs, width, blocks)
            for inputs, width, blocks in zip((WIDTHS[0], *WIDTHS), WIDTHS, BLOCKS[depth], strict=False)
        )
        self.bn2 = nn.BatchNorm2d(WIDTHS[-1])
        self.dropout = nn.Dropout(dropout)
        self.fc = nn.Linear(WIDTHS[-1] * MAP * MAP, embedding)
        self.features = nn.BatchNorm1d(embedding)
        self.features.weight.requires_grad = False  # a learned scale would be undone by the unit length
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.normal_(module.weight, 0, 0.1)

    def forward(self, x: Tensor) -> Tensor:
        """Embed a batch of crops."""
        x = self.prelu(self.bn1(self.conv1(x)))
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        return self.features(self.fc(self.dropout(self.bn2(x).flatten(1))))


def _stage(inputs: int, width: int, blocks: int) -> nn.Sequential:
    """The first block halves the resolution."""
    return nn.Sequential(Block(inputs, width, stride=2), *(Block(width, width, stride=1) for _ in range(blocks - 1)))


NETWORKS: dict[str, Callable[[], nn.Module]] = {f"iresnet{depth}": partial(IResNet, depth) for depth in BLOCKS}
