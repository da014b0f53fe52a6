"""What a denoiser is trained on: the noisy latent, the target, what the output says of both ends, weights of the times.

A noisy latent is sqrt(bar) * clean + sqrt(1 - bar) * noise, `bar` being alpha_bar of its time. Where a function takes
`bars` they are of a shape that broadcasts over the latents, such as (B, 1, 1, 1).
"""

import torch
from torch import Tensor

from facewright.errors import ConfigError

TARGETS = ("noise", "velocity")


def check_target(target: str) -> None:
    """Refuse what no denoiser here estimates."""
    if target not in TARGETS:
        raise ConfigError(f"target must be noise or velocity, got {target!r}")


def check_identity_term(weight: float, share: float) -> None:
    """Refuse settings of a training's identity term that are out of range."""
    if weight < 0 or not 0 < share <= 1:
        raise ConfigError(f"identity_weight must be at least 0 and identity_share in (0, 1], got {weight} and {share}")


def noised(clean: Tensor, noise: Tensor, bars: Tensor) -> Tensor:
    """The noisy latent of a clean one."""
    return bars.sqrt() * clean + (1 - bars).sqrt() * noise


def target_of(target: str, clean: Tensor, noise: Tensor, bars: Tensor) -> Tensor:
    """What the denoiser shall put out: the noise, or the velocity (Salimans & Ho 2022, Section 4)."""
    return noise if target == "noise" else bars.sqrt() * noise - (1 - bars).sqrt() * clean


def clean_of(target: str, output: Tensor, noisy: Tensor, bars: Tensor) -> Tensor:
    """The clean latent that an output stands for.

    At bar 1, no noise, that is the latent itself whatever the network says.
    """
    if target == "noise":
        return (noisy - (1 - bars).sqrt() * output) / bars.sqrt()
    return bars.sqrt() * noisy - (1 - bars).sqrt() * output


def noise_of(target: str, output: Tensor, noisy: Tensor, bars: Tensor) -> Tensor:
    """The noise that an output stands for."""
    return output if target == "noise" else bars.sqrt() * output + (1 - bars).sqrt() * noisy


def min_snr_weights(bars: Tensor, *, target: str, gamma: float) -> Tensor:
    """Weights of the squared error of the target by which a clean latent's error counts min(SNR, gamma).

    SNR is bar / (1 - bar). The squared error of the noise is SNR times, that of the velocity SNR + 1 times the one of
    the clean latent, so the weights are min(SNR, gamma) / SNR and min(SNR, gamma) / (SNR + 1) (Hang et al. 2023,
    Section 3.4).

    Args:
        bars: alpha_bar in (0, 1), any shape.
        target: noise or velocity.
        gamma: the paper's is 5.
    """
    ratio = bars / (1 - bars)
    return ratio.clamp_max(gamma) / (ratio if target == "noise" else ratio + 1)


def masked_mean(values: Tensor, mask: Tensor) -> Tensor:
    """The mean of values (B, C, H, W) where the mask (B, 1, H, W) is 1; 0 where it is nowhere."""
    return (values * mask).sum() / (mask.sum() * values.shape[1]).clamp_min(1)


def time_bars(bars: Tensor, times: Tensor) -> Tensor:
    """alpha_bar of each time, (B, 1, 1, 1), from the table (T,) and times (B,)."""
    return bars[times].view(-1, 1, 1, 1)


def guided_output(network: torch.nn.Module, noisy: Tensor, times: Tensor, context: Tensor, *, weight: float) -> Tensor:
    """A denoiser's output at each row's own time under classifier-free guidance, as `guidance.guided` has it."""
    if weight == 1:
        output: Tensor = network(noisy, times, context)
        return output.float()
    empty = torch.arange(2 * len(noisy), device=noisy.device) >= len(noisy)
    twice = network(torch.cat([noisy, noisy]), torch.cat([times, times]), torch.cat([context, context]), drop=empty)
    conditioned, without = twice.float().chunk(2)
    return without + weight * (conditioned - without)
