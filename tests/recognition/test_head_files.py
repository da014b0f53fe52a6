"""A saved head is taken up by a head of its own kind alone; its class centres, on demand, by any."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from facewright.errors import DataError, InputError
from facewright.recognition.heads import PartialFC, RowOptimiser, ShardedHead, load_head, save_head
from facewright.recognition.margins import MARGINS, ArcFace, CosFace, CurricularFace, Margin, create
from facewright.recognition.margins.ramped import RampedMargin

CLASSES, WIDTH = 9, 4
LABELS = torch.arange(6)


def partial(margin: Margin | None = None, kind: Any = torch.optim.AdamW, **settings: Any) -> PartialFC:
    optimiser = RowOptimiser(kind, lr=0.1, **settings)
    return PartialFC(CLASSES, WIDTH, margin=margin or ArcFace(), optimiser=optimiser, rate=0.5)


def sharded(margin: Margin | None = None, *, seed: int = 0) -> ShardedHead:
    return ShardedHead(CLASSES, WIDTH, margin=margin or ArcFace(), seed=seed)


def adamw(head: ShardedHead) -> torch.optim.Optimizer:
    return torch.optim.AdamW(head.parameters(), lr=0.1)


def step(head: ShardedHead | PartialFC, optimiser: torch.optim.Optimizer | None = None) -> None:
    generator = torch.Generator().manual_seed(3)
    head(torch.randn(len(LABELS), WIDTH, generator=generator), LABELS).backward()
    if isinstance(head, PartialFC):
        head.step()
    elif optimiser is not None:
        optimiser.step()


def told(folder: Path) -> dict[str, Any]:
    values: dict[str, Any] = json.loads((folder / "index.json").read_text())
    return values


def test_the_index_says_what_was_saved(tmp_path: Path) -> None:
    head = sharded(RampedMargin(CosFace(margin=0.3), share=0.25))
    save_head(head, tmp_path, optimiser=torch.optim.SGD(head.parameters(), lr=0.1, momentum=0.9))
    assert told(tmp_path)["kind"] == {
        "head": "ShardedHead",
        "margin": {
            "name": "RampedMargin",
            "margin": {"name": "CosFace", "margin": 0.3, "scale": 64.0},
            "scale": 64.0,
        },
        "optimiser": "SGD with momentum",
    }
    save_head(partial(CurricularFace(scale=32)), tmp_path)
    assert told(tmp_path)["kind"] == {
        "head": "PartialFC",
        "margin": {"name": "CurricularFace", "margin": 0.5, "momentum": 0.1, "scale": 32},
        "optimiser": "AdamW",
    }
    save_head(sharded(), tmp_path)
    assert told(tmp_path)["kind"]["optimiser"] is None


@pytest.mark.parametrize("name", MARGINS)
def test_a_margin_is_known_again(tmp_path: Path, name: str) -> None:
    save_head(sharded(create(name, scale=32.0)), tmp_path)
    load_head(sharded(create(name, scale=32)), tmp_path)
    with pytest.raises(DataError, match=r"scale=32\.0.*, asked for is the margin .*scale=64\.0"):
        load_head(sharded(create(name)), tmp_path)


@pytest.mark.parametrize("seen", [0.0, 1.0])
def test_how_far_a_margin_has_come_in_is_no_difference(tmp_path: Path, seen: float) -> None:
    save_head(sharded(RampedMargin(ArcFace(), share=seen)), tmp_path)
    load_head(sharded(RampedMargin(ArcFace(), share=0.5)), tmp_path)
    with pytest.raises(DataError, match=r"margin=ArcFace\(.*margin=0\.5.*asked for is .*=ArcFace\(.*margin=0\.4"):
        load_head(sharded(RampedMargin(ArcFace(margin=0.4))), tmp_path)


@pytest.mark.parametrize(
    ("saved", "given", "said"),
    [
        (
            partial(),
            sharded(),
            "saved was a PartialFC and the optimiser AdamW, asked for is a ShardedHead and the opti",
        ),
        (
            sharded(),
            partial(),
            "saved was a ShardedHead and the optimiser none, asked for is a PartialFC and the optim",
        ),
        (sharded(), sharded(CosFace()), r"saved was the margin ArcFace\(scale=64\.0, margin=0\.5.* margin CosFace\(.*"),
        (
            sharded(),
            sharded(ArcFace(margin=0.4)),
            r"margin=0\.5,.*asked for is the margin ArcFace\(.*margin=0\.4",
        ),
        (sharded(), sharded(CurricularFace()), "asked for is the margin CurricularFace"),
        (partial(), partial(kind=torch.optim.SGD), "saved was the optimiser AdamW, asked for is the optimiser SGD"),
        (
            partial(kind=torch.optim.SGD),
            partial(kind=torch.optim.SGD, momentum=0.9),
            "saved was the optimiser SGD, asked for is the optimiser SGD with momentum",
        ),
    ],
)
def test_another_kind_is_refused_and_gives_its_centres_on_demand(
    tmp_path: Path, saved: ShardedHead | PartialFC, given: ShardedHead | PartialFC, said: str
) -> None:
    with torch.no_grad():
        saved.weight.add_(1.0)
    save_head(saved, tmp_path)
    before = given.weight.detach().clone()
    with pytest.raises(DataError, match=rf"index\.json: .*{said}.*; build it as it was saved, or .*centres_only=True$"):
        load_head(given, tmp_path)
    assert torch.equal(given.weight, before)
    load_head(given, tmp_path, centres_only=True)
    assert torch.equal(given.weight, saved.weight)
    with torch.no_grad():
        given.weight.copy_(before)
        saved.weight.sub_(1.0)


def test_centres_alone_leave_the_states_as_they_are(tmp_path: Path) -> None:
    saved, given = partial(CurricularFace()), partial(CurricularFace())
    step(saved)
    save_head(saved, tmp_path)
    load_head(given, tmp_path, centres_only=True)
    assert torch.equal(given.weight, saved.weight)
    assert (float(given.margin.t), int(given.draws), given.optimiser.state_dict()) == (0.0, 0, {})  # type: ignore[arg-type]
    load_head(given, tmp_path)
    assert torch.equal(given.margin.t, saved.margin.t)  # type: ignore[arg-type]
    assert int(given.draws) == 1
    assert given.optimiser.state_dict().keys() == saved.optimiser.state_dict().keys()


def test_a_state_that_was_not_saved_is_not_begun_anew_unasked(tmp_path: Path) -> None:
    head = sharded()
    save_head(head, tmp_path)
    with pytest.raises(
        DataError, match=r"holds no state of an optimiser, and one of AdamW is asked for; leave out opt"
    ):
        load_head(head, tmp_path, optimiser=adamw(head))
    load_head(head, tmp_path)


def test_another_optimiser_is_refused_and_an_earlier_state_replaced(tmp_path: Path) -> None:
    head = sharded()
    optimiser = adamw(head)
    save_head(head, tmp_path, optimiser=optimiser)  # no step made yet, so no state to keep
    step(head, optimiser)
    load_head(head, tmp_path, optimiser=optimiser)
    assert not optimiser.state[head.weight]
    step(head, optimiser)
    save_head(head, tmp_path, optimiser=optimiser)
    with pytest.raises(DataError, match="saved was the optimiser AdamW, asked for is the optimiser SGD with momentum"):
        load_head(head, tmp_path, optimiser=torch.optim.SGD(head.parameters(), lr=0.1, momentum=0.9))
    load_head(head, tmp_path)  # without an optimiser none of its state is asked for


def test_an_optimiser_that_has_nothing_to_do_with_the_head_is_refused(tmp_path: Path) -> None:
    head, other = sharded(), torch.nn.Linear(2, 2)
    stranger = torch.optim.SGD(other.parameters(), lr=0.1)
    with pytest.raises(InputError, match="does not update this head"):
        save_head(head, tmp_path, optimiser=stranger)
    assert not list(tmp_path.iterdir())
    save_head(head, tmp_path, optimiser=adamw(head))
    with pytest.raises(InputError, match="does not update this head"):
        load_head(head, tmp_path, optimiser=stranger)
    with pytest.raises(InputError, match="with centres_only no state of an optimiser is read"):
        load_head(head, tmp_path, optimiser=adamw(head), centres_only=True)
    with pytest.raises(InputError, match="a PartialFC has an optimiser of its own"):
        save_head(partial(), tmp_path, optimiser=stranger)


def test_a_file_in_the_place_of_the_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("notes")
    with pytest.raises(InputError, match="taken is a file; name a folder for the centres"):
        save_head(sharded(), str(tmp_path / "taken"))
    with pytest.raises(DataError, match="taken holds no saved head"):
        load_head(sharded(), str(tmp_path / "taken"))
    assert (tmp_path / "taken").read_text() == "notes"
