"""The stream: the same faces whatever batch, threads or start, and a count of what is left out."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from tests.data.formats.toy_sets import Listed, drawn_jpeg, write

from facewright.data.formats import Decoder, Record, open_records
from facewright.data.stream import Batch, FaceStream, StreamConfig
from facewright.errors import ConfigError, DataError

CONFIG = StreamConfig(batch=4, size=24, shift=4)


@pytest.fixture(scope="module")
def faces() -> Listed:
    return Listed([Record(drawn_jpeg(n, size=32), n % 3, str(n)) for n in range(10)])


def joined(batches: list[Batch]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    return tuple(np.concatenate([getattr(b, name) for b in batches]) for name in ("images", "labels", "numbers"))  # type: ignore[return-value]


def test_an_epoch_has_every_face_once(faces: Listed) -> None:
    batches = list(FaceStream(faces, CONFIG, seed=0).batches())
    assert [len(batch.images) for batch in batches] == [4, 4, 2]
    assert [batch.start for batch in batches] == [0, 4, 8]
    images, labels, numbers = joined(batches)
    assert images.shape == (10, 24, 24, 3)
    assert images.dtype == np.uint8
    assert sorted(numbers.tolist()) == list(range(10))
    assert labels.tolist() == [faces.records[number].label for number in numbers]
    assert numbers.tolist() != list(range(10))


def test_a_face_is_a_cut_of_its_picture_mirrored_or_not(faces: Listed) -> None:
    decoder = Decoder()
    images, _, numbers = joined(list(FaceStream(faces, CONFIG, seed=0).batches(0, 200)))
    seen = set()
    for image, number in zip(images, numbers, strict=True):
        picture = decoder.decode(faces.records[number].image, "here")
        found = [
            (top, left, mirror)
            for top in range(9)
            for left in range(9)
            for mirror in (False, True)
            if np.array_equal(picture[top : top + 24, left : left + 24][:, :: -1 if mirror else 1], image)
        ]
        assert len(found) == 1
        seen.add(found[0])
    tops, lefts, mirrors = (np.array(values) for values in zip(*seen, strict=True))
    assert set(tops) == set(lefts) == set(range(9))
    assert 0.35 < mirrors.mean() < 0.65


def test_batch_threads_and_start_change_nothing(faces: Listed) -> None:
    known = joined(list(FaceStream(faces, CONFIG, seed=7).batches(0, 25)))
    for config in (replace(CONFIG, batch=7), replace(CONFIG, threads=3), replace(CONFIG, batch=1, threads=1)):
        for start in (0, 13):
            found = joined(list(FaceStream(faces, config, seed=7).batches(start, 25)))
            assert all(np.array_equal(one, other[start:]) for one, other in zip(found, known, strict=True))
    other = joined(list(FaceStream(faces, CONFIG, seed=8).batches(0, 25)))
    assert not np.array_equal(other[2], known[2])
    later = list(FaceStream(faces, CONFIG, seed=7).batches(13))  # up to the end of its epoch
    assert sum(len(batch.labels) for batch in later) == 7


def test_without_shuffle_shift_and_mirror_the_pictures_come_as_they_are(faces: Listed) -> None:
    plain = StreamConfig(batch=3, size=32, mirror=False, shuffle=False)
    images, _, numbers = joined(list(FaceStream(faces, plain, seed=0).batches(0, 12)))
    assert numbers.tolist() == [*range(10), 0, 1]
    decoder = Decoder()
    wanted = [decoder.decode(faces.records[number].image, "here").copy() for number in numbers]
    assert np.array_equal(images, np.stack(wanted))


@pytest.mark.parametrize("threads", [0, 2])
def test_damaged_pictures_are_refused_or_counted(drawn_file: Path, threads: int) -> None:
    config = StreamConfig(batch=3, size=100, shift=6, threads=threads)
    records = open_records(drawn_file)
    with pytest.raises(
        DataError,
        match=r"train\.rec: record \d \(key \d\): .*, or skip damaged records \(--damaged skip, recipe\.d",
    ):
        list(FaceStream(records, config, seed=0).batches())
    stream = FaceStream(records, replace(config, damaged="skip"), seed=0)
    batches = list(stream.batches())
    assert (stream.report.read, stream.report.skipped) == (6, 2)
    assert {reason.split(": ")[1] for reason in stream.report.reasons} == {"record 2 (key 2)", "record 5 (key 5)"}
    assert not any("skip damaged" in reason for reason in stream.report.reasons)
    assert sorted(joined(batches)[2].tolist()) == [0, 1, 3, 4, 6, 7]
    whole = FaceStream(open_records(drawn_file.with_name("whole.rec")), config, seed=0)
    kept = {int(n): image for image, n in zip(*joined(list(whole.batches()))[::2], strict=True)}
    for image, number in zip(*joined(batches)[::2], strict=True):
        assert np.array_equal(image, kept[int(number)])  # what is left out moves no other cut


@pytest.fixture(scope="module")
def drawn_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eight records, of which one has no frame and one picture ends early; whole.rec beside it has all."""
    faces = Listed([Record(drawn_jpeg(n), n % 2, str(n)) for n in range(8)])
    rec = write(faces, tmp_path_factory.mktemp("stream") / "set", "recordio") / "train.rec"
    for suffix in (".rec", ".idx"):
        rec.with_name(f"whole{suffix}").write_bytes(rec.with_suffix(suffix).read_bytes())
    starts = [int(line.split("\t")[1]) for line in rec.with_suffix(".idx").read_text().splitlines()]
    data = bytearray(rec.read_bytes())
    data[starts[2]] ^= 1
    data[starts[5] + 700 : starts[6]] = bytes(starts[6] - starts[5] - 700)
    rec.write_bytes(data)
    return rec


def test_batches_that_are_kept_are_never_filled_again(faces: Listed) -> None:
    stream = FaceStream(faces, CONFIG, seed=0)
    kept, copies = [], []
    for number, batch in enumerate(stream.batches(0, 400)):
        part = torch.from_numpy(batch.images)[:2] if number % 2 else torch.from_numpy(batch.images[number % 4 :, 1:])
        kept.append(part)
        copies.append(part.clone())
    assert all(torch.equal(part, copy) for part, copy in zip(kept, copies, strict=True))
    used = {batch.images.__array_interface__["data"][0] for batch in FaceStream(faces, CONFIG, seed=0).batches(0, 400)}
    assert len(used) < 5  # those that are let go of are


def test_pictures_that_are_too_small_are_named(faces: Listed) -> None:
    stream = FaceStream(faces, StreamConfig(batch=4, size=30, shift=3), seed=0)
    with pytest.raises(DataError, match=r"listed: record \d+: a picture of 32 x 32 px, too small for a cut of 30 px"):
        list(stream.batches(0, 100))


def test_tensors_are_no_pictures(root: Path) -> None:
    latents = open_records(root / "tests" / "golden" / "data" / "formats" / "tfrecord_latent")
    with pytest.raises(DataError, match="holds tensors and no pictures"):
        FaceStream(latents, CONFIG, seed=0)


@pytest.mark.parametrize(
    ("settings", "message"),
    [({"batch": 0}, "batch is 0"), ({"threads": -1}, "threads is -1"), ({"damaged": "no"}, "not 'no'")],
)
def test_settings_that_make_no_sense(settings: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        replace(CONFIG, **settings)  # type: ignore[arg-type]
