"""Training a control branch on drawn latents."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from tests.diffusion.tiny import tiny_autoencoder, tiny_cache, tiny_card, tiny_unet

from facewright.diffusion import ControlNet, ControlTraining, DiffusionConfig, Generator, SamplerConfig, train_control
from facewright.errors import ConfigError, InputError
from facewright.training.trainer import Schedule

SCHEDULE = Schedule(
    images=48, batch=8, learning_rate=1e-2, ema_maximum=0.3, precision="fp32", log_every=16, save_every=48
)
CONFIG = ControlTraining(SCHEDULE)


def hints(rows: np.ndarray) -> np.ndarray:
    """One grey a face, 32 px, smaller than asked for."""
    greys = (np.asarray(rows) * 10 % 256).astype(np.uint8)
    return np.broadcast_to(greys[:, None, None, None], (len(rows), 32, 32, 3)).copy()


def trained(out: Path, **changes: object) -> ControlNet:
    config = ControlTraining(replace(SCHEDULE, **changes))  # type: ignore[arg-type]
    return train_control(tiny_cache(), hints, tiny_unet(), DiffusionConfig(), config, out=out)


def test_only_the_branch_is_trained_and_kept(tmp_path: Path) -> None:
    control = trained(tmp_path)
    assert not control.training
    rows = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    losses = [row["denoising"] for row in rows if "denoising" in row]
    assert losses[-1] < losses[0]
    [measured] = [row for row in rows if "held_out" in row]
    assert measured["held_out"] != measured["held_out_plain"]
    kept = torch.load(tmp_path / "last.pt", weights_only=True)
    assert kept["module"].keys() == control.state_dict().keys(), "the base is not in it"
    assert float(control.zero_convs[0][0].weight.detach().abs().max()) > 0  # type: ignore[index]


def test_a_resumed_run_gives_the_same_branch(tmp_path: Path) -> None:
    whole = trained(tmp_path / "whole", images=24, log_every=8, save_every=8)
    config = ControlTraining(replace(SCHEDULE, images=24, log_every=8, save_every=8))

    def stop(done: int, total: int) -> None:
        if done == 16:
            raise KeyboardInterrupt

    arguments = (tiny_cache(), hints, tiny_unet(), DiffusionConfig(), config)
    with pytest.raises(KeyboardInterrupt):
        train_control(*arguments, out=tmp_path / "broken", progress=stop)
    resumed = train_control(*arguments, out=tmp_path / "broken")
    assert all(torch.equal(value, resumed.state_dict()[name]) for name, value in whole.state_dict().items())


def controlled_generator() -> Generator:
    control = ControlNet.begin(tiny_unet())
    with torch.no_grad():
        control.zero_convs[0][0].weight.add_(0.3)  # type: ignore[index, operator, union-attr]
        control.input_hint_block[-1].weight.add_(0.3)  # type: ignore[operator]
    return Generator(tiny_autoencoder(), tiny_unet(), DiffusionConfig(), tiny_card(), control=control).eval()


@pytest.mark.parametrize("sampler", ["ddim", "unipc", "lcm"])
def test_hints_steer_any_sampler_by_their_scale(sampler: str) -> None:
    generator, draw = controlled_generator(), torch.Generator().manual_seed(0)
    contexts = torch.nn.functional.normalize(torch.randn(2, 16, generator=draw))
    noise, hint = torch.randn(2, 4, 16, 16, generator=draw), torch.rand(2, 3, 128, 128, generator=draw)
    options = {"sampler": SamplerConfig(sampler, 2, 1.5), "step_noise": lambda k: noise.flip(0)}

    def made(**more: object) -> torch.Tensor:
        return generator.sample(contexts, noise, **options, **more)  # type: ignore[arg-type]

    plain = made()
    torch.testing.assert_close(made(hints=hint, control_scale=0.0), plain, atol=0.02, rtol=0.0)
    assert not torch.allclose(made(hints=hint), plain, atol=0.02)
    assert not torch.equal(made(hints=hint), made(hints=hint.flip(0)))


def test_hints_without_a_branch_or_of_another_size_are_refused() -> None:
    generator = controlled_generator()
    contexts, noise = torch.zeros(2, 16), torch.zeros(2, 4, 16, 16)
    with pytest.raises(InputError, match=r"2 pictures need hints of \(3, 128, 128\) each, got \(2, 3, 64, 64\)"):
        generator.sample(contexts, noise, hints=torch.zeros(2, 3, 64, 64))
    generator.control = None
    with pytest.raises(ConfigError, match="has no control branch"):
        generator.sample(contexts, noise, hints=torch.zeros(2, 3, 128, 128))
