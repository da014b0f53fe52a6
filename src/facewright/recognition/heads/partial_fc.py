"""Partial FC: each step compares with the own classes and a random sample of the others (An et al. 2021, 2022)."""

import torch
import torch.distributed as dist
from torch import Tensor, nn

from facewright.errors import DataError, WorkError
from facewright.recognition.heads.cross_entropy import split_losses
from facewright.recognition.heads.processes import Processes
from facewright.recognition.heads.row_optimiser import RowOptimiser
from facewright.recognition.heads.scores import Scores, check_labels, score
from facewright.recognition.heads.shares import Share, first_centres
from facewright.recognition.margins.margin import Margin, check
from facewright.training.seeds import seed_of


class PartialFC(nn.Module):
    """Class centres of which a training step reads, scores and updates a sample; in eval mode all classes count.

    The centres are a buffer and no parameter: no optimiser of the network moves them, and `step` updates the sampled
    rows alone. With several processes each holds and samples a share of the classes, as in `ShardedHead`.

        loss = head(embeddings, labels)
        loss.backward()
        head.step()

    Several forward and backward passes before a step add up their gradients.

    Args:
        classes: in all.
        width: D, of the embeddings.
        margin: what makes it ArcFace, CosFace, ...; built alike on every process.
        optimiser: of the centres.
        rate: share of the classes sampled, in [0, 1]. Own classes are always among them, and are all there is where
            they already exceed the rate.
        seed: of the first centres, which do not depend on the number of processes, and of the samples, which do.
        group: see `Processes`.
        averaged: see `ShardedHead`.
    """

    weight: Tensor
    draws: Tensor

    def __init__(
        self,
        classes: int,
        width: int = 512,
        *,
        margin: Margin,
        optimiser: RowOptimiser,
        rate: float = 0.1,
        seed: int = 0,
        group: dist.ProcessGroup | None = None,
        averaged: bool = True,
    ) -> None:
        super().__init__()
        check("rate", rate, least=0.0, below=1.0 + 1e-12)
        self.processes = Processes(group)
        self.share = Share.of(classes, self.processes.rank, self.processes.count)
        self.rate = rate
        self.seed = seed
        self.averaged = averaged
        self.optimiser = optimiser
        self.margin = margin
        self.register_buffer("weight", first_centres(self.share, width, seed=seed))
        self.register_buffer("draws", torch.zeros((), dtype=torch.int64))
        self._pending: list[tuple[Tensor, Tensor]] = []

    @property
    def sampled_rows(self) -> list[Tensor]:
        """The centres (n, D) of each forward pass since the last step, which hold the gradients: for clipping."""
        return [rows for _, rows in self._pending]

    def sample(self, labels: Tensor) -> Tensor:
        """Draw the classes of a step.

        Args:
            labels: of the batch of all processes, (B,).

        Returns:
            Ascending places within this process's share: the own classes of the batch that lie in it and others at
            random up to the rate, at least one.
        """
        own = self.share.columns(labels)
        own = own[own >= 0].unique()
        count = max(int(self.rate * len(self.share)), len(own), 1)
        generator = torch.Generator(self.weight.device)
        generator.manual_seed(seed_of("partial fc", self.seed, self.share.start, int(self.draws)))
        self.draws += 1
        order = torch.rand(len(self.share), generator=generator, device=self.weight.device)
        order[own] = 2.0
        return order.topk(count).indices.sort().values

    def scores(self, embeddings: Tensor, labels: Tensor, *, sampled: Tensor | None = None) -> Scores:
        """Cosines and logits of all processes' batches against this process's sampled classes; see `forward`."""
        all_labels = self.processes.rows(labels)
        check_labels(all_labels, self.share.classes)
        batch = self.processes.rows(embeddings, averaged=self.averaged)
        columns = self.share.columns(all_labels)
        if not self.training and sampled is None:
            return score(batch, self.weight, columns, self.margin, self.processes)
        index = self.sample(all_labels) if sampled is None else self._given(sampled, columns)
        rows = self.weight[index]
        if self.training and torch.is_grad_enabled():
            self._pending.append((index, rows.requires_grad_()))
        places = torch.searchsorted(index, columns)
        return score(batch, rows, torch.where(columns >= 0, places, -1), self.margin, self.processes)

    def losses(self, scores: Scores) -> Tensor:
        """The loss of each sample of all processes, (B,)."""
        return split_losses(scores, self.processes)

    def forward(self, embeddings: Tensor, labels: Tensor, *, sampled: Tensor | None = None) -> Tensor:
        """Mean loss over the batches of all processes; every process has to call it, and then backward and `step`.

        Args:
            embeddings: this process's, (b, D), of any length; b may differ from process to process.
            labels: (b,), int64, of all classes.
            sampled: classes of this process's share to use instead of drawing them, ascending, (n,), the batch's own
                among them.
        """
        return self.losses(self.scores(embeddings, labels, sampled=sampled)).mean()

    @torch.no_grad()
    def step(self) -> None:
        """Update the sampled centres by the gradients since the last step, and forget them."""
        done = [(index, rows.grad) for index, rows in self._pending if rows.grad is not None]
        self._pending.clear()
        if not done:
            raise WorkError("PartialFC.step() found no gradient; call head(embeddings, labels) and backward() first")
        if len(done) == 1:
            self.optimiser.step(self.weight, *done[0])
            return
        index, places = torch.cat([index for index, _ in done]).unique(return_inverse=True)
        gradients = torch.cat([gradient for _, gradient in done])
        total = gradients.new_zeros(len(index), gradients.shape[1]).index_add_(0, places, gradients)
        self.optimiser.step(self.weight, index, total)

    def _given(self, sampled: Tensor, columns: Tensor) -> Tensor:
        index = self.share.columns(sampled)
        own = columns[columns >= 0]
        if len(index) == 0 or bool((index < 0).any()) or bool((index.diff() <= 0).any()):
            raise DataError(
                f"sampled classes must be ascending and in {self.share.start} ... {self.share.stop - 1}, at least one; "
                f"got {sampled.tolist()}"
            )
        if not bool(torch.isin(own, index).all()):
            raise DataError("sampled classes must hold every own class of the batch; add the labels to them")
        return index
