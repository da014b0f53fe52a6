import facewright.evaluation as room

PUBLIC = """
    BENCHMARKS TFACE AcceptRate Benchmark ClipScorer EncoderFigures Estimate FacePairs FacesFound GroupRates
    GroupReport Identification Interval Leakage Match OpenSetPoint OperatingPoint PairScores People PersonPhotos
    PersonalisedMeasures PersonalisedPicture PictureIdentity PromptProtocol PromptScorer ProtocolPrompt PyeerSummary
    Rates ScoreSummary Searched SetMeasures Spread TemplateConfig Templates Verification area_under_curve
    bootstrap_interval build_templates check_folds class_consistency class_coverage class_uniqueness
    context_similarities
    copy_paste disjoint_folds embed_pairs equal_error_rate error_rates face_diversity face_features find_benchmark
    find_faces_of fisher_ratio fold_numbers frechet_distance genuine_similarities group_rates harmonic_mean identify
    identity_centres identity_leakage identity_vendi_scores impostor_similarities impostor_threshold
    intra_identity_diversity known_benchmarks load_clip match_subjects measure_personalised measure_set
    multi_subject_identity
    nearest nearest_operating_point nearest_tar_at_far operating_point pair_distances people_in_several_folds
    people_interval picture_identity pyeer_equal_error pyeer_summary rate_intervals read_bin_pairs read_folder_pairs
    read_protocol score_pairs search structural_distance summarise tar_at_far tpir_at_fpir unique_classes
    unique_rows val_at_far vendi_score verify weakest_match
"""


def test_public_names() -> None:
    assert room.__all__ == PUBLIC.split()
    assert all(hasattr(room, name) for name in room.__all__)
