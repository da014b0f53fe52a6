"""BiSeNet (Yu et al. 2018) as a face parser: each pixel of a picture to one of 19 parts of a face (CelebAMask-HQ).

Module names follow the public checkpoint (zllrunning/face-parsing.PyTorch).
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

CLASSES = 19
BACKGROUND = 0
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of the input, RGB in [0, 1]; pictures are 512 x 512


class ResidualBlock(nn.Module):
    """Two convolutions added to the input (ResNet's basic block)."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.downsample: nn.Module = nn.Identity()
        if stride > 1 or inputs != outputs:
            self.downsample = nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))

    def forward(self, x: Tensor) -> Tensor:
        h = F.relu(self.bn1(self.conv1(x)))
        return F.relu(self.downsample(x) + self.bn2(self.conv2(h)))


class ResNet18(nn.Module):
    """The trunk: maps at 1/8 (128 channels), 1/16 (256) and 1/32 (512) of the picture's size."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 64, 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        self.layer1 = nn.Sequential(ResidualBlock(64, 64, 1), ResidualBlock(64, 64, 1))
        self.layer2 = nn.Sequential(ResidualBlock(64, 128, 2), ResidualBlock(128, 128, 1))
        self.layer3 = nn.Sequential(ResidualBlock(128, 256, 2), ResidualBlock(256, 256, 1))
        self.layer4 = nn.Sequential(ResidualBlock(256, 512, 2), ResidualBlock(512, 512, 1))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        h = F.max_pool2d(F.relu(self.bn1(self.conv1(x))), 3, 2, 1)
        eighth = self.layer2(self.layer1(h))
        sixteenth = self.layer3(eighth)
        return eighth, sixteenth, self.layer4(sixteenth)


class Convolution(nn.Module):
    """Convolution, batch norm, ReLU."""

    def __init__(self, inputs: int, outputs: int, kernel: int = 3) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2, bias=False)
        self.bn = nn.BatchNorm2d(outputs)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.bn(self.conv(x)))


class AttentionRefinement(nn.Module):
    """A convolution whose channels are weighted by the mean of the map (the paper's ARM)."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.conv = Convolution(inputs, outputs)
        self.conv_atten = nn.Conv2d(outputs, outputs, 1, bias=False)
        self.bn_atten = nn.BatchNorm2d(outputs)

    def forward(self, x: Tensor) -> Tensor:
        h = self.conv(x)
        return h * self.bn_atten(self.conv_atten(_mean(h))).sigmoid()


class ContextPath(nn.Module):
    """The trunk, and its two coarse maps brought back to finer resolution, 128 channels each."""

    def __init__(self) -> None:
        super().__init__()
        self.resnet = ResNet18()
        self.arm16 = AttentionRefinement(256, 128)
        self.arm32 = AttentionRefinement(512, 128)
        self.conv_head32 = Convolution(128, 128)
        self.conv_head16 = Convolution(128, 128)
        self.conv_avg = Convolution(512, 128, 1)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The trunk's map at 1/8, and the refined maps at 1/8 and 1/16."""
        eighth, sixteenth, coarsest = self.resnet(x)
        coarse = self.arm32(coarsest) + self.conv_avg(_mean(coarsest))
        coarse = self.conv_head32(F.interpolate(coarse, sixteenth.shape[2:], mode="nearest"))
        fine = self.arm16(sixteenth) + coarse
        fine = self.conv_head16(F.interpolate(fine, eighth.shape[2:], mode="nearest"))
        return eighth, fine, coarse


class FeatureFusion(nn.Module):
    """Joins two maps and strengthens channels by the mean of the result (the paper's FFM)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.convblk = Convolution(width, width, 1)
        self.conv1 = nn.Conv2d(width, width // 4, 1, bias=False)
        self.conv2 = nn.Conv2d(width // 4, width, 1, bias=False)

    def forward(self, first: Tensor, second: Tensor) -> Tensor:
        h = self.convblk(torch.cat([first, second], 1))
        return h + h * self.conv2(F.relu(self.conv1(_mean(h)))).sigmoid()


class Head(nn.Module):
    """A map to class scores."""

    def __init__(self, inputs: int, width: int) -> None:
        super().__init__()
        self.conv = Convolution(inputs, width)
        self.conv_out = nn.Conv2d(width, CLASSES, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv_out(self.conv(x))


class BiSeNet(nn.Module):
    """Scores of the 19 classes for every pixel; class 0 is the background, all others belong to the person."""

    def __init__(self) -> None:
        super().__init__()
        self.cp = ContextPath()
        self.ffm = FeatureFusion(256)
        self.conv_out = Head(256, 256)
        self.conv_out16 = Head(128, 64)
        self.conv_out32 = Head(128, 64)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Class scores, (B, 19, H, W) each: the result, then two maps of coarser origin that help in training.

        Args:
            x: pictures, (B, 3, H, W) RGB, normalised by `MEAN` and `STD`.
        """
        trunk, fine, coarse = self.cp(x)
        heads = (self.conv_out(self.ffm(trunk, fine)), self.conv_out16(fine), self.conv_out32(coarse))
        first, second, third = (
            F.interpolate(scores, x.shape[2:], mode="bilinear", align_corners=True) for scores in heads
        )
        return first, second, third

    def labels(self, x: Tensor) -> Tensor:
        """The class of each pixel, int64 (B, H, W); arguments as of `forward`."""
        return self(x)[0].argmax(1)


def _mean(x: Tensor) -> Tensor:
    return x.mean((2, 3), keepdim=True)
