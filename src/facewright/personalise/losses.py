"""What a personaliser is trained with, as pure functions of predictions, masks and attention maps.

Face2Diffusion's class-guided denoising regularisation (Shiohara & Yamasaki 2024), and the masked denoising and
cross-attention localisation losses of FastComposer (Xiao et al. 2023).
"""

from collections.abc import Sequence
from math import isqrt

import torch
import torch.nn.functional as F
from torch import Tensor

from facewright.errors import ConfigError, InputError

EPSILON = 1e-5
NORMALISE = ("elements", "area")


def cgdr_target(noise: Tensor, class_prediction: Tensor, *, mask: Tensor) -> Tensor:
    """What the denoiser shall predict: the true noise on the person, its own class prediction around them.

    Args:
        noise: that was added to the latents, (B, C, H, W).
        class_prediction: of the denoiser for the prompt with a class noun in the person's place, (B, C, H, W); no
            gradient runs through it.
        mask: (B, 1, H, W), 1 on the person, 0 around them; it must have taken every flip and crop of the picture.
    """
    return torch.lerp(class_prediction.detach(), noise, mask.to(noise.dtype))


def cgdr_loss(prediction: Tensor, noise: Tensor, class_prediction: Tensor, *, mask: Tensor) -> Tensor:
    """Class-guided denoising regularisation: mean square of `prediction` minus `cgdr_target`.

    Args:
        prediction: of the denoiser for the prompt with the person's words, (B, C, H, W).
        noise, class_prediction, mask: as of `cgdr_target`.
    """
    return F.mse_loss(prediction, cgdr_target(noise, class_prediction, mask=mask))


def union_mask(masks: Tensor, *, size: tuple[int, int]) -> Tensor:
    """Everybody's mask at the size of the latents, (B, 1, h, w), bilinear without antialiasing.

    Args:
        masks: one for each person, (B, N, H, W), 0 or 1; that of a place without a person is all 0.
        size: (h, w).
    """
    return F.interpolate(masks.amax(1, keepdim=True), size, mode="bilinear", align_corners=False)


def denoising_loss(
    prediction: Tensor, target: Tensor, *, mask: Tensor | None = None, normalise: str = "elements"
) -> Tensor:
    """Mean square of the prediction's error, where asked only inside a mask.

    Args:
        prediction, target: (B, C, H, W); the target is the noise, or the velocity for a denoiser that predicts it.
        mask: (B, 1, H, W), multiplied into both; None: everywhere.
        normalise: "elements" divides by all elements, as FastComposer does, so that a small person counts little;
            "area" divides by the summed mask instead, and an empty mask gives 0.
    """
    if normalise not in NORMALISE:
        raise ConfigError(f"normalise must be {' or '.join(NORMALISE)}, got {normalise!r}")
    if mask is None:
        return F.mse_loss(prediction, target)
    share = mask.to(prediction.dtype)
    squares = (share * prediction - share * target).square()
    if normalise == "elements":
        return squares.mean()
    return squares.sum() / share.expand_as(squares).sum().clamp_min(EPSILON)


def shrink_masks(masks: Tensor, side: int) -> Tensor:
    """Masks at the size of an attention map, (B, N, side, side), bilinear with antialiasing.

    Args:
        masks: (B, N, H, W).
        side: of the map, in pixels.
    """
    return F.interpolate(masks, (side, side), mode="bilinear", align_corners=False, antialias=True)


def localisation_losses(
    attention: Sequence[Tensor],
    masks: Tensor,
    *,
    tokens: Tensor,
    valid: Tensor,
    normalise: bool = False,
) -> Tensor:
    """How much each layer's cross-attention to a person's token lies outside that person rather than on them.

    Per layer the mean over the background minus the mean over the person, averaged over a sample's people, then over
    samples and heads: from -1, all on the person, to 1 (FastComposer, section 4.2). A sample without people counts
    as 0.

    Args:
        attention: softmaxed maps of each layer, (B * heads, S * S, T), all heads of a sample together.
        masks: (B, N, H, W), 0 or 1.
        tokens: each person's token, int64 (B, N); any valid number where there is no person.
        valid: (B, N) bool, which people there are.
        normalise: divide each map by its maximum over the pixels first.

    Returns:
        One number a layer, (L,).

    Raises:
        InputError: no layer, or a map that is not square or not of this batch.
    """
    if not attention:
        raise InputError("localisation needs the attention maps of at least one layer, got none")
    return torch.stack([_localisation(layer, masks, tokens, valid, normalise=normalise) for layer in attention])


def localisation_loss(
    attention: Sequence[Tensor], masks: Tensor, *, tokens: Tensor, valid: Tensor, normalise: bool = False
) -> Tensor:
    """The mean of `localisation_losses` over the layers; arguments as there."""
    return localisation_losses(attention, masks, tokens=tokens, valid=valid, normalise=normalise).mean()


def total_loss(denoise: Tensor, localisation: Tensor, *, weight: float | Tensor) -> Tensor:
    """Denoising loss plus `weight` times the localisation loss; FastComposer's run used a weight of 0.001."""
    return denoise + weight * localisation


def _localisation(attention: Tensor, masks: Tensor, tokens: Tensor, valid: Tensor, *, normalise: bool) -> Tensor:
    batch, pixels = len(masks), attention.shape[1]
    side = isqrt(pixels)
    if side * side != pixels or len(attention) % batch:
        raise InputError(
            f"an attention map must be (batch * heads, side * side, tokens) for a batch of {batch}, "
            f"got {tuple(attention.shape)}"
        )
    maps = attention.unflatten(0, (batch, -1))
    columns = tokens[:, None, None, :].expand(-1, maps.shape[1], pixels, -1)
    maps = maps.gather(3, columns)  # (B, heads, S * S, N)
    if normalise:
        maps = maps / (maps.amax(2, keepdim=True) + EPSILON)
    inside = shrink_masks(masks.to(maps.dtype), side).flatten(2).transpose(1, 2)[:, None]  # (B, 1, S * S, N)
    outside = 1 - inside
    background = (maps * outside).sum(2) / (outside.sum(2) + EPSILON)
    person = (maps * inside).sum(2) / (inside.sum(2) + EPSILON)
    there = valid[:, None]
    people = there.sum(2) + EPSILON  # a count, so float32 whatever the maps are: as the published numbers have it
    return (((background - person) * there).sum(2) / people).mean()
