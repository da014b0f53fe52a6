"""A control branch: a trainable copy of the U-Net's first half that steers the frozen U-Net by a hint picture.

After ControlNet (Zhang et al. 2023), in the form of the public IDiff-Face code, whose module names are kept: the hint
is added behind the zero convolution of the stem, so at first the branch sees the hint encoder's output alone.
"""

from collections.abc import Sequence

from torch import Tensor, nn

from facewright.diffusion.attention import zeroed
from facewright.diffusion.unet import ConditionalUNet, DescendingPath, UNetConfig
from facewright.errors import ConfigError, InputError

HINT_FACTOR = 8  # pixels of the hint to one of the latent
_HINT_WIDTHS = ((16, 1), (16, 1), (32, 2), (32, 1), (96, 2), (96, 1), (256, 2))  # channels and stride


class ControlNet(DescendingPath):
    """Turns latent, time, context and hint into corrections of the U-Net's maps.

    One correction belongs to the stem, to every module of the way down and, last, to the middle. The convolutions that
    end the branch begin at zero.
    """

    def __init__(self, config: UNetConfig, *, hint_channels: int = 3) -> None:
        super().__init__(config)
        layers: list[nn.Module] = []
        inputs = hint_channels
        for outputs, stride in _HINT_WIDTHS:
            layers += [nn.Conv2d(inputs, outputs, 3, stride, 1), nn.SiLU()]
            inputs = outputs
        self.input_hint_block = nn.Sequential(*layers, zeroed(nn.Conv2d(inputs, config.width, 3, padding=1)))
        self.zero_convs = nn.ModuleList(_zero_convolution(width) for width in self.map_widths)
        self.middle_block_out = _zero_convolution(self.map_widths[-1])

    @classmethod
    def begin(cls, unet: ConditionalUNet) -> "ControlNet":
        """A new branch with the U-Net's weights, which does not change the U-Net's estimate yet."""
        control = cls(unet.config)
        state = control.state_dict()
        control.load_state_dict({**state, **{key: value for key, value in unet.state_dict().items() if key in state}})
        return control.to(unet.final.weight)

    def forward(
        self,
        x: Tensor,
        times: Tensor,
        context: Tensor | None = None,
        *,
        hint: Tensor,
        drop: Tensor | None = None,
        keep: Tensor | None = None,
    ) -> list[Tensor]:
        """Corrections, in the order of the maps; the middle's is last.

        Args:
            x: noisy latents, (B, C, H, W).
            times: integer times, (B,).
            context: identity embeddings, (B, D), or None for the empty context.
            hint: pictures, (B, 3, 8 H, 8 W) RGB in [-1, 1].
            drop: (B,) bool, rows whose whole context is left out.
            keep: factors of partial dropout, as of `project`.
        """
        wanted = (len(x), HINT_FACTOR * x.shape[2], HINT_FACTOR * x.shape[3])
        if (len(hint), *hint.shape[2:]) != wanted:
            raise InputError(
                f"latents {tuple(x.shape)} need {wanted[0]} hints of {wanted[1:]} pixels, got {tuple(hint.shape)}"
            )
        c = self.project(context, count=len(x), drop=drop, keep=keep)
        stem = self.zero_convs[0](self.image_proj(x)) + self.input_hint_block(hint)
        (_, *maps), middle = self.descend(stem, self.time_emb(times), c)
        corrections = [convolve(h) for convolve, h in zip(list(self.zero_convs)[1:], maps, strict=True)]
        return [stem, *corrections, self.middle_block_out(middle)]


class ControlledUNet(nn.Module):
    """A frozen U-Net and the control branch that corrects it; only the branch is trained."""

    def __init__(self, unet: ConditionalUNet, control: ControlNet) -> None:
        super().__init__()
        self.unet = unet.requires_grad_(requires_grad=False)
        self.control = control
        check_control(unet, control)

    @classmethod
    def begin(cls, unet: ConditionalUNet) -> "ControlledUNet":
        """With a new branch, see `ControlNet.begin`."""
        return cls(unet, ControlNet.begin(unet))

    def forward(
        self,
        x: Tensor,
        times: Tensor,
        context: Tensor | None = None,
        *,
        hint: Tensor,
        drop: Tensor | None = None,
        scales: float | Sequence[float] = 1.0,
        only_middle: bool = False,
    ) -> Tensor:
        """Noise estimate under the hint, as `controlled`."""
        return controlled(
            self.unet, self.control, x, times, context, hint=hint, drop=drop, scales=scales, only_middle=only_middle
        )


def check_control(unet: ConditionalUNet, control: ControlNet) -> None:
    """Refuse a branch whose context is not the U-Net's."""
    if unet.config.context_width != control.config.context_width:
        raise ConfigError("U-Net and control branch must have contexts of the same width")


def controlled(
    unet: ConditionalUNet,
    control: ControlNet,
    x: Tensor,
    times: Tensor,
    context: Tensor | None = None,
    *,
    hint: Tensor,
    drop: Tensor | None = None,
    scales: float | Sequence[float] = 1.0,
    only_middle: bool = False,
) -> Tensor:
    """A U-Net's estimate under the hint of a control branch, (B, C, H, W).

    Both halves see the same dropped contexts and, while the branch is trained, the same mask of partial dropout.

    Args:
        unet: gives the estimate.
        control: corrects its maps.
        x: noisy latents, (B, C, H, W).
        times: integer times, (B,).
        context: identity embeddings, (B, D), or None for the empty context.
        hint: pictures, (B, 3, 8 H, 8 W) RGB in [-1, 1].
        drop: (B,) bool, rows whose whole context is left out.
        scales: strength of the control, for all corrections or for each.
        only_middle: leave the maps of the way down as they are.
    """
    keep = control.partial_dropout(unet.final.weight.new_ones(len(x), unet.config.context_width))
    corrections = control(x, times, context, hint=hint, drop=drop, keep=keep)
    strengths = [scales] * len(corrections) if isinstance(scales, (int, float)) else list(scales)
    if len(strengths) != len(corrections):
        raise ConfigError(f"scales must be one number or {len(corrections)} of them, got {len(strengths)}")
    *corrections, last = [scale * h for scale, h in zip(strengths, corrections, strict=True)]

    c = unet.project(context, count=len(x), drop=drop, keep=keep)
    t = unet.time_emb(times)
    maps, middle = unet.descend(unet.image_proj(x), t, c)
    if not only_middle:
        maps = [h + correction for h, correction in zip(maps, corrections, strict=True)]
    return unet.ascend(middle + last, maps, t, c)


def _zero_convolution(width: int) -> nn.Sequential:
    return nn.Sequential(zeroed(nn.Conv2d(width, width, 1)))
