"""What makes decoded pictures sharp: distances between feature maps, and a critic that tells patches apart.

A network and its critic are trained by one optimiser in one step: the critic's loss sees detached pictures, and the
network's sees the critic with its weights taken as constants, so each gets its own gradient and nothing of the other's.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call

from facewright.diffusion.begun import Network
from facewright.errors import ConfigError
from facewright.training.norms import GroupNorm

Features = Callable[[Tensor], Sequence[Tensor]]
"""Pictures (B, 3, H, W) RGB in [-1, 1] to feature maps (B, C, h, w), differentiable."""

GROUPS = 8
LARGEST_WEIGHT = 1e4


@dataclass(frozen=True)
class CriticTerms:
    """How a critic takes part."""

    weight: float = 0.8  # of the adversarial term, before it is balanced with the others
    begin: int = 0  # images seen before it counts; the critic itself learns from the start
    width: int = 64  # of the critic's first layer
    layers: int = 3  # strided layers; 3 see patches of 70 px

    def __post_init__(self) -> None:
        if self.weight < 0 or self.begin < 0 or self.layers < 1 or self.width < GROUPS or self.width % GROUPS:
            raise ConfigError(
                f"a critic needs weight and begin of at least 0, layers of at least 1 and a width in multiples of "
                f"{GROUPS}, got {self.weight}, {self.begin}, {self.layers} and {self.width}"
            )


class PatchCritic(nn.Module):
    """Says of each patch how real it looks (Isola et al. 2017), with group norms, which keep no running statistics."""

    def __init__(self, terms: CriticTerms) -> None:
        super().__init__()
        layers: list[nn.Module] = [nn.Conv2d(3, terms.width, 4, 2, 1), nn.LeakyReLU(0.2)]
        width = terms.width
        for k in range(1, terms.layers + 1):
            wider = terms.width * min(2**k, 8)
            layers += [
                nn.Conv2d(width, wider, 4, 2 if k < terms.layers else 1, 1, bias=False),
                GroupNorm(GROUPS, wider),
                nn.LeakyReLU(0.2),
            ]
            width = wider
        self.layers = nn.Sequential(*layers, nn.Conv2d(width, 1, 4, 1, 1))

    def forward(self, images: Tensor) -> Tensor:
        """Pictures (B, 3, H, W) to scores (B, 1, h, w), high for real ones."""
        return self.layers(images)


class WithCritic(nn.Module, Generic[Network]):
    """A network that makes pictures and, in training, its critic."""

    def __init__(self, network: Network, terms: CriticTerms | None) -> None:
        super().__init__()
        self.network: Network = network
        self.critic = None if terms is None else PatchCritic(terms)
        self.terms = terms

    def losses(self, made: Tensor, real: Tensor, rebuilding: Tensor, last: Tensor, *, images: int) -> dict[str, Tensor]:
        """The critic's loss and, from `terms.begin` images on, the network's adversarial one; nothing without a critic.

        Args:
            made: the network's pictures, (B, 3, H, W).
            real: what they should be like, (B, 3, H, W).
            rebuilding: the sum of the network's other losses, by which the adversarial one is balanced.
            last: weights of the layer where the gradients of both are compared.
            images: seen so far.
        """
        if self.critic is None or self.terms is None:
            return {}
        losses = {"critic": critic_loss(self.critic(real).float(), self.critic(made.detach()).float())}
        if images >= self.terms.begin and self.terms.weight > 0:
            constants = {name: value.detach() for name, value in self.critic.named_parameters()}
            fooling = -functional_call(self.critic, constants, (made,)).float().mean()
            losses["adversarial"] = self.terms.weight * balance(rebuilding, fooling, last) * fooling
        return losses

    def network_state(self, state: dict[str, Tensor]) -> dict[str, Tensor]:
        """The network's part of a state dict of the whole."""
        begin = "network."
        return {name.removeprefix(begin): value for name, value in state.items() if name.startswith(begin)}


def critic_loss(real: Tensor, made: Tensor) -> Tensor:
    """Hinge loss of the critic's scores, half of each side (Lim & Ye 2017; Esser et al. 2021's code)."""
    return 0.5 * (F.relu(1 - real).mean() + F.relu(1 + made).mean())


def balance(rebuilding: Tensor, fooling: Tensor, last: Tensor) -> Tensor:
    """The adversarial weight that gives both losses the same gradient at a layer (Esser et al. 2021, Eq. 7).

    Returns:
        A number without gradient, at most 1e4.
    """
    (by_rebuilding,) = torch.autograd.grad(rebuilding, last, retain_graph=True)
    (by_fooling,) = torch.autograd.grad(fooling, last, retain_graph=True)
    return (by_rebuilding.norm() / (by_fooling.norm() + 1e-4)).clamp(0, LARGEST_WEIGHT).detach()


def feature_distance(maps: Sequence[Tensor], wanted: Sequence[Tensor]) -> Tensor:
    """How far two pictures' feature maps are apart: the mean over layers of the squared distance between the unit
    vectors of each place, averaged over places and pictures (Zhang et al. 2018, Eq. 1, with weights 1).

    Args:
        maps, wanted: (B, C, h, w) of each layer.
    """
    distances = [
        (F.normalize(x.float(), dim=1, eps=1e-6) - F.normalize(y.float(), dim=1, eps=1e-6)).square().sum(1).mean()
        for x, y in zip(maps, wanted, strict=True)
    ]
    return torch.stack(distances).mean()


def step_errors(error: Tensor) -> Tensor:
    """The mean absolute difference of neighbouring numbers of an error (B, C, H, W), down and across."""
    return 0.5 * (torch.diff(error, dim=2).abs().mean() + torch.diff(error, dim=3).abs().mean())
