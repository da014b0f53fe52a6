"""A denoiser of diffusers that begins as a generator gives what the generator gives."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from facewright.diffusion import ConditionalUNet, UNetConfig
from facewright.diffusion.attention import SelfAttention
from facewright.diffusion.unet import Upsample
from facewright.errors import ConfigError
from facewright.personalise.base_from_generator import REST, begin_as_generator, said_of, sizes_of_generator
from facewright.personalise.base_networks import make_denoiser

pytest.importorskip("diffusers", reason="needs the extra personalise")

CONFIG = UNetConfig(
    channels=4, width=32, multipliers=(1, 1), attention=(False, True), blocks=1, context_inputs=16, context_width=24
)
TAPS = torch.tensor([[0.0, 0, 1], [0, 1, 1], [1, 1, 0], [1, 0, 0]])


class Context(nn.Module):
    """In place of the pooled prompt: a context beside the numbers of the time."""

    def __init__(self, context: Tensor, time: int) -> None:
        super().__init__()
        parts = context.new_zeros(len(context), time), context, torch.randn(len(context), REST)
        self.register_buffer("said", torch.cat(parts, 1))

    def forward(self, states: Tensor) -> Tensor:
        return self.said  # type: ignore[return-value]


def made(config: UNetConfig, *, exact: bool) -> ConditionalUNet:
    """A generator of random weights; `exact`: of those that can be carried over without a rest."""
    torch.manual_seed(0)
    network = ConditionalUNet(config).eval()
    for parameter in network.parameters():
        nn.init.normal_(parameter, std=0.1)
    for module in network.modules():
        if isinstance(module, SelfAttention) and exact:
            nn.init.zeros_(module.attention.proj_out.weight)
        if isinstance(module, Upsample) and exact:
            kernels = torch.randn(*module.conv.weight.shape[:2], 3, 3) * 0.1
            module.conv.weight.data = torch.einsum("ka,ioab,lb->iokl", TAPS, kernels, TAPS)
    return network


@torch.no_grad()
def both(config: UNetConfig, *, exact: bool) -> tuple[Tensor, Tensor]:
    """What a generator and the denoiser that begins as it put out."""
    generator = made(config, exact=exact)
    denoiser = make_denoiser(sizes_of_generator(config), channels=4, latent=8, text_width=32).eval()
    embeddings = nn.functional.normalize(torch.randn(3, 16))
    context = generator.project(embeddings, count=3)
    assert context is not None
    begin_as_generator(denoiser, generator, longest=float(context.norm(dim=1).max()))
    denoiser.add_embedding = Context(context, 4 * config.width)  # the rest begins without effect
    noisy, times = torch.randn(3, 4, 8, 8), torch.tensor([0, 400, 999])
    given = denoiser(noisy, times, torch.randn(3, 5, 32), return_dict=False)[0]
    return generator(noisy, times, embeddings), given


def test_without_what_cannot_be_carried_over_they_agree() -> None:
    wanted, given = both(CONFIG, exact=True)
    assert wanted.std() > 0.05
    torch.testing.assert_close(given, wanted, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("multipliers", [(1, 1), (1, 2)])
def test_with_it_they_nearly_agree(multipliers: tuple[int, ...]) -> None:
    wanted, given = both(replace(CONFIG, multipliers=multipliers), exact=False)
    assert (given - wanted).square().mean() < 0.25 * wanted.var()  # one that begins by chance is off by more than all


def test_a_prompt_can_stand_for_the_longest_context() -> None:
    generator = made(CONFIG, exact=True)
    denoiser = make_denoiser(sizes_of_generator(CONFIG), channels=4, latent=8, text_width=32)
    begin_as_generator(denoiser, generator, longest=5.0)
    pooled = denoiser.add_embedding(torch.randn(64, 5, 32))
    assert not pooled[:, : 4 * CONFIG.width].any()
    with torch.no_grad():
        for part in (denoiser.add_embedding.proj.weight, denoiser.add_embedding.proj.bias):
            part[: 4 * CONFIG.width] = part[-REST:] = 0
    context, rest = said_of(denoiser.add_embedding(torch.randn(64, 5, 32)), CONFIG.context_width)
    assert context.shape == (64, 24)
    assert (context.norm(dim=1) > 5).all()
    assert rest.shape == (64, REST)


@pytest.mark.parametrize(
    "changed",
    [{"condition": "cross-attention", "context_width": 32}, {"context_inputs": None}, {"multipliers": (1, 0)}],
)
def test_other_generators_are_refused(changed: dict[str, object]) -> None:
    with pytest.raises(ConfigError, match="a base model can"):
        sizes_of_generator(replace(CONFIG, **changed))  # type: ignore[arg-type]
