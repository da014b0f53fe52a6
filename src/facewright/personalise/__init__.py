"""Identity embeddings as words: the networks that put a person into a text-conditioned picture model."""

from facewright.personalise.bisenet import BiSeNet
from facewright.personalise.mapping import Mapping, MappingConfig
from facewright.personalise.postfuse import PostFuse
from facewright.personalise.text import TextConfig, TextEncoder, insert_words

__all__ = [
    "BiSeNet",
    "Mapping",
    "MappingConfig",
    "PostFuse",
    "TextConfig",
    "TextEncoder",
    "insert_words",
]
