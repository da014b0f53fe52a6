"""The settings of a personaliser's training."""

from dataclasses import dataclass

from facewright.errors import ConfigError
from facewright.personalise.injection import MODES
from facewright.personalise.losses import NORMALISE
from facewright.personalise.mapping import MappingConfig
from facewright.personalise.train_batch import Chances
from facewright.training.schedule import Schedule

TRAINED = ("mapping", "attention", "denoiser")
SHARES = (
    "appear",
    "unconditional",
    "mirrored",
    "other_photo",
    "expression_dropout",
    "masked",
    "identity_until",
    "held_out",
)


@dataclass(frozen=True)
class PersonaliserTraining:
    """How a personaliser is trained."""

    schedule: Schedule
    mode: str = "replace"  # Face2Diffusion's words before the text encoder; or fuse, FastComposer's after it
    width: int = 1536  # of the mapping's hidden layers
    layers: int = 2
    dropout: float = 0.1
    expression_width: int = 64
    begin_from_noun: bool = True  # replace: the words begin as those of "a person"; else by chance, as published
    size: int | None = None  # side of the pictures in pixels; None: the base model's own
    most_people: int = 1  # of a picture
    appear: float = 1.0  # share of the people who are put into the caption; others are their nouns
    unconditional: float = 0.0  # share of the samples with an empty caption; it teaches a frozen denoiser nothing
    mirrored: float = 0.5  # share of the pictures that are mirrored, with their mask and identity
    least_window: float = 1.0  # smallest square that is cut, as a share of the photo's shorter side
    other_photo: float = 0.0  # share whose identity comes from another photo of the person, where there is one
    expression_dropout: float = 0.2  # share whose expression gives way to the learned stand-in
    cgdr: bool = True  # around the people the target is the denoiser's own prediction for their nouns
    masked: float = 0.0  # share of the samples whose error counts on the people alone
    normalise: str = "elements"  # of that masked error: elements, or area
    localisation: float = 0.0  # weight of the cross-attention loss
    identity: float = 0.0  # weight of the identity loss on the faces of the cleaned picture
    identity_until: float = 0.4  # share of the noise levels, from the lowest, where that loss counts
    trained: str = "mapping"  # also the keys and values of the denoiser's cross-attention: attention; all: denoiser
    checkpointing: bool = False  # of the denoiser: less memory, more time
    held_out: float = 0.05  # share of the people who are not trained on, where the folder does not list them
    measure_every: int | None = None  # images between two validations; None: at every save

    def __post_init__(self) -> None:
        for name, known in (("mode", MODES), ("trained", TRAINED), ("normalise", NORMALISE)):
            if getattr(self, name) not in known:
                raise ConfigError(f"{name} must be {' or '.join(known)}, got {getattr(self, name)!r}")
        for name in SHARES:
            if not 0 <= getattr(self, name) <= 1:
                raise ConfigError(f"{name} is a share from 0 to 1, got {getattr(self, name)}")
        if not 0 < self.least_window <= 1:
            raise ConfigError(f"least_window must be in (0, 1], got {self.least_window}")
        if min(self.localisation, self.identity) < 0 or self.most_people < 1:
            raise ConfigError(
                "weights must be at least 0 and most_people at least 1, got localisation "
                f"{self.localisation}, identity {self.identity}, most_people {self.most_people}"
            )
        self.mapping(1, 1)

    def mapping(self, identity_width: int, word_width: int) -> MappingConfig:
        """The mapping for an encoder and a base model."""
        return MappingConfig(
            identity_width, self.expression_width, self.width, word_width, layers=self.layers, dropout=self.dropout
        )

    def chances(self) -> Chances:
        """What is drawn for a sample."""
        return Chances(
            self.most_people,
            self.appear,
            self.unconditional,
            self.mirrored,
            self.least_window,
            self.other_photo,
            self.expression_dropout,
        )
