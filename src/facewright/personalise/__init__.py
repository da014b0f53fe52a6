"""People in pictures that a prompt describes: identities become words of a text-conditioned picture model.

Importing this room imports neither diffusers nor transformers; drawing does.
"""

from facewright.personalise.base import load_base, read_base
from facewright.personalise.base_autoencoder import BaseAutoencoderTraining, train_base_autoencoder
from facewright.personalise.bisenet import BiSeNet
from facewright.personalise.conditioning import Conditioning, encode_people
from facewright.personalise.delay import text_only_steps
from facewright.personalise.identities import (
    IdentityReader,
    MultiScaleEncoder,
    PhotoOf,
    average_identities,
    load_identity_encoder,
)
from facewright.personalise.injection import fuse_people, insert_people, inserting
from facewright.personalise.losses import (
    cgdr_loss,
    cgdr_target,
    denoising_loss,
    localisation_loss,
    localisation_losses,
    total_loss,
    union_mask,
)
from facewright.personalise.mapper import Mapper, load_mapper, read_mapper_card, save_mapper
from facewright.personalise.mapping import Mapping, MappingConfig
from facewright.personalise.picture_folder import PictureFolder, find_picture_folders, prompt_text
from facewright.personalise.pictures import Drawn, PictureConfig, Subject, draw_pictures
from facewright.personalise.postfuse import PostFuse
from facewright.personalise.prompt_classifier import PromptClassifier, load_prompt_classifier
from facewright.personalise.prompt_scorer import ClassifierScorer, load_prompt_scorer
from facewright.personalise.prompts import Placed, find_people, place_people
from facewright.personalise.regions import box_masks, columns, regional_attention
from facewright.personalise.scoring import Kept, PictureScore, keep_best, match_people, score_picture
from facewright.personalise.subject_build import SubjectConfig, SubjectReport, make_subjects, read_captions
from facewright.personalise.subject_folder import SubjectFolder
from facewright.personalise.subject_segment import Segmenter, load_segmenter
from facewright.personalise.text import TextConfig, TextEncoder, insert_words
from facewright.personalise.train_base import BaseTraining, train_base
from facewright.personalise.train_checks import PersonaliserChecks, drawn_checks
from facewright.personalise.train_denoiser import BaseModel
from facewright.personalise.train_people import People, read_people
from facewright.personalise.train_personaliser import Trained, train_personaliser
from facewright.personalise.train_recipe import PersonaliserTraining
from facewright.personalise.world_faces import read_world_faces
from facewright.personalise.world_folder import write_world
from facewright.personalise.world_scenes import World, WorldConfig

__all__ = [
    "BaseAutoencoderTraining",
    "BaseModel",
    "BaseTraining",
    "BiSeNet",
    "ClassifierScorer",
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
    "PromptClassifier",
    "Segmenter",
    "Subject",
    "SubjectConfig",
    "SubjectFolder",
    "SubjectReport",
    "TextConfig",
    "TextEncoder",
    "Trained",
    "World",
    "WorldConfig",
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
    "load_prompt_classifier",
    "load_prompt_scorer",
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
    "read_world_faces",
    "regional_attention",
    "save_mapper",
    "score_picture",
    "text_only_steps",
    "total_loss",
    "train_base",
    "train_base_autoencoder",
    "train_personaliser",
    "union_mask",
    "write_world",
]
