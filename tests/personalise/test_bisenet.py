import pytest
import torch

from facewright.personalise.bisenet import CLASSES, AttentionRefinement, BiSeNet, FeatureFusion


@pytest.fixture(scope="module")
def parser() -> BiSeNet:
    torch.manual_seed(0)
    return BiSeNet().eval()


@torch.no_grad()
def test_scores_have_the_size_of_the_picture(parser: BiSeNet) -> None:
    x = torch.randn(1, 3, 64, 96)
    maps = parser(x)
    assert [scores.shape for scores in maps] == [(1, CLASSES, 64, 96)] * 3
    assert torch.equal(parser.labels(x), maps[0].argmax(1))


@torch.no_grad()
def test_the_coarse_maps_come_from_the_coarse_paths(parser: BiSeNet) -> None:
    seen: dict[str, torch.Size] = {}
    heads = {"first": parser.conv_out, "second": parser.conv_out16, "third": parser.conv_out32}
    handles = [
        head.register_forward_pre_hook(lambda _, args, name=name: seen.update({name: args[0].shape}))
        for name, head in heads.items()
    ]
    parser(torch.randn(1, 3, 64, 64))
    for handle in handles:
        handle.remove()
    assert seen == {"first": (1, 256, 8, 8), "second": (1, 128, 8, 8), "third": (1, 128, 4, 4)}


@torch.no_grad()
def test_attention_weights_are_those_of_the_map_s_mean() -> None:
    torch.manual_seed(0)
    x = torch.randn(2, 16, 4, 4)
    refine = AttentionRefinement(16, 8).eval()
    h = refine.conv(x)
    weight = torch.sigmoid(refine.bn_atten(refine.conv_atten(h.mean((2, 3))[:, :, None, None])))
    torch.testing.assert_close(refine(x), h * weight)
    fuse = FeatureFusion(16).eval()
    h = fuse.convblk(x)
    weight = torch.sigmoid(fuse.conv2(torch.relu(fuse.conv1(h.mean((2, 3))[:, :, None, None]))))
    torch.testing.assert_close(fuse(x[:, :8], x[:, 8:]), h * (1 + weight))


@torch.no_grad()
def test_bf16_channels_last_and_capture() -> None:
    torch.manual_seed(0)
    parser, x = BiSeNet().eval(), torch.randn(1, 3, 64, 64)
    plain = parser(x)[0]
    torch.testing.assert_close(torch.compile(parser, backend="eager", fullgraph=True)(x)[0], plain)
    parser = parser.to(memory_format=torch.channels_last)
    x = x.contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(parser(x)[0], plain, rtol=1e-4, atol=1e-5)
    half = parser.bfloat16()(x.bfloat16())[0]
    assert (half.float() - plain).std() < 0.02 * plain.std()
