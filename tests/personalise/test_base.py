import json
import shutil
from pathlib import Path

import pytest
from tests.personalise.small_base import save_small
from tests.personalise.tiny_base import SECOND_WIDTH, TEXT_WIDTH, save_tiny

from facewright.errors import DataError, FaceError, InputError
from facewright.personalise import base as base_module
from facewright.personalise import load_base, read_base
from facewright.personalise.base import CARD, find_base, load_tokenizer

pytest.importorskip("diffusers", reason="needs the extra personalise")


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny(tmp_path_factory.mktemp("base") / "small")


@pytest.fixture
def copied(small: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(small, tmp_path / "base"))


def test_a_directory_says_what_it_is(small: Path, tmp_path: Path) -> None:
    facts = read_base(small)
    assert (facts.pipeline, facts.text_widths, facts.word_width) == ("StableDiffusionPipeline", (TEXT_WIDTH,), 32)
    assert not facts.has_safety_checker
    assert (facts.card, facts.sha256, facts.drawing) == (None, None, {})
    large = read_base(save_tiny(tmp_path / "large", large=True))
    assert (large.pipeline, large.word_width) == ("StableDiffusionXLPipeline", TEXT_WIDTH + SECOND_WIDTH)
    assert type(load_base(large.path)).__name__ == "StableDiffusionXLPipeline"
    assert load_tokenizer(small)("person", add_special_tokens=False).input_ids


@pytest.mark.filterwarnings(
    "ignore:__array__ implementation doesn't accept a copy keyword:DeprecationWarning"
)  # diffusers
def test_it_loads_with_another_scheduler_and_precision(small: Path) -> None:
    pipe = load_base(small, scheduler="EulerAncestralDiscreteScheduler", precision="bfloat16")
    assert type(pipe.scheduler).__name__ == "EulerAncestralDiscreteScheduler"
    assert pipe.scheduler.config.beta_schedule == "scaled_linear"
    assert str(pipe.unet.dtype) == "torch.bfloat16"
    assert pipe.safety_checker is None


@pytest.mark.parametrize("precision", ["float32", "float16"])
def test_it_loads_without_a_word(precision: str, small: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from transformers.utils import logging

    before = logging.get_verbosity(), logging.is_progress_bar_enabled()
    capsys.readouterr()
    load_base(small, precision=precision)
    assert capsys.readouterr().err == ""
    assert (logging.get_verbosity(), logging.is_progress_bar_enabled()) == before


@pytest.mark.parametrize(
    ("spoil", "sentence"),
    [
        (lambda base: shutil.rmtree(base / "vae"), "lacks the part vae"),
        (lambda base: (base / "unet/diffusion_pytorch_model.safetensors").unlink(), "unet holds no weights"),
        (lambda base: shutil.rmtree(base / "text_encoder"), "lacks the part text_encoder"),
        (lambda base: (base / "scheduler/scheduler_config.json").write_text("") or _move(base), "has no config"),
        (lambda base: (base / "model_index.json").unlink(), "has no model_index.json"),
        (lambda base: (base / "model_index.json").write_text("{"), "cannot be read"),
        (lambda base: (base / "model_index.json").write_text("[]"), "no JSON object"),
        (lambda base: (base / "model_index.json").write_text('{"_class_name": "FluxPipeline"}'), "is a FluxPipeline"),
        (lambda base: _without_text(base), "has no text_encoder, which a StableDiffusionPipeline needs"),
        (
            lambda base: _changed(base / "model_index.json", "unet"),
            "has no unet, which a StableDiffusionPipeline needs",
        ),
        (lambda base: (base / "tokenizer/tokenizer.json").unlink(), "tokenizer holds no vocabulary"),
        (lambda base: _changed(base / "text_encoder/config.json", "hidden_size"), "does not say the width"),
        (lambda base: (base / "unet/config.json").write_text("{"), "unet/config.json cannot be read"),
    ],
)
def test_what_is_missing_is_named(copied: Path, spoil: object, sentence: str) -> None:
    spoil(copied)  # type: ignore[operator]
    with pytest.raises(FaceError, match=sentence):
        read_base(copied)


def _move(base: Path) -> None:
    (base / "scheduler/scheduler_config.json").rename(base / "scheduler/other.json")


def _changed(file: Path, without: str) -> None:
    read = json.loads(file.read_text())
    del read[without]
    file.write_text(json.dumps(read))


def _without_text(base: Path) -> None:
    parts = json.loads((base / "model_index.json").read_text())
    parts["text_encoder"] = [None, None]
    (base / "model_index.json").write_text(json.dumps(parts))
    shutil.rmtree(base / "text_encoder")


def test_a_small_base_says_what_suits_it(tmp_path: Path) -> None:
    facts = read_base(save_small(tmp_path / "base"))
    assert facts.sha256 == json.loads((facts.path / CARD).read_text())["sha256"]
    assert facts.drawing == {"steps": 20, "guidance": 3.0, "regional": "windows"}
    (facts.path / CARD).write_bytes(b"\xff\xfe")
    with pytest.raises(DataError, match=f"{CARD} cannot be read"):
        read_base(facts.path)
    (facts.path / CARD).write_text("{}")
    with pytest.raises(DataError, match="its card cannot be read"):
        read_base(facts.path)


def test_the_bundled_one_is_found_or_said_to_be_missing(
    small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert base_module.bundled_base().parts[-4:] == ("facewright", "weights", "bundled", "base")
    monkeypatch.setattr(base_module, "bundled_base", lambda: small)
    assert find_base("bundled") == small
    assert type(load_base("bundled")).__name__ == "StableDiffusionPipeline"
    monkeypatch.setattr(base_module, "bundled_base", lambda: tmp_path / "base")
    with pytest.raises(InputError, match="this install has no bundled base model"):
        find_base("bundled")


def test_damaged_weights_are_a_sentence(copied: Path) -> None:
    weights = copied / "vae/diffusion_pytorch_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    with pytest.raises(DataError, match="cannot be loaded as a base model"):
        load_base(copied)


def test_wrong_wishes_are_named(small: Path) -> None:
    with pytest.raises(InputError, match="did you mean EulerDiscreteScheduler"):
        load_base(small, scheduler="EulerDiscreteSchedular")
    with pytest.raises(InputError, match="has no safety_checker"):
        load_base(small, safety_checker=True)
    with pytest.raises(InputError, match="float32, float16, bfloat16, got 'fp16'"):
        load_base(small, precision="fp16")
    with pytest.raises(InputError, match="nowhere is no base model"):
        load_base("./nowhere")


def test_the_hub_is_asked_for_an_owner_and_a_name(small: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import diffusers

    asked: list[str] = []
    monkeypatch.setattr(diffusers.DiffusionPipeline, "download", lambda name: asked.append(name) or str(small))
    assert type(load_base("owner/name")).__name__ == "StableDiffusionPipeline"
    assert asked == ["owner/name"]

    def unreachable(name: str) -> str:
        raise OSError(f"cannot reach the hub for {name}")

    monkeypatch.setattr(diffusers.DiffusionPipeline, "download", unreachable)
    with pytest.raises(InputError, match="owner/name is no directory, and neither the hub nor its cache gives it"):
        load_base("owner/name")
