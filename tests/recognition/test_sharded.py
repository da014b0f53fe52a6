"""The head that is split over processes, against a dense one: 1, 2 and 3 real processes, joined by gloo on loopback."""

import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing
from torch import Tensor

from facewright.errors import ConfigError, DataError, WorkError
from facewright.recognition.heads import (
    MarginHead,
    PartialFC,
    RowOptimiser,
    ShardedHead,
    files,
    load_head,
    save_head,
)
from facewright.recognition.heads.shares import BLOCK, Share, first_centres
from facewright.recognition.margins import MARGINS, ArcFace, CurricularFace, create

CLASSES, WIDTH, BATCH = 17, 6, 8
ORDER = (1, 3, 2, 1)  # processes of one run that is saved and taken up again
Group = dist.ProcessGroup | None


def batch(seed: int, rank: int = 0, world: int = 1) -> tuple[Tensor, Tensor]:
    """This process's rows of a batch; with three processes not all have the same number."""
    generator = torch.Generator().manual_seed(seed)
    embeddings = 15 * torch.randn(BATCH, WIDTH, generator=generator)
    labels = torch.randint(CLASSES, (BATCH,), generator=generator)
    rows = slice(rank * BATCH // world, (rank + 1) * BATCH // world)
    return embeddings[rows], labels[rows]


def sharded(group: Group = None) -> tuple[ShardedHead, torch.optim.Optimizer]:
    head = ShardedHead(CLASSES, WIDTH, margin=CurricularFace(), averaged=False, group=group).double()
    return head, torch.optim.AdamW(head.parameters(), lr=0.01, weight_decay=0.1)


def partial(group: Group = None) -> PartialFC:
    optimiser = RowOptimiser(torch.optim.AdamW, lr=0.01, weight_decay=0.1)
    settings: dict[str, Any] = {"margin": CurricularFace(), "rate": 1.0, "averaged": False, "group": group}
    return PartialFC(CLASSES, WIDTH, optimiser=optimiser, **settings).double()


def one_step(place: int, folder: Path, rank: int = 0, group: Group = None) -> None:
    """Take both heads up where the place before left them, make a step on the batch of this place, save."""
    embeddings, labels = batch(place, rank, ORDER[place])
    head, optimiser = sharded(group)
    rows = partial(group)
    if place > 0:
        load_head(head, folder / "sharded", optimiser=optimiser)
        load_head(rows, folder / "partial")
    head(embeddings.double(), labels).backward()
    optimiser.step()
    save_head(head, folder / "sharded", optimiser=optimiser)
    rows(embeddings.double(), labels).backward()
    rows.step()
    save_head(rows, folder / "partial")


def gradients(margin: str, rank: int = 0, world: int = 1, group: Group = None) -> dict[str, Tensor]:
    """Loss and gradients of one batch in float32, by a head of its own."""
    head = ShardedHead(CLASSES, WIDTH, margin=create(margin), seed=5, averaged=False, group=group)
    with torch.no_grad():
        head.weight.mul_(100)  # to the length of a unit's order, so that absolute differences mean something
    embeddings, labels = batch(7, rank, world)
    embeddings.requires_grad_()
    loss = head(embeddings, labels)
    loss.backward()
    assert embeddings.grad is not None
    assert head.weight.grad is not None
    return {
        "loss": loss.detach(),
        "embeddings": embeddings.grad,
        "weight": head.weight.grad,
        "rank": torch.tensor(rank),
    }


def work(rank: int, folder: Path) -> None:
    """What each of three processes does: all three in the default group, then two of them in a group of their own."""
    if sys.platform == "linux":
        os.environ["GLOO_SOCKET_IFNAME"] = "lo"
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=3)
    pair = dist.new_group([0, 1])
    for world, group in ((3, None), (2, pair)):
        if rank < world:
            found = {margin: gradients(margin, rank, world, group) for margin in MARGINS}
            one_step(ORDER.index(world), folder, rank, group)
            torch.save(found, folder / f"found-{rank}-of-{world}.pt")
    dist.barrier()
    dist.destroy_process_group()


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[int, list[dict[str, dict[str, Tensor]]]]]:
    """Every process's results by the number of processes, and the folder with the run taken up by each number."""
    folder = tmp_path_factory.mktemp("processes")
    results = {1: [{margin: gradients(margin) for margin in MARGINS}]}
    one_step(0, folder)
    torch.multiprocessing.spawn(work, (folder,), nprocs=3)
    one_step(3, folder)
    for world in (2, 3):
        paths = [folder / f"found-{rank}-of-{world}.pt" for rank in range(world)]
        results[world] = [torch.load(path, weights_only=True) for path in paths]
    return folder, results


@pytest.mark.parametrize("margin", MARGINS)
@pytest.mark.parametrize("world", [1, 2, 3])
def test_value_and_gradients_are_those_of_a_dense_head(found: Any, world: int, margin: str) -> None:
    dense = MarginHead(CLASSES, WIDTH, margin=create(margin))
    with torch.no_grad():
        dense.weight.copy_(100 * first_centres(Share(CLASSES, 0, CLASSES), WIDTH, seed=5))
    embeddings, labels = batch(7)
    embeddings.requires_grad_()
    loss = dense(embeddings, labels)
    loss.backward()
    ranks = [results[margin] for results in found[1][world]]
    assert [int(rank["rank"]) for rank in ranks] == list(range(world))
    for rank in ranks:
        assert float(rank["loss"]) == pytest.approx(float(loss.detach()), rel=1e-5)
    for name, expected in (("embeddings", embeddings.grad), ("weight", dense.weight.grad)):
        assert expected is not None
        together = torch.cat([rank[name] for rank in ranks])
        assert float((together - expected).abs().max()) < 1e-5 * max(1.0, float(expected.abs().max())), name


def test_a_run_goes_on_with_another_number_of_processes(found: Any) -> None:
    dense = MarginHead(CLASSES, WIDTH, margin=CurricularFace()).double()
    with torch.no_grad():
        dense.weight.copy_(first_centres(Share(CLASSES, 0, CLASSES), WIDTH, seed=0))
    optimiser = torch.optim.AdamW(dense.parameters(), lr=0.01, weight_decay=0.1)
    for place in range(len(ORDER)):
        embeddings, labels = batch(place)
        optimiser.zero_grad()
        dense(embeddings.double(), labels).backward()
        optimiser.step()
    head, resumed = sharded()
    load_head(head, found[0] / "sharded", optimiser=resumed)
    assert torch.allclose(head.weight, dense.weight, rtol=0, atol=1e-12)
    assert torch.allclose(head.margin.t, dense.margin.t, rtol=0, atol=1e-12)
    for name, expected in optimiser.state[dense.weight].items():
        assert torch.allclose(resumed.state[head.weight][name], expected, rtol=0, atol=1e-12), name
    rows = partial()
    load_head(rows, found[0] / "partial")
    assert torch.allclose(rows.weight, dense.weight, rtol=0, atol=1e-12)
    assert rows.optimiser.state_dict()["step"].tolist() == [len(ORDER)] * CLASSES
    left = sorted(path.name for path in (found[0] / "sharded").iterdir())
    assert left == ["centres-000004-00000-of-00001.safetensors", "index.json"], "earlier saves are gone"


def test_shares_cover_all_classes_in_order() -> None:
    for world in (1, 2, 3, 7, 17):
        shares = [Share.of(CLASSES, rank, world) for rank in range(world)]
        assert [c for share in shares for c in range(share.start, share.stop)] == list(range(CLASSES))
        assert max(map(len, shares)) - min(map(len, shares)) <= 1
    with pytest.raises(ConfigError, match="use fewer processes"):
        Share.of(2, 2, 3)


def test_first_centres_depend_on_the_class_alone() -> None:
    whole = first_centres(Share(2 * BLOCK + 5, 0, 2 * BLOCK + 5), 2, seed=1)
    part = first_centres(Share(2 * BLOCK + 5, BLOCK - 3, 2 * BLOCK + 1), 2, seed=1)
    assert torch.equal(part, whole[BLOCK - 3 : 2 * BLOCK + 1])
    assert float(whole.std()) == pytest.approx(0.01, rel=0.03)
    assert not torch.equal(whole[:BLOCK], whole[BLOCK : 2 * BLOCK])


@contextmanager
def failing_writes(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    def full(*_: Any) -> None:
        raise OSError("No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(files, "save_file", full)
        yield


def test_a_failed_save_keeps_the_one_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    head = ShardedHead(5, 3, margin=ArcFace())
    save_head(head, tmp_path)
    before = head.weight.detach().clone()
    with torch.no_grad():
        head.weight.zero_()
    with failing_writes(monkeypatch), pytest.raises(WorkError, match="No space left on device"):
        save_head(head, tmp_path)
    load_head(head, tmp_path)
    assert torch.equal(head.weight, before)


def test_what_cannot_be_read_is_named(tmp_path: Path) -> None:
    head = ShardedHead(5, 3, margin=ArcFace())
    with pytest.raises(DataError, match=r"holds no saved head \(no index.json\)"):
        load_head(head, tmp_path)
    save_head(head, tmp_path)
    with pytest.raises(DataError, match="holds 5 centres of width 3, the head has 6 of width 3"):
        load_head(ShardedHead(6, 3, margin=ArcFace()), tmp_path)
    (shard,) = tmp_path.glob("*.safetensors")
    shard.write_bytes(shard.read_bytes()[:-8])
    with pytest.raises(DataError, match=f"{shard.name}: missing, cut short or damaged"):
        load_head(head, tmp_path)
    shard.unlink()
    with pytest.raises(DataError, match=f"{shard.name}: missing, cut short or damaged"):
        load_head(head, tmp_path)
    index = tmp_path / "index.json"
    index.write_text(json.dumps({**json.loads(index.read_text()), "format": 9}))
    with pytest.raises(DataError, match="is of format 9, expected 1"):
        load_head(head, tmp_path)
    index.write_text("{")
    with pytest.raises(DataError, match=r"index.json is damaged"):
        load_head(head, tmp_path)


def test_a_label_that_no_process_holds_is_refused() -> None:
    with pytest.raises(DataError, match=r"labels must be in 0 ... 4, got -1"):
        ShardedHead(5, 3, margin=ArcFace())(torch.ones(2, 3), torch.tensor([0, -1]))
