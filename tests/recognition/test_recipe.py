"""The recipe of a recogniser: what it names, what it builds, what it refuses."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from facewright.errors import ConfigError
from facewright.recognition.margins import ArcFace, CosFace, ElasticArcFace
from facewright.recognition.recipe import HeadConfig, RecogniserRecipe, check_data, networks
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


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ({"name": "arcfase"}, "unknown margin 'arcfase'. Did you mean 'arcface'"),
        ({"name": "cosface", "gradient": "exact"}, "gradient"),
        ({"sample_rate": 0.0}, r"head.sample_rate must be in \(0, 1\]"),
        ({"margin": 2.0}, "margin"),
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
    ],
)
def test_a_recipe_that_cannot_be_is_refused(setting: dict[str, object], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        replace(RECIPE, **setting)  # type: ignore[arg-type]


def test_every_network_has_a_name_and_dropout_reaches_it() -> None:
    assert {"slimfacenet", "ir_50", "iresnet100", "msid", "vit_t"} <= networks().keys()
    with torch.device("meta"):
        network = replace(RECIPE, network="iresnet18", dropout=0.4).make_network()
        assert network.dropout.p == 0.4
        assert replace(RECIPE, network="iresnet18").make_network().dropout.p == 0.0


def test_data_of_another_size_is_refused() -> None:
    recipe = replace(RECIPE, people=10, faces=50)
    check_data(recipe, people=10, faces=50)
    check_data(RECIPE, people=3, faces=7)
    with pytest.raises(
        ConfigError, match=r"for 50 faces, and faces holds 49; give recipe\.faces=49, or recipe\.faces=none"
    ):
        check_data(recipe, people=10, faces=49)
