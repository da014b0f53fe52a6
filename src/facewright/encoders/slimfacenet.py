"""SlimFaceNet: a small residual network of plain 3 x 3 convolutions for 112 x 112 faces.

It has the size of a MobileFaceNet but no depthwise convolutions: on a CPU those are bound by memory, while dense
3 x 3 convolutions in bfloat16 use the matrix units, so this network trains several times faster at equal arithmetic.
"""

from torch import Tensor, nn


class ResidualBlock(nn.Module):
    """Two 3 x 3 convolutions with batch norm and a shortcut (He et al. 2016)."""

    def __init__(self, inputs: int, outputs: int, *, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.relu = nn.ReLU(inplace=True)
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or inputs != outputs:
            self.shortcut = nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))

    def forward(self, x: Tensor) -> Tensor:
        y = self.bn2(self.conv2(self.relu(self.bn1(self.conv1(x)))))
        return self.relu(y + self.shortcut(x))


class SlimFaceNet(nn.Module):
    """Input (B, 3, 112, 112) RGB in [-1, 1]; output (B, embedding), not normalised."""

    def __init__(
        self,
        embedding: int = 512,
        *,
        stem: int = 32,
        widths: tuple[int, ...] = (64, 128, 256),
        blocks: tuple[int, ...] = (2, 3, 2),
        squeeze: int = 64,
    ) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, stem, 3, 2, 1, bias=False), nn.BatchNorm2d(stem), nn.ReLU(inplace=True))
        stages, inputs = [], stem
        for width, count in zip(widths, blocks, strict=True):
            stage = [ResidualBlock(inputs if i == 0 else width, width, stride=2 if i == 0 else 1) for i in range(count)]
            stages.append(nn.Sequential(*stage))
            inputs = width
        self.stages = nn.ModuleList(stages)
        self.squeeze = nn.Sequential(nn.Conv2d(inputs, squeeze, 1, bias=False), nn.BatchNorm2d(squeeze))
        side = 112 // 2 ** (len(widths) + 1)
        self.fc = nn.Linear(squeeze * side * side, embedding, bias=False)
        self.bn = nn.BatchNorm1d(embedding, affine=False)

    def features(self, x: Tensor) -> list[Tensor]:
        """Feature maps of the stages: 28 x 28, 14 x 14 and 7 x 7 at the default depth."""
        x = self.stem(x)
        maps = []
        for stage in self.stages:
            x = stage(x)
            maps.append(x)
        return maps

    def embed_features(self, last: Tensor) -> Tensor:
        """Embedding of the last stage's feature map."""
        return self.bn(self.fc(self.squeeze(last).flatten(1)))

    def forward(self, x: Tensor) -> Tensor:
        """Embed a batch of crops."""
        return self.embed_features(self.features(x)[-1])
