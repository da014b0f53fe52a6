"""Margin losses as what they do to cosines; any of them fits the dense head, the sharded one and Partial FC."""

import difflib
from collections.abc import Mapping
from inspect import signature
from types import MappingProxyType
from typing import Any

from facewright.errors import ConfigError
from facewright.recognition.margins.adaface import AdaFace
from facewright.recognition.margins.arcface import ArcFace
from facewright.recognition.margins.combined import CombinedMargin
from facewright.recognition.margins.cosface import CosFace
from facewright.recognition.margins.curricularface import CurricularFace
from facewright.recognition.margins.elasticface import ElasticArcFace, ElasticCosFace
from facewright.recognition.margins.magface import MagFace
from facewright.recognition.margins.margin import Margin
from facewright.recognition.margins.normface import NormFace

MARGINS: Mapping[str, type[Margin]] = MappingProxyType(
    {
        "adaface": AdaFace,
        "arcface": ArcFace,
        "combined": CombinedMargin,
        "cosface": CosFace,
        "curricularface": CurricularFace,
        "elastic-arc": ElasticArcFace,
        "elastic-cos": ElasticCosFace,
        "magface": MagFace,
        "normface": NormFace,
    }
)
"""Every margin by the name that a config uses."""


def create(name: str, **settings: Any) -> Margin:
    """The margin of this name, with the paper's settings where none are given.

    Raises:
        ConfigError: no such margin, a setting that it does not have, or one out of range.
    """
    kind = MARGINS.get(name)
    if kind is None:
        near = difflib.get_close_matches(name, MARGINS, n=1)
        hint = f" Did you mean {near[0]!r}?" if near else ""
        raise ConfigError(f"unknown margin {name!r}.{hint} Known: {', '.join(MARGINS)}.")
    try:
        return kind(**settings)
    except TypeError as error:
        reason = str(error).removeprefix(f"{kind.__name__}.__init__() ")
        raise ConfigError(f"margin {name!r} {reason}; it takes {', '.join(signature(kind).parameters)}") from error


__all__ = [
    "MARGINS",
    "AdaFace",
    "ArcFace",
    "CombinedMargin",
    "CosFace",
    "CurricularFace",
    "ElasticArcFace",
    "ElasticCosFace",
    "MagFace",
    "Margin",
    "NormFace",
    "create",
]
