"""One face against many: rank-k and the CMC curve in a closed set, TPIR at FPIR in an open one (ISO/IEC 19795-1).

Similarities are cosines. The gallery is met in chunks, so no matrix of all probes and all entries is ever held.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np

from facewright.errors import DataError
from facewright.evaluation.similarities import CHUNK, unit_rows

Counting = Literal["entries", "identities"]


@dataclass(frozen=True, eq=False)
class Identification:
    """Where each probe's own person came out; M probes have a mate in the gallery, the others have none."""

    ranks: np.ndarray  # (M,) int64 from 1; entries (or identities) + 1 for a probe without a face
    mate_scores: np.ndarray  # (M,) cosine to the most similar entry of the own person, -1 without a face
    stranger_scores: np.ndarray  # (S,) largest cosine of each probe without a mate, -1 without a face
    gallery: int  # what a rank counts: entries or identities
    counting: Counting
    missing: int  # probes in which no face was found

    def rank_rate(self, rank: int) -> float:
        """Share of mated probes whose person is among the first `rank`."""
        if rank < 1:
            raise DataError(f"ranks start at 1, got {rank}")
        return float(np.mean(self.ranks <= rank))

    def cmc(self, ranks: int = 50) -> np.ndarray:
        """Rank rates 1 .. min(ranks, gallery), the cumulative match characteristic."""
        counts = np.bincount(self.ranks, minlength=self.gallery + 2)[1 : self.gallery + 1]
        return np.asarray(np.cumsum(counts)[: min(ranks, self.gallery)] / len(self.ranks))


@dataclass(frozen=True)
class OpenSetPoint:
    """True positive identification rate at a limited false positive identification rate."""

    target: float
    threshold: float
    fpir: float  # attained: share of strangers with any entry at or above the threshold
    tpir: float  # share of mated probes found within `rank` and at or above the threshold
    rank: int


def identify(
    probes: np.ndarray,
    probe_labels: np.ndarray,
    gallery: np.ndarray,
    gallery_labels: np.ndarray,
    *,
    found: np.ndarray | None = None,
    counting: Counting = "entries",
) -> Identification:
    """Search every probe in the gallery.

    The rank of a mated probe is one more than the number of entries of other people that are at least as similar as its
    own best one: ties count against it. With several entries a person that is TinyFace's "any of the first k";
    `counting="identities"` counts each other person once. Gallery people without a probe are distractors.

    Args:
        probes: (Q, D), any length.
        probe_labels: (Q,) integers; a label that the gallery lacks marks a stranger.
        gallery: (R, D), any length.
        gallery_labels: (R,) integers.
        found: (Q,) bool, False where no face was found in a probe: it never matches anyone, and its row may hold
            anything. None when all were.
        counting: what a rank counts.

    Raises:
        DataError: shapes do not fit, an embedding is unusable, or no probe has a mate.
    """
    if counting not in ("entries", "identities"):
        raise DataError(f"a rank counts entries or identities, got {counting!r}")
    known, known_labels = _labelled(gallery, gallery_labels, "gallery")
    present = np.ones(len(probes), bool) if found is None else np.asarray(found)
    if present.shape != (len(probes),) or present.dtype != bool or not present.any():
        raise DataError(f"found must be booleans ({len(probes)},), one of them true, got {present.dtype}")
    asked, asked_labels = _labelled(np.where(present[:, None], probes, 1.0), probe_labels, "probe")
    if asked.shape[1] != known.shape[1]:
        raise DataError(
            f"probes are {asked.shape[1]} wide and the gallery {known.shape[1]}; make both with the same encoder"
        )
    order = np.argsort(known_labels, kind="stable")
    known, known_labels = known[order], known_labels[order]
    people, starts = np.unique(known_labels, return_index=True)
    mated = np.isin(asked_labels, people)
    if not mated.any():
        raise DataError(f"none of the {len(asked)} probes has a mate among the {len(people)} people of the gallery")
    place = np.searchsorted(people, asked_labels).clip(max=len(people) - 1)
    ranks, best = np.empty(len(asked), np.int64), np.empty(len(asked))
    for start in range(0, len(asked), CHUNK):
        part = slice(start, start + CHUNK)
        ranks[part], best[part] = _search(asked[part], known, starts, place[part], mated[part], counting)
    size = len(known) if counting == "entries" else len(people)
    ranks[~present], best[~present] = size + 1, -1.0
    return Identification(
        ranks=ranks[mated],
        mate_scores=best[mated],
        stranger_scores=best[~mated],
        gallery=size,
        counting=counting,
        missing=int((~present).sum()),
    )


def tpir_at_fpir(
    result: Identification, targets: tuple[float, ...] = (1e-1, 1e-2, 1e-3), *, rank: int = 1
) -> list[OpenSetPoint]:
    """Open-set identification: the lowest threshold whose FPIR is at most the target, and the TPIR there.

    Args:
        result: of `identify`, with probes that have no mate.
        targets: largest FPIRs in [0, 1]; those below one stranger are left out.
        rank: a mated probe counts only when its person is among the first `rank`.
    """
    strangers = np.sort(result.stranger_scores)[::-1]
    if not strangers.size:
        raise DataError("open-set identification needs probes of people who are not in the gallery, and there are none")
    if rank < 1 or any(not 0 <= target <= 1 for target in targets):
        raise DataError(f"ranks start at 1 and an FPIR lies in [0, 1], got rank {rank} and {targets}")
    points = []
    for target in targets:
        if target * strangers.size < 1:
            continue
        allowed = int(np.searchsorted(np.arange(strangers.size + 1) / strangers.size, target, side="right")) - 1
        threshold = -1.0 if allowed == strangers.size else float(np.nextafter(strangers[allowed], np.inf))
        points.append(
            OpenSetPoint(
                target=target,
                threshold=threshold,
                fpir=float(np.mean(strangers >= threshold)),
                tpir=float(np.mean((result.ranks <= rank) & (result.mate_scores >= threshold))),
                rank=rank,
            )
        )
    return points


def _search(
    asked: np.ndarray, known: np.ndarray, starts: np.ndarray, place: np.ndarray, mated: np.ndarray, counting: Counting
) -> tuple[np.ndarray, np.ndarray]:
    """Ranks and scores of some probes; `starts` is where each person's rows begin, `place` the probe's person."""
    rows = np.arange(len(asked))
    ends = np.append(starts[1:], len(known))
    own = np.full(len(asked), -np.inf)
    top = np.full(len(asked), -np.inf)
    blocks = _blocks(starts, len(known))
    for first, last in blocks:  # the own person's best score, and the best of all
        cosines = asked @ known[starts[first] : ends[last - 1]].T
        top = np.maximum(top, cosines.max(axis=1))
        best = np.maximum.reduceat(cosines, starts[first:last] - starts[first], axis=1)
        inside = mated & (place >= first) & (place < last)
        own[inside] = best[rows[inside], place[inside] - first]
    ahead = np.zeros(len(asked), np.int64)
    for first, last in blocks:  # who is at least as similar, less the own person's entries
        cosines = asked @ known[starts[first] : ends[last - 1]].T
        if counting == "identities":
            cosines = np.maximum.reduceat(cosines, starts[first:last] - starts[first], axis=1)
        ahead += np.sum(cosines >= own[:, None], axis=1)
        for probe in np.flatnonzero(mated & (place >= first) & (place < last)):
            if counting == "identities":
                ahead[probe] -= 1
            else:
                mine = slice(starts[place[probe]] - starts[first], ends[place[probe]] - starts[first])
                ahead[probe] -= int(np.sum(cosines[probe, mine] >= own[probe]))
    return np.where(mated, ahead + 1, 0), np.where(mated, own, top)


def _blocks(starts: np.ndarray, entries: int) -> list[tuple[int, int]]:
    """Runs of whole people of about `8 * CHUNK` entries each."""
    blocks, first = [], 0
    ends = np.append(starts[1:], entries)
    while first < len(starts):
        last = max(first + 1, int(np.searchsorted(ends, starts[first] + 8 * CHUNK, side="right")))
        blocks.append((first, last))
        first = last
    return blocks


def _labelled(embeddings: np.ndarray, labels: np.ndarray, what: str) -> tuple[np.ndarray, np.ndarray]:
    rows, labels = unit_rows(embeddings), np.asarray(labels)
    if labels.shape != (len(rows),) or not np.issubdtype(labels.dtype, np.integer):
        raise DataError(f"{what} labels must be integers ({len(rows)},), got {labels.dtype} {labels.shape}")
    return rows, labels
