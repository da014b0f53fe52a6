"""The benchmark of personalised pictures on small shapes: what it measures adds up, and its table says it."""

import importlib.util
import sys
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import pytest

pytest.importorskip("diffusers", reason="needs the extra personalise")


@pytest.fixture(scope="module")
def script() -> ModuleType:
    """benchmarks/personalise.py, which is no part of the package."""
    folder = Path(__file__).resolve().parents[2] / "benchmarks"
    sys.path.insert(0, str(folder))  # as when it is run
    try:
        spec = importlib.util.spec_from_file_location("benchmark_personalise", folder / "personalise.py")
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules[spec.name] = module  # dataclasses look their module up
        spec.loader.exec_module(module)
    finally:
        sys.path.remove(str(folder))
    return module


@pytest.fixture(scope="module")
def prepared(script: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("prepared")
    script.prepare(folder, quick=True)
    return folder


def test_a_tokenizer_true_to_shape(script: ModuleType) -> None:
    tokenizer = sys.modules[script.prepare.__module__].make_tokenizer(49_408)
    assert len(tokenizer) == 49_408
    assert (tokenizer.bos_token_id, tokenizer.eos_token_id) == (49_406, 49_407)
    assert len(tokenizer(script.PROMPTS[2]).input_ids) == 2 + 6, "each word is one token"
    assert len(tokenizer(script.PROMPTS[0]).input_ids) == 2 + 8


@pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy keyword:DeprecationWarning")
def test_what_is_measured_adds_up(script: ModuleType, prepared: Path) -> None:
    plain = script.Case(0, "bfloat16", 32, 2, 7.0, "cpu", quick=True)
    both = replace(plain, people=2, regions=True, kept=True)
    taken = {case.name: script.combined([script.measure(case, prepared)]) for case in (plain, both)}
    own, other = taken[both.name], taken[plain.name]
    parts = [own[f"{part}_s"] for part in ("align", "encode", "map", "inject")]
    assert all(seconds > 0 for seconds in parts)
    assert own["side_s"] == pytest.approx(sum(parts))
    assert own["share"] == pytest.approx(own["side_s"] / own["picture_s"])
    assert own["picture_s"] > sum(parts[:3]) + own["step_s"]
    longer = own["picture_s"] + 48 * own["step_s"]
    assert own["share_at_50"] == pytest.approx(own["side_s"] / longer)
    assert (other["side_s"], other["share"]) == (0, 0)
    assert other["peak_mib"] > 100
    table = list(script.rows([plain, both], taken))
    assert all(line.count("|") == 14 for line in table)
    assert f"{own['share_at_50']:.2%}" in table[-1]
    assert table[-1].startswith("| 2 people, regions, kept |")
    assert f"| {own['peak_mib'] / other['peak_mib']:.3f} |" in table[-1]


def test_a_failure_keeps_its_row(script: ModuleType) -> None:
    case = script.Case(1, "float32", 512, 30, 7.0, "cpu")
    [_, _, row] = script.rows([case], {case.name: {"failed": "no memory | left"}})
    assert "no memory / left" in row
    assert row.count("|") == 14


def test_of_several_processes_the_medians_are_told(script: ModuleType) -> None:
    found = [{"side_s": float(k), "step_s": None, "peak_mib": 100.0 + k} for k in (1, 5, 2)]
    told = script.combined(found)
    assert (told["side_s"], told["step_s"], told["peak_mib"]) == (2.0, None, 102.0)
    assert (told["peak_spread_mib"], told["processes"]) == (4.0, 3)
    assert script.combined([found[0], {"failed": "no memory"}]) == {"failed": "no memory"}
