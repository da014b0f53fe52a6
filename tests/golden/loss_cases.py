"""The golden margin losses as calls of facewright: names on one side, public functions on the other.

Cases of a head that is split over processes run one thread a process, joined by gloo within this one.
"""

from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from functools import partial
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor

from facewright.recognition.heads import MarginHead, PartialFC, RowOptimiser, Scores, ShardedHead, clamp_losses
from facewright.recognition.margins import (
    AdaFace,
    ArcFace,
    CombinedMargin,
    CosFace,
    CurricularFace,
    ElasticArcFace,
    ElasticCosFace,
    Margin,
)

Case = Mapping[str, np.ndarray]
Outputs = dict[str, Any]


def _arcface(case: Case, **options: Any) -> Outputs:
    return _dense(ArcFace(margin=float(case["margin"]), scale=float(case["scale"]), **options), case)


def _cosface(case: Case) -> Outputs:
    return _dense(CosFace(margin=float(case["margin"]), scale=float(case["scale"])), case)


def _combined(case: Case) -> Outputs:
    paper = _dense(_combined_margin(case, form="paper"), case)
    published = _combined_margin(case, form="arcface_torch", hide_above=float(case["filter"]) or None)
    return {**_dense(published, case), **_named("general_", paper)}


def _combined_margin(case: Case, **options: Any) -> CombinedMargin:
    factor, angle, cosine = (float(case[name]) for name in ("m1", "m2", "m3"))
    return CombinedMargin(factor=factor, angle=angle, cosine=cosine, scale=float(case["scale"]), **options)


def _curricularface(case: Case) -> Outputs:
    margin = CurricularFace(
        margin=float(case["margin"]), scale=float(case["scale"]), momentum=float(case["alpha"])
    ).double()
    out: Outputs = {}
    for step in _steps(case):
        out[f"{step}t_before"] = margin.t.numpy().copy()
        out |= _named(step, _dense(margin, case, step))
        out[f"{step}t_after"] = margin.t.numpy().copy()
    return out


def _elastic(case: Case, kind: type[ElasticArcFace | ElasticCosFace]) -> Outputs:
    given = torch.from_numpy(case["margins"])
    out = _dense(kind(scale=float(case["scale"]), draw=lambda count: given), case)
    own = torch.from_numpy(out["cosine"]).gather(1, torch.from_numpy(case["labels"])[:, None])[:, 0]
    out["target_cosine"] = own.numpy()
    for plus in ("published", "rank"):
        margin = kind(scale=float(case["scale"]), plus=plus, draw=lambda count: given)
        out |= _named(f"plus_{plus}_", _dense(margin, case))
        out[f"plus_{plus}_margins"] = margin.margins(own).numpy()
    return out


def _adaface(case: Case) -> Outputs:
    out: Outputs = {}
    for prefix, gradient in (("official_", "exact"), ("ste_", "straight-through")):
        margin = AdaFace(
            margin=float(case["m"]),
            concentration=float(case["h"]),
            momentum=float(case["t_alpha"]),
            scale=float(case["scale"]),
            gradient=gradient,
        ).double()
        margin.mean.fill_(float(case["initial_mean"]))
        margin.std.fill_(float(case["initial_std"]))
        for step in _steps(case):
            out |= _named(f"{step}{prefix}", _dense(margin, case, step))
            out[f"{step}mean_after"], out[f"{step}std_after"] = margin.mean.numpy().copy(), margin.std.numpy().copy()
            norms = torch.from_numpy(case[f"{step}embeddings"]).norm(dim=1)
            out[f"{step}norms"], out[f"{step}margin_scaler"] = norms.numpy(), margin.quality(norms).numpy()
    return out


def _partial_fc(case: Case) -> Outputs:
    margin = _combined_margin(case, form="arcface_torch")
    head = PartialFC(*case["weight"].shape, margin=margin, optimiser=RowOptimiser(torch.optim.SGD, lr=0.1))
    sampled = torch.from_numpy(case["sampled_classes"])
    scores, out = _step(head, case["weight"], case["embeddings"], case["labels"], sampled=sampled)
    return {**out, "remapped_labels": scores.columns.numpy()}


def _sharded(case: Case) -> Outputs:
    world, store = int(case["world_size"]), dist.HashStore()
    with ThreadPoolExecutor(world) as pool:
        ranks = list(pool.map(lambda rank: _on_rank(case, rank, world, store), range(world)))
    return {
        "loss": ranks[0]["loss"],
        "loss_per_rank": [rank["loss"] for rank in ranks],
        "shard_start": [rank["start"] for rank in ranks],
        "shard_size": [rank["size"] for rank in ranks],
        "logits": np.concatenate([rank["logits"] for rank in ranks], 1),
        "grad_weight": np.concatenate([rank["grad_weight"] for rank in ranks]),
        "grad_embeddings_dense": np.concatenate([rank["grad_embeddings"] for rank in ranks]),
        "grad_embeddings_on_rank": np.concatenate([rank["averaged_grad_embeddings"] for rank in ranks]),
    }


def _on_rank(case: Case, rank: int, world: int, store: dist.Store) -> Outputs:
    """Every output of one process, with its embeddings' gradients as they are and for averaging afterwards."""
    options = dist.ProcessGroupGloo._Options()
    options._devices = [dist.ProcessGroupGloo.create_device(hostname="127.0.0.1")]
    options._timeout = timedelta(seconds=60)
    group = dist.ProcessGroupGloo(store, rank, world, options)
    rows = slice(rank * len(case["labels"]) // world, (rank + 1) * len(case["labels"]) // world)
    margin = ArcFace(
        margin=float(case["margin"]), scale=float(case["scale"]), beyond="none", gradient="straight-through"
    )
    out: Outputs = {}
    for averaged in (True, False):
        settings: dict[str, Any] = {"margin": margin, "group": group, "averaged": averaged}
        if float(case["sample_rate"]) == 1:
            head: ShardedHead | PartialFC = ShardedHead(*case["weight"].shape, **settings)
            sampled = {}
        else:
            optimiser = RowOptimiser(torch.optim.SGD, lr=0.1)
            head = PartialFC(*case["weight"].shape, optimiser=optimiser, **settings)
            chosen = torch.from_numpy(case["sampled_classes"])
            sampled = {"sampled": chosen[head.share.columns(chosen) >= 0]}
        weight = case["weight"][head.share.start : head.share.stop]
        _, found = _step(head, weight, case["embeddings"][rows], case["labels"][rows], **sampled)
        out = {**found, "averaged_grad_embeddings": out.get("grad_embeddings")}
    return {**out, "start": head.share.start, "size": len(head.share)}


def _dense(margin: Margin, case: Case, step: str = "") -> Outputs:
    head = MarginHead(*case["weight"].shape, margin=margin)
    return _step(head, case["weight"], case[f"{step}embeddings"], case[f"{step}labels"])[1]


def _step(
    head: MarginHead | ShardedHead | PartialFC,
    weight: np.ndarray,
    embeddings: np.ndarray,
    labels: np.ndarray,
    **how: Any,
) -> tuple[Scores, Outputs]:
    """Scores of a batch, its loss, and the gradients by their names in the files."""
    head.double().weight.data.copy_(torch.from_numpy(weight))
    batch = torch.from_numpy(embeddings.copy()).requires_grad_()
    scores = head.scores(batch, torch.from_numpy(labels), **how)
    losses = head.losses(scores)
    losses.mean().backward()
    return scores, {
        "cosine": scores.cosine.detach().numpy(),
        "logits": scores.logits.detach().numpy(),
        "loss_per_sample": losses.detach().numpy(),
        "loss": losses.detach().mean().numpy(),
        "loss_probability_clamped": clamp_losses(losses).detach().mean().numpy(),
        "grad_embeddings": _of(batch),
        "grad_weight": _of(head.weight) if not isinstance(head, PartialFC) else _sampled_gradient(head, how["sampled"]),
    }


def _sampled_gradient(head: PartialFC, sampled: Tensor) -> np.ndarray:
    gradient = np.zeros(head.weight.shape)
    gradient[head.share.columns(sampled).numpy()] = _of(head.sampled_rows[0])
    return gradient


def _of(leaf: Tensor) -> np.ndarray:
    assert leaf.grad is not None
    return leaf.grad.numpy()


def _steps(case: Case) -> list[str]:
    """step0_, step1_, ... of the calls in a row that a case asks for."""
    numbers = {int(name[4 : name.index("_")]) for name in case if name.startswith("step") and "_embeddings" in name}
    return [f"step{number}_" for number in sorted(numbers)]


def _named(prefix: str, outputs: Outputs) -> Outputs:
    return {f"{prefix}{name}": value for name, value in outputs.items()}


CASES: Mapping[str, Callable[[Case], Outputs]] = {
    "adaface": _adaface,
    "arcface_edge": _arcface,
    "arcface_exact": _arcface,
    "arcface_exact_easy": partial(_arcface, beyond="easy"),
    "arcface_exact_no_fallback": partial(_arcface, beyond="none"),
    "arcface_straight_through": partial(_arcface, beyond="none", gradient="straight-through"),
    "combined": _combined,
    "cosface": _cosface,
    "curricularface": _curricularface,
    "elastic_arc": partial(_elastic, kind=ElasticArcFace),
    "elastic_cos": partial(_elastic, kind=ElasticCosFace),
    "partial_fc": _partial_fc,
    "sharded": _sharded,
}
"""What computes the cases whose name begins so; the longest beginning counts."""
