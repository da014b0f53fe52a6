"""How well words speak of people who were not trained on: errors of the denoiser at fixed times and noise."""

import numpy as np
import torch
from torch import Tensor

from facewright.personalise.losses import denoising_loss, union_mask
from facewright.personalise.mapper import Mapper
from facewright.personalise.train_batch import Batch, Batches
from facewright.personalise.train_denoiser import BaseModel

PHOTOS = 32
TIMES = 4
TOGETHER = 8  # photos of a call of the denoiser


@torch.no_grad()
def held_out_errors(batches: Batches, base: BaseModel, mapper: Mapper) -> dict[str, float]:
    """Square errors on up to `PHOTOS` photos of held-out people; nothing where there are none.

    Returns:
        `held_out`: on the people, with their words; `held_out_swapped`: with somebody else's; `held_out_noun`: with
        their nouns. `held_out_around`: around them, to the prediction for the nouns. A prediction of the noise alone
        has an error that depends on the time, so they say something beside each other only.
    """
    people = batches.people
    photos = people.photos(held_out=True)[:PHOTOS]
    generator, sums = torch.Generator().manual_seed(0), dict[str, float]()
    by_name = np.argsort(people.person, kind="stable")
    partner = np.empty_like(by_name)
    partner[by_name] = np.roll(by_name, len(by_name) // 2)  # rows of one person stand together, so this is another one
    for start in range(0, len(photos), TOGETHER):
        batch = batches.fixed(batches.load(photos[start : start + TOGETHER].tolist()))
        others = torch.from_numpy(people.embedding[partner[batch.row.numpy()], 0])
        for index in range(TIMES):
            time = (2 * index + 1) * base.times // (2 * TIMES)
            for name, value in _errors(batch, base, mapper, others, time, generator).items():
                sums[name] = sums.get(name, 0.0) + value * len(batch.pictures) / (len(photos) * TIMES)
    return sums


def _errors(
    batch: Batch, base: BaseModel, mapper: Mapper, others: Tensor, time: int, generator: torch.Generator
) -> dict[str, float]:
    clean = base.latents(batch.pictures, generator=None)
    mask = union_mask(batch.masks.to(base.device), size=(clean.shape[2], clean.shape[3]))
    times = torch.full((len(clean),), time, device=base.device)
    noise = torch.randn(clean.shape, generator=generator).to(base.device)
    noisy, target = base.noised(clean, noise, times), base.target(clean, noise, times)
    own, other = (
        base.predicted(noisy, times, base.prompted(batch, _words(mapper, identities.to(base.device)), mapper.fuse))
        for identities in (batch.identity, others)
    )
    noun = base.predicted(noisy, times, base.plain(batch))
    compared = {
        "held_out": (own, target, mask),
        "held_out_swapped": (other, target, mask),
        "held_out_noun": (noun, target, mask),
        "held_out_around": (own, noun, 1 - mask),
    }
    return {
        name: float(denoising_loss(first, second, mask=where, normalise="area"))
        for name, (first, second, where) in compared.items()
    }


def _words(mapper: Mapper, identities: Tensor) -> Tensor:
    return torch.stack(mapper.mapping(identities), 1)
