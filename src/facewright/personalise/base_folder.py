"""Write a base model as the directory that diffusers and `load_base` read."""

import copy
import tempfile
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from facewright.personalise.base import CARD
from facewright.personalise.base_networks import imported
from facewright.weights import Card
from facewright.weights.store import tensors_sha256


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
        pipe: as of `make_pipeline`; left as it is.
        card: facts about the model, written to `facewright_card.json` and `README.md` of the folder; its `sha256`,
            `stored` and `created` are filled in here.
    """
    networks = (pipe.vae, pipe.text_encoder, pipe.unet)
    vae, text_encoder, unet = (copy.deepcopy(network).half() for network in networks)
    halved = make_pipeline(
        autoencoder=vae, text_encoder=text_encoder, tokenizer=pipe.tokenizer, denoiser=unet, scheduler=pipe.scheduler
    )
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
    networks = {"vae": pipe.vae, "text_encoder": pipe.text_encoder, "unet": pipe.unet}
    return tensors_sha256(
        {f"{name}.{key}": value for name, network in networks.items() for key, value in network.state_dict().items()}
    )
