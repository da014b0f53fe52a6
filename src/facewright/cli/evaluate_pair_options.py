"""How `facewright evaluate verification` judges pairs, checked before a picture is read."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from facewright.errors import DataError, InputError

if TYPE_CHECKING:
    import numpy as np

    from facewright.evaluation import FacePairs

METRICS = {"squared": "squared distance", "angle": "angle over pi"}


@dataclass(frozen=True)
class Options:
    """The protocol's settings; what does not depend on a list is checked when made."""

    folds: str  # list, disjoint or a number
    metric: Literal["squared", "angle"]
    subtract_mean: bool
    components: int | None
    far: float  # of VAL
    resamples: int
    seed: int

    def __post_init__(self) -> None:
        number = self.folds.isascii() and self.folds.isdigit()
        if self.folds not in ("list", "disjoint") and not (number and int(self.folds) >= 2):
            raise InputError(f"--folds takes list, disjoint or a number from 2, got {self.folds!r}")
        if self.metric not in METRICS:
            raise InputError(f"--metric takes {' or '.join(METRICS)}, got {self.metric!r}")
        if not 0 <= self.far <= 1:
            raise InputError(f"--far is a rate from 0 to 1, such as 0.001, got {self.far:g}")
        if self.components is not None and self.components < 1:
            raise InputError(f"--components keeps at least 1, got {self.components}; leave it out to keep all")
        if self.subtract_mean and self.metric == "squared" and self.components is None:
            raise InputError("--subtract-mean changes no squared distance; add --metric angle, or leave it out")


def folds_of(given: str, faces: "FacePairs", options: Options, *, width: int) -> "np.ndarray":
    """The fold of each pair of a list, (P,) int64.

    Args:
        given: the list as the caller named it, for messages.
        faces: the list.
        options: which folds are asked for, and how many components.
        width: of the embeddings to come.

    Raises:
        InputError: the list names nobody, or the folds leave too few pictures for the components.
        DataError: the pairs cannot be parted so, or a fold lacks pairs of one kind.
    """
    import numpy as np

    from facewright.evaluation import check_folds, fold_numbers

    try:
        numbers = fold_numbers(len(faces.issame), _asked(given, faces, options.folds))
        check_folds(faces.issame, numbers)
    except DataError as error:
        raise DataError(f"{given}: {error}") from error
    most = min(width, 2 * (len(numbers) - int(np.bincount(numbers).max())))
    if options.components is not None and options.components > most:
        raise InputError(
            f"{given}: --components keeps at most {most} here, by the width of the embeddings and the pictures of the"
            f" other folds, got {options.components}"
        )
    return numbers


def _asked(given: str, faces: "FacePairs", asked: str) -> "int | np.ndarray":
    from facewright.evaluation import disjoint_folds

    if asked == "list":
        return faces.folds
    if asked == "disjoint":
        if faces.people is None:
            raise InputError(f"{given}: its list names nobody, so folds cannot be made disjoint; use --folds list")
        sides = [[faces.people[image] for image in side] for side in (faces.first, faces.second)]
        return disjoint_folds(sides[0], sides[1], folds=faces.folds)
    return int(asked)
