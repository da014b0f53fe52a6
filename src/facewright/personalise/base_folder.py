"""Write a base model as the directory that diffusers and `load_base` read."""

import copy
import tempfile
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from torch import nn

from facewright.personalise.base import CARD, SAFETY
from facewright.personalise.base_networks import imported
from facewright.weights import Card
from facewright.weights.store import tensors_sha256

_SETTINGS = ("requires_safety_checker", "force_zeros_for_empty_prompt")  # of a pipeline, beside its parts


def make_pipeline(*, autoencoder: Any, text_encoder: Any, tokenizer: Any, denoiser: Any, scheduler: Any) -> Any:
    """A `StableDiffusionPipeline` of the parts, without a filter of its pictures."""
    pipe = imported("diffusers").StableDiffusionPipeline(
        vae=autoencoder,
        text_encoder=text_encoder,
        unet=denoiser,
        tokenizer=tokenizer,
        scheduler=scheduler,
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    pipe.set_progress_bar_config(disable=True)
    return pipe


def save_base(folder: Path, pipe: Any, card: Card) -> Path:
    """Write a Stable Diffusion directory with a card; weights are stored as float16.

    It is made beside `folder` and then takes its place, so an interrupted call leaves an older one as it was.

    Args:
        folder: to write, or to replace.
        pipe: as of `make_pipeline` or `load_base`, of Stable Diffusion 1.x, 2.x or XL; left as it is.
        card: facts about the model, written to `facewright_card.json` and `README.md` of the folder; its `sha256`,
            `stored` and `created` are filled in here.
    """
    parts = {**pipe.components, **{name: copy.deepcopy(own).half() for name, own in _networks(pipe).items()}}
    halved = type(pipe)(**parts, **{name: pipe.config[name] for name in _SETTINGS if name in pipe.config})
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{folder.name}.", dir=folder.parent) as made:
        new, old = Path(made) / "new", Path(made) / "old"
        halved.save_pretrained(new)
        card = replace(
            card,
            sha256=pipeline_sha256(halved),
            stored="float16",
            created=datetime.now(UTC).isoformat(timespec="seconds"),
        )
        (new / CARD).write_text(card.to_json() + "\n", encoding="utf-8")
        (new / "README.md").write_text(card.to_markdown(), encoding="utf-8")
        if folder.exists():
            folder.rename(old)
        new.rename(folder)
    return folder


def pipeline_sha256(pipe: Any) -> str:
    """A hash of the networks' tensors as they are; that of a base model loaded in float16 is its card's `sha256`."""
    return tensors_sha256(
        {f"{name}.{key}": value for name, own in _networks(pipe).items() for key, value in own.state_dict().items()}
    )


def _networks(pipe: Any) -> dict[str, nn.Module]:
    """Autoencoder, text encoders and denoiser, without the filter of pictures."""
    return {name: part for name, part in pipe.components.items() if isinstance(part, nn.Module) and name not in SAFETY}
