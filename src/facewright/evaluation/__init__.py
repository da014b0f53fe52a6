"""Measures of the field, each with its definition: pairs, templates, searches, rates, sets, personalised pictures.

Plots are in `facewright.evaluation.plots`, apart, because they load matplotlib; the lists of IJB-B and IJB-C are in
`facewright.evaluation.ijb`.
"""

from facewright.evaluation.benchmarks import (
    BENCHMARKS,
    Benchmark,
    FacePairs,
    embed_pairs,
    find_benchmark,
    known_benchmarks,
    read_bin_pairs,
    read_folder_pairs,
)
from facewright.evaluation.bootstrap import (
    Interval,
    People,
    bootstrap_interval,
    people_interval,
    rate_intervals,
)
from facewright.evaluation.coverage import (
    class_coverage,
)
from facewright.evaluation.folds import (
    disjoint_folds,
    fold_numbers,
    people_in_several_folds,
)
from facewright.evaluation.frechet import (
    frechet_distance,
)
from facewright.evaluation.groups import (
    GroupRates,
    GroupReport,
    group_rates,
)
from facewright.evaluation.identification import (
    Identification,
    OpenSetPoint,
    identify,
    tpir_at_fpir,
)
from facewright.evaluation.leakage import (
    Leakage,
    Match,
    Searched,
    identity_leakage,
    impostor_threshold,
)
from facewright.evaluation.personalised import (
    EncoderFigures,
    PersonalisedMeasures,
    PersonalisedPicture,
    PersonPhotos,
    measure_personalised,
)
from facewright.evaluation.personalised_diversity import (
    face_diversity,
    structural_distance,
)
from facewright.evaluation.personalised_means import (
    Estimate,
)
from facewright.evaluation.personalised_protocols import (
    PromptProtocol,
    ProtocolPrompt,
    read_protocol,
)
from facewright.evaluation.personalised_scores import (
    FacesFound,
    PictureIdentity,
    copy_paste,
    find_faces_of,
    harmonic_mean,
    picture_identity,
)
from facewright.evaluation.personalised_text import (
    ClipScorer,
    PromptScorer,
    load_clip,
)
from facewright.evaluation.pyeer import (
    PyeerSummary,
    nearest_operating_point,
    pyeer_equal_error,
    pyeer_summary,
)
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
from facewright.evaluation.similarities import (
    genuine_similarities,
    identity_centres,
    impostor_similarities,
    nearest,
    search,
)
from facewright.evaluation.subjects import (
    match_subjects,
    multi_subject_identity,
    weakest_match,
)
from facewright.evaluation.templates import (
    TFACE,
    PairScores,
    TemplateConfig,
    Templates,
    build_templates,
    face_features,
    nearest_tar_at_far,
    score_pairs,
)
from facewright.evaluation.uniqueness import (
    class_consistency,
    class_uniqueness,
    unique_classes,
    unique_rows,
)
from facewright.evaluation.vendi import (
    identity_vendi_scores,
    vendi_score,
)
from facewright.evaluation.verification import (
    AcceptRate,
    Verification,
    check_folds,
    pair_distances,
    val_at_far,
    verify,
)

__all__ = [
    "BENCHMARKS",
    "TFACE",
    "AcceptRate",
    "Benchmark",
    "ClipScorer",
    "EncoderFigures",
    "Estimate",
    "FacePairs",
    "FacesFound",
    "GroupRates",
    "GroupReport",
    "Identification",
    "Interval",
    "Leakage",
    "Match",
    "OpenSetPoint",
    "OperatingPoint",
    "PairScores",
    "People",
    "PersonPhotos",
    "PersonalisedMeasures",
    "PersonalisedPicture",
    "PictureIdentity",
    "PromptProtocol",
    "PromptScorer",
    "ProtocolPrompt",
    "PyeerSummary",
    "Rates",
    "ScoreSummary",
    "Searched",
    "SetMeasures",
    "Spread",
    "TemplateConfig",
    "Templates",
    "Verification",
    "area_under_curve",
    "bootstrap_interval",
    "build_templates",
    "check_folds",
    "class_consistency",
    "class_coverage",
    "class_uniqueness",
    "context_similarities",
    "copy_paste",
    "disjoint_folds",
    "embed_pairs",
    "equal_error_rate",
    "error_rates",
    "face_diversity",
    "face_features",
    "find_benchmark",
    "find_faces_of",
    "fisher_ratio",
    "fold_numbers",
    "frechet_distance",
    "genuine_similarities",
    "group_rates",
    "harmonic_mean",
    "identify",
    "identity_centres",
    "identity_leakage",
    "identity_vendi_scores",
    "impostor_similarities",
    "impostor_threshold",
    "intra_identity_diversity",
    "known_benchmarks",
    "load_clip",
    "match_subjects",
    "measure_personalised",
    "measure_set",
    "multi_subject_identity",
    "nearest",
    "nearest_operating_point",
    "nearest_tar_at_far",
    "operating_point",
    "pair_distances",
    "people_in_several_folds",
    "people_interval",
    "picture_identity",
    "pyeer_equal_error",
    "pyeer_summary",
    "rate_intervals",
    "read_bin_pairs",
    "read_folder_pairs",
    "read_protocol",
    "score_pairs",
    "search",
    "structural_distance",
    "summarise",
    "tar_at_far",
    "tpir_at_fpir",
    "unique_classes",
    "unique_rows",
    "val_at_far",
    "vendi_score",
    "verify",
    "weakest_match",
]
