import torch
from torch import Tensor

from facewright.diffusion.attention import ContextAttention, Heads, SelfAttention, zeroed


def by_hand(heads: Heads, x: Tensor, tokens: Tensor) -> Tensor:
    """Attention as the public code writes it: query and key are both divided by the fourth root of the head's width."""
    width = heads.head_width
    q, k, v = heads.to_q(x) / width**0.25, heads.to_k(tokens) / width**0.25, heads.to_v(tokens)
    merged = []
    for first in range(0, q.shape[1], width):
        part = slice(first, first + width)
        weights = torch.einsum("bcl,bct->blt", q[:, part], k[:, part]).softmax(2)
        merged.append(torch.einsum("blt,bct->bcl", weights, v[:, part]))
    return heads.proj_out(torch.cat(merged, 1))


def test_heads_are_scaled_softmax_attention() -> None:
    torch.manual_seed(0)
    x, tokens = torch.randn(2, 64, 9), torch.randn(2, 96, 5)
    own = Heads(64)
    torch.testing.assert_close(own(x.mT).mT, by_hand(own, x, x))
    cross = Heads(64, head_width=16, token_width=96)
    torch.testing.assert_close(cross(x.mT, tokens.mT).mT, by_hand(cross, x, tokens))


def test_self_attention_knows_no_order_of_positions() -> None:
    torch.manual_seed(0)
    block, x = SelfAttention(32), torch.randn(1, 32, 4, 4)
    torch.testing.assert_close(block(x.flip(3)), block(x).flip(3))


def test_an_untrained_context_block_passes_its_input_on() -> None:
    torch.manual_seed(0)
    block, x = ContextAttention(32, context_width=64), torch.randn(2, 32, 4, 4)
    assert torch.equal(block(x, torch.randn(2, 64)), x)


def test_context_block_attends_to_as_many_tokens_as_a_head_has_channels() -> None:
    torch.manual_seed(0)
    block = ContextAttention(32, context_width=64, head_width=16)
    torch.nn.init.normal_(block.x_proj_out.weight)
    seen: list[Tensor] = []
    block.cross_attention.register_forward_pre_hook(lambda _, args: seen.append(args[1]))
    x = torch.randn(1, 32, 4, 4)
    first, second = block(x, torch.randn(1, 64)), block(x, torch.randn(1, 64))
    assert seen[0].shape == (1, 16, 64)
    assert (first - second).abs().max() > 1e-3


def test_context_block_follows_the_specified_steps() -> None:
    torch.manual_seed(0)
    block = ContextAttention(32, context_width=32)
    torch.nn.init.normal_(block.x_proj_out.weight)
    x, context = torch.randn(2, 32, 3, 5), torch.randn(2, 32)
    tokens = block.c_norm(block.c_proj_in(context).reshape(2, 32, 32))
    h = block.x_proj_in(x).reshape(2, 32, 15)
    h = h + by_hand(block.self_attention, block.x_norm(h), block.x_norm(h))
    h = h + by_hand(block.cross_attention, block.x_norm(h), tokens)
    h = h + block.ff(block.x_norm(h).permute(0, 2, 1)).permute(0, 2, 1)
    torch.testing.assert_close(block(x, context), x + block.x_proj_out(h.reshape(2, 32, 3, 5)))


def test_zeroed_clears_weight_and_bias() -> None:
    layer = zeroed(torch.nn.Conv2d(3, 4, 1))
    assert not layer.weight.any()
    assert layer.bias is not None
    assert not layer.bias.any()
    assert not zeroed(torch.nn.Conv2d(3, 4, 1, bias=False)).weight.any()
