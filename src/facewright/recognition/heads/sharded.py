"""A head whose classes are split over processes, each scoring the whole batch against its own classes."""

import torch.distributed as dist
from torch import Tensor, nn

from facewright.recognition.heads.cross_entropy import split_losses
from facewright.recognition.heads.processes import Processes
from facewright.recognition.heads.scores import Scores, check_labels, score
from facewright.recognition.heads.shares import Share, first_centres
from facewright.recognition.margins.margin import Margin


class ShardedHead(nn.Module):
    """Class centres split over processes; `weight` holds this process's rows.

    Loss and gradients are those of a dense head over the batch of all processes. The gradient of `weight` is whole on
    its process: leave the head out of DistributedDataParallel and give its parameters to an optimiser of its own or
    beside the network's.

    Args:
        classes: in all.
        width: D, of the embeddings.
        margin: what makes it ArcFace, CosFace, ...; built alike on every process.
        seed: of the first centres, which do not depend on the number of processes.
        group: see `Processes`.
        averaged: the gradients of the network that made the embeddings are averaged over the processes afterwards, as
            DistributedDataParallel does; each embedding is then sent the number of processes times its gradient.
    """

    is_table = True  # one row a class: not a matrix to the optimiser

    def __init__(
        self,
        classes: int,
        width: int = 512,
        *,
        margin: Margin,
        seed: int = 0,
        group: dist.ProcessGroup | None = None,
        averaged: bool = True,
    ) -> None:
        super().__init__()
        self.processes = Processes(group)
        self.share = Share.of(classes, self.processes.rank, self.processes.count)
        self.averaged = averaged
        self.weight = nn.Parameter(first_centres(self.share, width, seed=seed))
        self.margin = margin

    def scores(self, embeddings: Tensor, labels: Tensor) -> Scores:
        """Cosines and logits of all processes' batches against this process's classes; see `forward`."""
        all_labels = self.processes.rows(labels)
        check_labels(all_labels, self.share.classes)
        batch = self.processes.rows(embeddings, averaged=self.averaged)
        return score(batch, self.weight, self.share.columns(all_labels), self.margin, self.processes)

    def losses(self, scores: Scores) -> Tensor:
        """The loss of each sample of all processes, (B,)."""
        return split_losses(scores, self.processes)

    def forward(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        """Mean loss over the batches of all processes; every process has to call it, and then backward.

        Args:
            embeddings: this process's, (b, D), of any length; b may differ from process to process.
            labels: (b,), int64, of all classes.
        """
        return self.losses(self.scores(embeddings, labels)).mean()
