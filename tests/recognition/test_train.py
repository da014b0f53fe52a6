"""Training a recogniser from scratch on drawn faces."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from tests.training.toys import toy_face, write_toy_pack

from facewright.errors import ConfigError, DataError
from facewright.recognition import RecognitionConfig, labelled_crops, train
from facewright.training.trainer import Schedule

SCHEDULE = Schedule(images=160, batch=16, learning_rate=2e-3, ema_maximum=0.5, log_every=32, save_every=80)


def test_people_it_was_trained_on_come_apart(tmp_path: Path) -> None:
    folder = write_toy_pack(tmp_path / "pack", people=4, poses=6, unknown=2)
    config = RecognitionConfig(folder, SCHEDULE, scale=16.0, margin=0.2)
    encoder = train(config, out=tmp_path / "run", validate=lambda encoder: {"width": float(encoder.width)})
    crops, labels = labelled_crops(folder)
    embeddings = encoder.embed(crops)
    cosines = embeddings @ embeddings.T
    same = labels[:, None] == labels
    other = ~np.eye(len(labels), dtype=bool)
    assert cosines[same & other].mean() > cosines[~same].mean() + 0.1
    rows = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    losses = [row["arcface"] for row in rows if "arcface" in row]
    assert losses[-1] < losses[0]
    assert [row["width"] for row in rows if "width" in row] == [512.0, 512.0]
    kept = json.loads((tmp_path / "run" / "config.json").read_text())
    assert (kept["kind"], kept["scale"], kept["faces"]) == ("recogniser", 16.0, len(labels))


def test_the_same_seed_gives_the_same_network_and_a_resumed_run_too(tmp_path: Path) -> None:
    folder = write_toy_pack(tmp_path / "pack", people=3, poses=4, unknown=0)
    schedule = replace(SCHEDULE, images=24, batch=8, log_every=8, save_every=8)
    config = RecognitionConfig(folder, schedule)

    def stop(done: int, total: int) -> None:
        if done == 16:
            raise KeyboardInterrupt

    whole = train(config, out=tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        train(config, out=tmp_path / "broken", progress=stop)
    torch.manual_seed(99)
    resumed = train(config, out=tmp_path / "broken")
    assert whole.sha256 == resumed.sha256
    other = train(replace(config, schedule=replace(schedule, seed=1)), out=tmp_path / "other")
    assert other.sha256 != whole.sha256


def test_crops_of_a_pack_are_its_centres_without_the_held_out_and_the_unknown(tmp_path: Path) -> None:
    folder = write_toy_pack(tmp_path / "pack", people=40, poses=2, unknown=5)
    crops, labels = labelled_crops(folder)
    assert crops.shape[1:] == (112, 112, 3)
    assert len(crops) < 80
    assert sorted(set(labels.tolist())) == list(range(len(labels) // 2))
    assert np.array_equal(crops[0], toy_face(0, 0)[8:120, 8:120])


def test_too_few_people_and_wrong_settings_are_refused(tmp_path: Path) -> None:
    folder = write_toy_pack(tmp_path / "pack", people=1)
    with pytest.raises(DataError, match="holds 1 people; a recogniser needs at least 2"):
        labelled_crops(folder)
    with pytest.raises(ConfigError, match=r"margin must be in \[0, pi / 2\)"):
        RecognitionConfig(folder, SCHEDULE, margin=1.6)
    with pytest.raises(ConfigError, match=r"shift must be in 0 ... 4"):
        RecognitionConfig(folder, SCHEDULE, shift=5)
