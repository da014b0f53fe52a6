"""Choose identities that lie apart from each other and from given people, in a search that always ends."""

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from facewright.data.embeddings import Embeddings, check_embeddings
from facewright.errors import ConfigError, InputError

Accept = Callable[[Sequence[str], np.ndarray], np.ndarray]
"""Names and rows (B, D) of candidates to (B,) bool; asked only about candidates that no angle has ruled out."""


@dataclass(frozen=True, eq=False)
class Limits:
    """What a candidate must keep to."""

    min_angle: float | None = None  # radians between two identities, in (0, pi / 2]; None: as near as they come
    avoid: Embeddings | None = None  # real people
    avoid_angle: float | None = None  # radians to each of those, in (0, pi / 2]; None: min_angle
    accept: Accept | None = None  # a further, dearer question

    def __post_init__(self) -> None:
        for what, angle in (("min_angle", self.min_angle), ("avoid_angle", self.avoid_angle)):
            if angle is not None and not 0 < angle <= math.pi / 2:
                raise ConfigError(f"{what} must lie in (0, pi / 2] radians, got {angle}")
        if self.avoid is not None and self.min_angle is None and self.avoid_angle is None:
            raise ConfigError(
                "avoiding given people needs a min_angle or an avoid_angle in radians; 1.27 is cosine 0.3, DCFace's"
                " limit"
            )

    def check(self, *, width: int, encoder: str | None, encoder_sha256: str | None) -> None:
        """Refuse people to avoid of another width or encoder than the candidates (DataError, InputError)."""
        if self.avoid is None:
            return
        check_embeddings(
            self.avoid.names, self.avoid.embeddings, source=self.avoid.source or "embeddings to avoid", width=width
        )
        made_by = self.avoid.provenance.get("encoder_sha256")
        if made_by and encoder_sha256 and made_by != encoder_sha256:
            raise InputError(
                f"the embeddings to avoid were made by encoder {self.avoid.provenance.get('encoder')}, the candidates"
                f" follow {encoder}; embed those people with the latter"
            )

    def facts(self) -> dict[str, Any]:
        """What provenance tells of them."""
        return {
            "min_angle": self.min_angle,
            "avoid_angle": self.avoid_angle,
            "avoided_sha256": None if self.avoid is None else self.avoid.sha256,
        }


@dataclass(frozen=True, eq=False)
class Candidates:
    """A block of drawn identities, in order."""

    names: Sequence[str]
    embeddings: np.ndarray  # (B, D) float32, unit rows
    faceless: int = 0  # drawn pictures that gave no embedding


@dataclass(frozen=True)
class SearchReport:
    """How a search went."""

    wanted: int
    found: int
    drawn: int  # candidates looked at
    faceless: int = 0
    near_avoided: int = 0
    inconsistent: int = 0  # refused by `Limits.accept`
    near_another: int = 0

    @property
    def complete(self) -> bool:
        """Whether all that were wanted were found."""
        return self.found == self.wanted

    def sentence(self) -> str:
        """The report for a reader."""
        reasons = {
            "showed no face": self.faceless,
            "lay too near to a person to avoid": self.near_avoided,
            "proved inconsistent": self.inconsistent,
            "lay too near to another identity": self.near_another,
        }
        told = ", ".join(f"{count:,} {reason}" for reason, count in reasons.items() if count)
        wanted, drawn = "identity" if self.wanted == 1 else "identities", "draw" if self.drawn == 1 else "draws"
        found = f"{self.found:,} of {self.wanted:,} {wanted} found in {self.drawn:,} {drawn}"
        return f"{found}: {told}" if told else found


@dataclass(frozen=True, eq=False)
class Choice:
    """What a search found."""

    names: tuple[str, ...]
    embeddings: np.ndarray  # (found, D) float32
    report: SearchReport


@dataclass(frozen=True, eq=False)
class FoundContexts:
    """Contexts that a search found; fewer than wanted where the limits cannot be met by what there was."""

    contexts: Embeddings
    report: SearchReport


def filter_contexts(
    contexts: Embeddings,
    *,
    limits: Limits,
    count: int | None = None,
    block: int = 256,
    progress: Callable[[int, int], None] | None = None,
) -> FoundContexts:
    """Those of given contexts that keep to the limits, names and order kept; the first of two that are near stays.

    Args:
        contexts: any.
        limits: what each must keep to.
        count: how many are wanted, the first that keep to the limits; None: all that do.
        block: most contexts looked at together; what `limits.accept` is asked at a time.
        progress: called with (contexts looked at, contexts).

    Returns:
        The contexts, and the report; `report.complete` is False where fewer than wanted keep to the limits.

    Raises:
        ConfigError: more are wanted than there are.
        InputError: not one context keeps to the limits, or the people to avoid are of another encoder.
    """
    wanted = len(contexts) if count is None else count
    if count is not None and not 1 <= count <= len(contexts):
        where = contexts.source or "the file of contexts"
        raise ConfigError(f"count must lie in [1, {len(contexts)}], for no more are in {where}, got {count}")
    limits.check(
        width=contexts.embeddings.shape[1],
        encoder=contexts.provenance.get("encoder"),
        encoder_sha256=contexts.provenance.get("encoder_sha256"),
    )
    size = max(1, min(block, wanted))

    def blocks() -> Iterator[Candidates]:
        for start in range(0, len(contexts), size):
            if progress is not None:
                progress(start, len(contexts))
            yield Candidates(contexts.names[start : start + size], contexts.embeddings[start : start + size])

    chosen = choose_identities(blocks(), wanted, limits=limits, width=contexts.embeddings.shape[1])
    if not chosen.names:
        raise InputError(f"no context keeps to the limits ({chosen.report.sentence()}); loosen them")
    provenance = {**contexts.provenance, "filtered_from_sha256": contexts.sha256, **limits.facts()}
    return FoundContexts(Embeddings(chosen.names, chosen.embeddings, provenance), chosen.report)


def choose_identities(
    blocks: Iterable[Candidates], count: int, *, limits: Limits, width: int, before: np.ndarray | None = None
) -> Choice:
    """Take candidates in their order, each that keeps to the limits, until `count` are found or the blocks end.

    Uniqueness is greedy as DCFace's is (Kim et al. 2023, section 4.1): a candidate counts if it lies at least
    `min_angle` from every identity taken before.

    Args:
        blocks: candidates; a search with blocks without end would have none either, so bound them.
        count: how many are wanted.
        limits: what each must keep to.
        width: D of the candidates.
        before: identities taken elsewhere, (M, D), that `min_angle` is kept to as well.
    """
    earlier = np.empty((0, width), np.float32) if before is None else before
    taken = _Taken(count, limits, earlier)
    for block in blocks:
        taken.look_at(block)
        if taken.found == count:
            break
    report = SearchReport(
        count, taken.found, taken.drawn, taken.faceless, taken.near_avoided, taken.inconsistent, taken.near_another
    )
    return Choice(tuple(taken.names), taken.rows[: taken.found].copy(), report)


class _Taken:
    """Identities taken so far, and why others were not."""

    def __init__(self, count: int, limits: Limits, before: np.ndarray) -> None:
        self.count, self.limits, self.before = count, limits, before
        self.names: list[str] = []
        self.rows = np.empty((count, before.shape[1]), np.float32)
        self.found = self.drawn = self.faceless = self.near_avoided = self.inconsistent = self.near_another = 0
        angle = limits.avoid_angle or limits.min_angle
        self.avoid_limit = math.cos(angle) if limits.avoid is not None and angle is not None else None
        self.limit = None if limits.min_angle is None else math.cos(limits.min_angle)

    def look_at(self, block: Candidates) -> None:
        """Take from a block what keeps to the limits, while places are left."""
        rows = block.embeddings
        self.faceless += block.faceless
        self.drawn += block.faceless + len(rows)
        left = np.ones(len(rows), bool)
        if self.avoid_limit is not None and self.limits.avoid is not None:
            left &= _largest(rows, self.limits.avoid.embeddings) <= self.avoid_limit
            self.near_avoided += int((~left).sum())
        if self.limit is not None:
            apart = np.maximum(_largest(rows, self.before), _largest(rows, self.rows[: self.found])) <= self.limit
            self.near_another += int((left & ~apart).sum())
            left &= apart
        if self.limits.accept is not None and left.any():
            asked = np.flatnonzero(left).tolist()
            accepted = self.limits.accept([block.names[place] for place in asked], rows[asked])
            left[asked] = accepted
            self.inconsistent += len(asked) - int(np.count_nonzero(accepted))
        start = self.found
        for place in np.flatnonzero(left).tolist():
            if self.found == self.count:
                return
            before = self.rows[start : self.found]
            if self.limit is not None and len(before) and float((before @ rows[place]).max()) > self.limit:
                self.near_another += 1
                continue
            self.rows[self.found] = rows[place]
            self.names.append(block.names[place])
            self.found += 1


def _largest(rows: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Largest cosine of each row to any of the others, (B,); -1 where there are none."""
    return np.asarray((rows @ others.T).max(axis=1, initial=-1.0))
