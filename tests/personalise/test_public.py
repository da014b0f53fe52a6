from facewright import personalise


def test_public_names() -> None:
    assert personalise.__all__ == [
        "BiSeNet",
        "Mapping",
        "MappingConfig",
        "PostFuse",
        "TextConfig",
        "TextEncoder",
        "insert_words",
    ]
