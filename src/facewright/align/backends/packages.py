"""Find what a detector needs among the installed packages."""

import importlib
import importlib.util
from pathlib import Path
from types import ModuleType

from facewright.errors import InputError


def package_file(package: str, file: str, *, detector: str, pip: str) -> Path:
    """Path of a file inside an installed package, which is not imported.

    Raises:
        InputError: the package or the file is missing; the message holds the pip command.
    """
    spec = importlib.util.find_spec(package)
    folders = list(spec.submodule_search_locations or []) if spec else []
    for folder in folders:
        path = Path(folder, file)
        if path.is_file():
            return path
    raise InputError(
        f"detector '{detector}' needs {file} of the package {pip}, which is not installed; run: pip install {pip}"
    )


def import_package(package: str, *, detector: str, pip: str) -> ModuleType:
    """Import a library that a detector runs on.

    Raises:
        InputError: it cannot be imported; the message holds the pip command.
    """
    try:
        return importlib.import_module(package)
    except ImportError as problem:
        raise InputError(
            f"detector '{detector}' needs the package {package} ({problem}); run: pip install {pip}"
        ) from problem
