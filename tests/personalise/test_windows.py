"""People in windows side by side, each drawn as a picture of one."""

from typing import Any

import numpy as np
import pytest
import torch
from tests.personalise.tiny_base import SECOND_WIDTH, TEXT_WIDTH, tiny_pipeline
from torch import Tensor

from facewright.errors import InputError
from facewright.personalise import PictureConfig, Subject, draw_pictures, encode_people
from facewright.personalise.windows import lone_prompts, window_starts, windowed

pytest.importorskip("diffusers", reason="needs the extra personalise")

WINDOWS = PictureConfig(steps=2, guidance=3.0, regional="windows")


@pytest.fixture(scope="module")
def pipe() -> Any:
    return tiny_pipeline()


def people(width: int = TEXT_WIDTH) -> list[Subject]:
    torch.manual_seed(0)
    return [Subject("alice", torch.randn(2, width), "woman"), Subject("bob", torch.randn(2, width), "man")]


def test_windows_overlap_by_an_eighth() -> None:
    assert window_starts(1, 16) == [0]
    assert window_starts(3, 16) == [0, 14, 28]
    assert window_starts(2, 16, multiple=4) == [0, 12]
    assert window_starts(2, 4) == [0, 3]


@pytest.mark.parametrize("between", [" and ", ", and ", " , "])
def test_each_prompt_names_one_person(between: str) -> None:
    prompt = f"a photo of Bob{between}alice at night"
    assert lone_prompts(prompt, ["alice", "bob"]) == {
        "alice": "a photo of alice at night",
        "bob": "a photo of Bob at night",
    }


def test_people_are_named_one_after_another() -> None:
    with pytest.raises(InputError, match="named one after another, as in 'alice and bob', got 'alice greets bob'"):
        lone_prompts("alice greets bob", ["alice", "bob"])
    with pytest.raises(InputError, match="the prompt 'alice'"):
        lone_prompts("alice", ["alice", "bob"])


class Prompts(torch.nn.Module):
    """In place of a denoiser: what it is given, plus the mean of the prompt."""

    def forward(self, sample: Tensor, time: Tensor, *, encoder_hidden_states: Tensor) -> tuple[Tensor]:
        assert time.ndim == 0
        assert sample.shape[2:] == (4, 4)
        return (sample + encoder_hidden_states.mean((1, 2))[:, None, None, None],)


def test_answers_are_mixed_where_windows_overlap() -> None:
    network, latents = Prompts(), torch.arange(14.0).view(2, 1, 1, 7).expand(2, 1, 4, 7)
    prompts = torch.tensor([[0.0, 8.0], [0.0, 80.0]])[..., None]  # a token for each of 2 windows
    with windowed(network, [0, 3], side=4):
        found = network(latents, torch.tensor(5), encoder_hidden_states=prompts)[0] - latents
    assert found[:, 0, 0].tolist() == [[0, 0, 0, 4, 8, 8, 8], [0, 0, 0, 40, 80, 80, 80]]
    assert not network._forward_hooks
    assert not network._forward_pre_hooks


@pytest.mark.parametrize("large", [False, True])
def test_each_window_reads_the_prompt_of_its_person(large: bool) -> None:
    """Whatever the order of the subjects; the picture is wider than the base model's own."""
    pipe = tiny_pipeline(large=large)
    subjects = people(TEXT_WIDTH + SECOND_WIDTH if large else TEXT_WIDTH)
    given: list[dict[str, Any]] = []
    handle = pipe.unet.register_forward_pre_hook(lambda module, args, kwargs: given.append(kwargs), with_kwargs=True)
    drawn = draw_pictures(pipe, "alice and bob at night", subjects[::-1], WINDOWS, regions="columns")
    handle.remove()
    side = pipe.unet.config.sample_size
    height = side * pipe.vae_scale_factor
    _, _, width, _ = drawn.images.shape
    assert drawn.images.shape == (1, height, width, 3)
    assert width % 8 == 0
    assert 1.5 * height <= width <= 1.875 * height
    states = given[0]["encoder_hidden_states"][1].unflatten(0, (2, -1))  # of the half that is not negative
    for number, one in enumerate(subjects):
        alone = encode_people(pipe, f"{one.name} at night", nouns={one.name: one.noun}, words={one.name: one.words})
        torch.testing.assert_close(states[number], alone.states[0])


def test_one_window_is_the_plain_picture(pipe: Any) -> None:
    alice = people()[0]
    plain = draw_pictures(pipe, "alice on the beach", [alice], PictureConfig(steps=2, guidance=3.0, alpha=0.5))
    window = draw_pictures(
        pipe,
        "alice on the beach",
        [alice],
        PictureConfig(steps=2, guidance=3.0, alpha=0.5, regional="windows"),
        regions="columns",
    )
    assert np.abs(plain.images.astype(int) - window.images).max() <= 1


def test_what_does_not_fit_is_refused(pipe: Any) -> None:
    for regions, config, said in (
        (torch.ones(2, 4, 4) / 2, WINDOWS, "windows are columns side by side"),
        ("rows", WINDOWS, "windows are columns side by side"),
        ("columns", PictureConfig(width=64, regional="windows"), "windows give the picture its size"),
    ):
        with pytest.raises(InputError, match=said):
            draw_pictures(pipe, "alice and bob", people(), config, regions=regions)
