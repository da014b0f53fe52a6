"""From embeddings and class centres to logits, for all classes or for those that one process holds."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from facewright.errors import DataError
from facewright.recognition.heads.processes import Processes
from facewright.recognition.margins.margin import Margin


@dataclass(frozen=True)
class Scores:
    """What the samples of a batch get from the classes that are present.

    Under a sharded head the batch is that of all processes and the classes are this process's own.
    """

    cosine: Tensor  # (B, C), in [-1, 1]
    logits: Tensor  # (B, C), scaled
    columns: Tensor  # (B,), int64, where each sample's own class stands; -1: with another process
    extra: Tensor | None  # (B,), what the margin adds to each sample's cross-entropy


def score(
    embeddings: Tensor, centres: Tensor, columns: Tensor, margin: Margin, processes: Processes | None = None
) -> Scores:
    """Score a batch.

    Args:
        embeddings: (B, D), of any length, the same on every process.
        centres: (C, D), of any length; each process has others.
        columns: see `Scores`.
        margin: in the same state on every process.
        processes: that the classes are split over; None: they are all here.
    """
    cosine = cosines(embeddings, centres)
    norms = torch.linalg.vector_norm(embeddings.to(cosine.dtype), dim=1)
    if processes is None or processes.count == 1:
        return Scores(cosine, margin(cosine, columns, norms), columns, margin.extra_loss(norms))
    present = columns >= 0
    own = cosine.gather(1, columns.clamp_min(0)[:, None])[:, 0]
    own = processes.sum_of_parts(torch.where(present, own, 0.0))
    extra = margin.extra_loss(norms)
    if extra is not None:  # every process computes it, one may send its gradient back
        extra = torch.where(present, extra, extra.detach())
    return Scores(cosine, margin(cosine, columns, norms, own_cosine=own), columns, extra)


def cosines(embeddings: Tensor, centres: Tensor) -> Tensor:
    """Cosines (B, C) of embeddings (B, D) and centres (C, D), float32 or wider."""
    product = F.normalize(embeddings) @ F.normalize(centres.to(embeddings.dtype)).T
    return product.to(torch.promote_types(product.dtype, torch.float32)).clamp(-1, 1)


def check_labels(labels: Tensor, classes: int) -> None:
    """Raise a DataError unless all labels are classes.

    Without it a label that no process owns would count as a sample without an own class.
    """
    wrong = labels[(labels < 0) | (labels >= classes)]
    if len(wrong):
        raise DataError(f"labels must be in 0 ... {classes - 1}, got {int(wrong[0])}; give the head more classes")
