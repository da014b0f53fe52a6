"""Train a personaliser: the mapping from identities to words, through a base model that stays as it is.

Face2Diffusion's training (Shiohara & Yamasaki 2024) and FastComposer's (Xiao et al. 2023), each a choice of settings.
"""

import copy
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from facewright.errors import ConfigError, InputError
from facewright.personalise.losses import cgdr_target, denoising_loss, localisation_loss, union_mask
from facewright.personalise.mapper import WORDS, Mapper
from facewright.personalise.mapping import Mapping as MappingNetwork
from facewright.personalise.postfuse import PostFuse
from facewright.personalise.train_attention import AttentionMaps, recorded_attention
from facewright.personalise.train_batch import Batch, Batches, Loaded
from facewright.personalise.train_denoiser import BaseModel, aligned_faces
from facewright.personalise.train_held_out import held_out_errors
from facewright.personalise.train_people import People
from facewright.personalise.train_recipe import PersonaliserTraining
from facewright.training.precision import arithmetic
from facewright.training.trainer import Losses, Trainer

BEGIN = ("a", "person")
"""What the two words are before training, where they stand in the place of a noun."""

Identify = Callable[[Tensor], Tensor]
"""Embeddings (M, D) of crops (M, 3, 112, 112) RGB in [-1, 1], with gradients to the crops."""


class Personaliser(nn.Module):
    """What is trained: the mapping, the fusion where there is one, and the denoiser where it is asked for."""

    def __init__(self, mapping: MappingNetwork, fuse: PostFuse | None, denoiser: nn.Module | None) -> None:
        super().__init__()
        self.mapping, self.fuse, self.denoiser = mapping, fuse, denoiser

    def words(self, identity: Tensor, expression: Tensor, given: Tensor) -> Tensor:
        """The words of M people, (M, 2, D); arguments as of `Mapping`."""
        return torch.stack(self.mapping(identity, expression, given=given), 1)


@dataclass(frozen=True)
class Trained:
    """The averaged networks, in eval mode."""

    mapper: Mapper
    denoiser: nn.Module | None
    """The base model's own where None."""


def train_personaliser(
    people: People,
    base: BaseModel,
    config: PersonaliserTraining,
    *,
    out: Path,
    device: str = "cpu",
    progress: Callable[[int, int], None] | None = None,
    settings: Mapping[str, Any] | None = None,
    start: Mapper | None = None,
    identify: Identify | None = None,
    on_save: Callable[[Trained], None] | None = None,
    measure: Callable[[Trained, int], Mapping[str, float]] | None = None,
) -> Trained:
    """Train in a run folder; the same call again resumes.

    The loss is the square error of the denoiser's prediction, with the words of everybody in the caption, to DDPM's
    noise on the people and, with `cgdr`, to its own prediction for their nouns around them (`losses.cgdr_target`).
    `metrics.jsonl` also gets that error on held-out people at fixed times and noise: on the people (`held_out`), there
    with somebody else's words (`held_out_swapped`) and with their nouns (`held_out_noun`), which are the larger the
    more the words say who it is; and around them the square distance to the prediction for the nouns
    (`held_out_around`), which is the smaller the more the rest of the prompt keeps its say.

    Args:
        people: found and embedded.
        base: on `device`; it stays frozen but for what `config.trained` names, which is trained in a copy.
        config: the recipe.
        out: the run folder.
        device: where it is trained.
        progress: called with (images seen, images in all).
        settings: what else the run depends on, kept in config.json.
        start: a mapper to start from; None: a new one.
        identify: the encoder, for the identity loss.
        on_save: called with the averaged networks at every save.
        measure: figures of the averaged networks and the images seen, at every validation.

    Raises:
        InputError: the mapper to start from does not fit.
        ConfigError: the identity loss without an encoder; or the folder holds another run.
    """
    if config.identity > 0 and identify is None:
        raise ConfigError(
            "the identity loss needs an encoder that gradients run through; name one, or set identity = 0"
        )
    module = begin_personaliser(people, base, config, start)
    trainer = Trainer(
        module, config.schedule, out=out, device=device, config={"kind": "personaliser", **(settings or {})}
    )
    fuse = config.mode == "fuse"
    batches = Batches(people, base.tokenizers, size=base.size, keep_nouns=fuse, chances=config.chances())
    photos = people.photos(held_out=False)
    unet = base.unet
    if module.denoiser is not None:
        base.unet = module.denoiser
    if config.checkpointing:
        base.unet.enable_gradient_checkpointing()

    def average() -> Trained:
        return _averaged(module, unet, trainer.averaged(), device=device)

    def validate() -> Mapping[str, float]:
        trained, before = average(), base.unet
        base.unet = trained.denoiser or before
        try:
            with arithmetic(config.schedule.precision, trainer.device):
                figures = held_out_errors(batches, base, trained.mapper)
        finally:
            base.unet = before
        return {**figures, **({} if measure is None else measure(trained, trainer.images))}

    recorded = recorded_attention(base.unet) if config.localisation > 0 else nullcontext(AttentionMaps())
    try:
        with recorded as maps:
            step = _Step(module, base, batches, config, identify, maps)
            trainer.fit(
                step.losses,
                samples=len(photos),
                load=lambda indices: batches.load(photos[indices.numpy()].tolist()),
                progress=progress,
                validate=validate if people.held_out.any() or measure is not None else None,
                validate_every=config.measure_every,
                on_save=None if on_save is None else lambda: on_save(average()),
            )
    finally:
        if config.checkpointing:
            base.unet.disable_gradient_checkpointing()
        base.unet = unet
    return average()


@dataclass(frozen=True)
class _Step:
    """The losses of one part of a batch."""

    module: Personaliser
    base: BaseModel
    batches: Batches
    config: PersonaliserTraining
    identify: Identify | None
    maps: AttentionMaps

    def losses(self, photos: list[Loaded], generator: torch.Generator) -> Losses:
        base, config, device = self.base, self.config, self.base.device
        batch = self.batches.draw(photos, generator)
        clean = base.latents(batch.pictures, generator=generator)
        noise = torch.randn(clean.shape, generator=generator).to(device)
        times = torch.randint(base.times, (len(photos),), generator=generator).to(device)
        alone = torch.rand(len(photos), generator=generator) < config.masked
        noisy = base.noised(clean, noise, times)
        masks = batch.masks.to(device)
        mask = union_mask(masks, size=(clean.shape[2], clean.shape[3]))
        words = self.module.words(*(part.to(device) for part in (batch.identity, batch.expression, batch.given)))
        with self.maps.kept() as maps:
            predicted = base.predicted(noisy, times, base.prompted(batch, words, self.module.fuse))
        target = base.target(clean, noise, times)
        if config.cgdr:
            with torch.no_grad():
                noun = base.predicted(noisy, times, base.plain(batch))
            target = cgdr_target(target, noun, mask=mask)
        counted = torch.where(alone.to(device)[:, None, None, None], mask, torch.ones_like(mask))
        denoising = denoising_loss(predicted, target, mask=counted, normalise=config.normalise)
        found: dict[str, Tensor] = {"denoising": denoising}
        if not len(words):
            found["denoising"] = denoising + 0 * words.sum()  # nobody in this part: the mapping gets no gradient
        elif config.localisation > 0:
            found["localisation"] = config.localisation * _localised(maps, batch, masks)
        if config.identity > 0:
            found |= self._identity(batch, base.cleaned(noisy, predicted, times), times)
        return found

    def _identity(self, batch: Batch, cleaned: Tensor, times: Tensor) -> dict[str, Tensor]:
        """One minus the cosine of each cleaned face to the photo's, where the noise is low enough to see one."""
        assert self.identify is not None
        clear = (times < self.config.identity_until * self.base.times).cpu()
        chosen = clear[batch.sample].nonzero().flatten()
        if not len(chosen):
            return {}
        pictures, place = torch.unique(batch.sample[chosen], return_inverse=True)
        decoded = self.base.pictures(cleaned[pictures.to(cleaned.device)]).clamp(-1, 1)
        faces = aligned_faces(decoded[place.to(decoded.device)], batch.points[chosen.numpy()])
        cosines = F.cosine_similarity(self.identify(faces), batch.own[chosen].to(faces.device))
        return {"identity": self.config.identity * (1 - cosines).mean()}


def begin_personaliser(
    people: People, base: BaseModel, config: PersonaliserTraining, start: Mapper | None = None
) -> Personaliser:
    """The module before its first step; the same for the same seed. Arguments and errors as of `train_personaliser`."""
    wanted = config.mapping(people.embedding.shape[2], sum(base.widths))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.schedule.seed)
        mapping = MappingNetwork(wanted)
        fuse = PostFuse(wanted.word_width) if config.mode == "fuse" else None
    if start is not None:
        has = start.mapping.config
        if (start.mode, has.identity_width, has.word_width) != (
            config.mode,
            wanted.identity_width,
            wanted.word_width,
        ) or (has.width, has.layers, has.expression_width) != (wanted.width, wanted.layers, wanted.expression_width):
            raise InputError(
                f"the mapper to start from is {start.mode} with {has}, this training needs {config.mode} with {wanted}"
            )
        mapping.load_state_dict(start.mapping.state_dict())
        if fuse is not None and start.fuse is not None:
            fuse.load_state_dict(start.fuse.state_dict())
    elif config.begin_from_noun and fuse is None:
        with torch.no_grad():
            for branch, noun in zip((mapping.i2t_first, mapping.i2t_last), base.noun_embedding(BEGIN), strict=True):
                branch.fc_out.weight.mul_(float(noun.std()))  # what a person adds is of the size of a word
                branch.fc_out.bias.copy_(noun)
    denoiser = None
    if config.trained != "mapping":
        denoiser = copy.deepcopy(base.unet).float().requires_grad_(requires_grad=config.trained == "denoiser")
        if config.trained == "attention":
            for name, parameter in denoiser.named_parameters():
                parameter.requires_grad_(requires_grad=".attn2.to_k." in name or ".attn2.to_v." in name)
    return Personaliser(mapping, fuse, denoiser)


def _averaged(module: Personaliser, unet: nn.Module, state: Mapping[str, Tensor], *, device: str) -> Trained:
    """Copies of the trained networks with the averaged weights."""

    def filled(name: str, network: nn.Module | None) -> Any:
        if getattr(module, name) is None:
            return None
        own: Any = copy.deepcopy(network)
        own.load_state_dict({key[len(name) + 1 :]: value for key, value in state.items() if key.startswith(f"{name}.")})
        return own.to(device).requires_grad_(requires_grad=False).eval()

    mapper = Mapper(filled("mapping", module.mapping), filled("fuse", module.fuse))
    return Trained(mapper, filled("denoiser", unet))


def _localised(maps: list[Tensor], batch: Batch, masks: Tensor) -> Tensor:
    """The localisation loss over both words of everybody."""
    shape = (len(masks), masks.shape[1], WORDS)
    tokens, valid = torch.zeros(shape, dtype=torch.int64), torch.zeros(shape, dtype=torch.bool)
    tokens[batch.sample, batch.slot] = batch.prompts[0].starts[:, None] + torch.arange(WORDS)
    valid[batch.sample, batch.slot] = True
    return localisation_loss(
        [layer.float() for layer in maps],
        masks.repeat_interleave(WORDS, 1),
        tokens=tokens.flatten(1).to(masks.device),
        valid=valid.flatten(1).to(masks.device),
    )
