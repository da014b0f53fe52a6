import pytest
import torch
from torch import Tensor

from facewright.errors import InputError
from facewright.personalise import box_masks, columns
from facewright.personalise.regions import RegionalProcessor, region_weights, regional_estimates


def test_columns_cover_the_picture_side_by_side() -> None:
    masks = box_masks(columns(3), (4, 9))
    assert torch.equal(masks.sum(0), torch.ones(4, 9))
    assert masks[1, 0].tolist() == [0, 0, 0, 1, 1, 1, 0, 0, 0]


@pytest.mark.parametrize("box", [(0.1, 0.2, 0.75, 0.9), (0.0, 0.0, 1.0, 1.0), (0.31, 0.42, 0.33, 0.45)])
def test_a_box_covers_its_area_at_any_size(box: tuple[float, float, float, float]) -> None:
    area = (box[2] - box[0]) * (box[3] - box[1])
    for size in ((8, 8), (7, 13), (64, 64)):
        assert float(box_masks([box], size).mean()) == pytest.approx(area, rel=1e-5)


@pytest.mark.parametrize("box", [(0.5, 0, 0.5, 1), (0, 0.6, 1, 0.4), (-0.1, 0, 1, 1), (0, 0, 1, 1.1)])
def test_a_box_outside_the_picture_is_refused(box: tuple[float, float, float, float]) -> None:
    with pytest.raises(InputError, match="left, top, right, bottom from 0 to 1"):
        box_masks([box], (8, 8))


def test_shares_add_up_and_overlaps_are_shared() -> None:
    masks = torch.tensor([[[1.0, 1.0, 0.0, 0.25]], [[0.0, 1.0, 0.0, 0.25]]])
    weights = region_weights(masks)
    assert torch.equal(weights.sum(0), torch.ones(1, 4))
    assert weights[:, 0].T.tolist() == [[0, 1, 0], [0, 0.5, 0.5], [1, 0, 0], [0.5, 0.25, 0.25]]
    with pytest.raises(InputError, match=r"\(people, height, width\) in \[0, 1\], got \(1, 4\)"):
        region_weights(masks[0])
    with pytest.raises(InputError, match="in"):
        region_weights(2 * masks)


@torch.no_grad()
def test_each_pixel_reads_the_prompt_of_its_region_alone() -> None:
    attention_module = pytest.importorskip("diffusers.models.attention_processor", reason="needs the extra personalise")
    torch.manual_seed(0)
    attention = attention_module.Attention(16, cross_attention_dim=8, heads=2, dim_head=8)
    pixels, prompts = torch.randn(3, 16, 16), torch.randn(3, 3 * 5, 8)
    weights = region_weights(box_masks([(0.0, 0.0, 0.5, 0.5), (0.5, 0.0, 1.0, 0.5)], (4, 4)))
    biases = {16: weights.flatten(1).T.log()}
    processor = RegionalProcessor(attention.processor, biases)
    found = processor(attention, pixels, prompts)
    for region in range(3):
        alone = attention(pixels, prompts[:, 5 * region : 5 * region + 5])
        inside = weights[region].flatten() == 1
        assert inside.any()
        torch.testing.assert_close(found[:, inside], alone[:, inside])
    for wrong in (torch.randn(3, 15, 16), torch.randn(3, 25, 16)):
        with pytest.raises(InputError, match=r"maps of \[16\] pixels"):
            processor(attention, wrong, prompts)


class Answers(torch.nn.Module):
    """In place of a denoiser: the mean of the prompt it is given, everywhere."""

    def forward(self, sample: Tensor, time: Tensor, *, encoder_hidden_states: Tensor, scale: Tensor) -> tuple[Tensor]:
        assert len(sample) == len(encoder_hidden_states) == len(scale)
        assert time.ndim == 0
        return (sample * 0 + encoder_hidden_states.mean((1, 2))[:, None, None, None] * scale[:, None, None, None],)


def test_estimates_are_joined_by_region() -> None:
    network = Answers()
    weights = region_weights(box_masks(columns(2), (4, 4)))
    prompts = torch.tensor([[1.0, 2.0, 3.0], [10.0, 20.0, 30.0]])[..., None]  # a token for each of 3 regions
    given = {"encoder_hidden_states": prompts, "scale": torch.tensor([1.0, 2.0])}
    with regional_estimates(network, weights, latent=(2, 4)):
        found = network(torch.zeros(2, 1, 2, 4), torch.tensor(5), **given)[0]
    assert found[:, 0, 0].tolist() == [[2, 2, 3, 3], [40, 40, 60, 60]]
    assert network(torch.zeros(2, 1, 2, 4), torch.tensor(5), **given)[0][0, 0, 0].tolist() == [2, 2, 2, 2]
