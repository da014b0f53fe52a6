"""People drawn in code, and an encoder that measures colours."""

from pathlib import Path

import numpy as np
import typer
from typer.testing import CliRunner, Result

from facewright.align import Face
from facewright.data.embeddings import write_embeddings

IDENTITIES, EACH, WIDTH = 8, 4, 16


class ColourEncoder:
    """Mean colours of a crop's four columns, less their mean over people, sixteen wide: rough but honest."""

    name, sha256, width = "colours", "c0ffee" * 10 + "cafe", WIDTH

    def embed(self, crops: np.ndarray, *, batch: int = 64, mirror: bool = False, progress: object = None) -> np.ndarray:
        assert crops.shape[1:] == (112, 112, 3)
        views = [crops, crops[:, :, ::-1]] if mirror else [crops]
        rows = sum(view.reshape(len(view), 112, 4, 28, 3).mean((1, 3)).reshape(len(view), 12) for view in views) - 127.0
        rows = np.concatenate([rows, np.zeros((len(rows), 4))], axis=1)
        if callable(progress):
            progress(len(crops), len(crops))
        return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


class BrightDetector:
    """Finds a face in a picture that is not black in its centre."""

    name = "bright"

    def detect(self, image: np.ndarray) -> list[Face]:
        height, width = image.shape[:2]
        centre = image[height // 2, width // 2].max()
        return [Face((0.0, 0.0, 1.0, 1.0), np.zeros((5, 2)), 1.0)] if centre else []


def picture(person: int, index: int, *, size: int = 128, noise: int = 25) -> np.ndarray:
    """Four columns of the person's colours, shaken a little by the index."""
    colours = np.random.default_rng(person).integers(20, 235, (4, 3))
    shaken = colours + np.random.default_rng([person, index]).integers(-noise, noise + 1, (4, 3))
    return np.repeat(shaken.clip(0, 255).astype(np.uint8), size // 4, 0)[None].repeat(size, 0)


def write_named(path: Path, embeddings: np.ndarray, *, sha256: str = ColourEncoder.sha256) -> Path:
    names = [f"person-{number}" for number in range(len(embeddings))]
    provenance = {"kind": "test", "source": "drawn", "seed": 0, "encoder": "colours", "encoder_sha256": sha256}
    write_embeddings(path, names, embeddings, provenance=provenance)
    return path


def call(app: typer.Typer, *arguments: object) -> Result:
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == 0, result.output
    return result
