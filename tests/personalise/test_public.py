import subprocess
import sys

from facewright import personalise


def test_public_names_are_sorted_and_there() -> None:
    assert personalise.__all__ == sorted(personalise.__all__)
    assert all(hasattr(personalise, name) for name in personalise.__all__)


def test_importing_the_room_imports_no_diffusion_library() -> None:
    code = (
        "import sys, facewright.personalise; print({'diffusers', 'transformers', 'scipy', 'peft'} & set(sys.modules))"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120)
    assert ended.stdout.strip() == "set()"
