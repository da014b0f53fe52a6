"""The base model of a personalised picture: a Stable Diffusion 1.x, 2.x or XL directory as diffusers writes it."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from difflib import get_close_matches
from importlib import import_module, resources
from pathlib import Path
from typing import Any

from facewright.errors import DataError, InputError
from facewright.weights import Card

PIPELINES = {"StableDiffusionPipeline": 1, "StableDiffusionXLPipeline": 2}
"""Pipelines that are known, and their text encoders."""
SAFETY = ("safety_checker", "feature_extractor", "image_encoder")  # parts that a picture can be made without
CARD = "facewright_card.json"
"""What a model trained here is and what made it, beside diffusers' own files."""
DRAWING = "drawing"
"""Entry of that card's architecture: steps, guidance and way of regions that suit the model, where `SMALL` does not."""
SMALL: dict[str, Any] = {"steps": 20, "guidance": 3.0, "regional": "windows"}
"""What suits the small models of `facewright train base`."""
PRECISIONS = ("float32", "float16", "bfloat16")
_WEIGHTS = (".safetensors", ".bin")
_VOCABULARIES = (("tokenizer.json",), ("vocab.json", "merges.txt"))  # one of these is in a tokenizer's folder
_CONFIGS = ("config.json", "scheduler_config.json", "tokenizer_config.json", "preprocessor_config.json")


@dataclass(frozen=True)
class BaseFacts:
    """What a base directory says about itself before anything of it is loaded."""

    path: Path
    pipeline: str
    text_widths: tuple[int, ...]
    """Width of each text encoder; a mapper's words are as wide as all together."""
    has_safety_checker: bool
    card: Card | None = None
    """Of a model trained here; others have none."""

    @property
    def word_width(self) -> int:
        """Of the words that a mapper for this base makes."""
        return sum(self.text_widths)

    @property
    def sha256(self) -> str | None:
        """Of the weights, as the card says; None without one."""
        return None if self.card is None else self.card.sha256

    @property
    def is_small(self) -> bool:
        """Whether it comes from `facewright train base`, whose card gives the sizes of the text encoder."""
        return self.card is not None and "text" in self.card.architecture

    @property
    def drawing(self) -> dict[str, Any]:
        """What suits the model of `PictureConfig`, where its card says so or it is small.

        Raises:
            DataError: the card names something else.
        """
        if self.card is None:
            return {}
        given = self.card.architecture.get(DRAWING, {})
        if not isinstance(given, dict) or given.keys() - SMALL.keys():
            raise DataError(f"{self.path / CARD}: {DRAWING} is an object of {', '.join(SMALL)}, got {given!r}")
        return SMALL | given if self.is_small else given


def read_base(path: Path | str) -> BaseFacts:
    """Check that a base directory is whole and of a known kind; no weights are read.

    Raises:
        InputError: no such directory, or no pipeline that facewright can use.
        DataError: a part named in its model_index.json is missing or has no weights, or its card is damaged.
    """
    folder = Path(path)
    index = folder / "model_index.json"
    if not index.is_file():
        raise InputError(
            f"{folder} is no base model: it has no model_index.json; name the directory of a Stable Diffusion 1.x, 2.x "
            "or XL model in the form of diffusers, or its owner/name on the hub"
        )
    parts = _json(index)
    pipeline = str(parts.get("_class_name"))
    if pipeline not in PIPELINES:
        raise InputError(f"{folder} is a {pipeline}, expected {' or '.join(PIPELINES)}; name another base model")
    for part, origin in parts.items():
        if isinstance(origin, list) and origin[0] is not None and part not in SAFETY:
            _check_part(folder / part)
    suffixes = ("", "_2")[: PIPELINES[pipeline]]
    texts, tokenizers = ([f"{part}{suffix}" for suffix in suffixes] for part in ("text_encoder", "tokenizer"))
    for part in ("unet", "vae", "scheduler", *texts, *tokenizers):
        if parts.get(part, [None, None]) == [None, None] or not (folder / part).is_dir():
            raise DataError(f"{folder} has no {part}, which a {pipeline} needs; get the whole model")
    for tokenizer in tokenizers:
        if not any(all((folder / tokenizer / file).is_file() for file in files) for files in _VOCABULARIES):
            raise DataError(f"{folder / tokenizer} holds no vocabulary (tokenizer.json); get the base model again")
    widths = tuple(_width(folder / text / "config.json") for text in texts)
    return BaseFacts(folder, pipeline, widths, (folder / "safety_checker").is_dir(), _card(folder / CARD))


def bundled_base() -> Path:
    """Where the base model that ships with the package lies; not every install has it."""
    return Path(str(resources.files("facewright.weights"))) / "bundled" / "base"


def load_tokenizer(path: Path | str) -> Any:
    """The (first) tokenizer of a base directory alone, which is quick."""
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(Path(path) / "tokenizer", local_files_only=True)


def find_base(source: Path | str) -> Path:
    """The directory of a base model: `source` itself, or what diffusers fetches from the hub or has in its cache.

    Args:
        source: "bundled", a directory, or owner/name of a model on the hub.

    Raises:
        InputError: none of these, the hub does not give it, or this install has no bundled one.
    """
    text = str(source)
    if text == "bundled":
        folder = bundled_base()
        if not folder.is_dir():
            raise InputError(
                f"this install has no bundled base model ({folder} is missing); name the directory of a Stable "
                "Diffusion model, or its owner/name on the hub"
            )
        return folder
    if Path(text).exists() or text.count("/") != 1 or text.startswith((".", "/")):
        return Path(source)
    try:
        return Path(_diffusers().DiffusionPipeline.download(text))
    except (OSError, ValueError) as error:
        raise InputError(
            f"{text} is no directory, and neither the hub nor its cache gives it; check the name and the connection"
        ) from error


def load_base(
    source: Path | str,
    *,
    device: str = "cpu",
    precision: str = "float32",
    scheduler: str | None = None,
    safety_checker: bool = False,
) -> Any:
    """Load a base model as the pipeline of diffusers that it names.

    LoRA, ControlNet, another VAE and whatever else diffusers offers are attached to what comes back by diffusers' own
    calls, before it is given to `draw_pictures`.

    Args:
        source: as of `find_base`.
        device: such as "cpu" or "cuda".
        precision: float32, float16 or bfloat16.
        scheduler: a class of diffusers, such as "EulerAncestralDiscreteScheduler"; None: the model's own.
        safety_checker: whether the model's filter blackens pictures that it holds unsafe.

    Raises:
        InputError: no such model or scheduler, `precision` is unknown, diffusers is not installed, or a filter is
            asked of a model that has none.
        DataError: the directory is not whole (see `read_base`), or diffusers cannot read it.
    """
    facts = read_base(find_base(source))
    check_options(facts, precision=precision, scheduler=scheduler, safety_checker=safety_checker)
    diffusers = _diffusers()
    import torch

    from facewright.training.norms import use_float_group_norms

    options: dict[str, Any] = {"dtype": getattr(torch, precision)}
    if not safety_checker and facts.pipeline == "StableDiffusionPipeline":  # XL knows no filter
        options |= {"safety_checker": None, "requires_safety_checker": False}
    try:
        with _quietly():
            pipe = getattr(diffusers, facts.pipeline).from_pretrained(facts.path, local_files_only=True, **options)
    except (OSError, ValueError, RuntimeError) as error:
        raise DataError(f"{source} cannot be loaded as a base model: {_first_line(error)}") from error
    if scheduler is not None:
        pipe.scheduler = _scheduler(pipe.scheduler, scheduler)
    pipe.set_progress_bar_config(disable=True)
    if precision == "bfloat16":
        use_float_group_norms(pipe.unet)
        use_float_group_norms(pipe.vae)
    with _quietly():
        return pipe.to(device)


def check_options(
    facts: BaseFacts, *, precision: str = "float32", scheduler: str | None = None, safety_checker: bool = False
) -> None:
    """Refuse what `load_base` cannot give of a base model, before weights are read; arguments and errors as there."""
    if precision not in PRECISIONS:
        raise InputError(f"precision must be one of {', '.join(PRECISIONS)}, got {precision!r}")
    if safety_checker and not facts.has_safety_checker:
        raise InputError(f"{facts.path} has no safety_checker; leave the filter off or name a model that has one")
    if scheduler is not None:
        kind = str(_json(facts.path / "scheduler" / "scheduler_config.json").get("_class_name"))
        found = getattr(_diffusers(), kind, None)
        if found is None:
            raise DataError(f"{facts.path} has a {kind}, which diffusers does not know; get the model again")
        with _quietly():
            own = found.from_pretrained(facts.path / "scheduler", local_files_only=True)
        _scheduler(own, scheduler)


def _scheduler(own: Any, name: str) -> Any:
    """A scheduler of that name with the settings of the model's own."""
    known = {kind.__name__: kind for kind in own.compatibles}
    if name not in known:
        close = get_close_matches(name, known, n=1, cutoff=0.4)
        meant = f"did you mean {close[0]}? " if close else ""
        raise InputError(f"unknown scheduler {name!r}; {meant}Known: {', '.join(sorted(known))}")
    return known[name].from_config(own.config)


def _diffusers() -> Any:
    try:
        import diffusers
        import transformers  # noqa: F401 - the text encoders
    except ImportError as error:
        raise InputError(
            f"personalised pictures need the package {error.name}; install facewright[personalise]"
        ) from error
    return diffusers


@contextmanager
def _quietly() -> Iterator[None]:
    """Without the bars and remarks of diffusers and transformers; they raise what goes wrong."""
    libraries: list[Any] = [import_module(f"{name}.utils.logging") for name in ("diffusers", "transformers")]
    before = [(each, each.get_verbosity(), each.is_progress_bar_enabled()) for each in libraries]
    for each, _, shown in before:
        each.set_verbosity_error()
        if shown:
            each.disable_progress_bar()
    try:
        yield
    finally:
        for each, verbosity, shown in before:
            each.set_verbosity(verbosity)
            if shown:
                each.enable_progress_bar()


def _check_part(folder: Path) -> None:
    files = sorted(folder.iterdir()) if folder.is_dir() else []
    if not files:
        raise DataError(f"the base model lacks the part {folder.name} ({folder} is missing or empty); get it again")
    is_network = (folder / "config.json").is_file()
    if is_network and not any(file.suffix in _WEIGHTS for file in files):
        raise DataError(f"{folder} holds no weights (.safetensors or .bin); get the base model again")
    if is_network:
        _json(folder / "config.json")
    if not is_network and not any(file.name in _CONFIGS for file in files):
        raise DataError(f"{folder} has no config; get the base model again")


def _width(config: Path) -> int:
    """Of a text encoder."""
    width = _json(config).get("hidden_size")
    if not isinstance(width, int):
        raise DataError(f"{config} does not say the width of the text encoder (hidden_size); get the base model again")
    return width


def _card(file: Path) -> Card | None:
    if not file.is_file():
        return None
    try:
        return Card.from_json(file.read_text(encoding="utf-8"), source=str(file))
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{file} cannot be read ({error}); get the base model again") from error


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__


def _json(path: Path) -> dict[str, Any]:
    try:
        read = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(f"{path} cannot be read ({error}); get the base model again") from error
    if not isinstance(read, dict):
        raise DataError(f"{path} is no JSON object; get the base model again")
    return read
