"""The augmentation of a recogniser's training faces, as settings and as one function."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from facewright.data.augment import grey, jitter_crop
from facewright.data.augment_colour import colour_jitter
from facewright.data.augment_crop import mirror, random_crop
from facewright.data.augment_random import BINS, rand_augment
from facewright.data.augment_resolution import low_resolutions
from facewright.errors import ConfigError


@dataclass(frozen=True)
class Augmentation:
    """What is done to each training picture, in this order; the defaults mirror half of them and do nothing else."""

    mirror_share: float = 0.5
    shift: int = 0  # pixels by which a crop is off its place, its border repeated
    crop_share: float = 0.0  # random crops of a fifth of the picture or more; ADMIS and AdaFace: 0.2
    crop_in_place: bool = False  # the rest is black (AdaFace) instead of the crop being enlarged (ADMIS)
    crop_warmup_images: int = 0  # images seen over which crop_share rises in a line from 0
    low_resolution_share: float = 0.0  # AdaFace: 0.2
    smallest: float = 0.2  # side that a picture is shrunk to, as a share of its side
    colour_share: float = 0.0  # of brightness, contrast and saturation; AdaFace: 0.2
    colour_strength: float = 0.5  # factors in [1 - colour_strength, 1 + colour_strength]
    grey_share: float = 0.0
    rand_operations: int = 0  # of RandAugment on every picture; IDiff-Face: 4
    rand_magnitude: int = 16  # highest of its 31 bins

    def __post_init__(self) -> None:
        for name in ("mirror_share", "crop_share", "low_resolution_share", "colour_share", "grey_share"):
            if not 0 <= getattr(self, name) <= 1:
                raise ConfigError(f"{name} must be in [0, 1], got {getattr(self, name)}")
        if not 0 < self.smallest <= 1 or not 0 <= self.colour_strength <= 1:
            raise ConfigError(
                f"smallest must be in (0, 1] and colour_strength in [0, 1], got {self.smallest}, {self.colour_strength}"
            )
        if self.shift < 0 or self.crop_warmup_images < 0 or self.rand_operations < 0:
            raise ConfigError("shift, crop_warmup_images and rand_operations must be at least 0")
        if not 1 <= self.rand_magnitude < BINS:
            raise ConfigError(f"rand_magnitude must be in 1 ... {BINS - 1}, got {self.rand_magnitude}")

    def crop_share_at(self, images_seen: int) -> float:
        """Share of the pictures that are cropped once so many images have been seen."""
        if images_seen >= self.crop_warmup_images:
            return self.crop_share
        return self.crop_share * images_seen / self.crop_warmup_images


def augment(images: Tensor, config: Augmentation, *, images_seen: int = 0, generator: torch.Generator) -> Tensor:
    """Augment a batch on its own device; what happens to it depends on the generator's state alone.

    Args:
        images: (B, 3, S, S) RGB in [-1, 1].
        config: what to do.
        images_seen: of the run, for warm-ups.
        generator: on the CPU, whatever the images' device.
    """
    x = mirror(images, share=config.mirror_share, generator=generator) if config.mirror_share else images
    if config.shift:
        side, edge = x.shape[-1], config.shift
        x = F.pad(x, (edge, edge, edge, edge), mode="replicate")
        x = jitter_crop(x, side, shift=edge, mirror=False, generator=generator)
    crops = config.crop_share_at(images_seen)
    if crops:
        x = random_crop(x, share=crops, in_place=config.crop_in_place, generator=generator)
    if config.low_resolution_share:
        x = low_resolutions(x, share=config.low_resolution_share, smallest=config.smallest, generator=generator)
    if config.colour_share:
        by = config.colour_strength
        x = colour_jitter(
            x, share=config.colour_share, brightness_by=by, contrast_by=by, saturation_by=by, generator=generator
        )
    if config.grey_share:
        x = grey(x, share=config.grey_share, generator=generator)
    if config.rand_operations:
        x = rand_augment(x, operations=config.rand_operations, magnitude=config.rand_magnitude, generator=generator)
    return x
