"""The autoencoder: shapes, the unit latents, the clipped pictures."""

import torch
from tests.diffusion.tiny import AUTOENCODER, tiny_autoencoder

from facewright.diffusion import Autoencoder, AutoencoderConfig


def test_shapes_there_and_back() -> None:
    for network, channels in ((tiny_autoencoder(), 4), (Autoencoder(AutoencoderConfig()).eval(), 8)):
        with torch.inference_mode():
            latents = network.encode(torch.zeros(2, 3, 128, 128))
            assert latents.shape == (2, channels, 16, 16)
            assert network.decode(latents).shape == (2, 3, 128, 128)


def test_mean_and_spread_move_the_latents_and_are_undone() -> None:
    network, plain = tiny_autoencoder(), tiny_autoencoder()
    network.mean.fill_(2.0)
    network.std.copy_(torch.arange(1.0, 5.0).view(1, 4, 1, 1))
    images = torch.rand(2, 3, 128, 128, generator=torch.Generator().manual_seed(0)) * 2 - 1
    with torch.inference_mode():
        latents = network.encode(images)
        assert torch.allclose(latents * network.std + 2.0, plain.encode(images), atol=1e-5)
        assert torch.allclose(network.decode(latents), plain.decode(plain.encode(images)), atol=1e-4)


def test_both_are_part_of_the_weights() -> None:
    assert {"mean", "std"} <= Autoencoder(AUTOENCODER).state_dict().keys()


def test_pictures_are_clipped() -> None:
    with torch.inference_mode():
        pictures = tiny_autoencoder().decode(1e4 * torch.ones(1, 4, 16, 16))
    assert float(pictures.abs().max()) == 1.0
