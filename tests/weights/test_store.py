import hashlib
import json
import pickle
import struct
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from facewright.errors import DataError, InputError
from facewright.weights import Card, bundled_cards, load_weights, read_card, save_weights, store, tensors_sha256

CARD = Card("tiny", "encoder", {"width": 8}, "drawn faces", "Apache-2.0", "none, random")


def tensors() -> dict[str, torch.Tensor]:
    random = torch.Generator().manual_seed(3)
    return {
        "conv.weight": torch.randn(4, 3, 3, 3, generator=random),
        "norm.running_var": torch.rand(4, generator=random),
        "norm.num_batches_tracked": torch.tensor(7),
    }


def test_round_trip(tmp_path: Path) -> None:
    card = save_weights(tmp_path / "tiny.safetensors", tensors(), CARD)
    loaded, read = load_weights(tmp_path / "tiny.safetensors", kind="encoder")
    assert read == card
    assert card == replace(CARD, sha256=tensors_sha256(tensors()), stored="float32", created=card.created)
    assert card.created.endswith("+00:00")
    assert loaded.keys() == tensors().keys()
    for name, tensor in tensors().items():
        assert torch.equal(loaded[name], tensor)
    assert card.sha256 in (tmp_path / "tiny.md").read_text()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["tiny.md", "tiny.safetensors"]


def test_half_keeps_vectors_and_large_values_whole(tmp_path: Path) -> None:
    given = tensors() | {"large": torch.full((2, 2), 1e6)}
    card = save_weights(tmp_path / "tiny.safetensors", given, CARD, half=True)
    loaded, _ = load_weights(tmp_path / "tiny.safetensors", kind="encoder")
    assert card.stored == "float16"
    assert loaded["conv.weight"].dtype == torch.float32
    assert torch.equal(loaded["conv.weight"], given["conv.weight"].half().float())
    assert torch.equal(loaded["norm.running_var"], given["norm.running_var"])
    assert torch.equal(loaded["large"], given["large"])
    assert torch.equal(loaded["norm.num_batches_tracked"], torch.tensor(7))


def test_sha256_is_of_the_model_not_of_the_file() -> None:
    given = tensors()
    turned = dict(reversed(given.items()))
    turned["conv.weight"] = given["conv.weight"].to(memory_format=torch.channels_last)
    assert tensors_sha256(turned) == tensors_sha256(given)
    for change in (
        {"norm.num_batches_tracked": torch.tensor(8)},
        {"norm.running_var": given["norm.running_var"].double()},
        {"norm.running_var": given["norm.running_var"].reshape(2, 2)},
        {"extra": torch.zeros(0)},
    ):
        assert tensors_sha256(given | change) != tensors_sha256(given)


def test_sha256_by_hand() -> None:
    expected = hashlib.sha256(b'["a", "torch.float32", [2]]' + struct.pack("<2f", 1.0, -2.0)).hexdigest()
    assert tensors_sha256({"a": torch.tensor([1.0, -2.0])}) == expected


def test_tied_and_sliced_tensors_are_stored(tmp_path: Path) -> None:
    table = torch.arange(12.0).reshape(3, 4)
    save_weights(tmp_path / "t.safetensors", {"a": table, "b": table, "c": table[:, ::2].T}, CARD)
    loaded, _ = load_weights(tmp_path / "t.safetensors", kind="encoder")
    assert torch.equal(loaded["b"], table)
    assert torch.equal(loaded["c"], table[:, ::2].T)


def test_wrong_kind(tmp_path: Path) -> None:
    save_weights(tmp_path / "tiny.safetensors", tensors(), CARD)
    with pytest.raises(InputError, match=r"tiny\.safetensors holds a model of kind 'encoder', expected 'generator'"):
        load_weights(tmp_path / "tiny.safetensors", kind="generator")


@pytest.mark.parametrize("share", [0.0, 0.0005, 0.2, 0.99])
def test_truncated_file(tmp_path: Path, share: float) -> None:
    path = tmp_path / "tiny.safetensors"
    save_weights(path, tensors(), CARD)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * share)])
    with pytest.raises(DataError, match=r"tiny\.safetensors.*get (it|the file) again"):
        load_weights(path, kind="encoder")


def test_one_changed_byte(tmp_path: Path) -> None:
    path = tmp_path / "tiny.safetensors"
    save_weights(path, tensors(), CARD)
    data = bytearray(path.read_bytes())
    data[-3] ^= 1
    path.write_bytes(bytes(data))
    with pytest.raises(DataError, match="sha256"):
        load_weights(path, kind="encoder")


def test_file_without_card(tmp_path: Path) -> None:
    save_file(tensors(), tmp_path / "bare.safetensors")
    with pytest.raises(DataError, match=r"bare\.safetensors: a safetensors file without a facewright card"):
        load_weights(tmp_path / "bare.safetensors", kind="encoder")


def test_newer_card(tmp_path: Path) -> None:
    newer = json.dumps(json.loads(CARD.to_json()) | {"format": 99})
    save_file(tensors(), tmp_path / "new.safetensors", metadata={store.CARD_KEY: newer})
    with pytest.raises(DataError, match="format 99, this facewright reads up to 1"):
        load_weights(tmp_path / "new.safetensors", kind="encoder")


class Bomb:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return (pytest.fail, ("unpickled",))


def test_nothing_is_unpickled(tmp_path: Path) -> None:
    (tmp_path / "model.pt").write_bytes(pickle.dumps(Bomb()))
    torch.save({"a": torch.zeros(1)}, tmp_path / "zip.pt")
    for name in ("model.pt", "zip.pt"):
        with pytest.raises(DataError, match="not a whole safetensors file"):
            load_weights(tmp_path / name, kind="encoder")


def test_missing_file_and_wrong_suffix(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such weights file"):
        read_card(tmp_path / "absent.safetensors")
    with pytest.raises(InputError, match=r"model\.pt.*\.safetensors"):
        save_weights(tmp_path / "model.pt", tensors(), CARD)


def test_nan_is_not_saved_and_the_old_file_stays(tmp_path: Path) -> None:
    path = tmp_path / "tiny.safetensors"
    save_weights(path, tensors(), CARD)
    before = path.read_bytes()
    with pytest.raises(DataError, match=r"'conv\.weight' holds NaN"):
        save_weights(path, tensors() | {"conv.weight": torch.full((2, 2), torch.nan)}, CARD)
    assert path.read_bytes() == before


def test_bundled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store, "_bundled_folder", lambda: tmp_path)
    card = save_weights(tmp_path / "encoder.safetensors", tensors(), CARD)
    assert load_weights("bundled", kind="encoder")[1] == card
    assert bundled_cards() == {"encoder": card}
    with pytest.raises(InputError, match="no bundled generator 'bundled': reinstall facewright, or name a file"):
        load_weights("bundled", kind="generator")
    small = save_weights(tmp_path / "encoder-small.safetensors", tensors(), replace(CARD, name="small"))
    assert load_weights("bundled-small", kind="encoder")[1] == small
    with pytest.raises(InputError, match="'bundled-tiny': there is bundled and bundled-small; name one of those"):
        load_weights("bundled-tiny", kind="encoder")


def test_every_bundled_model_is_whole_and_has_its_page() -> None:
    for kind, card in bundled_cards().items():
        assert load_weights(kind.replace(card.kind, "bundled", 1), kind=card.kind)[1] == card
        page = store._bundled_folder() / f"{kind}.md"
        assert page.read_text() == card.to_markdown()
