import facewright.evaluation as room

PUBLIC = """
    BENCHMARKS TFACE AcceptRate Benchmark FacePairs GroupRates GroupReport Identification Interval Leakage Match
    OpenSetPoint OperatingPoint PairScores People PyeerSummary Rates ScoreSummary Searched SetMeasures Spread
    TemplateConfig Templates Verification area_under_curve bootstrap_interval build_templates class_consistency
    class_coverage class_uniqueness context_similarities disjoint_folds embed_pairs equal_error_rate error_rates
    face_features find_benchmark fisher_ratio fold_numbers frechet_distance genuine_similarities group_rates identify
    identity_centres identity_leakage identity_vendi_scores impostor_similarities impostor_threshold
    intra_identity_diversity match_subjects measure_set multi_subject_identity nearest nearest_operating_point
    nearest_tar_at_far operating_point pair_distances people_in_several_folds people_interval pyeer_equal_error
    pyeer_summary rate_intervals read_bin_pairs read_folder_pairs score_pairs search summarise tar_at_far
    tpir_at_fpir unique_classes unique_rows val_at_far vendi_score verify weakest_match
"""


def test_public_names() -> None:
    assert room.__all__ == PUBLIC.split()
    assert all(hasattr(room, name) for name in room.__all__)
