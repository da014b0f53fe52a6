"""Face packs: labels, held-out people, faces that are left out."""

from pathlib import Path

import numpy as np
import pytest
from tests.training.toys import toy_face, toy_pack, write_toy_pack

from facewright.data.packs import FacePack, read_pack
from facewright.errors import DataError


@pytest.fixture
def pack(tmp_path: Path) -> FacePack:
    return toy_pack(tmp_path / "pack", people=60, poses=2, unknown=40)


def test_labels_are_contiguous_and_unknown_people_have_none(pack: FacePack) -> None:
    assert pack.labels[:120].tolist() == [person for person in range(60) for _ in range(2)]
    assert set(pack.labels[120:].tolist()) == {-1}
    assert pack.images.shape == (160, 128, 128, 3)
    assert np.array_equal(pack.images[5], toy_face(2, 5))


def test_whole_people_are_held_out_for_ever(pack: FacePack, tmp_path: Path) -> None:
    both = pack.held_out[:120].reshape(60, 2)
    assert np.array_equal(both[:, 0], both[:, 1])
    assert 0 < int(pack.held_out.sum()) < 40
    larger = toy_pack(tmp_path / "larger", people=70, poses=2, unknown=0)
    assert np.array_equal(larger.held_out[:120], pack.held_out[:120]), "more people must not move the others"


def test_pixels_stay_on_disk(pack: FacePack) -> None:
    assert isinstance(pack.images, np.memmap)
    assert not pack.images.flags.writeable


def test_rows_are_chosen_by_what_is_asked(pack: FacePack) -> None:
    assert len(pack.where()) == 160
    assert np.array_equal(pack.where(sources=(1,)), np.arange(120, 160))
    trained, held_out = pack.where(held_out=False), pack.where(held_out=True)
    assert np.array_equal(np.sort(np.concatenate([trained, held_out])), np.arange(160))
    assert not pack.held_out[trained].any()
    assert set(pack.where(held_out=True, sources=(0,))) == set(held_out[held_out < 120])


def test_faces_that_are_not_kept_belong_to_no_source_and_nobody(tmp_path: Path) -> None:
    folder = write_toy_pack(tmp_path / "pack", people=3, poses=2, unknown=1)
    with np.load(folder / "index.npz") as index:
        arrays = dict(index)
    arrays["keep"][[1, 6]] = False
    np.savez(folder / "index.npz", **arrays)
    pack = read_pack(folder)
    assert pack.sources.tolist() == [0, -1, 0, 0, 0, 0, -1]
    assert pack.sources.dtype == np.int8
    assert pack.labels.tolist() == [0, -1, 1, 1, 2, 2, -1]
    assert np.array_equal(pack.where(sources=(0, 1)), [0, 2, 3, 4, 5])


@pytest.mark.parametrize("missing", ["images.npy", "index.npz"])
def test_a_folder_that_is_no_pack_is_named(tmp_path: Path, missing: str) -> None:
    folder = write_toy_pack(tmp_path / "pack")
    (folder / missing).unlink()
    with pytest.raises(DataError, match=r"pack is not a face pack.*make one with facewright pack"):
        read_pack(folder)


def test_images_and_index_must_be_of_one_length(tmp_path: Path) -> None:
    folder = write_toy_pack(tmp_path / "pack")
    np.save(folder / "images.npy", np.zeros((3, 128, 128, 3), np.uint8))
    with pytest.raises(DataError, match="3 images but 20 index rows"):
        read_pack(folder)
