"""A whole generator: repeatable, guided, both targets, and what its file must hold."""

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from tests.diffusion.tiny import AUTOENCODER, DENOISER, tiny_autoencoder, tiny_card, tiny_generator, tiny_unet
from torch import Tensor, nn

from facewright import diffusion
from facewright.diffusion import SAMPLERS, DiffusionConfig, Generator, SamplerConfig
from facewright.diffusion.generator import architecture
from facewright.errors import ConfigError, DataError, InputError
from facewright.weights import save_weights


def asked(count: int = 2) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    contexts = torch.nn.functional.normalize(torch.randn(count, 16, generator=generator))
    return contexts, torch.randn(count, 4, 16, 16, generator=generator)


def test_the_same_arguments_give_the_same_pictures() -> None:
    generator = tiny_generator()
    contexts, noise = asked()
    one = generator.sample(contexts, noise, steps=3)
    torch.manual_seed(7)
    assert torch.equal(generator.sample(contexts, noise, steps=3), one)
    assert one.shape == (2, 3, 128, 128)
    assert one.dtype == torch.float32
    assert float(one.abs().max()) <= 1
    assert not torch.equal(generator.sample(contexts, noise, steps=4), one)
    assert not torch.equal(generator.sample(contexts.flip(0), noise, steps=3), one)
    assert not torch.equal(generator.sample(contexts, noise.flip(0), steps=3), one)


def test_guidance_1_is_off_and_0_forgets_the_context() -> None:
    generator = tiny_generator()
    contexts, noise = asked()
    plain = generator.sample(contexts, noise, steps=2)
    assert torch.equal(generator.sample(contexts, noise, steps=2, guidance=1.0), plain)
    nearly = generator.sample(contexts, noise, steps=2, guidance=1.0 + 1e-6)
    assert float((nearly - plain).abs().mean()) < 0.02  # bfloat16
    empty = generator.sample(contexts, noise, steps=2, guidance=0.0)
    assert torch.equal(generator.sample(-contexts, noise, steps=2, guidance=0.0), empty)
    assert not torch.equal(generator.sample(contexts, noise, steps=2, guidance=3.0), plain)


def test_a_whole_config_says_the_same_as_its_parts() -> None:
    generator = tiny_generator()
    contexts, noise = asked()
    config = SamplerConfig("dpmpp-2m", steps=3, guidance=2.0)
    made = generator.sample(contexts, noise, sampler=config)
    assert torch.equal(made, generator.sample(contexts, noise, sampler="dpmpp-2m", steps=3, guidance=2.0))
    half = replace(config, guidance_interval=(0.0, 0.5))
    assert not torch.equal(generator.sample(contexts, noise, sampler=half), made)
    late = replace(config, identity_from=1e-4)
    empty = generator.sample(contexts, noise, sampler=late)
    assert torch.equal(generator.sample(-contexts, noise, sampler=late), empty), "no time is that late"


def test_a_negative_identity_counts_only_under_guidance() -> None:
    generator = tiny_generator()
    contexts, noise = asked()
    other = contexts.flip(0)
    plain = generator.sample(contexts, noise, steps=2)
    assert torch.equal(generator.sample(contexts, noise, steps=2, negative=other), plain)
    away = generator.sample(contexts, noise, steps=2, guidance=1.5, negative=other)
    assert not torch.equal(away, generator.sample(contexts, noise, steps=2, guidance=1.5))
    assert not torch.equal(away, plain)


def test_guidance_off_calls_the_network_once_a_step_and_on_doubles_the_rows() -> None:
    generator = tiny_generator()
    contexts, noise = asked()
    rows: list[int] = []
    generator.denoiser.register_forward_pre_hook(lambda module, inputs: rows.append(len(inputs[0])))
    generator.sample(contexts, noise, sampler="unipc", steps=3)
    generator.sample(contexts, noise, sampler="unipc", steps=3, guidance=2.0)
    assert rows == [2, 2, 2, 4, 4, 4]


class Gaussian(nn.Module):
    """The exact answer of a denoiser for latents of standard deviation 0.7 around 0."""

    def __init__(self) -> None:
        super().__init__()
        self.config = SimpleNamespace(channels=4, context_inputs=16)
        self.final = nn.Linear(1, 1)
        self.bars = diffusion.alpha_bars(diffusion.linear_betas(1000))

    def forward(self, x: Tensor, times: Tensor, context: Tensor, *, drop: Tensor | None = None) -> Tensor:
        bar = self.bars[times].view(-1, 1, 1, 1)
        return (x * (1 - bar).sqrt() / (bar * 0.49 + 1 - bar)).float()


def test_a_picture_is_traced_back_to_the_noise_that_gives_it() -> None:
    generator = Generator(tiny_autoencoder(), Gaussian(), DiffusionConfig(target="noise"), tiny_card())  # type: ignore[arg-type]
    contexts, _ = asked()
    pictures = torch.rand(2, 3, 128, 128, generator=torch.Generator().manual_seed(1)) * 2 - 1
    noise = generator.invert(pictures, contexts, steps=40)
    assert noise.shape == (2, 4, 16, 16)
    with torch.inference_mode():
        latents = generator.autoencoder.encode(pictures)
    predict = generator.noise_estimate(contexts, SamplerConfig())
    back = diffusion.ddim(predict, noise, diffusion.ddim_plan(generator.alpha_bars, 40))
    assert torch.allclose(back, latents, atol=1e-3)


def test_an_unconditional_generator_has_nothing_to_guide_by() -> None:
    network = tiny_unet(replace(DENOISER, context_inputs=None))
    generator = Generator(tiny_autoencoder(), network, DiffusionConfig(), tiny_card()).eval()
    _, noise = asked()
    nobody = torch.zeros(2, 0)
    assert generator.sample(nobody, noise, sampler="unipc", steps=2).shape == (2, 3, 128, 128)
    for config in (SamplerConfig(guidance=2.0), SamplerConfig(identity_from=0.5)):
        with pytest.raises(ConfigError, match="knows no identities"):
            generator.sample(nobody, noise, sampler=config)


class Exact(nn.Module):
    """The exact answer of a denoiser for data that is always `point`."""

    def __init__(self, point: Tensor, target: str) -> None:
        super().__init__()
        self.config = SimpleNamespace(channels=4, context_inputs=16)
        self.final = nn.Linear(1, 1)
        self.point, self.target = point, target
        self.bars = diffusion.alpha_bars(diffusion.linear_betas(1000))

    def forward(self, x: Tensor, times: Tensor, context: Tensor, *, drop: Tensor | None = None) -> Tensor:
        bar = self.bars[times].view(-1, 1, 1, 1)
        noise = (x - bar.sqrt() * self.point) / (1 - bar).sqrt()
        return noise if self.target == "noise" else bar.sqrt() * noise - (1 - bar).sqrt() * self.point


@pytest.mark.parametrize("sampler", SAMPLERS)
@pytest.mark.parametrize("target", ["noise", "velocity"])
def test_an_exact_denoiser_gives_the_picture_of_its_point(target: str, sampler: str) -> None:
    point = torch.randn(1, 4, 16, 16, generator=torch.Generator().manual_seed(3))
    generator = Generator(tiny_autoencoder(), Exact(point, target), DiffusionConfig(target=target), tiny_card())  # type: ignore[arg-type]
    contexts, noise = asked()
    made = generator.sample(contexts, noise, sampler=sampler, steps=5, step_noise=lambda step: torch.randn(noise.shape))
    with torch.inference_mode():
        expected = generator.autoencoder.decode(point)
    assert torch.allclose(made, expected.expand_as(made), atol=0.05)


def test_wrong_requests_are_refused() -> None:
    generator = tiny_generator()
    contexts, noise = asked()
    with pytest.raises(ConfigError, match="unknown sampler 'heun'; known: ddim"):
        generator.sample(contexts, noise, sampler="heun")
    with pytest.raises(ConfigError, match="ddpm needs step_noise"):
        generator.sample(contexts, noise, sampler="ddpm")
    with pytest.raises(ConfigError, match="steps must be at least 1, got 0"):
        generator.sample(contexts, noise, steps=0)
    with pytest.raises(ConfigError, match=r"steps must be in 1 \.\.\. 1000, got 1001"):
        generator.sample(contexts, noise, steps=1001)
    with pytest.raises(InputError, match="negative contexts must have the shape"):
        generator.sample(contexts, noise, guidance=2.0, negative=contexts[:1])
    with pytest.raises(ConfigError, match="noise or velocity, got 'x0'"):
        DiffusionConfig(target="x0")


def save(path: Path, generator: Generator, **changes: object) -> Path:
    card = replace(tiny_card(), architecture=architecture(AUTOENCODER, DENOISER, DiffusionConfig()))
    save_weights(path, generator.state_dict(), replace(card, **changes))  # type: ignore[arg-type]
    return path


def test_a_saved_generator_makes_the_same_pictures(tmp_path: Path) -> None:
    generator = tiny_generator()
    loaded = diffusion.load(save(tmp_path / "g.safetensors", generator))
    contexts, noise = asked()
    assert torch.allclose(
        loaded.sample(contexts, noise, steps=2), generator.sample(contexts, noise, steps=2), atol=0.02
    )
    assert not loaded.training
    assert loaded.name == "tiny"
    assert len(loaded.sha256) == 64
    assert loaded.encoder_sha256 == "e" * 64
    assert (loaded.image_size, loaded.latent_shape, loaded.context_width) == (128, (4, 16, 16), 16)
    assert loaded.card["data"] == "drawn"
    assert loaded.denoiser.config == DENOISER, "lists of the card become tuples again"


@pytest.mark.parametrize(
    ("changes", "error", "said"),
    [
        ({"kind": "encoder"}, InputError, "kind 'encoder', expected 'generator'"),
        ({"architecture": {}}, DataError, "do not fit each other"),
        (
            {"architecture": architecture(AUTOENCODER, replace(DENOISER, blocks=2), DiffusionConfig())},
            DataError,
            "do not fit each other",
        ),
        (
            {"architecture": {**architecture(AUTOENCODER, DENOISER, DiffusionConfig()), "diffusion": {"steps": 3}}},
            DataError,
            "DiffusionConfig has no steps",
        ),
    ],
)
def test_a_file_that_does_not_fit_is_named(
    tmp_path: Path, changes: dict[str, object], error: type[Exception], said: str
) -> None:
    path = save(tmp_path / "g.safetensors", tiny_generator(), **changes)
    with pytest.raises(error, match=said):
        diffusion.load(path)
