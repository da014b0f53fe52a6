"""Distillation to a few steps, on drawn latents."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from tests.diffusion.tiny import DENOISER, tiny_cache, tiny_unet

from facewright.diffusion import ConditionalUNet, DiffusionConfig, FewStepTraining, SamplerConfig, train_fewstep
from facewright.errors import ConfigError
from facewright.training.trainer import Schedule

SCHEDULE = Schedule(
    images=64,
    batch=8,
    learning_rate=2e-3,
    ema_maximum=0.5,
    weight_decay=0.0,
    precision="fp32",
    log_every=32,
    save_every=32,
)
CONFIG = FewStepTraining(SCHEDULE, steps=2, skips=8, target_decay=0.6)


def read(run: Path, name: str) -> list[float]:
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [row[name] for row in rows if name in row]


@pytest.mark.parametrize(("phases", "guidance"), [(1, 2.0), (2, 1.0)])
def test_the_student_comes_nearer_to_where_the_teacher_leads(tmp_path: Path, phases: int, guidance: float) -> None:
    teacher, cache = tiny_unet(), tiny_cache()
    before = {name: value.clone() for name, value in teacher.state_dict().items()}
    config = replace(CONFIG, phases=phases, guidance=guidance)
    student = train_fewstep(cache, teacher, DiffusionConfig(), config, out=tmp_path)
    assert not student.training
    assert student.config == replace(DENOISER, partial_dropout=0.0)
    assert all(torch.equal(value, before[name]) for name, value in teacher.state_dict().items())
    assert not torch.equal(student.final.weight, teacher.final.weight)
    errors = read(tmp_path, "consistency")
    assert errors[-1] < errors[0]
    assert len(read(tmp_path, "held_out")) == 2


def test_the_followed_average_is_kept_and_a_resumed_run_gives_the_same_student(tmp_path: Path) -> None:
    config = replace(CONFIG, schedule=replace(SCHEDULE, images=32, log_every=8, save_every=16))

    def stop(done: int, total: int) -> None:
        if done == 24:
            raise KeyboardInterrupt

    arguments = (tiny_cache(), tiny_unet(), DiffusionConfig(), config)
    whole = train_fewstep(*arguments, out=tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        train_fewstep(*arguments, out=tmp_path / "broken", progress=stop)
    resumed = train_fewstep(*arguments, out=tmp_path / "broken")
    assert all(torch.equal(value, resumed.state_dict()[name]) for name, value in whole.state_dict().items())
    kept = torch.load(tmp_path / "whole" / "last.pt", weights_only=True)
    assert list(kept["ema_more"]) == [0.6]


def test_an_identity_term_needs_a_judge_and_gets_gradients(tmp_path: Path) -> None:
    config = replace(CONFIG, identity_weight=1.0, schedule=replace(SCHEDULE, images=8, log_every=8, save_every=8))
    arguments = (tiny_cache(), tiny_unet(), DiffusionConfig(), config)
    with pytest.raises(ConfigError, match="no encoder to judge"):
        train_fewstep(*arguments, out=tmp_path)
    seen = []

    def identify(latents: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        seen.append(latents.requires_grad)
        return torch.nn.functional.normalize(latents.mean((2, 3)).repeat(1, 4))

    train_fewstep(*arguments, out=tmp_path, identify=identify)
    assert seen == [True]
    assert read(tmp_path, "identity")


def test_what_the_card_will_advise() -> None:
    assert CONFIG.sampling() == SamplerConfig("lcm", 2)
    assert replace(CONFIG, phases=2).sampling() == SamplerConfig("ddim", 2, spacing="trailing")


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"steps": 3}, "skips must be a multiple of the steps, got 8 and 3"),
        ({"phases": 4}, "phases must be 1, or as many as the 2 steps, got 4"),
        ({"target_decay": 1.0}, r"target_decay must be in \[0, 1\)"),
        ({"identity_weight": -1.0}, "identity_weight must be at least 0"),
        ({"schedule": replace(SCHEDULE, ema_maximum=None)}, "set schedule.ema_maximum"),
    ],
)
def test_wrong_settings_are_named(changes: dict[str, object], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        replace(CONFIG, **changes)  # type: ignore[arg-type]


def test_a_teacher_without_identities_cannot_be_guided_and_sizes_must_fit(tmp_path: Path) -> None:
    unconditional = tiny_unet(replace(DENOISER, context_inputs=None))
    with pytest.raises(ConfigError, match="knows no identities"):
        train_fewstep(tiny_cache(), unconditional, DiffusionConfig(), replace(CONFIG, guidance=2.0), out=tmp_path)
    with pytest.raises(ConfigError, match="the embeddings 8 numbers, the network is for 4 and 16"):
        train_fewstep(tiny_cache(width=8), tiny_unet(), DiffusionConfig(), CONFIG, out=tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_student_goes_on_from_an_earlier_one_of_its_sizes(tmp_path: Path) -> None:
    teacher, cache = tiny_unet(), tiny_cache()
    first = train_fewstep(cache, teacher, DiffusionConfig(), CONFIG, out=tmp_path / "first")
    still = replace(CONFIG, schedule=replace(SCHEDULE, images=8, learning_rate=1e-9))
    second = train_fewstep(cache, teacher, DiffusionConfig(), still, out=tmp_path / "second", start=first)
    assert torch.allclose(second.final.weight, first.final.weight, atol=1e-6)
    assert not torch.allclose(second.final.weight, teacher.final.weight, atol=1e-6)
    wider = ConditionalUNet(replace(DENOISER, width=64))
    with pytest.raises(ConfigError, match="has other sizes than the teacher"):
        train_fewstep(cache, teacher, DiffusionConfig(), still, out=tmp_path / "third", start=wider)
    assert not (tmp_path / "third").exists()
