"""Train the text encoder and the denoiser of a small base model together."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from facewright.diffusion.denoising import (
    check_identity_term,
    check_target,
    clean_of,
    masked_mean,
    min_snr_weights,
    noised,
    target_of,
    time_bars,
)
from facewright.diffusion.schedules import alpha_bars, linear_betas
from facewright.errors import ConfigError
from facewright.personalise.base_identity import FaceTerm
from facewright.personalise.base_latents import SceneLatents, token_ids
from facewright.personalise.base_networks import (
    DenoiserSizes,
    TextSizes,
    check_size,
    make_denoiser,
    make_text_encoder,
)
from facewright.personalise.base_own_words import SaidByName, saying_own_words
from facewright.personalise.world_names import Names, name_embeddings
from facewright.training.precision import arithmetic
from facewright.training.trainer import Losses, Schedule, Trainer

TIMESTEPS = 1000
VALIDATION_TIMES = 8  # levels of noise at which held-out scenes are measured
VALIDATION_PART = 64


@dataclass(frozen=True)
class BaseTraining:
    """How text encoder and denoiser are trained."""

    schedule: Schedule
    text: TextSizes = field(default_factory=TextSizes)
    denoiser: DenoiserSizes = field(default_factory=DenoiserSizes)
    target: str = "velocity"  # what the denoiser puts out: noise or velocity
    caption_dropout: float = 0.1  # share of the samples with an empty caption, for guidance
    min_snr: float | None = None  # gamma of min-SNR weighting, the paper's is 5; None: every time counts alike
    identity_weight: float = 0.0  # of the identity term; 0: none
    identity_share: float = 0.25  # share of the samples that have it
    frozen_text: bool = False  # train the denoiser alone, without its pooling; for a text encoder taught before
    own: float = 0.0  # share of the people with a name who are said by words of their own; for frozen text alone
    compile: bool = False  # torch.compile the denoiser; pays after some minutes

    def __post_init__(self) -> None:
        check_target(self.target)
        check_identity_term(self.identity_weight, self.identity_share)
        if not 0 <= self.caption_dropout < 1:
            raise ConfigError(f"caption_dropout must be in [0, 1), got {self.caption_dropout}")
        if not 0 <= self.own <= 1:
            raise ConfigError(f"own must be in [0, 1], got {self.own}")
        if self.own > 0 and not self.frozen_text:
            raise ConfigError("words of people's own keep their meaning for frozen text alone; set frozen_text = true")
        if self.min_snr is not None and self.min_snr <= 0:
            raise ConfigError(f"min_snr must be above 0, or none, got {self.min_snr}")


class TextToImage(nn.Module):
    """A text encoder and the denoiser that reads it."""

    def __init__(self, text_encoder: nn.Module, denoiser: nn.Module) -> None:
        super().__init__()
        self.text_encoder = text_encoder
        self.denoiser = denoiser

    def forward(self, noisy: Tensor, times: Tensor, ids: Tensor) -> Tensor:
        """What the denoiser puts out, (B, C, h, w), for noisy latents of that shape, times (B,) and tokens (B, T)."""
        return self.denoiser(noisy, times, self.text_encoder(ids)[0], return_dict=False)[0]


def make_text_to_image(
    config: BaseTraining, tokenizer: Any, *, channels: int, latent: int, names: Names | None = None
) -> TextToImage:
    """The two networks untrained; the schedule's seed gives their first weights, names begin as `name_embeddings`.

    Raises:
        ConfigError: they have too many parameters, or the tokenizer's prompts are longer than the text encoder's.
    """
    if tokenizer.model_max_length > config.text.length:
        raise ConfigError(
            f"the tokenizer makes prompts of {tokenizer.model_max_length} tokens, the text encoder takes "
            f"{config.text.length}; give both the same length"
        )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.schedule.seed)
        text_encoder = make_text_encoder(config.text, tokenizer)
        denoiser = make_denoiser(config.denoiser, channels=channels, latent=latent, text_width=config.text.width)
    check_size(text_encoder, denoiser)
    if names is not None:
        table = text_encoder.get_input_embeddings().weight
        ids = [tokenizer(word, add_special_tokens=False).input_ids[0] for word in names.words]
        with torch.no_grad():
            table[ids] = name_embeddings(names, table)
    return TextToImage(text_encoder, denoiser)


def train_base(
    scenes: SceneLatents,
    held_out: SceneLatents,
    tokenizer: Any,
    config: BaseTraining,
    *,
    out: Path,
    device: str = "cpu",
    progress: Callable[[int, int], None] | None = None,
    settings: Mapping[str, Any] | None = None,
    names: Names | None = None,
    people: SaidByName | None = None,
    begun: Mapping[str, Tensor] | None = None,
    faces: FaceTerm | None = None,
    on_save: Callable[[TextToImage], None] | None = None,
    measure: Callable[[TextToImage, int], Mapping[str, float]] | None = None,
) -> TextToImage:
    """Train text encoder and denoiser; the same call again resumes.

    The loss is the mean squared error of the target (noise, or velocity) at a uniformly drawn time, where the scene is
    real, weighted by min-SNR if the config says so. Where `config.identity_weight` is above 0, the loss gains weight *
    sqrt(alpha_bar) * (1 - cosine) of one face in the clean latents that the output stands for to the same face of the
    scene, for a share of the samples: squared errors alone take long to find out whom a caption speaks of.
    `metrics.jsonl` also gets the unweighted loss on held-out scenes at fixed times and noise.

    Args:
        scenes: to train on.
        held_out: scenes of people who are held out; may be none.
        tokenizer: that made the ids.
        config: the recipe.
        out: run folder.
        device: such as "cpu" or "cuda".
        progress: called with (images seen, images in all).
        settings: kept in RUN/config.json; a resumed run must share them.
        names: of the people in the captions, each word of them a token; None: nobody has one.
        people: who is said by name in the captions of `scenes`; needed where `config.own` is above 0.
        begun: weights that the networks begin with in place of drawn ones.
        faces: judges them, for the identity term.
        on_save: called with the averaged networks, on the CPU, at every save.
        measure: figures of the averaged networks, which it gets on the CPU with the images seen, for `metrics.jsonl`
            at every save.

    Returns:
        The networks with their averaged weights, in eval mode, on the CPU.

    Raises:
        ConfigError: an identity term without a judge, own words without people; or the folder holds another run.
    """
    if config.own > 0 and people is None:
        raise ConfigError("own is above 0, and nobody in the captions has a name; give names and [text]")
    if config.identity_weight > 0 and faces is None:
        raise ConfigError("identity_weight is above 0, and there is nothing to judge identities by; give faces")
    channels, latent = scenes.latents.shape[1:3]

    def build() -> TextToImage:
        return make_text_to_image(config, tokenizer, channels=channels, latent=latent, names=names)

    module = build()
    if begun is not None:
        module.load_state_dict(begun)
    if config.frozen_text:
        module.text_encoder.requires_grad_(requires_grad=False)
        if (pool := getattr(module.denoiser, "add_embedding", None)) is not None:
            pool.requires_grad_(requires_grad=False)
    module = module.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    trainer = Trainer(module, config.schedule, out=out, device=device, config={"kind": "base", **(settings or {})})
    if config.compile:
        module.denoiser.compile()
    bars = alpha_bars(linear_betas(TIMESTEPS)).float()
    empty = torch.from_numpy(token_ids([""], tokenizer))[0]

    def error(
        network: nn.Module, given: SceneLatents, rows: Tensor, times: Tensor, noise: Tensor, drop: Tensor | None = None
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Squared errors, the clean latents that the output stands for, the true ones: (B, C, h, w); where real."""
        picked = rows.numpy()
        clean, ids = torch.from_numpy(given.latents[picked]).float(), torch.from_numpy(given.ids[picked])
        if drop is not None:
            ids = torch.where(drop[:, None], empty, ids)
        bar = time_bars(bars, times)
        noisy = noised(clean, noise, bar).to(device).contiguous(memory_format=torch.channels_last)
        output = network(noisy, times.to(device), ids.to(device)).float()
        squared = (output - target_of(config.target, clean, noise, bar).to(device)).square()
        real = torch.from_numpy(given.real[picked])[:, None].float().to(device)
        return squared, clean_of(config.target, output, noisy, bar.to(device)), clean.to(device), real

    def losses(indices: Tensor, generator: torch.Generator) -> Losses:
        count = len(indices)
        times = torch.randint(len(bars), (count,), generator=generator)
        noise = torch.randn(count, channels, latent, latent, generator=generator)
        drop = torch.rand(count, generator=generator) < config.caption_dropout
        with saying_own_words(module.text_encoder, people, indices, drop, generator, share=config.own):
            squared, guess, clean, real = error(module, scenes, indices, times, noise, drop)
        if config.min_snr is not None:
            weights = min_snr_weights(time_bars(bars, times), target=config.target, gamma=config.min_snr)
            squared = squared * weights.to(device)
        found = {"denoising": masked_mean(squared, real)}
        if faces is not None and config.identity_weight > 0:
            judged = math.ceil(config.identity_share * count)
            points = scenes.points[indices[:judged].numpy()]
            apart = faces(guess[:judged], clean[:judged], points, generator=generator)
            weight = bars[times[:judged]].sqrt() * ~drop[:judged]
            found["identity"] = config.identity_weight * (weight.to(device) * apart).mean()
        return found

    def averaged() -> TextToImage:
        network = build()
        network.load_state_dict(trainer.averaged())
        return network.eval()

    def held_out_loss(network: TextToImage) -> float:
        network = network.to(device)
        generator = torch.Generator().manual_seed(0)
        values = []
        with torch.inference_mode(), arithmetic(config.schedule.precision, trainer.device):
            for rows in torch.arange(len(held_out.latents)).split(VALIDATION_PART):
                for k in range(VALIDATION_TIMES):
                    times = torch.full((len(rows),), (2 * k + 1) * len(bars) // (2 * VALIDATION_TIMES))
                    noise = torch.randn(len(rows), channels, latent, latent, generator=generator)
                    squared, _, _, real = error(network, held_out, rows, times, noise)
                    values.append((float(masked_mean(squared, real)), len(rows)))
        return sum(value * count for value, count in values) / sum(count for _, count in values)

    def validate() -> Mapping[str, float]:
        network = averaged()
        figures = {} if measure is None else dict(measure(network, trainer.images))
        if len(held_out.latents):
            figures["held_out"] = held_out_loss(network)
        return figures

    trainer.fit(
        losses,
        samples=len(scenes.latents),
        progress=progress,
        validate=validate if measure is not None or len(held_out.latents) else None,
        on_save=None if on_save is None else lambda: on_save(averaged()),
    )
    return averaged()
