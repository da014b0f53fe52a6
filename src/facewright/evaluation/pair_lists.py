"""Lists of pairs of files, in the forms in which the benchmarks' makers give them."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from facewright.data.pairs import read_pairs
from facewright.errors import DataError, InputError

Pair = tuple[str, str, bool]


@dataclass(frozen=True, eq=False)
class PairFiles:
    """Pairs of files, fold by fold."""

    files: tuple[tuple[str, str], ...]  # paths, or names without suffix
    issame: np.ndarray  # (P,) bool
    folds: int  # contiguous
    people: dict[str, str] | None  # of each file, where the list tells


def read_pair_list(folder: Path, pairs: Path | None = None, *, protocol: str = "FP", folds: int = 10) -> PairFiles:
    """Read a list of pairs, its form told by its lines.

    Known forms: LFW's (`10 300`, then `NAME i j` and `NAME1 i NAME2 j`); CALFW's and CPLFW's (two lines a pair,
    `FILE LABEL`, the first line's label 0 for two people; the pairs of either kind are dealt out to the folds in equal
    parts, in their order, as published evaluators do); pairs of files in order of folds (`FILE FILE 0|1`); and CFP's
    folder `Protocol` (`Pair_list_F.txt`, `Pair_list_P.txt`, `Split/FP/01/same.txt` and so on).

    Args:
        folder: where the list is, unless `pairs` names it: `Protocol`, or the only *.txt with "pairs" in its name.
        pairs: the list, or None.
        protocol: "FF" or "FP", for CFP.
        folds: of a list that does not name its own.

    Raises:
        InputError: no list, or several.
        DataError: a line of another form; names file and line.
    """
    if pairs is None and (folder / "Protocol").is_dir():
        return _pair_files(_cfp(folder / "Protocol", protocol), 10)
    listed = pairs or _only_list(folder)
    lines = _lines(listed)
    if not lines:
        raise DataError(f"{listed}: empty; restore the list of pairs")
    fields = [len(line.split()) for _, line in lines[:2]]
    if fields[0] == 2 and len(fields) > 1 and fields[1] in (3, 4):
        return _lfw(listed)
    if fields[0] == 2:
        return _pair_files(_two_lines(listed, lines, folds), folds)
    return _pair_files([_one_line(listed, *line) for line in lines], folds)


def _pair_files(pairs: list[Pair], folds: int, people: dict[str, str] | None = None) -> PairFiles:
    files = tuple((one, two) for one, two, _ in pairs)
    return PairFiles(files, np.array([same for _, _, same in pairs], bool), folds, people)


def _lfw(path: Path) -> PairFiles:
    known = read_pairs(path)
    files = [f"{person}_{number:04d}" for person, number in known.images]
    pairs = [
        (files[one], files[two], bool(same))
        for one, two, same in zip(known.first, known.second, known.issame, strict=True)
    ]
    people = {file: person for file, (person, _) in zip(files, known.images, strict=True)}
    return _pair_files(pairs, known.folds, people)


def _only_list(folder: Path) -> Path:
    found = [path for path in sorted(folder.glob("*.txt")) if "pairs" in path.name.lower()]
    if len(found) != 1:
        said = "no list" if not found else f"several lists ({', '.join(path.name for path in found)})"
        raise InputError(f"{folder}: holds {said} of pairs; name one file pairs.txt")
    return found[0]


def _lines(path: Path) -> list[tuple[int, str]]:
    if not path.is_file():
        raise InputError(f"{path}: no such list of pairs")
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (UnicodeDecodeError, OSError) as error:
        raise DataError(f"{path}: not a readable text file ({error})") from error
    return [(number, line) for number, line in enumerate(lines, start=1) if line.strip()]


def _one_line(path: Path, number: int, line: str) -> Pair:
    fields = line.split()
    if len(fields) != 3 or fields[2] not in ("0", "1"):
        raise DataError(f"{path}, line {number}: expected FILE FILE 0 or 1, got {line!r}")
    return fields[0], fields[1], fields[2] == "1"


def _two_lines(path: Path, lines: list[tuple[int, str]], folds: int) -> list[Pair]:
    """Pairs of two lines each, dealt out so that every fold has its part of either kind."""
    kinds: dict[bool, list[Pair]] = {True: [], False: []}
    for couple in zip(lines[::2], lines[1::2], strict=False):
        fields = [line.split() for _, line in couple]
        if any(len(each) != 2 or not each[1].isdigit() for each in fields):
            raise DataError(f"{path}, line {couple[0][0]}: expected two lines FILE LABEL, got {couple[0][1]!r}")
        same = fields[0][1] != "0"
        kinds[same].append((fields[0][0], fields[1][0], same))
    if len(lines) % 2 or len(kinds[True]) % folds or len(kinds[False]) % folds:
        raise DataError(
            f"{path}: {len(kinds[True])} genuine and {len(kinds[False])} impostor pairs in {len(lines)} lines cannot be"
            f" dealt out to {folds} folds; restore the list"
        )
    ours, theirs = (len(kinds[same]) // folds for same in (True, False))
    return [
        pair
        for fold in range(folds)
        for pair in (
            *kinds[True][ours * fold : ours * (fold + 1)],
            *kinds[False][theirs * fold : theirs * (fold + 1)],
        )
    ]


def _cfp(folder: Path, protocol: str) -> list[Pair]:
    """CFP's own lists: numbered images, and pairs of their numbers fold by fold."""
    if protocol not in ("FF", "FP"):
        raise InputError(f"CFP's protocols are FF and FP, got {protocol!r}")
    sides = [_numbered(folder / f"Pair_list_{side}.txt") for side in protocol]
    splits = sorted(path for path in (folder / "Split" / protocol).glob("*") if path.is_dir())
    if len(splits) != 10:
        raise DataError(f"{folder / 'Split' / protocol}: {len(splits)} folds, expected 10; restore the protocol")
    triples = []
    for split in splits:
        for name, same in (("same.txt", True), ("diff.txt", False)):
            for number, line in _lines(split / name):
                parts = line.split(",")
                if len(parts) != 2 or any(part.strip() not in side for part, side in zip(parts, sides, strict=True)):
                    raise DataError(f"{split / name}, line {number}: expected two numbers of images, got {line!r}")
                one, two = (side[part.strip()] for part, side in zip(parts, sides, strict=True))
                triples.append((one, two, same))
    return triples


def _numbered(path: Path) -> dict[str, str]:
    """Number of an image to its path below the benchmark's folder."""
    named = {}
    for number, line in _lines(path):
        fields = line.split()
        if len(fields) != 2:
            raise DataError(f"{path}, line {number}: expected a number and a path, got {line!r}")
        named[fields[0]] = fields[1].removeprefix("../")
    return named
