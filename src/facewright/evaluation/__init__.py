"""Measures of the field, each with its definition: pair verification, error rates, labelled sets, several people.

Plots are in `facewright.evaluation.plots`, apart, because they load matplotlib.
"""

from facewright.evaluation.pyeer import PyeerSummary, nearest_operating_point, pyeer_equal_error, pyeer_summary
from facewright.evaluation.rates import (
    OperatingPoint,
    Rates,
    ScoreSummary,
    area_under_curve,
    equal_error_rate,
    error_rates,
    fisher_ratio,
    operating_point,
    summarise,
    tar_at_far,
)
from facewright.evaluation.sets import (
    SetMeasures,
    Spread,
    context_similarities,
    intra_identity_diversity,
    measure_set,
)
from facewright.evaluation.similarities import genuine_similarities, identity_centres, impostor_similarities, nearest
from facewright.evaluation.subjects import match_subjects, multi_subject_identity, weakest_match
from facewright.evaluation.uniqueness import class_consistency, class_uniqueness, unique_classes, unique_rows
from facewright.evaluation.verification import (
    AcceptRate,
    Verification,
    bootstrap_interval,
    pair_distances,
    val_at_far,
    verify,
)

__all__ = [
    "AcceptRate",
    "OperatingPoint",
    "PyeerSummary",
    "Rates",
    "ScoreSummary",
    "SetMeasures",
    "Spread",
    "Verification",
    "area_under_curve",
    "bootstrap_interval",
    "class_consistency",
    "class_uniqueness",
    "context_similarities",
    "equal_error_rate",
    "error_rates",
    "fisher_ratio",
    "genuine_similarities",
    "identity_centres",
    "impostor_similarities",
    "intra_identity_diversity",
    "match_subjects",
    "measure_set",
    "multi_subject_identity",
    "nearest",
    "nearest_operating_point",
    "operating_point",
    "pair_distances",
    "pyeer_equal_error",
    "pyeer_summary",
    "summarise",
    "tar_at_far",
    "unique_classes",
    "unique_rows",
    "val_at_far",
    "verify",
    "weakest_match",
]
