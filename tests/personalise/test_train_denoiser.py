from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tests.personalise.drawn_subjects import PixelEncoder, no_detector, write_drawn
from tests.personalise.tiny_base import SECOND_WIDTH, TEXT_WIDTH, tiny_pipeline

from facewright.align import ARCFACE_TEMPLATE, warp_face
from facewright.errors import InputError
from facewright.personalise import PostFuse, encode_people
from facewright.personalise.train_attention import middle_layers, recorded_attention
from facewright.personalise.train_batch import Batch, Batches, Chances
from facewright.personalise.train_denoiser import BaseModel, aligned_faces
from facewright.personalise.train_people import read_people

pytest.importorskip("diffusers", reason="needs the extra personalise")


@pytest.fixture(scope="module")
def base() -> BaseModel:
    return BaseModel(tiny_pipeline())


@pytest.fixture(scope="module")
def large() -> BaseModel:
    return BaseModel(tiny_pipeline(large=True))


def batch_of(base: BaseModel, folder: Path, *, keep_nouns: bool = False) -> Batch:
    """A photo of one person, and one of two."""
    drawn = write_drawn(folder / "s", people=1, photos=1, pairs=1, held_out=0)
    people = read_people(drawn, PixelEncoder(), no_detector, cache=folder / "c", held_out=0.0)
    batches = Batches(people, base.tokenizers, size=base.size, keep_nouns=keep_nouns, chances=Chances(most=2))
    return batches.fixed(batches.load([0, 1]))


@pytest.mark.parametrize("kind", ["base", "large"])
@pytest.mark.parametrize("mode", ["replace", "fuse"])
def test_captions_are_encoded_as_prompts_are(
    kind: str, mode: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    base = request.getfixturevalue(kind)
    width = TEXT_WIDTH + (SECOND_WIDTH if kind == "large" else 0)
    torch.manual_seed(0)
    fuse = PostFuse(width).eval() if mode == "fuse" else None
    batch = batch_of(base, tmp_path, keep_nouns=mode == "fuse")
    words = torch.randn(len(batch.sample), 2, width)
    with torch.no_grad():
        prompted, plain = base.prompted(batch, words, fuse), base.plain(batch)
    single = encode_people(
        base.pipe, "a photo of anna", nouns={"anna": "a person"}, words={"anna": words[0]}, fuse=fuse
    )
    assert torch.allclose(prompted.states[0], single.states[0], atol=1e-5)
    noun = encode_people(base.pipe, "a photo of a person", nouns={})
    assert torch.allclose(plain.states[0], noun.states[0], atol=1e-5)
    assert not torch.allclose(prompted.states[0], plain.states[0], atol=1e-2)
    assert (prompted.pooled is not None) == (kind == "large")
    if single.pooled is not None and prompted.pooled is not None:
        assert torch.allclose(prompted.pooled[0], single.pooled[0], atol=1e-5)
    with torch.no_grad():
        noisy = torch.randn(2, 4, 16, 16)
        assert base.predicted(noisy, torch.tensor([5, 900]), prompted).shape == noisy.shape


def test_noise_is_that_of_ddpm_and_is_taken_out_again(base: BaseModel) -> None:
    clean, noise = torch.randn(2, 2, 4, 8, 8)
    times = torch.tensor([10, 800])
    noisy = base.noised(clean, noise, times)
    betas = torch.linspace(0.00085**0.5, 0.012**0.5, 1000, dtype=torch.float64) ** 2
    bar = (1 - betas).cumprod(0)[times].float()[:, None, None, None]
    assert torch.allclose(noisy, bar.sqrt() * clean + (1 - bar).sqrt() * noise, atol=1e-5)
    kept = base.noise
    try:
        for kind in ("epsilon", "v_prediction", "sample"):
            base.noise = type(kept).from_config(kept.config, prediction_type=kind)
            target = base.target(clean, noise, times)
            assert torch.allclose(base.cleaned(noisy, target, times), clean, atol=1e-3), kind
    finally:
        base.noise = kept


def test_latents_and_pictures(base: BaseModel) -> None:
    pictures = torch.rand(2, 3, 32, 32) * 2 - 1
    mean = base.latents(pictures, generator=None)
    drawn, again = (base.latents(pictures, generator=torch.Generator().manual_seed(0)) for _ in range(2))
    assert mean.shape == (2, 4, 16, 16)
    assert torch.equal(drawn, again)
    assert not torch.equal(drawn, mean)
    with torch.no_grad():
        wanted = base.pipe.vae.decode(mean / base.pipe.vae.config.scaling_factor).sample
    latents = mean.requires_grad_()
    decoded = base.pictures(latents)
    assert torch.allclose(decoded, wanted, atol=1e-5)
    decoded.sum().backward()
    assert latents.grad is not None
    assert float(latents.grad.abs().sum()) > 0


def test_nothing_of_the_base_model_wants_a_gradient(base: BaseModel) -> None:
    parts = (base.unet, base.vae, *base.encoders)
    assert not any(parameter.requires_grad for part in parts for parameter in part.parameters())
    assert (base.size, base.times) == (32, 1000)


def test_sizes_that_do_not_fit_are_named(base: BaseModel) -> None:
    with pytest.raises(InputError, match="a multiple of 4 px wide, got 30"):
        BaseModel(base.pipe, size=30)
    assert BaseModel(base.pipe, size=16).size == 16


def test_a_face_is_cut_as_the_encoder_was_given_it() -> None:
    rng = np.random.default_rng(0)
    picture = np.kron(rng.integers(0, 256, (20, 20, 3)), np.ones((10, 10, 1))).astype(np.uint8)
    angle, scale = 0.3, 1.2
    turn = scale * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    points = ARCFACE_TEMPLATE @ turn.T + (40.3, 10.7)
    wanted = warp_face(picture, points)
    image = (torch.from_numpy(picture).permute(2, 0, 1)[None].float() / 127.5 - 1).requires_grad_()
    crop = aligned_faces(image, points[None])
    found = ((crop[0].detach() + 1) * 127.5).permute(1, 2, 0).numpy()
    assert np.abs(found - wanted).max() < 6  # OpenCV's weights have 5 bits
    assert np.abs(found - wanted).mean() < 0.6
    crop.sum().backward()
    assert float(image.grad.abs().sum()) > 0  # type: ignore[union-attr]


def test_the_middle_blocks_of_stable_diffusion() -> None:
    blocks = [f"down_blocks.{n}" for n in range(3)] + ["mid_block"] + [f"up_blocks.{n}" for n in (1, 2, 3)]
    names = [
        f"{block}.attentions.0.transformer_blocks.0.{kind}.processor" for block in blocks for kind in ("attn1", "attn2")
    ]
    kept = {name.split(".attentions")[0] for name in middle_layers(names)}
    assert kept == {"down_blocks.1", "down_blocks.2", "mid_block", "up_blocks.1", "up_blocks.2"}
    assert all(".attn2." in name for name in middle_layers(names))


def test_recording_leaves_the_prediction_alone(base: BaseModel) -> None:
    noisy, states = torch.randn(2, 4, 16, 16), torch.randn(2, 77, TEXT_WIDTH)
    call: dict[str, Any] = {"encoder_hidden_states": states, "return_dict": False}
    before = dict(base.unet.attn_processors)
    with torch.no_grad():
        wanted = base.unet(noisy, 7, **call)[0]
        with recorded_attention(base.unet) as maps:
            assert torch.equal(base.unet(noisy, 7, **call)[0], wanted)
            with maps.kept() as kept:
                base.unet(noisy, 7, **call)
                sizes = [tuple(layer.shape) for layer in kept]
            assert all(torch.allclose(layer.sum(2), torch.ones(())) for layer in kept)
            assert not maps.maps
    heads = base.unet.down_blocks[0].attentions[0].transformer_blocks[0].attn2.heads
    assert set(sizes) == {(2 * heads, 256, 77), (2 * heads, 64, 77)}
    assert base.unet.attn_processors == before
