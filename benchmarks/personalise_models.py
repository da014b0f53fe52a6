"""What the benchmark of personalised pictures works on: photos, a tokenizer, a base model with random weights."""

import json
from pathlib import Path
from typing import Any

import torch

PROMPTS = ("a photo of a person on the beach", "a photo of alice on the beach", "alice and bob ride a tandem")
NAMES = ("alice", "bob")
CANVAS, FACE = 512, 256  # pixels of a photo, and of the face on it
QUICK = {
    "denoiser": {
        "sample_size": 8,
        "block_out_channels": (32, 64),
        "down_block_types": ("CrossAttnDownBlock2D", "DownBlock2D"),
        "up_block_types": ("UpBlock2D", "CrossAttnUpBlock2D"),
        "layers_per_block": 1,
        "cross_attention_dim": 768,
        "attention_head_dim": 8,
    },
    "autoencoder": {
        "block_out_channels": (32, 32),
        "down_block_types": ("DownEncoderBlock2D",) * 2,
        "up_block_types": ("UpDecoderBlock2D",) * 2,
        "sample_size": 16,
    },
    "text": {
        "vocab_size": 49_408,
        "hidden_size": 768,
        "intermediate_size": 64,
        "num_hidden_layers": 1,
        "num_attention_heads": 12,
    },
}


def prepare(folder: Path, *, quick: bool) -> None:
    """Write what every measurement needs: the photos, the tokenizer and the shapes of the base model."""
    from facewright.cli.plan_base import STABLE_DIFFUSION_1

    draw_photos(folder)
    shapes = STABLE_DIFFUSION_1
    make_tokenizer(shapes.texts[0]["vocab_size"]).save_pretrained(folder / "tokenizer")
    full = {"denoiser": shapes.denoiser, "autoencoder": shapes.autoencoder, "text": shapes.texts[0]}
    (folder / "shapes.json").write_text(json.dumps(QUICK if quick else full), encoding="utf-8")


def draw_photos(folder: Path) -> None:
    """A face each of people who do not exist, on a grey canvas: alice.png, bob.png."""
    from PIL import Image

    from facewright import diffusion
    from facewright.data.images import to_uint8
    from facewright.synthesis import fitted_contexts, load_statistics

    generator = diffusion.load("bundled")
    people = fitted_contexts(len(NAMES), load_statistics(), seed=0, min_angle=1.2)
    noise = torch.randn(len(NAMES), *generator.latent_shape, generator=torch.Generator().manual_seed(0))
    for name, face in zip(NAMES, to_uint8(generator.sample(torch.from_numpy(people.embeddings), noise)), strict=True):
        canvas = Image.new("RGB", (CANVAS, CANVAS), (128, 128, 128))
        canvas.paste(Image.fromarray(face).resize((FACE, FACE), Image.Resampling.BICUBIC), ((CANVAS - FACE) // 2,) * 2)
        canvas.save(folder / f"{name}.png")


def make_tokenizer(entries: int) -> Any:
    """A CLIP tokenizer of so many entries: the words of the prompts, letters, and pieces that no text has."""
    from transformers import CLIPTokenizer

    from facewright.personalise import base_tokenizer

    words = sorted({word for prompt in PROMPTS for word in prompt.split()})
    small = base_tokenizer.make_tokenizer(words, length=77)
    model = json.loads(small.backend_tokenizer.to_str())["model"]
    ends = (base_tokenizer.START, base_tokenizer.END)
    pieces = [piece for piece in model["vocab"] if piece not in ends]
    spare = [f"<{number}>" for number in range(entries - len(pieces) - len(ends))]
    vocabulary = {piece: number for number, piece in enumerate([*pieces, *spare, *ends])}
    merges = [tuple(pair) for pair in model["merges"]]
    return CLIPTokenizer(vocab=vocabulary, merges=merges, model_max_length=77)


def make_pipeline(folder: Path, *, precision: str, device: str) -> Any:
    """The base model with random weights, made in the precision that they keep, so that no copy counts."""
    import diffusers
    from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

    shapes = json.loads((folder / "shapes.json").read_text(encoding="utf-8"))
    tokenizer = CLIPTokenizer.from_pretrained(folder / "tokenizer")
    torch.manual_seed(0)
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.bfloat16 if precision == "bfloat16" else torch.float32)
    try:
        unet = diffusers.UNet2DConditionModel(**shapes["denoiser"])
        vae = diffusers.AutoencoderKL(**shapes["autoencoder"])
        text = CLIPTextModel(CLIPTextConfig(**shapes["text"], eos_token_id=tokenizer.eos_token_id))
    finally:
        torch.set_default_dtype(before)
    scheduler = diffusers.DDIMScheduler(
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        clip_sample=False,
        set_alpha_to_one=False,
        steps_offset=1,
    )
    pipe = diffusers.StableDiffusionPipeline(
        vae=vae.eval(),
        text_encoder=text.eval(),
        tokenizer=tokenizer,
        unet=unet.eval(),
        scheduler=scheduler,
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    pipe.set_progress_bar_config(disable=True)
    return pipe.to(device)
