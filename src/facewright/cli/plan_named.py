"""What `facewright plan` counts, with its name."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from facewright.training.cost import Work

Architecture = Mapping[str, Any]
"""What is known of the networks in a weights file or a base model, as its card or its configs say it."""
Known = Mapping[Path, Architecture]
"""Of files and folders that need not be there yet."""


@dataclass(frozen=True)
class Named:
    """What a config trains, in words and as work to count."""

    kind: str
    name: str
    network: str
    what: str
    work: Work
    made: Architecture = field(default_factory=dict)  # what the card of the weights will say
    frozen: int = 0  # parameters that take part and are not learnt, where they are told
    frozen_bytes: int = 0
    before: "tuple[Named, ...]" = ()  # what the same command trains first
