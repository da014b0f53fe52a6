"""What the commands that draw people share: the call checked, the models loaded once, pictures drawn into folders."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from facewright.cli.console import note
from facewright.errors import ConfigError, InputError, WorkError

if TYPE_CHECKING:
    from torch import Tensor

    from facewright.align import Detector
    from facewright.personalise.base import BaseFacts
    from facewright.personalise.identities import IdentityEncoder, PersonCrops, PhotoOf
    from facewright.personalise.mapper import Mapper, MapperCard
    from facewright.personalise.pictures import Drawn, PictureConfig, Subject
    from facewright.personalise.postfuse import PostFuse
    from facewright.personalise.prompts import Placed
    from facewright.weights import Card

    Photos = Mapping[str, Sequence[PhotoOf]]

LAYOUTS = ("columns", "none")
_NO_MEMORY = ("can't allocate memory", "not enough memory")  # how torch says it where there is no device of its own


@dataclass(frozen=True)
class DrawingCall:
    """How a call wants its pictures drawn."""

    base: str
    mapper: str
    encoder: str
    config: "PictureConfig"
    seed: int
    scheduler: str | None
    safety_checker: bool
    detector: str
    precision: str
    device: str
    layout: str = "none"
    boxes: Mapping[str, tuple[float, float, float, float]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.layout not in LAYOUTS:
            raise ConfigError(f"--layout must be {' or '.join(LAYOUTS)}, got {self.layout!r}")
        if self.boxes and self.layout != "none":
            raise ConfigError("--box and --layout both say where people are; give one of them")

    def settings(self) -> dict[str, Any]:
        """What the pictures depend on, models apart; the batch and the device change no more than rounding."""
        return {
            **{name: value for name, value in vars(self.config).items() if name != "batch"},
            "seed": self.seed,
            "scheduler": self.scheduler,
            "safety_checker": self.safety_checker,
            "detector": self.detector,
            "precision": self.precision,
            "layout": self.layout,
            "boxes": {name: list(box) for name, box in self.boxes.items()},
        }

    def left_to_right(self, prompt: str, names: Sequence[str]) -> list[str]:
        """Where people should stand: as the boxes say, else in the order of the prompt."""
        from facewright.personalise.prompts import find_people

        if self.boxes:
            return sorted(names, key=lambda name: self.boxes[name][0] + self.boxes[name][2])
        return [name for name, _, _ in find_people(prompt, list(names))]

    def suited(self, drawing: Mapping[str, Any], said: Mapping[str, Any]) -> "DrawingCall":
        """The call as it suits a base model (`BaseFacts.drawing`), but for what the user said of `PictureConfig`.

        Boxes and sizes of pictures are not for windows; a call with them falls back to attention.
        """
        sized = (self.config.width, self.config.height) != (None, None)
        fit = {name: value for name, value in drawing.items() if value != "windows" or not (self.boxes or sized)}
        return replace(self, config=replace(self.config, **(fit | dict(said))))

    def check_regions(self, prompt: str, names: Sequence[str]) -> None:
        """Whether this prompt's people can be kept apart as the call says; raises as `check_windows`."""
        from facewright.personalise.pictures import check_windows

        regions = self.regions(names)
        if regions is not None and self.config.regional == "windows":
            check_windows(prompt, names, regions, self.config)

    def regions(self, names: Sequence[str]) -> "Tensor | str | None":
        """What `draw_pictures` takes: masks where boxes are given, else the layout."""
        from facewright.personalise.regions import box_masks

        if not self.boxes:
            return None if self.layout == "none" or len(names) == 1 else self.layout  # one column is the whole picture
        return box_masks([self.boxes[name] for name in names], (256, 256))


@dataclass(frozen=True)
class CheckedModels:
    """What the files of the base model and the mapper say before they are loaded; they fit together."""

    facts: "BaseFacts"
    card: "MapperCard"
    fingerprint: str  # of the base model
    tokenizer: Any

    def place(self, prompt: str, nouns: Mapping[str, str]) -> "Placed":
        """The prompt's tokens, each person by their noun; raises as `place_people`."""
        from facewright.personalise.mapper import WORDS
        from facewright.personalise.prompts import place_people

        words = dict.fromkeys(nouns, WORDS)
        return place_people(prompt, nouns, self.tokenizer, words=words, keep_nouns=self.card.mode == "fuse")

    def unread(self, *texts: str) -> tuple[str, ...]:
        """Words of prompts that the base model cannot know; a small one knows those of its captions alone."""
        from facewright.personalise.base_tokenizer import unread_words

        return unread_words(" ".join(texts), self.tokenizer) if self.facts.is_small else ()


def note_left_out(what: str, words: Sequence[str]) -> None:
    """Say which words of a text find no room (`Placed.cut`), if there are any."""
    if words:
        note(f"{what} is too long, left out: {' '.join(words)}")


def note_unread(words: Sequence[str]) -> None:
    """Say which words of the prompts the base model has not read (`CheckedModels.unread`), if there are any."""
    from facewright.personalise.base_tokenizer import caption_words

    if words:
        note(
            f"the base model has read no caption with {', '.join(map(repr, words))}, so expect nothing of it; it knows "
            f"the words {', '.join(caption_words())}"
        )


def check_models(call: DrawingCall) -> CheckedModels:
    """Everything that can be wrong with the base model, the mapper and the encoder before one is loaded.

    Says so where the mapper was trained for another base model of the same widths: one that was trained further, say.
    """
    from facewright.personalise.base import check_options, find_base, load_tokenizer, read_base
    from facewright.personalise.mapper import read_mapper_card
    from facewright.personalise.picture_folder import base_fingerprint

    facts = read_base(find_base(call.base))
    check_options(facts, precision=call.precision, scheduler=call.scheduler, safety_checker=call.safety_checker)
    card = read_mapper_card(call.mapper)
    if card.config.word_width != facts.word_width:
        raise InputError(
            f"the mapper {call.mapper} makes words {card.config.word_width} wide, the text encoders of {call.base} "
            f"take {facts.word_width}; use a mapper trained for this base model"
        )
    if (known := _encoder_card(call.encoder)) is not None:
        _check_encoder(card, known.name, known.sha256)
    if None not in (card.base_sha256, facts.sha256) and card.base_sha256 != facts.sha256:
        note(
            f"the mapper {call.mapper} was trained for the base model {str(card.base_sha256)[:12]}, {call.base} is "
            f"{str(facts.sha256)[:12]}: people may come out unlike themselves"
        )
    return CheckedModels(facts, card, base_fingerprint(facts.path), load_tokenizer(facts.path))


def check_photos(photos: "Photos") -> None:
    """Every photo is there."""
    for own in photos.values():
        for photo in own:
            if not photo.path.is_file():
                raise InputError(f"{photo.path}: no such photo; check the path after the equals sign of --face")


def described_people(photos: "Photos", nouns: Mapping[str, str]) -> dict[str, Any]:
    """People as `pictures.json` names them: the hash tells photos apart, wherever they lie."""
    import hashlib

    return {
        name: {
            "noun": nouns[name],
            "photos": [
                {
                    "file": str(photo.path.resolve()),
                    "face": photo.face,
                    "sha256": hashlib.sha256(photo.path.read_bytes()).hexdigest(),
                }
                for photo in own
            ],
        }
        for name, own in photos.items()
    }


class Studio:
    """The models of a call, each loaded when it is needed: encoder and mapper, then the base model in their place.

    The base model takes most of the memory, and by the first picture everybody is words already; so encoder and mapper
    are let go then, but for the fusion of mode "fuse".
    """

    def __init__(self, call: DrawingCall, checked: CheckedModels, finder: "Detector") -> None:
        from facewright.personalise.identities import IdentityReader

        self.call = call
        self.checked = checked
        self.reader = IdentityReader(finder)
        self._words_by: tuple[IdentityEncoder, Mapper] | None = None
        self._fuse: PostFuse | None = None
        self._pipe: Any = None

    def models(self) -> dict[str, Any]:
        """As `pictures.json` names them."""
        encoder, mapper = self._encoder_and_mapper()
        return {
            "base": {"file": str(self.checked.facts.path), "fingerprint": self.checked.fingerprint},
            "mapper": {"file": self.call.mapper, "sha256": mapper.sha256},
            "encoder": {"name": encoder.name, "sha256": encoder.sha256},
        }

    def subject(self, person: "PersonCrops", noun: str) -> "Subject":
        """A person as the base model reads them."""
        import torch

        from facewright.personalise.pictures import Subject

        encoder, mapper = self._encoder_and_mapper()
        identity = torch.from_numpy(self.reader.identity(person, encoder))
        return Subject(person.name, mapper.words(identity), noun)

    def _encoder_and_mapper(self) -> "tuple[IdentityEncoder, Mapper]":
        if self._words_by is None:
            from facewright.personalise.identities import load_identity_encoder
            from facewright.personalise.mapper import load_mapper

            encoder = load_identity_encoder(self.call.encoder, device=self.call.device)
            _check_encoder(self.checked.card, encoder.name, encoder.sha256, width=encoder.width)
            mapper = load_mapper(self.call.mapper, device=self.call.device)
            self._words_by, self._fuse = (encoder, mapper), mapper.fuse
        return self._words_by

    @property
    def pipe(self) -> Any:
        """The base model."""
        if self._pipe is None:
            from facewright.personalise.base import load_base

            call, self._words_by = self.call, None
            sentence = (
                f"{call.base} does not fit in the memory of {call.device}; load it in half precision (--precision)"
            )
            with _in_memory(sentence):
                self._pipe = load_base(
                    call.base,
                    device=call.device,
                    precision=call.precision,
                    scheduler=call.scheduler,
                    safety_checker=call.safety_checker,
                )
        return self._pipe

    def draw(
        self, prompt: str, subjects: Sequence["Subject"], numbers: range, progress: Any = None, *, kept: str
    ) -> "Drawn":
        """Draw pictures of these numbers.

        Args:
            kept: what is made already, for the sentence said where the memory does not suffice.
        """
        from facewright.personalise.pictures import draw_pictures

        batch = min(self.call.config.batch, len(numbers))
        many, cure = f"{batch} pictures at a time do", f"run the same command with --batch {batch // 2}"
        if batch == 1:
            many, cure = "one picture does", "draw smaller ones (--width, --height) or in half precision (--precision)"
        with _in_memory(f"{many} not fit in the memory of {self.call.device}; {kept} kept; {cure}"):
            return draw_pictures(
                self.pipe,
                prompt,
                subjects,
                self.call.config,
                numbers=numbers,
                seed=self.call.seed,
                fuse=self._fuse,
                regions=self.call.regions([subject.name for subject in subjects]),
                progress=progress,
            )


@contextmanager
def _in_memory(sentence: str) -> Iterator[None]:
    """Say so where torch runs out of memory."""
    import torch

    try:
        yield
    except (RuntimeError, MemoryError) as error:
        told = isinstance(error, torch.OutOfMemoryError | MemoryError) or any(text in str(error) for text in _NO_MEMORY)
        if not told:
            raise
        raise WorkError(sentence) from error


def _encoder_card(source: str) -> "Card | None":
    """What an encoder says of itself before it is loaded; None where it has no card."""
    from facewright.weights import bundled_cards, read_card

    if source == "bundled":
        return bundled_cards().get("encoder")
    return read_card(source) if source.endswith(".safetensors") else None


def _check_encoder(card: "MapperCard", name: str, sha256: str, *, width: int | None = None) -> None:
    """The mapper maps the embeddings of this encoder."""
    if card.encoder_layout is not None and name != card.encoder_layout:
        raise InputError(
            f"the mapper is for an encoder of layout {card.encoder_layout}, got {name}; name its file with --encoder"
        )
    if card.encoder_sha256 is not None and sha256 != card.encoder_sha256:
        raise InputError(
            f"the mapper is for the encoder {card.encoder_sha256[:12]}, got {name} {sha256[:12]}; "
            "name the right one with --encoder"
        )
    if width not in (None, card.config.identity_width):
        raise InputError(
            f"the mapper takes embeddings {card.config.identity_width} wide, the encoder {name} makes {width}; "
            "name the right one with --encoder"
        )


def pairs(texts: Sequence[str], form: str) -> dict[str, str]:
    """NAME=VALUE options; a name is given once."""
    read = [pair(text, form) for text in texts]
    if twice := [name for index, (name, _) in enumerate(read) if name in dict(read[:index])]:
        raise InputError(f"{form} is given twice for {twice[0]!r}; give it once")
    return dict(read)


def pair(text: str, form: str) -> tuple[str, str]:
    """One of them."""
    name, equals, value = text.partition("=")
    if not (name.strip() and equals and value.strip()):
        raise InputError(f"{text!r} is not of the form {form}")
    return name.strip(), value.strip()
