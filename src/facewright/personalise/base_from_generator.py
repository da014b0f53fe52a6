"""A base model's denoiser that begins as a trained generator: what a face looks like need not be learnt again.

The generator's convolutions, norms and self-attention go into a `UNet2DConditionModel` of the same levels; where the
generator reads an identity embedding, the base model reads the prompt as a whole (`DenoiserSizes.pooled`): what is
added to the time are the numbers of the time, then those of the generator's context, then `REST` new ones for whatever
else a prompt says, which begin without effect, as does the new attention to the prompt's tokens.

Three things cannot be carried over exactly and are left to the training: attention normalises each position and not
groups of channels, a transposed convolution becomes doubling and a 3 x 3 convolution (least squares), and where a level
is wider on the way up its channels are there twice.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from facewright.diffusion import ConditionalUNet
from facewright.diffusion.attention import GROUPS, SelfAttention
from facewright.diffusion.unet import Downsample, Level, ResidualBlock, UNetConfig, Upsample
from facewright.errors import ConfigError
from facewright.personalise.base_networks import DenoiserSizes

PASSED = 0.1  # share of a normalised map that attention carries along, so that new parts have something to read
RIDGE = 1e-2  # of the least squares of a query's bias
REST = 32  # numbers for what a prompt says beside who is in the picture
HEADROOM = 1.25  # by how much the longest context may be surpassed


def sizes_of_generator(config: UNetConfig) -> DenoiserSizes:
    """The sizes of a base model's denoiser that can begin as such a generator.

    Raises:
        ConfigError: its embedding does not enter by scale and shift, or a level is narrower than the one above.
    """
    if config.condition != "adagn" or config.context_inputs is None:
        raise ConfigError("a base model can begin as a generator whose condition is adagn; name another one")
    if any(multiplier < 1 for multiplier in config.multipliers):
        raise ConfigError(f"a base model cannot begin as a generator of multipliers {config.multipliers}")
    widths = [config.width]
    for multiplier in config.multipliers:
        widths.append(widths[-1] * multiplier)
    return DenoiserSizes(
        widths=tuple(widths[1:]),
        attention=config.attention,
        blocks=config.blocks,
        head_width=config.head_width,
        groups=GROUPS,
        pooled=True,
        time_width=4 * config.width + config.context_width + REST,
    )


def said_of(pooled: Tensor, width: int) -> tuple[Tensor, Tensor]:
    """Of what a pooled prompt adds to the time, (B, E): the generator's context (B, width), and the rest (B, REST)."""
    return pooled[:, -REST - width : -REST], pooled[:, -REST:]


@torch.no_grad()
def begin_as_generator(denoiser: Any, generator: ConditionalUNet, *, longest: float) -> None:
    """Copy a generator's weights into an untrained denoiser of `sizes_of_generator`.

    Args:
        denoiser: `UNet2DConditionModel`, changed in place.
        generator: eval mode or not; its partial dropout has no counterpart.
        longest: length of the longest projected context that the pooled prompt shall be able to stand for.
    """
    config = generator.config
    denoiser.conv_in.load_state_dict(generator.image_proj.state_dict())
    time = denoiser.time_embedding
    _place(time.linear_1, generator.time_emb.lin1)
    _place(time.linear_2, generator.time_emb.lin2)
    pooled = denoiser.add_embedding.norm2
    pooled.weight.zero_()
    pooled.bias.zero_()
    pooled.weight[4 * config.width : -REST] = HEADROOM * longest / len(pooled.weight) ** 0.5
    pooled.weight[-REST:] = 1
    down = iter(generator.down)
    for block in denoiser.down_blocks:
        for number, residual in enumerate(block.resnets):
            level = next(down)
            assert isinstance(level, Level)
            _residual(residual, level.res, _same(residual.conv1.in_channels), _same(residual.conv1.out_channels))
            if level.attn is not None:
                _attention(block.attentions[number], level.attn, _same(residual.conv1.out_channels))
        for sampler in block.downsamplers or ():
            halved = next(down)
            assert isinstance(halved, Downsample)
            sampler.conv.load_state_dict(halved.conv.state_dict())
    middle = denoiser.mid_block
    wide = _same(middle.resnets[0].conv1.in_channels)
    _residual(middle.resnets[0], generator.middle.res1, wide, wide)
    _attention(middle.attentions[0], generator.middle.attn, wide)
    _residual(middle.resnets[1], generator.middle.res2, wide, wide)
    up, before = iter(generator.up), wide
    for block in denoiser.up_blocks:
        for number, residual in enumerate(block.resnets):
            level = next(up)
            assert isinstance(level, Level)
            skip = residual.conv1.in_channels - len(before)
            inputs = torch.cat([before, len(before.unique()) + torch.arange(skip)])
            before = _twice(level.res.conv1.out_channels, residual.conv1.out_channels)
            _residual(residual, level.res, inputs, before)
            if level.attn is not None:
                _attention(block.attentions[number], level.attn, before)
        for sampler in block.upsamplers or ():
            doubled = next(up)
            assert isinstance(doubled, Upsample)
            _upsample(sampler.conv, doubled.conv, before)
    denoiser.conv_norm_out.load_state_dict(generator.norm.state_dict())
    denoiser.conv_out.load_state_dict(generator.final.state_dict())


def _same(width: int) -> Tensor:
    return torch.arange(width)


def _twice(channels: int, width: int) -> Tensor:
    """Which channel each of `width` places holds, so that every group of a norm holds its own ones equally often."""
    return torch.arange(channels).view(GROUPS, -1).repeat(1, width // channels).flatten()


def _read(weight: Tensor, inputs: Tensor) -> Tensor:
    """A weight (O, I, ...) for inputs that are there several times."""
    return weight[:, inputs] / inputs.bincount()[inputs].view(1, -1, *[1] * (weight.ndim - 2))


def _fill(layer: nn.Module, weight: Tensor, bias: Tensor | None) -> None:
    layer.weight.copy_(weight.view_as(layer.weight))  # type: ignore[operator,arg-type]
    if bias is not None:
        layer.bias.copy_(bias)  # type: ignore[operator]


def _place(layer: nn.Linear, source: nn.Linear) -> None:
    """A layer within the first outputs and inputs of a larger one, whose rest is 0."""
    layer.weight.zero_()
    layer.bias.zero_()
    layer.weight[: source.out_features, : source.in_features] = source.weight
    layer.bias[: source.out_features] = source.bias


def _residual(target: Any, source: ResidualBlock, inputs: Tensor, outputs: Tensor) -> None:
    time, context = source.time_emb[1], source.context_emb
    assert isinstance(time, nn.Linear)
    assert context is not None
    assert isinstance(context[1], nn.Linear)
    _fill(target.norm1, source.norm1.weight[inputs], source.norm1.bias[inputs])
    _fill(target.conv1, _read(source.conv1.weight, inputs)[outputs], source.conv1.bias[outputs])  # type: ignore[index]
    both = torch.cat([time.weight, context[1].weight], 1)
    bias = time.bias + context[1].bias
    both = F.pad(both, (0, REST))
    own = [(layer.weight @ both, layer.weight @ bias + layer.bias) for layer in (source.scale_emb, source.shift_emb)]
    _fill(target.time_emb_proj, torch.cat([w[outputs] for w, _ in own]), torch.cat([b[outputs] for _, b in own]))
    _fill(target.norm2, source.norm2.norm.weight[outputs], source.norm2.norm.bias[outputs])
    _fill(target.conv2, _read(source.conv2.weight, outputs)[outputs], source.conv2.bias[outputs])  # type: ignore[index]
    if target.conv_shortcut is not None:
        shortcut = source.shortcut
        assert isinstance(shortcut, nn.Conv2d)
        assert shortcut.bias is not None
        _fill(target.conv_shortcut, _read(shortcut.weight, inputs)[outputs], shortcut.bias[outputs])


def _attention(target: Any, source: Any, places: Tensor) -> None:
    """Self-attention into a transformer block; what attends to tokens, and the feed-forward layer, begin at 0."""
    assert isinstance(source, SelfAttention)
    heads, block = source.attention, target.transformer_blocks[0]
    _fill(target.norm, source.norm.weight[places], source.norm.bias[places])
    _fill(target.proj_in, PASSED * torch.eye(len(places)), torch.zeros(len(places)))
    query, key, value, out = (layer.weight.squeeze(2) for layer in (heads.to_q, heads.to_k, heads.to_v, heads.proj_out))
    assert heads.to_q.bias is not None
    assert heads.to_v.bias is not None
    gram = query.T @ query
    shift = torch.linalg.solve(gram + RIDGE * gram.diagonal().mean() * torch.eye(len(gram)), query.T @ heads.to_q.bias)
    _fill(block.norm1, torch.ones(len(places)), shift[places])
    count = heads.to_q.out_channels
    for layer, weight in ((block.attn1.to_q, query), (block.attn1.to_k, key), (block.attn1.to_v, value)):
        layer.weight.zero_()
        layer.weight[:count] = _read(weight, places)
    _fill(block.attn1.to_out[0], torch.eye(len(places)), torch.zeros(len(places)))
    block.attn1.to_out[0].bias[:count] = heads.to_v.bias - value @ shift
    target.proj_out.weight.zero_()
    target.proj_out.weight.view(len(places), -1)[:, :count] = out[places]
    _fill(target.proj_out, target.proj_out.weight, heads.proj_out.bias[places])  # type: ignore[index]
    for layer in (block.attn2.to_out[0], block.ff.net[2]):
        nn.init.zeros_(layer.weight)
        nn.init.zeros_(layer.bias)


def _upsample(target: nn.Conv2d, source: nn.ConvTranspose2d, places: Tensor) -> None:
    """A transposed convolution 4 x 4 as doubling and the nearest convolution 3 x 3, in the sense of least squares."""
    taps = torch.tensor([[0.0, 0, 1], [0, 1, 1], [1, 1, 0], [1, 0, 0]])
    nearest = torch.linalg.pinv(taps)
    weight = torch.einsum("ak,iokl,bl->oiab", nearest, source.weight, nearest)
    _fill(target, _read(weight, places)[places], source.bias[places])  # type: ignore[index]
