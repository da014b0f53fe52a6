"""Encoders from files: the same numbers again, unit rows, refusals."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from tests.training.toys import toy_face

from facewright import encoders
from facewright.data.images import to_tensor
from facewright.encoders import Encoder, SlimFaceNet
from facewright.encoders.encoder import NETWORKS, width_of
from facewright.encoders.msid import MSID
from facewright.errors import DataError, InputError
from facewright.weights import Card, save_weights

CARD = Card("toy", "encoder", {"network": "slimfacenet"}, "drawn", "Apache-2.0", "by chance")


@pytest.fixture(scope="module")
def network() -> SlimFaceNet:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return SlimFaceNet().eval()


@pytest.fixture(scope="module")
def crops() -> np.ndarray:
    return np.stack([toy_face(person, 0, size=112) for person in range(5)])


def test_a_saved_encoder_embeds_alike(network: SlimFaceNet, crops: np.ndarray, tmp_path: Path) -> None:
    path = tmp_path / "e.safetensors"
    card = save_weights(path, network.state_dict(), CARD)
    loaded = encoders.load(path)
    assert np.allclose(loaded.embed(crops), Encoder(network, name="x").embed(crops), atol=1e-6)
    assert (loaded.name, loaded.sha256, loaded.width) == ("toy", card.sha256, 512)
    assert not loaded.training


def test_what_the_card_says_comes_along(network: SlimFaceNet, tmp_path: Path) -> None:
    card = save_weights(tmp_path / "e.safetensors", network.state_dict(), CARD)
    loaded = encoders.load(tmp_path / "e.safetensors")
    assert loaded.card is not None
    assert (loaded.card["licence"], loaded.card["sha256"]) == ("Apache-2.0", card.sha256)
    assert Encoder(network, name="x").card is None


@pytest.mark.parametrize("name", NETWORKS)
def test_the_width_of_every_network(name: str) -> None:
    with torch.device("meta"):
        embedding = NETWORKS[name]().eval()(torch.zeros(1, 3, 112, 112))
    assert embedding.shape == (1, width_of(name))


def test_an_msid_embeds_by_all_four_taps(crops: np.ndarray, tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = MSID().eval()
    card = replace(CARD, architecture={"network": "msid"})
    save_weights(tmp_path / "m.safetensors", network.state_dict(), card)
    loaded = encoders.load(tmp_path / "m.safetensors", precision="fp32")
    with torch.inference_mode():
        expected = F.normalize(network(to_tensor(crops[:2])))
    assert loaded.width == 1536
    assert np.allclose(loaded.embed(crops[:2]), expected.numpy(), atol=1e-5)


def test_half_storage_moves_embeddings_little(network: SlimFaceNet, crops: np.ndarray, tmp_path: Path) -> None:
    save_weights(tmp_path / "e.safetensors", network.state_dict(), CARD, half=True)
    cosines = (encoders.load(tmp_path / "e.safetensors").embed(crops) * Encoder(network, name="x").embed(crops)).sum(1)
    assert cosines.min() > 0.999


def test_bf16_moves_embeddings_little(network: SlimFaceNet, crops: np.ndarray) -> None:
    exact, quick = (Encoder(network, name="x", precision=name).embed(crops) for name in ("fp32", "bf16"))
    assert not np.array_equal(exact, quick)
    assert (exact * quick).sum(1).min() > 0.999


def test_rows_are_unit_and_do_not_depend_on_the_batch(network: SlimFaceNet, crops: np.ndarray) -> None:
    encoder = Encoder(network, name="toy", precision="fp32")
    seen: list[tuple[int, int]] = []
    one = encoder.embed(crops, batch=2, progress=lambda done, total: seen.append((done, total)))
    assert one.shape == (5, 512)
    assert one.dtype == np.float32
    assert np.allclose(np.linalg.norm(one, axis=1), 1, atol=1e-5)
    assert np.allclose(one, encoder.embed(crops, batch=5), atol=1e-5)
    assert seen == [(2, 5), (4, 5), (5, 5)]
    with torch.inference_mode():
        assert np.allclose(encoder(to_tensor(crops)).numpy(), one, atol=1e-5)
    assert encoder.embed(crops[:0]).shape == (0, 512)


def test_raw_rows_are_what_the_network_gives(network: SlimFaceNet, crops: np.ndarray) -> None:
    encoder = Encoder(network, name="toy", precision="fp32")
    with torch.inference_mode():
        raw = network(to_tensor(crops)).numpy()
    assert np.allclose(encoder.embed(crops, unit=False), raw, atol=1e-5)
    assert np.linalg.norm(raw, axis=1).max() < 0.5, "no unit length"


def test_the_mirror_is_added_before_normalising(network: SlimFaceNet, crops: np.ndarray) -> None:
    encoder = Encoder(network, name="toy", precision="fp32")
    mirrored = np.ascontiguousarray(crops[:, :, ::-1])
    with torch.inference_mode():
        raw = network(to_tensor(crops)) + network(to_tensor(mirrored))
    both = encoder.embed(crops, mirror=True)
    assert np.allclose(both, F.normalize(raw).numpy(), atol=1e-5)
    assert np.allclose(both, encoder.embed(mirrored, mirror=True), atol=1e-5)
    assert not np.allclose(both, encoder.embed(crops), atol=1e-3)


@pytest.mark.parametrize("shape", [(2, 128, 128, 3), (112, 112, 3), (2, 112, 112, 1)])
def test_other_crops_are_refused(network: SlimFaceNet, shape: tuple[int, ...]) -> None:
    with pytest.raises(InputError, match=r"uint8 \(N, 112, 112, 3\), got uint8"):
        Encoder(network, name="toy").embed(np.zeros(shape, np.uint8))


def test_a_file_that_does_not_fit_is_named(network: SlimFaceNet, tmp_path: Path) -> None:
    path = tmp_path / "e.safetensors"
    save_weights(path, network.state_dict(), replace(CARD, architecture={"network": "slimfacenett"}))
    with pytest.raises(DataError, match="encoder toy: unknown network 'slimfacenett'; known: "):
        encoders.load(path)
    state = {name: value for name, value in network.state_dict().items() if name != "fc.weight"}
    save_weights(path, state, CARD)
    with pytest.raises(DataError, match="its tensors do not fit a slimfacenet"):
        encoders.load(path)
    save_weights(path, network.state_dict(), replace(CARD, kind="generator"))
    with pytest.raises(InputError, match="expected 'encoder'"):
        encoders.load(path)
