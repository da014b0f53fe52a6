"""Does a checkpoint fit a layout? Every tensor is accounted for, or the answer says which are not."""

from collections.abc import Iterable
from dataclasses import dataclass

from facewright.checkpoints.layouts import Generation, Layout, described, signature
from facewright.checkpoints.source import Checkpoint
from facewright.errors import DataError

NEAREST = 3  # layouts that a file fitting none is compared with


@dataclass(frozen=True)
class Match:
    """A checkpoint held against one generation of a layout; names without wrappers."""

    layout: Layout
    generation: Generation
    keys: dict[str, str]  # name in the layout: name in the file
    missing: list[str]
    unexpected: list[str]  # names in the file
    misfits: list[str]  # one sentence each: another shape or type
    hints: list[str]  # picture size and embedding width

    @property
    def fits(self) -> bool:
        """Whether every tensor is accounted for."""
        return not (self.missing or self.unexpected or self.misfits)

    @property
    def faults(self) -> int:
        """How many tensors are not."""
        return len(self.missing) + len(self.unexpected) + len(self.misfits)

    def sentence(self) -> str:
        """What does not fit, the first of each kind by name."""
        parts = [*self.hints]
        parts += [f"missing: {_listed(self.missing)}"] if self.missing else []
        parts += [f"unexpected: {_listed(self.unexpected)}"] if self.unexpected else []
        parts += [f"of another shape or type: {_listed(self.misfits)}"] if self.misfits else []
        return "; ".join(parts)


def match(checkpoint: Checkpoint, layout: Layout) -> Match:
    """Hold a checkpoint against the generation of a layout that is nearest to it.

    Raises:
        DataError: two names in the file mean the same tensor.
    """
    names = _unwrapped(checkpoint, layout)
    if twice := next((found for found in names.values() if len(found) > 1), None):
        raise DataError(
            f"{checkpoint.name}: {twice[0]} and {twice[1]} are the same tensor of {layout.name}; keep one of them"
        )
    keys = {plain: found[0] for plain, found in names.items()}
    generations = sorted(layout.generations, key=lambda generation: abs(generation.tensors - len(keys)))
    return _compare(checkpoint, layout, generations[0], keys)


def fitting(checkpoint: Checkpoint, layouts: Iterable[Layout]) -> list[Match]:
    """Every layout that the checkpoint fits entirely."""
    found = []
    for layout in layouts:
        names = _unwrapped(checkpoint, layout)
        counts = [generation.tensors for generation in layout.generations]
        once = sum(map(len, names.values())) == len(names)
        if once and len(names) in counts and layout.family.landmark in names:
            found.append(match(checkpoint, layout))
    return [held for held in found if held.fits]


def whole(found: Iterable[Match]) -> list[Match]:
    """Those of several matches of one checkpoint that are no part of another."""
    matches = list(found)
    names = [set(held.keys.values()) for held in matches]
    return [held for held, own in zip(matches, names, strict=True) if not any(own < other for other in names)]


def nearest(checkpoint: Checkpoint, layouts: Iterable[Layout]) -> Match | None:
    """The layout with the fewest faults among those whose landmark the checkpoint has; None where none has it.

    Raises:
        DataError: two names in the file mean the same tensor.
    """
    candidates = []
    for layout in layouts:
        names = _unwrapped(checkpoint, layout)
        if layout.family.landmark in names:
            distance = min(abs(generation.tensors - len(names)) for generation in layout.generations)
            candidates.append((distance, layout))
    closest = sorted(candidates, key=lambda pair: pair[0])[:NEAREST]
    return min((match(checkpoint, layout) for _, layout in closest), key=lambda held: held.faults, default=None)


def _unwrapped(checkpoint: Checkpoint, layout: Layout) -> dict[str, list[str]]:
    """Names in the file by their names without wrappers, less what lies beside the network."""
    names: dict[str, list[str]] = {}
    for key in checkpoint.entries:
        plain = layout.stripped(key)
        if not layout.is_beside(plain):
            names.setdefault(plain, []).append(key)
    return names


def _compare(checkpoint: Checkpoint, layout: Layout, generation: Generation, keys: dict[str, str]) -> Match:
    wanted = signature(generation)
    misfits = []
    for key, (shape, dtype) in wanted.items():
        if key not in keys:
            continue
        entry = checkpoint.entries[keys[key]]
        if entry.shape != shape:
            misfits.append(f"{keys[key]} {entry.shape} instead of {shape}")
        elif entry.dtype.is_floating_point != dtype.is_floating_point or entry.dtype.is_complex:
            misfits.append(f"{keys[key]} {_type(entry.dtype)} instead of {_type(dtype)}")
    return Match(
        layout,
        generation,
        keys={key: keys[key] for key in wanted if key in keys},
        missing=[key for key in wanted if key not in keys],
        unexpected=[name for key, name in keys.items() if key not in wanted],
        misfits=misfits,
        hints=described(
            layout.family.readings,
            {key: checkpoint.entries[name].shape for key, name in keys.items()},
            {key: shape for key, (shape, _) in wanted.items()},
        ),
    )


def _type(dtype: object) -> str:
    return str(dtype).removeprefix("torch.")


def _listed(names: list[str]) -> str:
    more = f" and {len(names) - 1:,} more" if len(names) > 1 else ""
    return f"{names[0]}{more}"
