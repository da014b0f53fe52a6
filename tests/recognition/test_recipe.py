"""The recipe of a recogniser: what it names, what it builds, what it refuses."""

from dataclasses import fields, replace
from inspect import signature
from pathlib import Path

import pytest
import torch

from facewright.data.augment_recipe import Augmentation
from facewright.errors import ConfigError
from facewright.recognition.margins import MARGINS, ArcFace, CombinedMargin, CosFace, ElasticArcFace
from facewright.recognition.margins.ramped import RampedMargin
from facewright.recognition.recipe import HeadConfig, RecogniserRecipe, check_data
from facewright.training.schedule import Schedule

RECIPE = RecogniserRecipe(data=Path("faces"), schedule=Schedule(images=100))


def test_the_head_builds_the_margin_that_it_names() -> None:
    arcface = HeadConfig(margin=0.3, scale=32.0, gradient="straight-through").make_margin()
    assert isinstance(arcface, ArcFace)
    assert (arcface.margin, arcface.scale, arcface.gradient) == (0.3, 32.0, "straight-through")
    cosface = HeadConfig(name="cosface").make_margin()
    assert isinstance(cosface, CosFace)
    assert cosface.margin == 0.4, "the margin's own default"
    elastic = HeadConfig(name="elastic-arc", mean=0.5, std=0.0175).make_margin()
    assert isinstance(elastic, ElasticArcFace)
    assert elastic.std == 0.0175


def test_every_setting_of_every_margin_has_a_key() -> None:
    keys = {each.name for each in fields(HeadConfig)}
    unset = {"self", "seed", "draw"}  # what the trainer draws from, and code
    for kind in MARGINS.values():
        assert set(signature(kind.__init__).parameters) - unset <= keys
    combined = HeadConfig(name="combined", factor=1.0, angle=0.3, cosine=0.2).make_margin()
    assert isinstance(combined, CombinedMargin)
    assert (combined.angle, combined.cosine) == (0.3, 0.2)


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ({"name": "arcfase"}, "unknown margin 'arcfase'. Did you mean 'arcface'"),
        ({"name": "cosface", "gradient": "exact"}, "gradient"),
        ({"sample_rate": 0.0}, r"head.sample_rate must be in \(0, 1\]"),
        ({"margin": 2.0}, "margin"),
        ({"margin_warmup_images": -1}, "head.margin_warmup_images must be at least 0"),
    ],
)
def test_a_head_that_cannot_be_is_refused(setting: dict[str, object], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        HeadConfig(**setting)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ({"network": "iresnet5O"}, "unknown network 'iresnet5O'. Did you mean iresnet50"),
        ({"format": "recordoi"}, "unknown format 'recordoi'. Did you mean recordio"),
        ({"dropout": 0.4}, "and the network an ir or iresnet"),
        ({"network": "ir_50", "dropout": 1.0}, r"dropout must be in \[0, 1\)"),
        ({"people": 1}, "people must be at least 2"),
        ({"gaps": "keep"}, "unknown gaps 'keep'"),
        ({"damaged": "skp"}, "unknown damaged 'skp'. Did you mean skip"),
        ({"held_out_people": -1}, "held_out_people must be at least 0"),
    ],
)
def test_a_recipe_that_cannot_be_is_refused(setting: dict[str, object], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        replace(RECIPE, **setting)  # type: ignore[arg-type]


def test_dropout_reaches_the_network() -> None:
    with torch.device("meta"):
        network = replace(RECIPE, network="iresnet18", dropout=0.4).make_network()
        assert network.dropout.p == 0.4
        assert replace(RECIPE, network="iresnet18").make_network().dropout.p == 0.0


def test_the_margin_warms_up_in_a_line() -> None:
    head = HeadConfig(margin=0.3, margin_warmup_images=1000)
    assert [head.margin_share_at(images) for images in (0, 250, 1000, 5000)] == [0, 0.25, 1, 1]
    assert HeadConfig().margin_share_at(0) == 1
    margin = head.make_margin()
    assert isinstance(margin, RampedMargin)
    assert isinstance(margin.margin, ArcFace)
    assert margin.margin.margin == 0.3
    assert isinstance(HeadConfig().make_margin(), ArcFace)


def test_schedule_and_warmups_follow_the_data() -> None:
    schedule = Schedule(images=1000, batch=10, epoch=100, warmup_images=50)
    recipe = replace(
        RECIPE,
        schedule=schedule,
        head=HeadConfig(margin_warmup_images=200),
        augmentation=Augmentation(crop_share=0.2, crop_warmup_images=400),
    )
    twice = recipe.for_samples(200)
    assert (twice.schedule.images, twice.schedule.warmup_images) == (2000, 100)
    assert (twice.head.margin_warmup_images, twice.augmentation.crop_warmup_images) == (400, 800)
    fixed = replace(recipe, schedule=replace(schedule, epoch=None))
    assert fixed.for_samples(200) is fixed


def test_data_of_another_size_is_refused() -> None:
    recipe = replace(RECIPE, people=10, faces=50)
    check_data(recipe, people=10, faces=50)
    check_data(RECIPE, people=3, faces=7)
    with pytest.raises(
        ConfigError, match=r"for 50 faces, and faces holds 49; give recipe\.faces=49, or recipe\.faces=none"
    ):
        check_data(recipe, people=10, faces=49)
