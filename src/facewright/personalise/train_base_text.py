"""Teach the text encoder of a base model that begins as a generator: captions to the generator's contexts.

The denoiser reads the prompt as a whole where the generator read an identity embedding. So what a caption has to say
about people is known before anything is drawn, and the text encoder learns it by regression, hundreds of captions a
second. Some of the people with a name are said by words of their own instead, which quantise nothing, so that what lies
between names means something. It learns, too, to say the style and the number of people, each by a number of their own.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from facewright.errors import ConfigError
from facewright.personalise.base_from_generator import REST, said_of
from facewright.personalise.base_latents import token_ids
from facewright.personalise.base_own_words import SaidByName, saying_own_words
from facewright.personalise.train_base import TextToImage
from facewright.personalise.world_scenes import World
from facewright.personalise.world_styles import STYLES
from facewright.training.trainer import Losses, Schedule, Trainer

SAID = 4.0  # where a caption says a style or a number of people


@dataclass(frozen=True)
class TextTraining:
    """How it is taught."""

    schedule: Schedule  # its images are captions
    empty: float = 0.1  # share of empty captions, whose context is zero
    own: float = 0.5  # share of the people with a name who are said by words of their own instead

    def __post_init__(self) -> None:
        if not 0 <= self.empty < 1:
            raise ConfigError(f"empty must be in [0, 1), got {self.empty}")
        if not 0 <= self.own <= 1:
            raise ConfigError(f"own must be in [0, 1], got {self.own}")


class PromptReader(nn.Module):
    """A text encoder and what pools its prompt for the denoiser."""

    def __init__(self, networks: TextToImage) -> None:
        super().__init__()
        self.text_encoder = networks.text_encoder
        self.pool: nn.Module = networks.denoiser.add_embedding  # type: ignore[assignment]

    def forward(self, ids: Tensor) -> Tensor:
        """Tokens (B, T) to what the denoiser adds to the time, (B, E)."""
        return self.pool(self.text_encoder(ids)[0])


def scene_contexts(
    world: World, embeddings: np.ndarray, project: Callable[[Tensor], Tensor], *, count: int
) -> np.ndarray:
    """The generator's context of the world's first scenes, float32 (N, C): the mean of their people's.

    Args:
        world: whose scenes.
        embeddings: of each face of its pack, (F, D); those of faces that appear are unit length.
        project: the generator's projection of embeddings (B, D) to contexts (B, C).
        count: N.
    """
    with torch.inference_mode():
        contexts = project(torch.from_numpy(embeddings).float()).numpy()
    people = [[figure.row for figure in world.scene(number).figures] for number in range(count)]
    return np.stack([contexts[rows].mean(0) for rows in people]).astype(np.float32)


def scene_rest(world: World, *, count: int) -> np.ndarray:
    """What the captions of the world's first scenes say beside their people, float32 (N, REST).

    `SAID` at the place of the style (of `STYLES`) and, after all styles, at that of the number of people; 0 elsewhere.
    """
    rest = np.zeros((count, REST), np.float32)
    for number, own in enumerate(rest):
        scene = world.scene(number)
        own[[STYLES.index(scene.style), len(STYLES) + len(scene.figures) - 1]] = SAID
    return rest


def train_base_text(
    networks: TextToImage,
    ids: np.ndarray,
    contexts: np.ndarray,
    rest: np.ndarray,
    people: SaidByName | None,
    tokenizer: Any,
    config: TextTraining,
    *,
    out: Path,
    device: str = "cpu",
    progress: Callable[[int, int], None] | None = None,
    settings: Mapping[str, Any] | None = None,
) -> None:
    """Train the text encoder and the pooling of `networks`, in place; the same call again resumes.

    The loss is the squared error of what is added to the time, of contexts and of the rest, each over its mean square:
    1 is what saying nothing costs, and a caption that says little of its people has little to gain.

    Args:
        networks: whose denoiser begins as a generator (`base_from_generator`).
        ids: tokens of captions, (N, T).
        contexts: what they are to say of their people, (N, C).
        rest: what they are to say beside that, (N, REST).
        people: who is said by name in them; None: nobody.
        tokenizer: that made the ids.
        config: the recipe.
        out: run folder.
        device: such as "cpu" or "cuda".
        progress: called with (captions seen, captions in all).
        settings: kept in RUN/config.json; a resumed run must share them.
    """
    reader = PromptReader(networks)
    trainer = Trainer(reader, config.schedule, out=out, device=device, config={"kind": "base text", **(settings or {})})
    empty = torch.from_numpy(token_ids([""], tokenizer))[0]
    wanted = torch.from_numpy(contexts), torch.from_numpy(rest)
    scales = [float(part.square().mean()) for part in wanted]

    def losses(indices: Tensor, generator: torch.Generator) -> Losses:
        drop = torch.rand(len(indices), generator=generator) < config.empty
        given = torch.where(drop[:, None], empty, torch.from_numpy(ids[indices.numpy()]))
        with saying_own_words(reader.text_encoder, people, indices, drop, generator, share=config.own):
            said = said_of(reader(given.to(device)).float(), contexts.shape[1])
        errors = [
            (own - torch.where(drop[:, None], 0.0, part[indices]).to(device)).square().mean() / scale
            for own, part, scale in zip(said, wanted, scales, strict=True)
        ]
        return dict(zip(("context", "rest"), errors, strict=True))

    trainer.fit(losses, samples=len(ids), progress=progress)
    reader.load_state_dict(trainer.averaged())
    reader.cpu().eval()
