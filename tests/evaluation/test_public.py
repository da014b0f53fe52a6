import facewright.evaluation as room

PUBLIC = """
    AcceptRate OperatingPoint PyeerSummary Rates ScoreSummary SetMeasures Spread Verification area_under_curve
    bootstrap_interval class_consistency class_uniqueness context_similarities equal_error_rate error_rates fisher_ratio
    genuine_similarities identity_centres impostor_similarities intra_identity_diversity match_subjects measure_set
    multi_subject_identity nearest nearest_operating_point operating_point pair_distances pyeer_equal_error
    pyeer_summary summarise tar_at_far unique_classes unique_rows val_at_far verify weakest_match
"""


def test_public_names() -> None:
    assert room.__all__ == PUBLIC.split()
    assert all(hasattr(room, name) for name in room.__all__)
