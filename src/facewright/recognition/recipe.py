"""A recogniser's recipe: data, network, head, augmentation, schedule, by the names that a config file uses."""

import difflib
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from torch import nn

from facewright.data.augment_recipe import Augmentation
from facewright.data.formats import FORMATS
from facewright.encoders.encoder import NETWORKS
from facewright.encoders.msid import MSID
from facewright.errors import ConfigError
from facewright.recognition.margins import Margin, create
from facewright.training.schedule import Schedule

AUTOMATIC = "auto"  # the format is told by what lies at the path
PACK = "pack"  # aligned faces of `facewright pack`


def networks() -> Mapping[str, Callable[[], nn.Module]]:
    """Every network that can be trained, by name; each takes (B, 3, 112, 112) and gives (B, width)."""
    return {**NETWORKS, "msid": MSID}


@dataclass(frozen=True)
class HeadConfig:
    """The margin loss and its table; settings left out are the paper's."""

    name: str = "arcface"  # one of recognition.margins.MARGINS
    margin: float | None = None
    scale: float = 64.0
    gradient: str | None = None  # exact, or the published straight-through one (ArcFace, AdaFace)
    beyond: str | None = None  # ArcFace: what follows where angle and margin pass pi
    mean: float | None = None  # ElasticFace: of the drawn margins
    std: float | None = None
    sample_rate: float = 1.0  # share of the classes a step is computed against; below 1: Partial FC
    sharded: bool = False  # each process holds a share of the classes

    def __post_init__(self) -> None:
        if not 0 < self.sample_rate <= 1:
            raise ConfigError(f"head.sample_rate must be in (0, 1], got {self.sample_rate}")
        self.make_margin()

    def make_margin(self) -> Margin:
        """The margin that the settings name.

        Raises:
            ConfigError: no such margin, or a setting that it does not take.
        """
        settings: dict[str, Any] = {key: value for key, value in asdict(self).items() if value is not None}
        for key in ("name", "sample_rate", "sharded"):
            del settings[key]
        return create(self.name, **settings)


@dataclass(frozen=True)
class RecogniserRecipe:
    """What a recogniser is trained on and how."""

    data: Path
    schedule: Schedule
    format: str = AUTOMATIC  # of `data`: auto, pack, or one of data.formats.FORMATS
    network: str = "slimfacenet"
    dropout: float | None = None  # of the last feature map (IR, IResNet); None: the network's own
    head: HeadConfig = field(default_factory=HeadConfig)
    augmentation: Augmentation = field(default_factory=Augmentation)
    people: int | None = None  # in `data`; None: whatever it holds. Where given, other data is refused
    faces: int | None = None  # pictures in `data`, likewise

    def __post_init__(self) -> None:
        _known("network", self.network, tuple(networks()))
        _known("format", self.format, (AUTOMATIC, PACK, *FORMATS))
        drops = self.network.startswith(("ir_", "iresnet"))
        if self.dropout is not None and not (drops and 0 <= self.dropout < 1):
            raise ConfigError(f"dropout must be in [0, 1), and the network an ir or iresnet; got {self.dropout}")
        for name in ("people", "faces"):
            value = getattr(self, name)
            if value is not None and value < 2:
                raise ConfigError(f"{name} must be at least 2, got {value}")

    def make_network(self) -> nn.Module:
        """The network with its first weights, drawn from torch's global generator."""
        build: Callable[..., nn.Module] = networks()[self.network]
        return build() if self.dropout is None else build(dropout=self.dropout)


def check_data(recipe: RecogniserRecipe, *, people: int, faces: int) -> None:
    """Refuse data of another size than the recipe was written for.

    Raises:
        ConfigError: naming both sizes.
    """
    for name, found in (("people", people), ("faces", faces)):
        wanted = getattr(recipe, name)
        if wanted is not None and wanted != found:
            raise ConfigError(
                f"the recipe is for {wanted:,} {name}, and {recipe.data} holds {found:,}; give recipe.{name}={found}, "
                f"or recipe.{name}=none to take whatever is there"
            )


def _known(name: str, value: str, known: tuple[str, ...]) -> None:
    if value not in known:
        close = difflib.get_close_matches(value, known, n=1)
        hint = f" Did you mean {close[0]}?" if close else ""
        raise ConfigError(f"unknown {name} {value!r}.{hint} Known: {', '.join(known)}")
