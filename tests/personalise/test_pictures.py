from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
import torch
from tests.personalise.tiny_base import SECOND_WIDTH, TEXT_WIDTH, tiny_pipeline
from torch import Tensor

from facewright.errors import ConfigError, InputError, WorkError
from facewright.personalise import PictureConfig, PostFuse, Subject, draw_pictures, encode_people
from facewright.training.seeds import seed_of

diffusers = pytest.importorskip("diffusers", reason="needs the extra personalise")

PROMPT = "alice and bob ride a tandem"
PLAIN = "woman and man ride a tandem"


@pytest.fixture(scope="module")
def pipe() -> Any:
    return tiny_pipeline()


@pytest.fixture(scope="module")
def large() -> Any:
    return tiny_pipeline(large=True)


def people(width: int = TEXT_WIDTH) -> list[Subject]:
    torch.manual_seed(0)
    return [Subject("alice", torch.randn(2, width), "woman"), Subject("bob", torch.randn(2, width), "man")]


@contextmanager
def listening(unet: Any) -> Iterator[list[dict[str, Any]]]:
    """What the denoiser is given in each call."""
    calls: list[dict[str, Any]] = []
    handle = unet.register_forward_pre_hook(lambda module, args, kwargs: calls.append(kwargs), with_kwargs=True)
    yield calls
    handle.remove()


@pytest.mark.parametrize("kind", ["pipe", "large"])
def test_without_people_the_picture_is_the_pipelines_own(kind: str, request: pytest.FixtureRequest) -> None:
    pipe = request.getfixturevalue(kind)
    drawn = draw_pictures(pipe, PLAIN, [], PictureConfig(steps=3, guidance=5.0, negative="night"), numbers=[4], seed=2)
    generator = torch.Generator().manual_seed(seed_of(2, "picture", 4))
    stock = pipe(
        PLAIN, negative_prompt="night", num_inference_steps=3, guidance_scale=5.0, generator=generator, output_type="np"
    )
    assert drawn.images.dtype == np.uint8
    assert np.array_equal(drawn.images, np.rint(stock.images * 255).astype(np.uint8))


def test_a_picture_depends_on_its_number_not_on_its_batch(pipe: Any) -> None:
    together = draw_pictures(pipe, PROMPT, people(), PictureConfig(steps=2, batch=2), numbers=[0, 1, 2])
    alone = draw_pictures(pipe, PROMPT, people(), PictureConfig(steps=2, batch=1), numbers=[2])
    assert together.images.shape == (3, 32, 32, 3)
    assert together.flagged == (False, False, False)
    assert np.abs(together.images[2].astype(int) - alone.images[0]).max() <= 1  # rounding of another batch
    assert np.abs(together.images[0].astype(int) - together.images[1]).max() > 10


SCHEDULERS = [
    "DDIMScheduler",
    "PNDMScheduler",
    "EulerAncestralDiscreteScheduler",
    "DPMSolverMultistepScheduler",
    "UniPCMultistepScheduler",
    "HeunDiscreteScheduler",
]


@pytest.mark.filterwarnings(
    "ignore:__array__ implementation doesn't accept a copy keyword:DeprecationWarning"
)  # diffusers
@pytest.mark.parametrize("name", SCHEDULERS)
def test_people_come_in_after_exactly_the_first_steps(pipe: Any, name: str) -> None:
    own = pipe.scheduler
    try:
        extra = {"skip_prk_steps": True} if name == "PNDMScheduler" else {}  # as Stable Diffusion's own
        pipe.scheduler = getattr(diffusers, name).from_config(own.config, **extra)
        with listening(pipe.unet) as calls:
            draw_pictures(pipe, PROMPT, people(), PictureConfig(steps=10, alpha=0.7))
        times = pipe.scheduler.timesteps
    finally:
        pipe.scheduler = own
    text = encode_people(pipe, PROMPT, nouns={"alice": "woman", "bob": "man"}).states[0]
    words = {subject.name: subject.words for subject in people()}
    full = encode_people(pipe, PROMPT, nouns={"alice": "woman", "bob": "man"}, words=words).states[0]
    seen = [call["encoder_hidden_states"] for call in calls]
    assert len(seen) == len(times)
    before = [torch.equal(states[1], text) for states in seen]
    after = [torch.equal(states[1], full) for states in seen]
    first = sum(before)
    assert before == [True] * first + [False] * (len(seen) - first)
    assert after == [not value for value in before]
    assert all(torch.equal(states[0], seen[0][0]) for states in seen)  # the negative half never changes
    assert first == {"PNDMScheduler": 4, "HeunDiscreteScheduler": 6}.get(name, 3)


@pytest.mark.parametrize(("alpha", "wanted"), [(0.0, 4), (0.5, 2), (1.0, 0)])
def test_xl_switches_its_pooled_text_too(large: Any, alpha: float, wanted: int) -> None:
    with listening(large.unet) as calls:
        draw_pictures(large, PROMPT, people(TEXT_WIDTH + SECOND_WIDTH), PictureConfig(steps=4, alpha=alpha))
    text = encode_people(large, PROMPT, nouns={"alice": "woman", "bob": "man"})
    assert text.pooled is not None
    pooled = [torch.equal(call["added_cond_kwargs"]["text_embeds"][1], text.pooled[0]) for call in calls]
    states = [torch.equal(call["encoder_hidden_states"][1], text.states[0]) for call in calls]
    assert pooled == states == [True] * wanted + [False] * (4 - wanted)


def test_without_guidance_there_is_no_negative_half(pipe: Any) -> None:
    with listening(pipe.unet) as calls:
        draw_pictures(pipe, PROMPT, people(), PictureConfig(steps=4, guidance=1.0, alpha=0.5), numbers=[0, 1])
    assert [len(call["encoder_hidden_states"]) for call in calls] == [2, 2, 2, 2]
    assert not torch.equal(calls[0]["encoder_hidden_states"], calls[3]["encoder_hidden_states"])


def test_regions_keep_people_apart(pipe: Any) -> None:
    """One denoiser call: a change of bob's words changes what the cross-attention gives in bob's half alone."""
    inside: list[Tensor] = []
    block = pipe.unet.down_blocks[0].attentions[0].transformer_blocks[0].attn2
    alice, bob = people()
    other = Subject("bob", -bob.words, "man")
    processors = dict(pipe.unet.attn_processors)
    handle = block.register_forward_hook(lambda module, args, output: inside.append(output[1]))
    for second in (bob, other):
        draw_pictures(pipe, PROMPT, [alice, second], PictureConfig(steps=1), regions="columns")
    handle.remove()
    changed = (inside[0] - inside[1]).abs().amax(1).unflatten(0, (16, 16)) > 1e-6
    assert not changed[:, :8].any()
    assert changed[:, 8:].all()
    assert dict(pipe.unet.attn_processors) == processors  # the pipeline is left as it was


def test_by_estimates_each_region_is_what_its_own_prompt_gives(pipe: Any) -> None:
    """One denoiser call: each half is that of a picture in which everybody is the person of that half."""
    alice, bob = people()
    config = PictureConfig(steps=1, guidance=3.0, regional="estimates")
    answers: list[Tensor] = []
    handle = pipe.unet.register_forward_hook(lambda module, args, output: answers.append(output[0]))
    drawn = draw_pictures(pipe, PROMPT, [alice, bob], config, regions="columns")
    for one in (alice, bob):
        both = [Subject(each.name, one.words, each.noun) for each in (alice, bob)]
        draw_pictures(pipe, PROMPT, both, config)
    handle.remove()
    _, *alone = answers  # the hook sees the first before its answers are joined
    joined = answers[0].unflatten(0, (2, 3))
    half = joined.shape[-1] // 2
    for region, answer, part in ((1, alone[0], np.s_[..., :half]), (2, alone[1], np.s_[..., half:])):
        torch.testing.assert_close(joined[:, region][part], answer[part], rtol=1e-4, atol=1e-5)
    attention = draw_pictures(pipe, PROMPT, [alice, bob], PictureConfig(steps=1, guidance=3.0), regions="columns")
    assert not np.array_equal(drawn.images, attention.images)
    assert not pipe.unet._forward_hooks  # the pipeline is left as it was
    assert not pipe.unet._forward_pre_hooks


def test_masks_are_given_in_the_order_of_the_subjects(pipe: Any) -> None:
    left = torch.zeros(64, 64)
    left[:, :32] = 1
    alice, bob = people()
    config = PictureConfig(steps=2)
    columns = draw_pictures(pipe, PROMPT, [bob, alice], config, regions="columns")
    masks = draw_pictures(pipe, PROMPT, [bob, alice], config, regions=torch.stack([1 - left, left]))
    swapped = draw_pictures(pipe, PROMPT, [bob, alice], config, regions=torch.stack([left, 1 - left]))
    assert np.array_equal(columns.images, masks.images)
    assert not np.array_equal(columns.images, swapped.images)


@pytest.mark.parametrize("way", ["attention", "estimates"])
def test_one_region_for_everything_is_the_plain_prompt(pipe: Any, way: str) -> None:
    alice = people()[0]
    config = PictureConfig(steps=2, alpha=0.5, regional=way)
    plain = draw_pictures(pipe, "alice on the beach", [alice], config)
    region = draw_pictures(pipe, "alice on the beach", [alice], config, regions=torch.ones(1, 8, 8))
    assert np.abs(plain.images.astype(int) - region.images).max() <= 1


def test_pictures_may_be_wide(pipe: Any) -> None:
    drawn = draw_pictures(pipe, PROMPT, people(), PictureConfig(steps=1, width=56, height=24), regions="columns")
    assert drawn.images.shape == (1, 24, 56, 3)


def test_fused_people_change_the_picture(pipe: Any) -> None:
    torch.manual_seed(1)
    fuse = PostFuse(TEXT_WIDTH)
    config = PictureConfig(steps=2)
    one, two = (draw_pictures(pipe, PROMPT, people(), config, fuse=given).images for given in (fuse, None))
    assert not np.array_equal(one, two)


def test_a_controlnet_is_attached_as_ever(pipe: Any) -> None:
    torch.manual_seed(0)
    control = diffusers.ControlNetModel.from_unet(pipe.unet, conditioning_embedding_out_channels=(8, 16)).eval()
    for layer in (control.controlnet_mid_block, control.controlnet_cond_embedding.conv_out):
        torch.nn.init.normal_(layer.weight, std=0.5)  # an untrained one has no effect
    controlled = diffusers.StableDiffusionControlNetPipeline(
        **pipe.components, controlnet=control, requires_safety_checker=False
    )
    controlled.set_progress_bar_config(disable=True)
    pictures = [
        draw_pictures(
            controlled,
            PROMPT,
            people(),
            PictureConfig(steps=2, alpha=0.5, width=32, height=32),
            regions="columns",
            extra={"image": torch.full((1, 3, 32, 32), level)},
        ).images
        for level in (0.0, 1.0)
    ]
    assert not np.array_equal(*pictures)
    for way in ("estimates", "windows"):
        with pytest.raises(InputError, match=f"regions by {way} know no ControlNet; keep them apart by attention"):
            draw_pictures(controlled, PROMPT, people(), PictureConfig(regional=way), regions="columns")


def test_a_lora_is_attached_as_ever(pipe: Any) -> None:
    peft = pytest.importorskip("peft", reason="needs the extra personalise")
    config = PictureConfig(steps=2)
    plain = draw_pictures(pipe, PROMPT, people(), config).images
    for network, targets in ((pipe.unet, ["to_q"]), (pipe.text_encoder, ["q_proj"])):
        network.add_adapter(peft.LoraConfig(r=2, target_modules=targets, init_lora_weights=False), adapter_name="style")
    try:
        changed = draw_pictures(pipe, PROMPT, people(), config, regions="columns").images
        assert not np.array_equal(changed, draw_pictures(pipe, PROMPT, people(), config).images)
        assert not np.array_equal(plain, draw_pictures(pipe, PROMPT, people(), config).images)
    finally:
        pipe.unload_lora_weights()
    assert np.array_equal(plain, draw_pictures(pipe, PROMPT, people(), config).images)


def test_nan_is_no_picture(pipe: Any) -> None:
    alice, bob = people()
    broken = Subject("alice", torch.full_like(alice.words, torch.nan), "woman")
    with pytest.raises(WorkError, match="NaN after 1 steps; draw in float32"):
        draw_pictures(pipe, PROMPT, [broken, bob], PictureConfig(steps=1))


def test_progress_counts_denoiser_calls(pipe: Any) -> None:
    seen: list[tuple[int, int]] = []
    config = PictureConfig(steps=2, batch=1)
    draw_pictures(pipe, PROMPT, people(), config, numbers=[0, 1], progress=lambda *count: seen.append(count))
    assert seen == [(1, 4), (2, 4), (3, 4), (4, 4)]


def test_what_does_not_fit_is_named(pipe: Any) -> None:
    alice, bob = people()
    with pytest.raises(InputError, match="does not name 'bob'"):
        draw_pictures(pipe, "alice rides", [alice, bob])
    with pytest.raises(InputError, match="a mask for each of 2 people, got 1"):
        draw_pictures(pipe, PROMPT, [alice, bob], regions=torch.ones(1, 4, 4))
    with pytest.raises(InputError, match="'columns' or masks, got 'rows'"):
        draw_pictures(pipe, PROMPT, [alice, bob], regions="rows")
    with pytest.raises(InputError, match="at least one person"):
        draw_pictures(pipe, "a beach", [], regions="columns")


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"steps": 0}, "steps and batch must be at least 1, got 0 and 4"),
        ({"guidance": 0.5}, r"guidance must be at least 1, which is none; got 0\.5"),
        ({"alpha": 2.0}, "from 0 to 1; got 2"),
        ({"regional": "boxes"}, "regions are kept apart by attention, estimates, windows, got 'boxes'"),
        ({"width": 100}, "multiples of 8, got 100 x None"),
    ],
)
def test_bad_settings_are_named(values: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ConfigError, match=sentence):
        PictureConfig(**values)
