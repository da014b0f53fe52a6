"""Base models of the shape of Stable Diffusion, a few thousand random weights each, made and saved in seconds."""

from pathlib import Path
from typing import Any

import torch

WORDS = (
    "person",
    "woman",
    "man",
    "and",
    "ride",
    "a",
    "tandem",
    "photo",
    "of",
    "beach",
    "the",
    "on",
    "night",
    "blurred",
)
TEXT_WIDTH, SECOND_WIDTH = 32, 16


def tiny_tokenizer() -> Any:
    """A CLIP tokenizer: single letters, and the whole words of `WORDS`."""
    from transformers import CLIPTokenizer

    letters = [chr(code) for code in range(33, 127)]
    vocabulary = {token: number for number, token in enumerate([*letters, *(f"{letter}</w>" for letter in letters)])}
    merges = list[tuple[str, str]]()
    for word in WORDS:
        parts = [*word[:-1], f"{word[-1]}</w>"]
        while len(parts) > 1:
            pair = (parts[0], parts[1])
            if pair not in merges:
                merges.append(pair)
            parts[:2] = ["".join(pair)]
            vocabulary.setdefault(parts[0], len(vocabulary))
    for special in ("<|startoftext|>", "<|endoftext|>"):
        vocabulary[special] = len(vocabulary)
    return CLIPTokenizer(vocab=vocabulary, merges=merges, model_max_length=77)


def tiny_text_encoder(tokenizer: Any, width: int, *, projection: bool = False) -> Any:
    """A CLIP text encoder of two layers."""
    from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

    config = CLIPTextConfig(
        vocab_size=len(tokenizer),
        hidden_size=width,
        intermediate_size=2 * width,
        num_hidden_layers=2,
        num_attention_heads=4,
        projection_dim=width,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        initializer_factor=5.0,
    )
    return (CLIPTextModelWithProjection if projection else CLIPTextModel)(config).eval()


def tiny_pipeline(*, large: bool = False) -> Any:
    """A Stable Diffusion pipeline, or one of XL; pictures are 32 x 32."""
    import diffusers

    torch.manual_seed(0)
    tokenizer = tiny_tokenizer()
    width = TEXT_WIDTH + (SECOND_WIDTH if large else 0)
    added: dict[str, Any] = {}
    if large:
        added = {
            "addition_embed_type": "text_time",
            "addition_time_embed_dim": 8,
            "projection_class_embeddings_input_dim": SECOND_WIDTH + 6 * 8,
        }
    unet = diffusers.UNet2DConditionModel(
        sample_size=16,
        block_out_channels=(16, 32),
        layers_per_block=1,
        down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
        cross_attention_dim=width,
        attention_head_dim=8,
        norm_num_groups=8,
        **added,
    )
    vae = diffusers.AutoencoderKL(
        block_out_channels=(8, 8),
        norm_num_groups=4,
        down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2,
        sample_size=32,
    )
    scheduler = diffusers.DDIMScheduler(
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        clip_sample=False,
        set_alpha_to_one=False,
        steps_offset=1,
    )
    parts = {"unet": unet.eval(), "vae": vae.eval(), "scheduler": scheduler, "tokenizer": tokenizer}
    parts["text_encoder"] = tiny_text_encoder(tokenizer, TEXT_WIDTH)
    if large:
        parts |= {
            "tokenizer_2": tiny_tokenizer(),
            "text_encoder_2": tiny_text_encoder(tokenizer, SECOND_WIDTH, projection=True),
        }
        pipe = diffusers.StableDiffusionXLPipeline(**parts, add_watermarker=False)
    else:
        pipe = diffusers.StableDiffusionPipeline(
            **parts, safety_checker=None, feature_extractor=None, requires_safety_checker=False
        )
    pipe.set_progress_bar_config(disable=True)
    return pipe


def save_tiny(folder: Path, *, large: bool = False) -> Path:
    """Write such a pipeline as a base directory."""
    tiny_pipeline(large=large).save_pretrained(folder)
    return folder
