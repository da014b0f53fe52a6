"""The house itself: a light import, a lock that fits the project file, files that name no machine."""

import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest


def _python(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=60)


def _tracked(root: Path) -> list[Path]:
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=root,
        capture_output=True,
        text=True,
        check=False,
    )
    if listed.returncode:
        pytest.skip("not a git checkout")
    return [root / name for name in listed.stdout.splitlines() if (root / name).is_file()]


def _rooms(root: Path) -> list[str]:
    return sorted(path.parent.name for path in (root / "src" / "facewright").glob("*/__init__.py"))


def test_importing_the_package_loads_and_reads_nothing() -> None:
    code = (
        "import sys\n"
        "opened = []\n"
        "sys.addaudithook(lambda event, args: opened.append(str(args[0])) if event == 'open' else None)\n"
        "import facewright\n"
        "heavy = {'torch', 'numpy', 'cv2', 'PIL', 'typer'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
        "read = [name for name in opened if not name.endswith(('.py', '.pyc'))]\n"
        "assert not [name for name in read if 'facewright' in name], read\n"
    )
    ended = _python(code)
    assert ended.returncode == 0, ended.stderr


def test_importing_the_rooms_reads_no_weights_and_touches_no_device(root: Path) -> None:
    code = (
        "import importlib, sys\n"
        "import torch\n"
        "before = (torch.get_num_threads(), torch.get_default_dtype(), torch.initial_seed())\n"
        "opened = []\n"
        "sys.addaudithook(lambda event, args: opened.append(str(args[0])) if event == 'open' else None)\n"
        f"for room in {_rooms(root)!r}: importlib.import_module('facewright.' + room)\n"
        "assert not torch.cuda.is_initialized()\n"
        "assert before == (torch.get_num_threads(), torch.get_default_dtype(), torch.initial_seed())\n"
        "data = ('.safetensors', '.onnx', '.dat', '.npz', '.json', '.toml')\n"
        "assert not [name for name in opened if name.endswith(data) and 'facewright' in name], opened\n"
    )
    ended = _python(code)
    assert ended.returncode == 0, ended.stderr


def test_lists_of_public_names_are_true(root: Path) -> None:
    code = (
        "import importlib\n"
        f"for room in {_rooms(root)!r}:\n"
        "    module = importlib.import_module('facewright.' + room)\n"
        "    names = getattr(module, '__all__', [])\n"
        "    assert len(set(names)) == len(names), room\n"
        "    assert all(hasattr(module, name) for name in names), room\n"
    )
    ended = _python(code)
    assert ended.returncode == 0, ended.stderr


def test_lock_holds_every_dependency_exactly(root: Path) -> None:
    def plain(name: str) -> str:
        return re.sub(r"[-_.]+", "-", name).lower()

    locked = {}
    for line in (root / "requirements.lock").read_text().splitlines():
        if line and not line.startswith("#"):
            name, pinned = re.fullmatch(r"([A-Za-z0-9._-]+)==([0-9][0-9A-Za-z.]*)", line).groups()  # type: ignore[union-attr]
            locked[plain(name)] = pinned
    project = tomllib.loads((root / "pyproject.toml").read_text())["project"]
    wanted = [*project["dependencies"], *project["optional-dependencies"]["dev"]]
    for requirement in wanted:
        name, relation, bound = re.fullmatch(r"([A-Za-z0-9._-]+)(==|>=)([0-9.]+)", requirement).groups()  # type: ignore[union-attr]
        pinned = locked[plain(name)]
        if relation == "==":
            assert pinned == bound, requirement
        else:
            numbers = [tuple(int(part) for part in re.findall(r"\d+", text)[:3]) for text in (pinned, bound)]
            assert numbers[0] >= numbers[1], requirement


def test_tracked_files_name_no_machine_and_are_small(root: Path) -> None:
    wrong = re.compile(rb"/(?:work|tmp|root|home|farm)/[a-z.]|https?://[a-z.]*(?:pypi|pythonhosted)")
    for path in _tracked(root):
        relative = path.relative_to(root).as_posix()
        bundled = relative.startswith(("src/facewright/weights/bundled/", "tests/golden/data/"))
        assert bundled or path.stat().st_size < 1_000_000, relative
        if path.suffix in {".py", ".toml", ".md", ".yaml", ".lock", ".html"} or path.name in {"Makefile", "run"}:
            found = wrong.search(path.read_bytes())
            assert relative == "tests/test_house.py" or not found, f"{relative}: {found}"


def test_bundled_weights_stay_small(root: Path) -> None:
    folder = root / "src" / "facewright" / "weights" / "bundled"
    sizes = {path.relative_to(folder): path.stat().st_size for path in folder.rglob("*") if path.is_file()}
    drawing = {path for path in sizes if path.parts[0] == "base" or path.stem == "mapper"}
    assert sum(sizes.values()) < 100_000_000
    assert sum(size for path, size in sizes.items() if path not in drawing) < 60_000_000
    for path in sizes:
        if path.suffix == ".safetensors" and path not in drawing - {Path("mapper.safetensors")}:
            assert path.with_suffix(".md") in sizes, f"{path.name} has no card beside it"


def test_a_wheel_holds_the_bundled_weights(root: Path, tmp_path: Path) -> None:
    wheel = pytest.importorskip("hatchling.builders.wheel", reason="needs the extra dev")
    for name in ("pyproject.toml", ".gitignore"):
        shutil.copy(root / name, tmp_path / name)
    base = "src/facewright/weights/bundled/base"
    files = {f"{base}/{name}" for name in ("unet/w.safetensors", "tokenizer/merges.txt", "model_index.json")}
    for name in {"src/facewright/__init__.py", *files}:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    found = {file.relative_path for file in wheel.WheelBuilder(str(tmp_path)).recurse_included_files()}
    assert files <= found


def test_modules_stay_short(root: Path) -> None:
    long = {
        path.name: lines
        for path in (root / "src").rglob("*.py")
        if (lines := len(path.read_text(encoding="utf-8").splitlines())) > 400
    }
    assert not long
