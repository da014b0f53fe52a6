"""Does a picture show what the prompt said: a small network for style, gender and age of the miniature world."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from torch import Tensor, nn

from facewright.data.images import to_tensor
from facewright.encoders.slimfacenet import ResidualBlock
from facewright.errors import ConfigError, DataError, InputError
from facewright.personalise.world_captions import AGES, GENDERS
from facewright.personalise.world_styles import STYLES
from facewright.training.precision import arithmetic
from facewright.weights import Card, InputConvention, load_weights, save_weights

KIND = "prompt-classifier"
SIZE = 64
"""Side of the pictures that the network sees, in pixels; every picture is brought to it."""
HEADS: Mapping[str, tuple[str, ...]] = {"style": STYLES, "gender": GENDERS, "age": AGES}
"""What is told apart, and the answers in the order of the probabilities."""
_PART = 128  # pictures judged together


@dataclass(frozen=True)
class PromptClassifierConfig:
    """Sizes."""

    stem: int = 32
    widths: tuple[int, ...] = (64, 128, 192)  # each halves the picture once more
    blocks: int = 1  # residual blocks a width
    dropout: float = 0.2  # before the answers

    def __post_init__(self) -> None:
        if not 1 <= len(self.widths) <= 5 or min(self.stem, self.blocks, *self.widths) < 1:
            raise ConfigError(f"stem, blocks and one to five widths must be at least 1, got {self}")
        if not 0 <= self.dropout < 1:
            raise ConfigError(f"dropout must be in [0, 1), got {self.dropout}")


class PromptClassifier(nn.Module):
    """A residual network with an answer for each of `HEADS`.

    A picture is a whole one of the world, whose style it tells, and whose person's gender and age where there is one
    person; or an aligned face crop, of which it tells all three.
    """

    def __init__(self, config: PromptClassifierConfig | None = None) -> None:
        super().__init__()
        self.config = config or PromptClassifierConfig()
        inputs = self.config.stem
        self.stem = nn.Sequential(nn.Conv2d(3, inputs, 3, 2, 1, bias=False), nn.BatchNorm2d(inputs), nn.ReLU())
        blocks = list[nn.Module]()
        for width in self.config.widths:
            for place in range(self.config.blocks):
                blocks.append(ResidualBlock(width if place else inputs, width, stride=1 if place else 2))
            inputs = width
        self.stages = nn.Sequential(*blocks)
        self.dropout = nn.Dropout(self.config.dropout)
        self.heads = nn.ModuleDict({name: nn.Linear(inputs, len(answers)) for name, answers in HEADS.items()})

    def forward(self, pictures: Tensor) -> dict[str, Tensor]:
        """Logits (B, answers) by head, of pictures (B, 3, 64, 64) in [-1, 1]."""
        pooled = self.dropout(self.stages(self.stem(pictures)).mean((2, 3)))
        return {name: head(pooled) for name, head in self.heads.items()}

    @torch.inference_mode()
    def judge(self, images: np.ndarray) -> dict[str, np.ndarray]:
        """Probabilities float32 (B, answers) by head.

        Args:
            images: uint8 (B, H, W, 3) RGB of any size.

        Raises:
            InputError: no such pictures.
        """
        device = next(self.parameters()).device
        parts = []
        for start in range(0, len(images), _PART):
            given = to_tensor(shown(images[start : start + _PART])).to(device)
            with arithmetic("auto", device):
                logits = self(given.contiguous(memory_format=torch.channels_last))
            parts.append({name: value.float().softmax(1).cpu().numpy() for name, value in logits.items()})
        empty = {name: np.empty((0, len(answers)), np.float32) for name, answers in HEADS.items()}
        return {name: np.concatenate([empty[name], *(part[name] for part in parts)]) for name in HEADS}

    def answers(self, images: np.ndarray) -> dict[str, list[str]]:
        """The likeliest answer of each head for each picture; arguments as of `judge`."""
        judged = self.judge(images)
        return {name: [HEADS[name][place] for place in judged[name].argmax(1)] for name in HEADS}


def shown(images: np.ndarray) -> np.ndarray:
    """Pictures at the size that the network sees, uint8 (B, 64, 64, 3).

    Raises:
        InputError: they are not uint8 (B, H, W, 3).
    """
    if images.dtype != np.uint8 or images.ndim != 4 or images.shape[3] != 3:
        raise InputError(f"pictures must be uint8 (B, H, W, 3), got {images.dtype} {images.shape}")
    if images.shape[1:3] == (SIZE, SIZE) or not len(images):
        return images
    shrinks = min(images.shape[1:3]) > SIZE
    how = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    return np.stack([cv2.resize(image, (SIZE, SIZE), interpolation=how) for image in images])


def save_prompt_classifier(path: Path, network: PromptClassifier, **card: Any) -> Card:
    """Write the network with its card.

    Args:
        path: .safetensors file.
        network: what to write.
        card: name, data, licence, recipe and measured, as in `Card`.
    """
    architecture = {"network": "prompts", **asdict(network.config), "heads": {k: list(v) for k, v in HEADS.items()}}
    written = Card(kind=KIND, architecture=architecture, input=InputConvention(height=SIZE, width=SIZE), **card)
    return save_weights(path, network.state_dict(), written, half=True)


def load_prompt_classifier(source: Path | str, *, device: str = "cpu") -> PromptClassifier:
    """Load what `save_prompt_classifier` wrote, in eval mode.

    Raises:
        InputError, DataError: as `load_weights`; or its answers are not those of this version.
    """
    state, card = load_weights(source, kind=KIND)
    built = dict(card.architecture)
    if built.pop("network", None) != "prompts" or built.pop("heads", None) != {k: list(v) for k, v in HEADS.items()}:
        raise DataError(f"{source}: its card names other answers than this facewright asks for; train it again")
    try:
        network = PromptClassifier(PromptClassifierConfig(**{**built, "widths": tuple(built.get("widths", ()))}))
        network.load_state_dict(state)
    except (TypeError, RuntimeError, ConfigError) as error:
        raise DataError(f"{source}: its tensors do not fit its card ({error}); get the file again") from error
    return network.eval().to(device)
