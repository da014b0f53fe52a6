import math
import tarfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tests.training.toys import write_toy_pack

from facewright.align import ARCFACE_TEMPLATE, Face
from facewright.data.embeddings import Embeddings
from facewright.errors import ConfigError, DataError, InputError
from facewright.synthesis import (
    CropEncoder,
    EmbeddingStatistics,
    contexts_from_photos,
    embed_pack,
    embed_photos,
    fitted_contexts,
    uniform_contexts,
)


def narrow(width: int = 16, spread: float = 0.3) -> EmbeddingStatistics:
    """Draws within roughly a radian of the first axis."""
    mean = np.zeros(width)
    mean[0] = 1.0
    return EmbeddingStatistics(
        mean, np.eye(width)[1:3], np.array([0.6, 0.5]), spread, encoder="tiny", encoder_sha256="e" * 64, sha256="s" * 64
    )


def crop(person: int, photo: int = 0) -> np.ndarray:
    board = np.random.default_rng(person).integers(60, 200, (8, 8, 1)).repeat(14, 0).repeat(14, 1).repeat(3, 2)
    return (board + np.random.default_rng([person, photo]).integers(0, 9, board.shape)).astype(np.uint8)


def test_uniform_is_even_over_the_sphere() -> None:
    contexts = uniform_contexts(2000, seed=0)
    rows = contexts.embeddings
    assert rows.shape == (2000, 512)
    assert rows.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(rows, axis=1), 1.0, atol=1e-6)
    assert contexts.names[:2] == ("000000", "000001")
    assert np.abs(rows.mean(axis=0)).max() < 5 / math.sqrt(512 * 2000)
    cosines = (rows @ rows.T)[np.triu_indices(2000, 1)]
    assert cosines.std() == pytest.approx(1 / math.sqrt(512), rel=0.02)
    assert contexts.provenance["encoder_sha256"] is None
    assert contexts.provenance["seed"] == 0


def test_uniform_depends_on_the_seed_and_grows_at_the_end() -> None:
    short, longer = uniform_contexts(5, seed=1, width=32), uniform_contexts(9, seed=1, width=32)
    np.testing.assert_array_equal(short.embeddings, longer.embeddings[:5])
    assert not np.array_equal(short.embeddings, uniform_contexts(5, seed=2, width=32).embeddings)


def test_fitted_follows_the_reference_and_grows_at_the_end() -> None:
    contexts = fitted_contexts(1500, narrow(), seed=0)
    assert contexts.embeddings[:, 0].mean() > 0.5
    np.testing.assert_array_equal(fitted_contexts(7, narrow(), seed=0).embeddings, contexts.embeddings[:7])
    assert contexts.provenance["kind"] == "fitted"
    assert contexts.provenance["encoder_sha256"] == "e" * 64
    assert contexts.provenance["statistics_sha256"] == "s" * 64


def test_min_angle_holds_between_all_and_drops_only_what_it_must() -> None:
    angle = 0.8
    contexts = fitted_contexts(120, narrow(), seed=3, min_angle=angle)
    cosines = (contexts.embeddings @ contexts.embeddings.T)[np.triu_indices(120, 1)]
    assert cosines.max() <= math.cos(angle) + 1e-6
    chosen: list[np.ndarray] = []  # greedy in the order of the free draws, one by one
    for row in fitted_contexts(3000, narrow(), seed=3).embeddings:
        if all(row @ other <= math.cos(angle) for other in chosen):
            chosen.append(row)
    np.testing.assert_array_equal(contexts.embeddings[: len(chosen)], np.stack(chosen[:120]))
    shorter = fitted_contexts(40, narrow(), seed=3, min_angle=angle)
    np.testing.assert_array_equal(shorter.embeddings, contexts.embeddings[:40])


def test_real_people_are_avoided() -> None:
    real = fitted_contexts(30, narrow(), seed=9)
    free = fitted_contexts(60, narrow(), seed=3, min_angle=0.8)
    away = fitted_contexts(60, narrow(), seed=3, min_angle=0.8, avoid=real)
    assert (free.embeddings @ real.embeddings.T).max() > math.cos(0.8)
    assert (away.embeddings @ real.embeddings.T).max() <= math.cos(0.8) + 1e-6
    assert away.provenance["avoided_sha256"] == real.sha256


def test_angle_that_cannot_be_kept() -> None:
    with pytest.raises(ConfigError, match=r"only \d+ of 50 identities lie 1\.5 rad apart"):
        fitted_contexts(50, narrow(), seed=0, min_angle=1.5)


def test_bad_arguments() -> None:
    real = fitted_contexts(2, narrow(), seed=9)
    for count in (0, -1):
        with pytest.raises(ConfigError, match="at least 1"):
            uniform_contexts(count, seed=0)
        with pytest.raises(ConfigError, match="at least 1"):
            fitted_contexts(count, narrow(), seed=0)
    for angle in (0.0, 2.0, math.nan):
        with pytest.raises(ConfigError, match="min_angle must lie in"):
            fitted_contexts(2, narrow(), seed=0, min_angle=angle)
    with pytest.raises(ConfigError, match="needs a min_angle"):
        fitted_contexts(2, narrow(), seed=0, avoid=real)
    with pytest.raises(DataError, match="16 wide, expected 8"):
        fitted_contexts(2, narrow(8), seed=0, min_angle=0.5, avoid=real)
    other = Embeddings(real.names, real.embeddings, {"encoder": "another", "encoder_sha256": "f" * 64})
    with pytest.raises(InputError, match="encoder another"):
        fitted_contexts(2, narrow(), seed=0, min_angle=0.5, avoid=other)


class RedCorner:
    """Finds a face wherever the top left pixel is red: the template's points, moved by `shift` pixels."""

    name = "red corner"

    def __init__(self, shift: int = 0) -> None:
        self.shift = shift

    def detect(self, image: np.ndarray) -> list[Face]:
        if tuple(image[0, 0]) != (255, 0, 0):
            return []
        small = Face((0.0, 0.0, 9.0, 9.0), ARCFACE_TEMPLATE * 0.1, 0.99)
        return [small, Face((0.0, 0.0, 112.0, 112.0), ARCFACE_TEMPLATE + self.shift, 0.9)]


def save(path: Path, picture: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(picture).save(path)


def photo(crop: np.ndarray, shift: int) -> np.ndarray:
    """A larger picture around a crop, with the red corner that the detector looks for."""
    picture = np.zeros((112 + 2 * shift, 112 + 2 * shift, 3), np.uint8)
    picture[shift : shift + 112, shift : shift + 112] = crop
    picture[0, 0] = (255, 0, 0)
    return picture


def test_crops_of_a_folder_are_embedded_under_their_paths(tmp_path: Path, encoder: CropEncoder) -> None:
    for name, person in (("b/1.png", 2), ("a/1.png", 1), ("a/2.png", 3)):
        save(tmp_path / "src" / name, crop(person))
    (tmp_path / "src/a/3.png").write_bytes(b"no picture")
    done: list[int] = []
    read = embed_photos(tmp_path / "src", encoder, batch=2, progress=lambda one, _: done.append(one))
    assert read.embeddings.names == ("a/1.png", "a/2.png", "b/1.png")
    np.testing.assert_array_equal(read.embeddings.embeddings, encoder.embed(np.stack([crop(1), crop(3), crop(2)])))
    assert [name for name, _ in read.refused] == ["a/3.png"]
    assert done == [1, 2, 3, 4]
    provenance = read.embeddings.provenance
    assert (provenance["source"], provenance["encoder"]) == ("src", "tiny encoder")
    assert provenance["encoder_sha256"] == encoder.sha256


def test_tar_gives_what_its_folder_gives(tmp_path: Path, encoder: CropEncoder) -> None:
    for person in (1, 2, 3):
        save(tmp_path / f"src/{person}.png", crop(person))
    with tarfile.open(tmp_path / "src.tar", "w") as archive:
        for path in (tmp_path / "src").iterdir():
            archive.add(path, path.name)
    folder, tar = (embed_photos(tmp_path / name, encoder).embeddings for name in ("src", "src.tar"))
    assert folder.sha256 == tar.sha256


def test_photos_without_a_detector_must_be_crops(tmp_path: Path, encoder: CropEncoder) -> None:
    save(tmp_path / "large.png", photo(crop(1), 20))
    with pytest.raises(DataError, match=r"large\.png is 152 x 152 px.*facewright align"):
        embed_photos(tmp_path, encoder)


def test_photos_are_aligned_by_their_largest_face_and_refusals_listed(tmp_path: Path, encoder: CropEncoder) -> None:
    save(tmp_path / "anna.png", photo(crop(1), 30))
    save(tmp_path / "sea.png", crop(4))
    save(tmp_path / "x/bo.png", photo(crop(2), 30))
    (tmp_path / "torn.png").write_bytes((tmp_path / "anna.png").read_bytes()[:400])
    made = contexts_from_photos(tmp_path, encoder, detector=RedCorner(30), batch=1)
    assert made.embeddings.names == ("anna", "bo")
    assert made.refused[0] == ("sea.png", "no face found")
    assert made.refused[1][0] == "torn.png"
    expected = encoder.embed(np.stack([crop(1), crop(2)]))
    assert np.einsum("nd,nd->n", made.embeddings.embeddings, expected).min() > 0.999
    assert made.embeddings.provenance["average"] is False


def test_equal_stems_keep_their_folders(tmp_path: Path, encoder: CropEncoder) -> None:
    for name in ("one/anna/1.png", "one/bo/1.png", "two/1.png", "two/1.bmp"):
        save(tmp_path / name, crop(1))
    assert contexts_from_photos(tmp_path / "one", encoder, detector=None).embeddings.names == ("anna/1", "bo/1")
    assert contexts_from_photos(tmp_path / "two", encoder, detector=None).embeddings.names == ("1.bmp", "1.png")


def test_photos_of_one_folder_are_averaged(tmp_path: Path, encoder: CropEncoder) -> None:
    for name, person, number in (("bo/1", 2, 0), ("anna/1", 1, 0), ("bo/2", 2, 1), ("cleo", 3, 0)):
        save(tmp_path / f"{name}.png", crop(person, number))
    made = contexts_from_photos(tmp_path, encoder, detector=None, average=True, mirror=True).embeddings
    assert made.names == ("anna", "bo", "cleo")
    one, two = encoder.embed(np.stack([crop(2), crop(2, 1)]), mirror=True)
    np.testing.assert_allclose(made.embeddings[1], (one + two) / np.linalg.norm(one + two), atol=1e-6)


def test_no_face_at_all(tmp_path: Path, encoder: CropEncoder) -> None:
    save(tmp_path / "a.png", crop(1))
    with pytest.raises(InputError, match=r"none of 1 pictures can be used, a\.png: no face found"):
        contexts_from_photos(tmp_path, encoder, detector=RedCorner())
    with pytest.raises(InputError, match="absent"):
        contexts_from_photos(tmp_path / "absent", encoder, detector=RedCorner())
    with pytest.raises(ConfigError, match="batch"):
        embed_photos(tmp_path, encoder, batch=0)


def test_pack_in_its_two_parts(tmp_path: Path, encoder: CropEncoder) -> None:
    pack = write_toy_pack(tmp_path / "pack", people=30, poses=2, unknown=3)
    seen, unseen = embed_pack(pack, encoder, batch=7), embed_pack(pack, encoder, held_out=True)
    assert len(seen) + len(unseen) == 63
    assert not set(seen.names) & set(unseen.names)
    assert {name.split("/")[0] for name in seen.names}.isdisjoint(name.split("/")[0] for name in unseen.names)
    assert "000000/000000" in seen.names + unseen.names
    assert {"000060", "000061", "000062"} <= set(seen.names + unseen.names)
    row = int(seen.names[3].split("/")[-1])
    crop = np.load(pack / "images.npy")[row, 8:120, 8:120]
    np.testing.assert_array_equal(seen.embeddings[3], encoder.embed(crop[None])[0])
    with pytest.raises(InputError, match="nobody is held out"):
        embed_pack(write_toy_pack(tmp_path / "few", people=1, unknown=0), encoder, held_out=True)
