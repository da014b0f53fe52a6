"""How well a picture shows what its prompt says: a protocol for whatever judges that, and CLIP's cosine."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from facewright.errors import DataError, InputError


class PromptScorer(Protocol):
    """Judges pictures by their prompts: CLIP, or classifiers of what the prompts can ask for."""

    @property
    def name(self) -> str:
        """What a table calls the score."""
        ...

    def score(self, images: Sequence[np.ndarray], prompts: Sequence[str]) -> Sequence[float | None]:
        """A score for each picture, the higher the better; None where it cannot judge that prompt.

        Args:
            images: uint8 (H, W, 3) RGB, of any sizes.
            prompts: one a picture, with each person's noun in place of the name.
        """
        ...


class ClipScorer:
    """Cosine of CLIP's picture and text embeddings, not scaled."""

    def __init__(self, model: Any, image_processor: Any, tokenizer: Any, *, name: str = "clip") -> None:
        self.model = model.eval()
        self.image_processor = image_processor
        self.tokenizer = tokenizer
        self.name = name

    def score(self, images: Sequence[np.ndarray], prompts: Sequence[str]) -> list[float | None]:
        """The cosines, in [-1, 1]; a prompt that is too long is cut by the tokenizer."""
        import torch

        device = next(self.model.parameters()).device
        with torch.inference_mode():
            pixels = self.image_processor(images=list(images), return_tensors="pt").to(device)
            tokens = self.tokenizer(list(prompts), padding=True, truncation=True, return_tensors="pt").to(device)
            output = self.model(**pixels, **tokens)
            cosines = torch.cosine_similarity(output.image_embeds.float(), output.text_embeds.float())
        return [float(value) for value in cosines]


def load_clip(folder: Path | str, *, device: str = "cpu") -> ClipScorer:
    """Read a CLIP model from a directory as transformers writes it; nothing is fetched.

    Raises:
        InputError: no such directory, or transformers is not installed.
        DataError: the directory is not whole.
    """
    path = Path(folder)
    if not (path / "config.json").is_file():
        raise InputError(f"{path} holds no CLIP model (config.json is missing); name its directory")
    try:
        from transformers import AutoTokenizer, CLIPImageProcessorPil, CLIPModel
    except ImportError as error:
        raise InputError(f"CLIP scores need the package {error.name}; install facewright[personalise]") from error
    try:
        model: Any = CLIPModel.from_pretrained(path, local_files_only=True)
        image_processor = CLIPImageProcessorPil.from_pretrained(path, local_files_only=True)
        tokenizer = AutoTokenizer.from_pretrained(path, local_files_only=True)
    except (OSError, ValueError, RuntimeError) as error:
        lines = str(error).strip().splitlines() or [type(error).__name__]
        raise DataError(f"{path} cannot be read as a CLIP model: {lines[0]}") from error
    return ClipScorer(model.to(device), image_processor, tokenizer, name=f"clip {path.name}")
