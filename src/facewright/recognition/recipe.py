"""A recogniser's recipe: data, network, head, augmentation, schedule, by the names that a config file uses."""

import difflib
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from torch import nn

from facewright.data.augment_recipe import Augmentation
from facewright.data.formats import FORMATS
from facewright.encoders.encoder import NETWORKS
from facewright.errors import ConfigError
from facewright.recognition.margins import Margin, create
from facewright.recognition.margins.ramped import RampedMargin
from facewright.training.schedule import Schedule

AUTOMATIC = "auto"  # the format is told by what lies at the path
PACK = "pack"  # aligned faces of `facewright pack`
POLICIES = {"gaps": ("refuse", "renumber"), "damaged": ("refuse", "skip")}


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
    plus: str | None = None  # ElasticFace+: rank, or published
    factor: float | None = None  # combined: of the angle (SphereFace's m)
    angle: float | None = None  # combined: added to it (ArcFace's m)
    cosine: float | None = None  # combined: taken from its cosine (CosFace's m)
    form: str | None = None  # combined: paper, or arcface_torch
    hide_above: float | None = None  # combined: cosine above which other classes are left out
    concentration: float | None = None  # AdaFace's h
    momentum: float | None = None  # of the running means of AdaFace and CurricularFace
    shortest: float | None = None  # MagFace: lengths between which the margin grows
    longest: float | None = None
    smallest: float | None = None  # MagFace: margins at those lengths
    largest: float | None = None
    length_weight: float | None = None  # MagFace
    sample_rate: float = 1.0  # share of the classes a step is computed against; below 1: Partial FC
    sharded: bool = False  # each process holds a share of the classes
    margin_warmup_images: int = 0  # images seen over which the margin rises in a line from 0, see RampedMargin

    def __post_init__(self) -> None:
        if not 0 < self.sample_rate <= 1:
            raise ConfigError(f"head.sample_rate must be in (0, 1], got {self.sample_rate}")
        if self.margin_warmup_images < 0:
            raise ConfigError(f"head.margin_warmup_images must be at least 0, got {self.margin_warmup_images}")
        self.make_margin()

    def margin_share_at(self, images_seen: int) -> float:
        """Share of the margin that counts once so many images have been seen."""
        if images_seen >= self.margin_warmup_images:
            return 1.0
        return images_seen / self.margin_warmup_images

    def make_margin(self) -> Margin:
        """The margin that the settings name; a `RampedMargin` where it warms up.

        Raises:
            ConfigError: no such margin, or a setting that it does not take.
        """
        settings: dict[str, Any] = {key: value for key, value in asdict(self).items() if value is not None}
        for key in ("name", "sample_rate", "sharded", "margin_warmup_images"):
            del settings[key]
        margin = create(self.name, **settings)
        return RampedMargin(margin) if self.margin_warmup_images else margin


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
    gaps: str = "refuse"  # or renumber: where labels below the largest one have no picture
    damaged: str = "refuse"  # or skip: pictures that cannot be read; they are counted
    held_out_people: int = 0  # of `data`, left out of training to validate on; a pack has people held out already

    def __post_init__(self) -> None:
        _known("network", self.network, tuple(NETWORKS))
        _known("format", self.format, (AUTOMATIC, PACK, *FORMATS))
        for name, choices in POLICIES.items():
            _known(name, getattr(self, name), choices)
        drops = self.network.startswith(("ir_", "iresnet"))
        if self.dropout is not None and not (drops and 0 <= self.dropout < 1):
            raise ConfigError(f"dropout must be in [0, 1), and the network an ir or iresnet; got {self.dropout}")
        for name in ("people", "faces"):
            value = getattr(self, name)
            if value is not None and value < 2:
                raise ConfigError(f"{name} must be at least 2, got {value}")
        if self.held_out_people < 0:
            raise ConfigError(f"held_out_people must be at least 0, got {self.held_out_people}")

    def make_network(self) -> nn.Module:
        """The network with its first weights, drawn from torch's global generator."""
        build: Callable[..., nn.Module] = NETWORKS[self.network]
        return build() if self.dropout is None else build(dropout=self.dropout)

    def for_samples(self, samples: int) -> "RecogniserRecipe":
        """The same epochs over `samples` pictures: schedule and warm-ups, as `Schedule.for_samples`."""
        if self.schedule.epoch is None:
            return self
        factor, head, augmentation = samples / self.schedule.epoch, self.head, self.augmentation
        return replace(
            self,
            schedule=self.schedule.for_samples(samples),
            head=replace(head, margin_warmup_images=round(head.margin_warmup_images * factor)),
            augmentation=replace(augmentation, crop_warmup_images=round(augmentation.crop_warmup_images * factor)),
        )


def light_augmentation() -> Augmentation:
    """What a small network on few pictures learns with: shifted, tinted, now and then grey or unsharp."""
    return Augmentation(
        shift=4, low_resolution_share=0.2, smallest=0.3, colour_share=1.0, colour_strength=0.3, grey_share=0.05
    )


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
