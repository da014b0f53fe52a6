import subprocess
import sys

from facewright import personalise


def test_public_names() -> None:
    assert personalise.__all__ == [
        "BaseModel",
        "BiSeNet",
        "Conditioning",
        "Drawn",
        "IdentityReader",
        "Kept",
        "Mapper",
        "Mapping",
        "MappingConfig",
        "MultiScaleEncoder",
        "People",
        "PersonaliserChecks",
        "PersonaliserTraining",
        "PhotoOf",
        "PictureConfig",
        "PictureFolder",
        "PictureScore",
        "Placed",
        "PostFuse",
        "Segmenter",
        "Subject",
        "SubjectConfig",
        "SubjectFolder",
        "SubjectReport",
        "TextConfig",
        "TextEncoder",
        "Trained",
        "average_identities",
        "box_masks",
        "cgdr_loss",
        "cgdr_target",
        "columns",
        "denoising_loss",
        "draw_pictures",
        "drawn_checks",
        "encode_people",
        "find_people",
        "find_picture_folders",
        "fuse_people",
        "insert_people",
        "insert_words",
        "inserting",
        "keep_best",
        "load_base",
        "load_identity_encoder",
        "load_mapper",
        "load_segmenter",
        "localisation_loss",
        "localisation_losses",
        "make_subjects",
        "match_people",
        "place_people",
        "prompt_text",
        "read_base",
        "read_captions",
        "read_mapper_card",
        "read_people",
        "regional_attention",
        "save_mapper",
        "score_picture",
        "text_only_steps",
        "total_loss",
        "train_personaliser",
        "union_mask",
    ]


def test_importing_the_room_imports_no_diffusion_library() -> None:
    code = (
        "import sys, facewright.personalise; print({'diffusers', 'transformers', 'scipy', 'peft'} & set(sys.modules))"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120)
    assert ended.stdout.strip() == "set()"
