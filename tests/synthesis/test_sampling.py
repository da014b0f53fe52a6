import errno
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from facewright.data import sets
from facewright.data.embeddings import Embeddings, embedding_sha256
from facewright.data.images import to_uint8
from facewright.data.sets import read_set, write_manifest
from facewright.errors import ConfigError, DataError, InputError, WorkError
from facewright.synthesis import image_seed, sample_set, sampling, start_noise, uniform_contexts

CONTEXTS = uniform_contexts(5, seed=0, width=64)
SETTINGS: dict[str, Any] = {"per_identity": 3, "steps": 4, "guidance": 1.5, "seed": 7, "batch": 4}


def files(folder: Path) -> dict[str, bytes]:
    """Every file of a set by its name below the folder."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


@pytest.fixture
def unbroken(tmp_path: Path, generator: Any, encoder: Any) -> dict[str, bytes]:
    """The files of a set made in one go."""
    sample_set(generator, CONTEXTS, out=tmp_path / "unbroken", encoder=encoder, **SETTINGS)
    generator.calls.clear()
    return files(tmp_path / "unbroken")


def test_set_holds_every_image_of_every_identity(tmp_path: Path, generator: Any, encoder: Any) -> None:
    steps: list[tuple[int, int]] = []
    made = sample_set(
        generator,
        CONTEXTS,
        out=tmp_path / "set",
        encoder=encoder,
        progress=lambda *done: steps.append(done),
        **SETTINGS,
    )
    faces = read_set(tmp_path / "set")
    assert (made.identities, made.images, made.made) == (5, 15, 15)
    assert steps == [(4, 15), (8, 15), (12, 15), (15, 15)]
    np.testing.assert_array_equal(faces.identities, np.repeat(np.arange(5), 3))
    row = faces.rows[7]
    assert (row.identity, row.name, row.index, row.file) == (2, "000002", 1, "images/000002/001.png")
    assert row.seed == image_seed(7, "000002", 1)
    assert row.context_sha256 == embedding_sha256(CONTEXTS.embeddings[2])
    assert (row.generator_sha256, row.sampler, row.steps, row.guidance) == ("a" * 64, "ddim", 4, 1.5)
    assert (row.kept, row.reason) == (True, "")
    expected = np.einsum("nd,nd->n", encoder.embed(faces.crops()), CONTEXTS.embeddings.repeat(3, axis=0))
    np.testing.assert_allclose([row.similarity for row in faces.rows], expected, atol=1e-6)
    assert made.similarity == pytest.approx(expected.mean(), abs=1e-6)
    assert expected.min() > 0.8


def test_batches_are_packed_across_identities(tmp_path: Path, generator: Any) -> None:
    sample_set(generator, CONTEXTS, out=tmp_path / "set", **SETTINGS)
    assert [len(contexts) for contexts, _ in generator.calls] == [4, 4, 4, 3]
    contexts, noise = (torch.cat(parts) for parts in zip(*generator.calls, strict=True))
    np.testing.assert_array_equal(contexts.numpy(), CONTEXTS.embeddings.repeat(3, axis=0))
    assert noise.shape == (15, 2, 4, 4)
    assert noise.flatten(1).unique(dim=0).shape[0] == 15


def test_picture_is_what_the_generator_made(tmp_path: Path, generator: Any) -> None:
    for size, cut in ((128, slice(None)), (112, slice(8, 120))):
        out = tmp_path / str(size)
        sample_set(generator, CONTEXTS, out=out, image_size=size, **SETTINGS)
        contexts, noise = generator.calls[0]
        expected = to_uint8(generator.sample(contexts, noise, steps=4, guidance=1.5))[:, cut, cut]
        faces = read_set(out)
        np.testing.assert_array_equal(np.stack([faces.image(number) for number in range(4)]), expected)
        assert faces.config["image_size"] == size
        assert faces.config["crop"] == 112
        generator.calls.clear()
    np.testing.assert_array_equal(read_set(tmp_path / "128").crops(), read_set(tmp_path / "112").crops())


def test_noise_depends_on_seed_name_and_index_only(tmp_path: Path, generator: Any) -> None:
    some = Embeddings(CONTEXTS.names[3:], CONTEXTS.embeddings[3:])
    sample_set(generator, some, out=tmp_path / "some", **SETTINGS)
    noise = torch.cat([noise for _, noise in generator.calls])
    seeds = [image_seed(7, name, index) for name in ("000003", "000004") for index in range(3)]
    assert torch.equal(noise, start_noise(seeds, (2, 4, 4)))
    sample_set(generator, CONTEXTS, out=tmp_path / "all", **SETTINGS)
    some_pictures = read_set(tmp_path / "some").crops().astype(int)
    all_pictures = read_set(tmp_path / "all").crops().astype(int)[9:]
    assert np.abs(some_pictures - all_pictures).max() <= 1  # another plan of batches rounds differently, no more


def test_another_seed_gives_other_pictures(tmp_path: Path, generator: Any) -> None:
    sample_set(generator, CONTEXTS, out=tmp_path / "a", **SETTINGS)
    sample_set(generator, CONTEXTS, out=tmp_path / "b", **(SETTINGS | {"seed": 8}))
    first, second = read_set(tmp_path / "a").crops(), read_set(tmp_path / "b").crops()
    assert all((one != two).any() for one, two in zip(first, second, strict=True))


def test_sampler_with_noise_on_the_way_is_repeatable(tmp_path: Path, generator: Any) -> None:
    for name in ("a", "b"):
        sample_set(generator, CONTEXTS, out=tmp_path / name, sampler="ddpm", **SETTINGS)
    sample_set(generator, CONTEXTS, out=tmp_path / "ddim", **SETTINGS)
    assert files(tmp_path / "a") == files(tmp_path / "b")
    assert (read_set(tmp_path / "a").crops() != read_set(tmp_path / "ddim").crops()).any()


def test_finished_set_is_left_alone(tmp_path: Path, generator: Any, encoder: Any, unbroken: dict[str, bytes]) -> None:
    again = sample_set(generator, CONTEXTS, out=tmp_path / "unbroken", encoder=encoder, **SETTINGS)
    assert (again.made, again.images) == (0, 15)
    assert again.similarity is not None
    assert generator.calls == []
    assert files(tmp_path / "unbroken") == unbroken


@pytest.mark.parametrize("failure", [KeyboardInterrupt(), RuntimeError("the device is gone")])
@pytest.mark.parametrize("call", [0, 1, 3])
def test_stop_in_a_batch_then_the_same_call_completes(
    tmp_path: Path, generator: Any, encoder: Any, unbroken: dict[str, bytes], failure: BaseException, call: int
) -> None:
    def stop(number: int) -> None:
        if number == call:
            raise failure

    out = tmp_path / "set"
    generator.before = stop
    with pytest.raises(type(failure)):
        sample_set(generator, CONTEXTS, out=out, encoder=encoder, **SETTINGS)
    if call == 0:
        assert not out.exists()
    else:
        assert len(read_set(out)) == 4 * call
    generator.before = lambda _: None
    generator.calls.clear()
    done = sample_set(generator, CONTEXTS, out=out, encoder=encoder, **SETTINGS)
    assert (done.made, done.images) == (15 - 4 * call, 15)
    assert len(generator.calls) == 4 - call
    assert files(out) == unbroken


@pytest.mark.parametrize("files_written", [1, 5, 6])
def test_stop_between_two_pictures_of_a_batch(
    tmp_path: Path,
    generator: Any,
    encoder: Any,
    unbroken: dict[str, bytes],
    monkeypatch: pytest.MonkeyPatch,
    files_written: int,
) -> None:
    out = tmp_path / "set"
    monkeypatch.setattr(sampling, "write_image", failing_after(files_written, KeyboardInterrupt()))
    with pytest.raises(KeyboardInterrupt):
        sample_set(generator, CONTEXTS, out=out, encoder=encoder, **SETTINGS)
    assert len(read_set(out)) == files_written
    monkeypatch.undo()
    before = {name: (out / name).stat().st_mtime_ns for name in files(out) if name.endswith(".png")}
    done = sample_set(generator, CONTEXTS, out=out, encoder=encoder, **SETTINGS)
    assert done.made == 15 - files_written
    assert files(out) == unbroken
    assert all((out / name).stat().st_mtime_ns == stamp for name, stamp in before.items())


def failing_after(count: int, failure: BaseException) -> Callable[..., None]:
    """write_image that raises once `count` pictures are written."""
    written: list[str] = []

    def write(path: Path, row: sets.SetRow, image: np.ndarray) -> None:
        if len(written) == count:
            raise failure
        sets.write_image(path, row, image)
        written.append(row.file)

    return write


def test_killed_run_has_its_manifest_rebuilt(
    tmp_path: Path, generator: Any, encoder: Any, unbroken: dict[str, bytes]
) -> None:
    out = tmp_path / "unbroken"
    manifest = out / "manifest.parquet"
    whole = manifest.read_bytes()
    rows = sets.read_manifest(out)
    spoilers: list[Callable[[], object]] = [
        manifest.unlink,
        lambda: manifest.write_bytes(whole[:300]),
        lambda: write_manifest(out, rows[:6]),
    ]
    for spoil in spoilers:
        spoil()
        sample_set(generator, CONTEXTS, out=out, encoder=encoder, **SETTINGS)
        assert generator.calls == []  # the pictures are there: only read and measured again
        assert files(out) == unbroken


def test_deleted_pictures_are_remade_and_no_others(
    tmp_path: Path, generator: Any, encoder: Any, unbroken: dict[str, bytes]
) -> None:
    out = tmp_path / "unbroken"
    (out / "images/000001/002.png").unlink()
    (out / "images/000004/000.png").unlink()
    done = sample_set(generator, CONTEXTS, out=out, encoder=encoder, **SETTINGS)
    assert done.made == 2
    assert [len(contexts) for contexts, _ in generator.calls] == [4, 3]  # their whole batches, for equal bits
    assert files(out) == unbroken


def test_a_filter_s_marks_survive_completion(tmp_path: Path, generator: Any, encoder: Any) -> None:
    out = tmp_path / "set"
    sample_set(generator, CONTEXTS, out=out, encoder=encoder, **SETTINGS)
    rows = list(read_set(out).rows)
    rows[3] = replace(rows[3], kept=False, reason="similarity below 0.3")
    write_manifest(out, rows)
    (out / rows[8].file).unlink()
    sample_set(generator, CONTEXTS, out=out, encoder=encoder, **SETTINGS)
    assert read_set(out).rows == tuple(rows)


def test_manifest_is_written_on_the_way(tmp_path: Path, generator: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sampling, "MANIFEST_EVERY", -1.0)
    seen: list[int] = []

    def look(number: int) -> None:
        if number:
            seen.append(len(read_set(tmp_path / "set")))

    generator.before = look
    sample_set(generator, CONTEXTS, out=tmp_path / "set", **SETTINGS)
    assert seen == [4, 8, 12]


def test_other_settings_are_refused_by_name(tmp_path: Path, generator: Any, unbroken: dict[str, bytes]) -> None:
    with pytest.raises(InputError) as caught:
        sample_set(generator, CONTEXTS, out=tmp_path / "unbroken", **(SETTINGS | {"steps": 5, "batch": 8}))
    message = str(caught.value)
    for said in ("steps (4 there, 5 asked)", "batch (4 there, 8 asked)", 'encoder ("tiny encoder" there, null asked)'):
        assert said in message
    assert "seed" not in message
    with pytest.raises(InputError, match="contexts_sha256"):
        sample_set(generator, uniform_contexts(5, seed=1, width=64), out=tmp_path / "unbroken", **SETTINGS)
    assert files(tmp_path / "unbroken") == unbroken


def test_folder_of_something_else_is_refused(tmp_path: Path, generator: Any) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(InputError, match=r"no config\.json"):
        sample_set(generator, CONTEXTS, out=tmp_path, **SETTINGS)
    (tmp_path / "config.json").write_text('{"source": "photos"}')
    with pytest.raises(InputError, match=r"holds the config\.json of something that is no set; name another folder"):
        sample_set(generator, CONTEXTS, out=tmp_path, **SETTINGS)
    (tmp_path / "config.json").unlink()
    with pytest.raises(InputError, match="is a file"):
        sample_set(generator, CONTEXTS, out=tmp_path / "notes.txt", **SETTINGS)
    assert files(tmp_path) == {"notes.txt": b"mine"}


def test_full_disk_keeps_what_was_made(
    tmp_path: Path, generator: Any, encoder: Any, unbroken: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    full = OSError(errno.ENOSPC, "No space left on device")
    monkeypatch.setattr(sampling, "write_image", failing_after(6, full))
    with pytest.raises(WorkError, match=r"No space left on device.*6 of 15 images are kept, the same command"):
        sample_set(generator, CONTEXTS, out=tmp_path / "set", encoder=encoder, **SETTINGS)
    assert len(read_set(tmp_path / "set")) == 6
    monkeypatch.undo()
    sample_set(generator, CONTEXTS, out=tmp_path / "set", encoder=encoder, **SETTINGS)
    assert files(tmp_path / "set") == unbroken


def test_generator_that_gives_nan_is_stopped(tmp_path: Path, generator: Any) -> None:
    generator.broken = 2
    with pytest.raises(WorkError, match=r"NaN for image 2 of identity '000000' \(guidance 1\.5\)"):
        sample_set(generator, CONTEXTS, out=tmp_path / "set", **SETTINGS)
    assert not (tmp_path / "set").exists()


def test_batch_that_does_not_fit(tmp_path: Path, generator: Any) -> None:
    def exhausted(number: int) -> None:
        raise torch.OutOfMemoryError("full")

    generator.before = exhausted
    with pytest.raises(WorkError, match="4 images at a time do not fit"):
        sample_set(generator, CONTEXTS, out=tmp_path / "set", **SETTINGS)
    generator.before = lambda _: None
    sample_set(generator, CONTEXTS, out=tmp_path / "set", **(SETTINGS | {"batch": 2}))
    assert len(read_set(tmp_path / "set")) == 15


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"per_identity": 0}, "per_identity must be at least 1"),
        ({"steps": 0}, "steps must be at least 1"),
        ({"batch": -2}, "batch must be at least 1"),
        ({"guidance": float("nan")}, "guidance must be a finite"),
        ({"guidance": -1.0}, "guidance must be at least 0"),
        ({"image_size": 96}, r"image_size must lie in \[112, 128\]"),
        ({"image_size": 256}, r"image_size must lie in \[112, 128\]"),
        ({"sampler": "magic"}, "unknown sampler 'magic'"),
    ],
)
def test_bad_settings_write_nothing(tmp_path: Path, generator: Any, change: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        sample_set(generator, CONTEXTS, out=tmp_path / "set", **(SETTINGS | change))
    assert not (tmp_path / "set").exists()


def test_contexts_that_do_not_fit(tmp_path: Path, generator: Any) -> None:
    with pytest.raises(DataError, match="32 wide, expected 64"):
        sample_set(generator, uniform_contexts(2, seed=0, width=32), out=tmp_path / "set", **SETTINGS)
    with pytest.raises(InputError, match="no identity"):
        sample_set(generator, Embeddings((), np.empty((0, 64), np.float32)), out=tmp_path / "set", **SETTINGS)
    spoiled = Embeddings(CONTEXTS.names, CONTEXTS.embeddings.copy())
    spoiled.embeddings[1] = 0
    with pytest.raises(DataError, match="'000001' has length 0"):
        sample_set(generator, spoiled, out=tmp_path / "set", **SETTINGS)
    assert not (tmp_path / "set").exists()


def test_contexts_and_encoder_must_be_the_generator_s(tmp_path: Path, generator: Any, encoder: Any) -> None:
    other = {"encoder": "another", "encoder_sha256": "f" * 64}
    foreign = Embeddings(CONTEXTS.names, CONTEXTS.embeddings, other)
    with pytest.raises(InputError, match="made by encoder 'another'"):
        sample_set(generator, foreign, out=tmp_path / "set", **SETTINGS)
    encoder.sha256 = "f" * 64
    with pytest.raises(InputError, match="similarity to the context needs the encoder"):
        sample_set(generator, CONTEXTS, out=tmp_path / "set", encoder=encoder, **SETTINGS)
    assert not (tmp_path / "set").exists()
    sample_set(generator, foreign, out=tmp_path / "set", encoder=encoder, force=True, **SETTINGS)
    assert len(read_set(tmp_path / "set")) == 15


def test_card_and_config(tmp_path: Path, generator: Any, encoder: Any) -> None:
    photos = Embeddings(CONTEXTS.names, CONTEXTS.embeddings, {"kind": "photos", "encoder_sha256": "e" * 64})
    sample_set(generator, photos, out=tmp_path / "set", encoder=encoder, **SETTINGS)
    card = (tmp_path / "set/card.md").read_text()
    for fact in ("identities: 5, images of each: 3", "Apache-2.0", "drawn boards", "tiny encoder", "personal data"):
        assert fact in card
    config = json.loads((tmp_path / "set/config.json").read_text())
    assert config["per_identity"] == 3
    assert config["contexts_sha256"] == photos.sha256
    sample_set(generator, CONTEXTS, out=tmp_path / "plain", **SETTINGS)
    plain = (tmp_path / "plain/card.md").read_text()
    assert "personal data" not in plain
    assert "not measured" in plain
