"""Training a recogniser from scratch on drawn faces."""

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from tests.training.toys import write_toy_pack

from facewright.data.images import to_tensor
from facewright.encoders import Encoder
from facewright.errors import ConfigError
from facewright.recognition import HeadConfig, MarginHead, PartialFC, RecogniserRecipe, ShardedHead, make_head, train
from facewright.recognition.faces import open_faces
from facewright.recognition.margins.ramped import RampedMargin
from facewright.recognition.train import Recogniser, _pixels
from facewright.training.schedule import Schedule

SCHEDULE = Schedule(images=160, batch=16, learning_rate=2e-3, ema_maximum=0.5, log_every=32, save_every=80)
HEAD = HeadConfig(scale=16.0, margin=0.2)


def loss_rows(run: Path, name: str) -> list[float]:
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [row[name] for row in rows if name in row]


def test_people_it_was_trained_on_come_apart(tmp_path: Path) -> None:
    recipe = RecogniserRecipe(write_toy_pack(tmp_path / "pack", people=4, poses=6, unknown=2), SCHEDULE, head=HEAD)
    trained = train(recipe, out=tmp_path / "run", validate=lambda encoder: {"width": float(encoder.width)})
    crops, labels = open_faces(recipe).training.read(np.arange(trained.faces))
    embeddings = trained.encoder.embed(crops)
    cosines = embeddings @ embeddings.T
    same = labels[:, None] == labels
    other = ~np.eye(len(labels), dtype=bool)
    assert cosines[same & other].mean() > cosines[~same].mean() + 0.1
    losses = loss_rows(tmp_path / "run", "arcface")
    assert losses[-1] < losses[0]
    assert loss_rows(tmp_path / "run", "width") == [512.0, 512.0]
    kept = json.loads((tmp_path / "run" / "config.json").read_text())
    assert (kept["kind"], kept["recipe"]["head"]["scale"], kept["faces"]) == ("recogniser", 16.0, len(labels))
    assert kept["recipe"]["data"] == str((tmp_path / "pack").resolve())
    assert trained.best is None
    assert trained.encoder is trained.last


def test_the_same_seed_gives_the_same_network_and_a_resumed_run_too(tmp_path: Path) -> None:
    folder = write_toy_pack(tmp_path / "pack", people=3, poses=4, unknown=0)
    schedule = replace(SCHEDULE, images=24, batch=8, log_every=8, save_every=8)
    head = replace(HEAD, margin_warmup_images=20)
    recipe = RecogniserRecipe(folder, schedule, head=head, network="slimfacenet")

    def stop(done: int, total: int) -> None:
        if done == 16:
            raise KeyboardInterrupt

    whole = train(recipe, out=tmp_path / "whole").last
    with pytest.raises(KeyboardInterrupt):
        train(recipe, out=tmp_path / "broken", progress=stop)
    torch.manual_seed(99)
    resumed = train(recipe, out=tmp_path / "broken").last
    assert whole.sha256 == resumed.sha256
    other = train(replace(recipe, schedule=replace(schedule, seed=1)), out=tmp_path / "other").last
    assert other.sha256 != whole.sha256
    with pytest.raises(ConfigError, match="holds a run with another recipe"):
        train(replace(recipe, head=replace(head, margin=0.3)), out=tmp_path / "whole")


def test_the_best_of_the_validation_is_returned_and_kept(tmp_path: Path) -> None:
    schedule = replace(SCHEDULE, images=32, save_every=16)
    recipe = RecogniserRecipe(write_toy_pack(tmp_path / "pack", people=3, poses=4), schedule, head=HEAD)
    values, seen = iter([0.5, 0.1]), list[str]()

    def validate(encoder: Encoder) -> Mapping[str, float]:
        seen.append(encoder.sha256)
        return {"accuracy": next(values)}

    trained = train(recipe, out=tmp_path / "run", validate=validate, best_by="accuracy")
    assert trained.best == {"images": 16, "value": 0.5}
    assert [trained.encoder.sha256, trained.last.sha256] == seen
    assert seen[0] != seen[1]
    again = train(recipe, out=tmp_path / "run", validate=validate, best_by="accuracy")
    assert (again.encoder.sha256, again.last.sha256) == tuple(seen), "a finished run gives the same again"


@pytest.mark.parametrize(
    ("network", "head", "width"),
    [
        ("msid", HeadConfig(scale=16.0, margin=0.2, sharded=True), 1536),
        ("slimfacenet", HeadConfig(name="cosface", scale=16.0, margin=0.1, sample_rate=0.5), 512),
        ("mobilefacenet", HeadConfig(name="adaface", scale=16.0, gradient="exact"), 512),
        ("slimfacenet", HeadConfig(name="magface", scale=16.0, margin_warmup_images=6), 512),
    ],
)
def test_other_networks_and_heads_are_trained_whole(network: str, head: HeadConfig, width: int, tmp_path: Path) -> None:
    folder = write_toy_pack(tmp_path / "pack", people=4, poses=2, unknown=0)
    schedule = replace(SCHEDULE, images=8, batch=4, learning_rate=1e-2, log_every=4, weight_decay=0.0)
    recipe = RecogniserRecipe(folder, schedule, network=network, head=head)
    trained = train(recipe, out=tmp_path / "run")
    assert trained.encoder.width == width
    assert trained.encoder.embed(np.zeros((1, 112, 112, 3), np.uint8)).shape == (1, width)
    assert np.isfinite(loss_rows(tmp_path / "run", head.name)).all()
    state = torch.load(tmp_path / "run" / "last.pt", weights_only=True)["module"]
    assert state["head.weight"].shape == (4, width)
    with torch.random.fork_rng():
        torch.manual_seed(schedule.seed)
        first = Recogniser(recipe, 4).state_dict()
    unused = {"network.norm.weight", "network.norm.bias"} if network == "msid" else set()
    weights = [name for name, value in first.items() if name.endswith((".weight", ".bias")) and name not in unused]
    assert not [name for name in weights if torch.equal(state[name], first[name])], "every layer and all centres moved"


def test_the_head_that_a_recipe_names() -> None:
    recipe = RecogniserRecipe(Path("x"), SCHEDULE)
    dense = make_head(recipe, 7)
    assert isinstance(dense, MarginHead)
    assert dense.weight.shape == (7, 512)
    wide = make_head(replace(recipe, network="msid", head=HeadConfig(sharded=True)), 7)
    assert isinstance(wide, ShardedHead)
    assert wide.weight.shape == (7, 1536)
    sgd = replace(SCHEDULE, optimiser="sgd", momentum=0.8, weight_decay=0.03)
    partial = make_head(replace(recipe, schedule=sgd, head=HeadConfig(sample_rate=0.3)), 7)
    assert isinstance(partial, PartialFC)
    assert partial.rate == 0.3
    assert partial.optimiser.kind is torch.optim.SGD
    assert partial.optimiser.param_groups[0] == {"lr": 2e-3, "weight_decay": 0.03, "momentum": 0.8}


def test_the_margin_and_the_crops_warm_up_with_the_images_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shares: list[float] = []
    mixed = RampedMargin.own

    def own(self: RampedMargin, cosine: torch.Tensor, norms: torch.Tensor, /) -> torch.Tensor:
        shares.append(self.share)
        assert cosine.dtype == torch.float32, "the head calculates in float32 under bf16"
        assert float(norms.detach().mean()) > 2, "the embeddings arrive as the network gives them"
        return mixed(self, cosine, norms)

    monkeypatch.setattr(RampedMargin, "own", own)
    folder = write_toy_pack(tmp_path / "pack", people=3, poses=4, unknown=0)
    schedule = replace(SCHEDULE, images=16, batch=4, precision="bf16")
    train(
        RecogniserRecipe(folder, schedule, head=replace(HEAD, name="cosface", margin_warmup_images=8)),
        out=tmp_path / "run",
    )
    assert shares == [0.0, 0.5, 1.0, 1.0]


def test_the_schedule_follows_the_size_of_the_data(tmp_path: Path) -> None:
    folder = write_toy_pack(tmp_path / "pack", people=3, poses=4, unknown=0)
    schedule = replace(SCHEDULE, images=1000, batch=4, epoch=500, log_every=8)
    train(RecogniserRecipe(folder, schedule, head=HEAD), out=tmp_path / "run")
    kept = json.loads((tmp_path / "run" / "config.json").read_text())
    assert kept["schedule"]["images"] == 24, "two epochs of 12"


def test_pixels_are_those_that_encoders_take() -> None:
    crops = np.random.default_rng(0).integers(0, 256, (2, 112, 112, 3), np.uint8)
    assert torch.equal(_pixels(crops, torch.device("cpu")), to_tensor(crops))
