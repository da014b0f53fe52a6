"""The plan command: every checked-in config is planned, and what it says follows from the config."""

import json
from pathlib import Path

import pytest
from tests.diffusion.tiny import tiny_generator

from facewright.cli import app
from facewright.cli.plan_named import Named
from facewright.cli.plan_recipe import Sampling, read_stages
from facewright.cli.plan_steps import ControlStep, DecoderStep
from facewright.cli.plan_work import read_work
from facewright.cli.run_recipe import is_recipe, read_toml
from facewright.diffusion import DiffusionConfig, FastDecoderConfig
from facewright.diffusion.generator import architecture
from facewright.training.cost import plan_of
from facewright.weights import Card, save_weights

SMALL = """name = "small"
[recipe]
data = "faces"
network = "slimfacenet"
people = 1000
faces = 5000
[recipe.schedule]
epoch = 5000
images = 20000
batch = 64
parts = 8
optimiser = "sgd"
"""


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "small.toml"
    path.write_text(SMALL)
    return path


COUNTED = ("encoder", "autoencoder", "generator", "recogniser", "base", "prompts")  # by their configs alone


def test_every_recipe_and_config_is_read_as_its_kind(root: Path) -> None:
    recipes = [path for path in sorted((root / "recipes").glob("*.toml")) if not is_recipe(read_toml(path))]
    assert len(recipes) >= 5
    for path in recipes:
        named = read_work(path)
        schedule = named.work.schedule
        if named.kind != "recogniser":
            assert named.kind in path.name
            continue
        assert schedule.images % schedule.batch == 0, "so that several processes can train it"
        assert schedule.images / (named.work.images or 0) == pytest.approx(
            round(schedule.images / named.work.images), abs=0.01
        )
        assert all(length < schedule.images for length in schedule.milestones)
    for kind in COUNTED:
        assert read_work(root / "configs" / f"{kind}.toml").kind == kind


def test_the_seed_recipe_has_the_published_rates(root: Path) -> None:
    schedule = read_work(root / "recipes" / "casia_ir50_arcface.toml").work.schedule
    assert schedule.epoch == 490_623
    rates = {epoch: schedule.rate_at(epoch * schedule.epoch + 600) for epoch in (0, 21, 22, 27, 28, 31, 32, 39)}
    assert list(rates.values()) == pytest.approx([0.1, 0.1, 0.01, 0.01, 1e-3, 1e-3, 1e-4, 1e-4])


def test_a_plan_for_a_device(config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    figures = tmp_path / "plan.json"
    assert app.run(["plan", str(config), "--device", "a100-8", "--json", str(figures)]) == 0
    shown = capsys.readouterr().out
    found = json.loads(figures.read_text())
    assert found["parameters"] == 4_675_488
    assert found["head_parameters"] == 512_000
    assert found["images"] == 64 * round(20_000 / 64)
    assert found["epochs"] == pytest.approx(4.0, rel=0.01)
    assert found["steps"] == round(20_000 / 64)
    assert found["processes"] == 8
    assert found["hours"] == pytest.approx(found["images"] / found["images_per_s"] / 3600)
    assert "small: slimfacenet with arcface over 1,000 people" in shown
    assert "4.7 M, and 0.5 M in the head of 1,000 people" in shown
    assert "by operations from iresnet50 at" in shown
    assert "benchmarks/train/nvidia_a100.md" in shown


def test_settings_override_the_file(config: Path, tmp_path: Path) -> None:
    figures = tmp_path / "plan.json"
    call = ["plan", str(config), "recipe.people=2000", "recipe.faces=10000", "--json", str(figures)]
    assert app.run(call) == 0
    found = json.loads(figures.read_text())
    assert found["head_parameters"] == 1_024_000
    assert found["images"] == 64 * round(40_000 / 64), "the schedule keeps its epochs"
    assert "hours" not in found


def test_measuring_here(config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    figures = tmp_path / "plan.json"
    assert app.run(["plan", str(config), "--measure", "--seconds", "0.1", "--json", str(figures)]) == 0
    found = json.loads(figures.read_text())
    assert found["measured"]["device"] == "cpu"
    assert found["measured"]["batch"] == 8
    assert found["images_per_s"] < found["measured"]["images_per_s"], "the head costs too"
    assert "images/s on cpu" in capsys.readouterr().out


def test_too_little_memory_is_said(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    call = ["plan", str(config), "recipe.network=iresnet100", "recipe.schedule.batch=8192", "--device", "a10-8"]
    assert app.run(call) == 0
    assert "do not fit into 22 GiB; raise schedule.parts" in capsys.readouterr().err


def test_the_head_is_left_out_where_nobody_says_how_many_people(
    config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    figures = tmp_path / "plan.json"
    assert app.run(["plan", str(config), "recipe.people=none", "--json", str(figures)]) == 0
    assert json.loads(figures.read_text())["head_parameters"] == 0
    assert "without its table, whose size the data says: recipe.people=NUMBER counts it" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        (["--device", "a100"], "unknown device 'a100'. Did you mean a100-8?"),
        (["recipe.network=ir50"], "unknown network 'ir50'. Did you mean ir_50?"),
        (["recipe.schedule.parts=4", "--device", "a100-8"], "8 devices cannot share a batch of 4 parts"),
    ],
)
def test_a_wrong_call_is_one_sentence(
    settings: list[str], said: str, config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert app.run(["plan", str(config), *settings]) == 2
    shown = capsys.readouterr()
    assert said in shown.err
    assert shown.err.count("\n") == 1
    assert shown.out == ""


@pytest.mark.parametrize("text", ["pack = 3\nwrong = 4\n", "no toml at all"])
def test_a_file_that_is_no_config(text: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "x.toml"
    path.write_text(text)
    assert app.run(["plan", str(path)]) == 2
    assert str(path) in capsys.readouterr().err
    assert app.run(["plan", str(tmp_path / "none.toml")]) == 2
    assert "no such config file; see recipes/" in capsys.readouterr().err


SHORT = "[recipe.schedule]\nimages = 64\nbatch = 8\nprecision = 'fp32'\n"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A generator of a few weights, and configs that start from it."""
    made = tiny_generator()
    card = Card(
        "tiny",
        "generator",
        architecture(made.autoencoder.config, made.denoiser.config, DiffusionConfig()),
        "drawn",
        "Apache-2.0",
        "by hand",
        input=None,
    )
    save_weights(tmp_path / "g.safetensors", made.state_dict(), card)
    start = 'pack = "faces"\ngenerator = "g.safetensors"\n'
    sizes = "[recipe.network]\nchannels = 4\nwidths = [8]\nblocks = [1]\n"
    (tmp_path / "decoder.toml").write_text(f"{start}[recipe]\nfeature_weight = 0.5\n{sizes}{SHORT}")
    (tmp_path / "control.toml").write_text(f'{start}hint = "edges"\n{SHORT}')
    (tmp_path / "finetune.toml").write_text(f"{start}[recipe]\nidentity_share = 0.5\nmin_snr = 5.0\n{SHORT}")
    (tmp_path / "fewstep.toml").write_text(f"{start}[recipe]\nsteps = 2\nskips = 4\nguidance = 1.5\n{SHORT}")
    return tmp_path


def test_what_is_made_of_a_generator(folder: Path) -> None:
    generator = tiny_generator()
    plain = plan_of(read_work(unet_config(folder)).work)
    assert plain.parameters == sum(p.numel() for p in generator.denoiser.parameters())

    few = read_work(folder / "fewstep.toml")
    counted = plan_of(few.work)
    assert (few.kind, few.made["sampling"]["sampler"]) == ("fewstep", "lcm")
    assert counted.parameters == plain.parameters, "teacher and average do not learn"
    assert counted.forward_flops == pytest.approx(4 * plain.forward_flops), "student, average, the teacher twice"
    backward = plain.training_flops - plain.forward_flops
    assert counted.training_flops == pytest.approx(4 * plain.forward_flops + backward)

    further = read_work(folder / "finetune.toml")
    assert further.kind == "finetune"
    assert plan_of(further.work).training_flops == plain.training_flops

    control = read_work(folder / "control.toml")
    counted = plan_of(control.work)
    assert control.kind == "control"
    network = ControlStep(generator.denoiser.config)
    assert counted.parameters == sum(p.numel() for p in network.parameters())
    assert counted.forward_flops > 1.3 * plain.forward_flops

    decoder = read_work(folder / "decoder.toml")
    counted = plan_of(decoder.work)
    student = FastDecoderConfig(channels=4, widths=(8,), blocks=(1,))
    step = DecoderStep(student, generator.autoencoder)
    assert counted.parameters == sum(p.numel() for p in step.parameters()) < 20_000
    assert counted.training_flops < 2 * counted.forward_flops, "most is the teacher's, which only goes forward"
    assert "without its feature maps" in decoder.what


def unet_config(folder: Path) -> Path:
    """The config of the tiny generator's own denoiser."""
    (folder / "unet.toml").write_text(
        'pack = "faces"\nautoencoder = "x.safetensors"\n[recipe.network]\nchannels = 4\nwidth = 32\n'
        "multipliers = [1, 2]\nattention = [false, true]\nblocks = 1\ncontext_inputs = 16\ncontext_width = 32\n"
        f"{SHORT}"
    )
    return folder / "unet.toml"


def test_measuring_with_frozen_networks(folder: Path, tmp_path: Path) -> None:
    figures = tmp_path / "plan.json"
    call = ["plan", str(folder / "fewstep.toml"), "--measure", "--seconds", "0.1", "--json", str(figures)]
    assert app.run(call) == 0
    assert json.loads(figures.read_text())["measured"]["batch"] == 8


def test_the_kind_can_be_told(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "bare.toml").write_text(f'pack = "faces"\n{SHORT}')
    assert app.run(["plan", str(folder / "bare.toml"), "--kind", "fewstep"]) == 0
    assert "the denoiser for 4 steps on 16 x 16 latents" in capsys.readouterr().out, "of the bundled generator"
    assert app.run(["plan", str(folder / "bare.toml"), "--kind", "few"]) == 2
    assert "facewright train knows no 'few'" in capsys.readouterr().err
    (folder / "g.safetensors").unlink()
    assert app.run(["plan", str(folder / "control.toml")]) == 2
    assert "the generator that this training starts from is not there" in capsys.readouterr().err
    (folder / "fewstep.toml").write_text((folder / "fewstep.toml").read_text().replace("guidance", "guidence"))
    assert app.run(["plan", str(folder / "fewstep.toml")]) == 2
    assert "Did you mean recipe.guidance?" in capsys.readouterr().err


def test_a_recipe_of_stages(root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Against what is published: 79.9 and 161.3 GFLOP of the VQ-f4 halves and 13.79 of the U-Net, hence 0.851 TFLOP a
    picture in 50 steps and 0.425 EFLOP for half a million."""
    figures = tmp_path / "plan.json"
    recipe = root / "recipes" / "admis_casia.toml"
    call = ["plan", str(recipe), "recogniser.settings.recipe.people=20_000", "--device", "a100-8"]
    assert app.run([*call, "--json", str(figures)]) == 0
    shown = capsys.readouterr().out
    found = json.loads(figures.read_text())
    stages = {stage["stage"]: stage for stage in found["stages"]}
    assert stages["set"]["images"] == 500_000
    assert stages["set"]["gflop_an_image"] == pytest.approx(851, abs=1)
    assert stages["set"]["run_flop"] == pytest.approx(4.25e17, rel=0.002)
    assert stages["people"]["images"] == 10_000
    assert stages["recogniser"]["head_parameters"] == 512 * 20_000
    assert stages["autoencoder"]["forward_gflop_an_image"] == pytest.approx(79.9 + 161.3, rel=0.002)
    assert stages["autoencoder"]["parameters"] == 22_337_423 + 32_985_359
    assert stages["generator"]["forward_gflop_an_image"] == pytest.approx(13.79, abs=0.01), "on 32 x 32 latents"
    assert stages["generator"]["parameters"] == 216_341_187
    assert stages["nobody"]["parameters"] == 132_392_163
    assert "the VQ-f4 autoencoder, 128 px there and back, without its critic and feature maps" in shown
    assert "parameters" not in stages["shards"]
    assert "[shards] set export: not counted" in shown
    counted = [stage for stage in found["stages"] if "hours" in stage]
    assert len(counted) == 6
    assert found["hours"] == pytest.approx(sum(stage["hours"] for stage in counted))
    assert found["run_flop"] == pytest.approx(sum(stage["run_flop"] for stage in counted))
    assert app.run([*call[:2], "--measure"]) == 2
    assert "name the config of a stage" in capsys.readouterr().err


def test_stages_know_what_the_ones_before_them_make(tmp_path: Path) -> None:
    (tmp_path / "few.toml").write_text(f'pack = "x"\n[recipe]\nsteps = 2\nskips = 4\n{SHORT}')
    unet_config(tmp_path)
    (tmp_path / "r.toml").write_text(
        '[[stage]]\nname = "g"\ncommand = "train generator"\nconfig = "unet.toml"\n'
        '[[stage]]\nname = "few"\ncommand = "train fewstep"\nconfig = "few.toml"\nsettings = {generator = "{g}"}\n'
        '[[stage]]\nname = "people"\ncommand = "contexts uniform"\ncount = 7\nwidth = 16\n'
        '[[stage]]\nname = "set"\ncommand = "sample"\ncontexts = "{people}"\ngenerator = "{few}"\nper-identity = 2\n'
        '[[stage]]\nname = "guided"\ncommand = "sample"\ncontexts = "{people}"\ngenerator = "{few}"\n'
        "per-identity = 2\nguidance = 2.0\nguidance-interval = [0.5, 1.0]\nsteps = 4\n"
        '[[stage]]\nname = "others"\ncommand = "sample"\ncontexts = "other.npz"\nper-identity = 2\n'
    )
    g, few, people, plain, guided, others = (stage.cost for stage in read_stages(tmp_path / "r.toml"))
    assert isinstance(g, Named)
    assert isinstance(few, Named)
    assert isinstance(plain, Sampling)
    assert isinstance(guided, Sampling)
    assert (people, others) == (None, None)
    assert plan_of(few.work).parameters == plan_of(g.work).parameters
    assert (plain.images, "2 steps of lcm" in plain.what) == (14, True)
    once = plan_of(g.work).forward_flops
    decoding = plain.image_flops - 2 * once
    assert decoding > 0
    assert guided.image_flops == pytest.approx(decoding + 4 * 1.5 * once)


def test_bundled_generators_are_counted_refined_and_begun_from_pictures(tmp_path: Path) -> None:
    sampled = 'command = "sample"\ncontexts = "{people}"\ngenerator = "bundled-4steps"\nper-identity = 2\n'
    (tmp_path / "r.toml").write_text(
        '[[stage]]\nname = "people"\ncommand = "contexts fitted"\ncount = 7\n'
        f'[[stage]]\nname = "plain"\n{sampled}'
        f'[[stage]]\nname = "refined"\n{sampled}refine = 3\n'
        f'[[stage]]\nname = "begun"\n{sampled}start-from = "faces"\n'
    )
    _, plain, refined, begun = (stage.cost for stage in read_stages(tmp_path / "r.toml"))
    assert isinstance(plain, Sampling)
    assert isinstance(refined, Sampling)
    assert isinstance(begun, Sampling)
    assert "4 steps of ddim" in plain.what
    assert "refined in 3 steps" in refined.what
    assert refined.image_flops > 2 * plain.image_flops
    assert begun.image_flops < plain.image_flops, "three of the four steps are left out"
