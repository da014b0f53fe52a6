"""Draw pictures of one person or several with a Stable Diffusion pipeline of diffusers."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from math import gcd
from typing import Any

import numpy as np
import torch
from torch import Tensor

from facewright.errors import ConfigError, InputError, WorkError
from facewright.personalise.conditioning import Conditioning, encode_negative, encode_people
from facewright.personalise.delay import text_only_calls
from facewright.personalise.postfuse import PostFuse
from facewright.personalise.prompts import find_people
from facewright.personalise.regions import (
    WAYS,
    box_masks,
    columns,
    region_weights,
    regional_attention,
    regional_estimates,
)
from facewright.personalise.windows import lone_prompts, window_starts, windowed
from facewright.training.seeds import seed_of

NOUN = "person"


@dataclass(frozen=True)
class PictureConfig:
    """How pictures are drawn."""

    steps: int = 30
    guidance: float = 7.0  # 1 is none
    alpha: float = 1.0  # share of the steps that see the people; the first ones see their nouns
    negative: str = ""  # what the pictures shall not show
    width: int | None = None  # pixels; None: the base model's own
    height: int | None = None
    batch: int = 4  # pictures at a time
    regional: str = "attention"  # how regions are kept apart: attention, estimates (module regions) or windows

    def __post_init__(self) -> None:
        if self.regional not in WAYS:
            raise ConfigError(f"regions are kept apart by {', '.join(WAYS)}, got {self.regional!r}")
        if self.steps < 1 or self.batch < 1:
            raise ConfigError(f"steps and batch must be at least 1, got {self.steps} and {self.batch}")
        if self.guidance < 1:
            raise ConfigError(f"guidance must be at least 1, which is none; got {self.guidance:g}")
        if not 0 <= self.alpha <= 1:
            raise ConfigError(f"alpha is the share of the steps that see the people, from 0 to 1; got {self.alpha:g}")
        for side in (self.width, self.height):
            if side is not None and (side < 8 or side % 8):
                raise ConfigError(f"width and height must be multiples of 8, got {self.width} x {self.height}")


@dataclass(frozen=True)
class Subject:
    """A person as the prompt knows them."""

    name: str  # as written in the prompt
    words: Tensor  # (K, D), as from `Mapper.words`
    noun: str = NOUN  # what they are where their words are not read


@dataclass(frozen=True)
class Drawn:
    """Pictures of one prompt."""

    images: np.ndarray  # uint8 (N, H, W, 3) RGB
    cut: tuple[str, ...]  # words of the prompt that found no room
    flagged: tuple[bool, ...]  # blackened by the base model's filter; all False where it has none


def draw_pictures(
    pipe: Any,
    prompt: str,
    subjects: Sequence[Subject],
    config: PictureConfig | None = None,
    *,
    numbers: Sequence[int] = (0,),
    seed: int = 0,
    fuse: PostFuse | None = None,
    regions: Tensor | str | None = None,
    extra: Mapping[str, Any] | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Drawn:
    """Draw pictures; each depends on its number and the seed, not on the batch it is drawn in.

    The pipeline is called as its users call it, with encoded prompts, and left as it was: LoRA, ControlNet, any
    scheduler and guidance work as they do without people.

    Args:
        pipe: Stable Diffusion 1.x, 2.x or XL of diffusers, or a pipeline built around one, such as with a ControlNet.
        prompt: names each subject once.
        subjects: the people.
        numbers: of the pictures, one a picture.
        fuse: of a mapper whose mode is "fuse" (`Mapper.fuse`).
        regions: None, every word acts everywhere; "columns", people side by side from left to right in the order of
            the prompt; or masks, (N, H, W) in [0, 1] in the order of `subjects`. Each person's words then act in their
            region alone, where the others are read as their nouns (by "estimates": as this person too); outside all
            regions everybody is a noun. In "windows" each column is a square of the base model's own size, in which the
            prompt names that person alone; the picture is wider than the base model's.
        extra: further arguments of the pipeline's call, such as a ControlNet's `image`.
        progress: called with (denoiser calls done, all of them).

    Raises:
        InputError: the prompt does not fit the people, words do not fit the text encoders, or regions do not fit.
        WorkError: a picture came out as NaN.
    """
    config = config or PictureConfig()
    if regions is not None and not subjects:
        raise InputError("regions need at least one person, got none")
    regional = None if regions is None else config.regional
    if regional in {"estimates", "windows"} and hasattr(pipe, "controlnet"):
        raise InputError(f"regions by {regional} know no ControlNet; keep them apart by attention")
    if regional == "windows":
        check_windows(prompt, [subject.name for subject in subjects], regions, config)
    weights = None if regional == "windows" else _weights(regions, prompt, subjects)
    conditioned, text_only, negative = _encode(
        pipe, prompt, subjects, fuse=fuse, regional=regional, negative=config.negative
    )
    height, width = _size(pipe, config, windows=len(subjects) if regional == "windows" else 0)
    pipe.scheduler.set_timesteps(config.steps)
    calls = len(pipe.scheduler.timesteps)
    first = text_only_calls(config.steps, config.alpha, calls=calls, order=pipe.scheduler.order)
    batches = [numbers[at : at + config.batch] for at in range(0, len(numbers), config.batch)]
    parts, flagged = list[np.ndarray](), list[bool]()
    scale = pipe.vae_scale_factor
    with _kept_apart(pipe, weights, regional, people=len(subjects), latent=(height // scale, width // scale)):
        for index, batch in enumerate(batches):
            after, before, away = (state.repeated(len(batch)) for state in (conditioned, text_only, negative))
            step_end = _StepEnd(
                after, away, at=first, report=_reporter(progress, done=index * calls, total=calls * len(batches))
            )
            output = pipe(
                **_prompt_arguments(before if first else after, away),
                num_inference_steps=config.steps,
                guidance_scale=config.guidance,
                height=height,
                width=width,
                generator=[_generator(seed, number) for number in batch],
                output_type="np",
                callback_on_step_end=step_end,
                **(extra or {}),
            )
            parts.append(_pixels(output.images, config))
            found = getattr(output, "nsfw_content_detected", None)
            flagged += [bool(value) for value in found] if found else [False] * len(batch)
    images = np.concatenate(parts) if parts else np.empty((0, height, width, 3), np.uint8)
    return Drawn(images, conditioned.cut, tuple(flagged))


def check_windows(prompt: str, names: Sequence[str], regions: Tensor | str | None, config: PictureConfig) -> None:
    """Whether these people can be drawn in windows; `regions` as of `draw_pictures`.

    Raises:
        InputError: boxes or masks, a size of the picture, or people who are not named one after another.
    """
    if not isinstance(regions, str) or regions != "columns":
        raise InputError("windows are columns side by side; give that layout without boxes or masks, or use estimates")
    if config.width is not None or config.height is not None:
        raise InputError("windows give the picture its size; leave out width and height")
    lone_prompts(prompt, names)


def _pixels(images: np.ndarray, config: PictureConfig) -> np.ndarray:
    """uint8 of values in [0, 1]."""
    if not np.isfinite(images).all():
        raise WorkError(
            f"the picture holds NaN after {config.steps} steps; draw in float32 or bfloat16, or with another scheduler"
        )
    return np.rint(np.clip(images, 0, 1) * 255).astype(np.uint8)


class _StepEnd:
    """What a pipeline calls after each denoiser call: switch to the people when it is time, and report."""

    def __init__(
        self, people: Conditioning, negative: Conditioning, *, at: int, report: Callable[[int], None] | None
    ) -> None:
        self.people = people
        self.negative = negative
        self.at = at  # calls before the switch; 0: there is none
        self.report = report

    def __call__(self, pipe: Any, call: int, time: Any, values: dict[str, Any]) -> dict[str, Any]:  # noqa: ARG002
        if self.report is not None:
            self.report(call + 1)
        if call + 1 != self.at:
            return {}
        guided = pipe.do_classifier_free_guidance
        switched = {"prompt_embeds": _guided(self.negative.states, self.people.states, guided=guided)}
        if self.people.pooled is not None and self.negative.pooled is not None:
            switched["add_text_embeds"] = _guided(self.negative.pooled, self.people.pooled, guided=guided)
        return {name: tensor.to(pipe.unet.device, pipe.unet.dtype) for name, tensor in switched.items()}


def _guided(negative: Tensor, positive: Tensor, *, guided: bool) -> Tensor:
    """In the order in which the pipelines join the two halves of guidance."""
    return torch.cat([negative, positive]) if guided else positive


def _reporter(progress: Callable[[int, int], None] | None, *, done: int, total: int) -> Callable[[int], None] | None:
    if progress is None:
        return None
    return lambda calls: progress(done + calls, total)


def _kept_apart(
    pipe: Any, weights: Tensor | None, way: str | None, *, people: int, latent: tuple[int, int]
) -> AbstractContextManager[None]:
    if way == "windows":
        return windowed(pipe.unet, _starts(pipe, people, latent[0]), side=latent[0])
    if weights is None:
        return nullcontext()
    if way == "estimates":
        return regional_estimates(pipe.unet, weights, latent=latent)
    return regional_attention(_networks(pipe), weights, latent=latent)


def _encode(
    pipe: Any, prompt: str, subjects: Sequence[Subject], *, fuse: PostFuse | None, regional: str | None, negative: str
) -> tuple[Conditioning, Conditioning, Conditioning]:
    """The prompt with its people, with their nouns, and what the picture shall not show; of all regions in a row."""
    nouns = {subject.name: subject.noun for subject in subjects}
    words = {subject.name: subject.words for subject in subjects}
    text_only = encode_people(pipe, prompt, nouns=nouns)
    away = encode_negative(pipe, negative, text_only)
    if regional == "windows":
        alone, plain = _encode_windows(pipe, prompt, subjects, fuse=fuse)
        return _in_a_row(alone, text_only.pooled), _in_a_row(plain, text_only.pooled), _tiled(away, len(subjects))
    everybody = encode_people(pipe, prompt, nouns=nouns, words=words, fuse=fuse)
    if regional is None:
        return everybody, text_only, away
    alone = [
        encode_people(
            pipe,
            prompt,
            nouns=nouns,
            words=dict.fromkeys(nouns, one.words) if regional == "estimates" else {one.name: one.words},
            fuse=fuse,
        )
        for one in subjects
    ]
    chunks = len(subjects) + 1
    joined = _in_a_row([text_only, *alone], everybody.pooled)
    return replace(joined, cut=max(joined.cut, everybody.cut, key=len)), _tiled(text_only, chunks), _tiled(away, chunks)


def _encode_windows(
    pipe: Any, prompt: str, subjects: Sequence[Subject], *, fuse: PostFuse | None
) -> tuple[list[Conditioning], list[Conditioning]]:
    """The prompt with each person alone, in the order of the prompt: with their words, and with their nouns."""
    by_name = {subject.name: subject for subject in subjects}
    alone, plain = list[Conditioning](), list[Conditioning]()
    for name, own in lone_prompts(prompt, list(by_name)).items():
        nouns = {name: by_name[name].noun}
        alone.append(encode_people(pipe, own, nouns=nouns, words={name: by_name[name].words}, fuse=fuse))
        plain.append(encode_people(pipe, own, nouns=nouns))
    return alone, plain


def _in_a_row(states: Sequence[Conditioning], pooled: Tensor | None) -> Conditioning:
    cut = max((state.cut for state in states), key=len)
    return Conditioning(torch.cat([state.states for state in states], 1), pooled, cut)


def _weights(regions: Tensor | str | None, prompt: str, subjects: Sequence[Subject]) -> Tensor | None:
    if regions is None:
        return None
    if isinstance(regions, str):
        if regions != "columns":
            raise InputError(f"regions must be 'columns' or masks, got {regions!r}")
        ordered = [name for name, _, _ in find_people(prompt, [subject.name for subject in subjects])]
        boxes = columns(len(ordered))
        masks = box_masks([boxes[ordered.index(subject.name)] for subject in subjects], (64, 64 * len(ordered)))
    elif len(regions) != len(subjects):
        raise InputError(f"regions need a mask for each of {len(subjects)} people, got {len(regions)}")
    else:
        masks = regions
    return region_weights(masks)


def _tiled(state: Conditioning, chunks: int) -> Conditioning:
    """The same prompt for every region."""
    return Conditioning(state.states.repeat(1, chunks, 1), state.pooled, state.cut)


def _prompt_arguments(positive: Conditioning, negative: Conditioning) -> dict[str, Tensor]:
    arguments = {"prompt_embeds": positive.states, "negative_prompt_embeds": negative.states}
    if positive.pooled is not None and negative.pooled is not None:
        arguments |= {"pooled_prompt_embeds": positive.pooled, "negative_pooled_prompt_embeds": negative.pooled}
    return arguments


def _networks(pipe: Any) -> list[Any]:
    """The U-Net and the ControlNets that read the prompt."""
    control = getattr(pipe, "controlnet", None)
    return [pipe.unet, *([] if control is None else getattr(control, "nets", [control]))]


def _size(pipe: Any, config: PictureConfig, *, windows: int) -> tuple[int, int]:
    own = pipe.unet.config.sample_size
    height, width = own if isinstance(own, list | tuple) else (own, own)
    scale = pipe.vae_scale_factor
    if windows:
        width = _starts(pipe, windows, height)[-1] + height
    return config.height or height * scale, config.width or width * scale


def _starts(pipe: Any, people: int, side: int) -> list[int]:
    """Of windows in a picture whose width is a multiple of 8 pixels, as the pipelines want it."""
    return window_starts(people, side, multiple=8 // gcd(8, pipe.vae_scale_factor))


def _generator(seed: int, number: int) -> torch.Generator:
    return torch.Generator("cpu").manual_seed(seed_of(seed, "picture", number))
