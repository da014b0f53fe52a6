"""What the trainings on latents share: faces encoded once, features and judges made of an encoder."""

import json
import zipfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from facewright import diffusion, encoders, evaluation
from facewright.cli.train_run import first_progress
from facewright.data.images import centre_crop
from facewright.errors import ConfigError, DataError
from facewright.training.atomic import atomic_path
from facewright.training.processes import current

ARRAYS = ("latents", "embeddings", "masks", "held_out")
CROP = 112
REAL_FACES = 4096  # held-out faces that generated ones are compared with, at most


def encoded_faces(
    source: Path,
    autoencoder: diffusion.Autoencoder | diffusion.VQAutoencoder,
    encoder: encoders.Encoder | None,
    *,
    path: Path,
    made_with: Mapping[str, str],
) -> diffusion.LatentCache:
    """The faces encoded once, kept at `path` for the next call of the same run.

    Args:
        source: a pack or a set.
        autoencoder: in eval mode.
        encoder: embeds; None where the denoiser has no context.
        path: .npz to read or write.
        made_with: hashes of the weights, kept with the arrays; a file that was made with others is refused.
    """
    made_with = {**made_with, "pack": diffusion.fingerprint(source)}
    processes = current()
    if processes.first and not path.exists():
        with first_progress("encoding the faces") as progress:
            cache = diffusion.cache_latents(
                diffusion.open_faces(source),
                autoencoder,
                None if encoder is None else lambda faces: encoder.embed(centre_crop(faces, CROP)),
                progress=progress,
            )
        with atomic_path(path) as temporary:
            np.savez(temporary, made_with=np.array(json.dumps(made_with)), **asdict(cache))
    processes.wait()
    return _kept(path, made_with)


def _kept(path: Path, made_with: Mapping[str, str]) -> diffusion.LatentCache:
    try:
        with path.open("rb") as stream, np.load(stream, allow_pickle=False) as kept:
            before = json.loads(str(kept["made_with"]))
            arrays = [kept[name] for name in ARRAYS]
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise DataError(f"{path}: cannot be read ({error}); delete it to encode the faces anew") from error
    if other := sorted(key for key in before.keys() | made_with if before.get(key) != made_with.get(key)):
        raise ConfigError(f"{path} was made with another {', '.join(other)}; give the same, or another --out")
    return diffusion.LatentCache(*arrays)


def features_of(encoder: encoders.Encoder) -> Callable[[torch.Tensor], Sequence[torch.Tensor]]:
    """An encoder's feature maps of the central crop of 128-px pictures; its weights are frozen.

    Raises:
        ConfigError: its network does not give any.
    """
    network = encoder.requires_grad_(requires_grad=False).network
    if not isinstance(network, encoders.SlimFaceNet):
        raise ConfigError(f"encoder {encoder.name!r} gives no feature maps; name one whose network is slimfacenet")

    def features(pictures: torch.Tensor) -> Sequence[torch.Tensor]:
        edge = (pictures.shape[-1] - CROP) // 2
        crops = pictures[:, :, edge : edge + CROP, edge : edge + CROP]
        return network.features(crops.flip(1) if encoder.bgr else crops)

    return features


def sample_measure(
    checks: diffusion.SampleChecks | None,
    source: Path,
    cache: diffusion.LatentCache,
    build: Callable[[diffusion.ConditionalUNet], diffusion.Generator],
    encoder: encoders.Encoder | None,
    *,
    out: Path,
    device: str,
) -> Callable[[diffusion.ConditionalUNet, int], Mapping[str, float]] | None:
    """What a training measures of the pictures it can make, and shows in RUN/previews; None without checks.

    The figures are named after the judging encoder: `cosine_NAME`, the mean cosine of a picture to the real face that
    it was asked for, and `frechet_NAME`, the Fréchet distance of embeddings of the pictures to those of up to 4096
    real held-out faces.

    Args:
        checks: how many pictures, by which sampler, judged by whom.
        source: the faces that the cache was made of.
        cache: whose held-out people are asked for.
        build: a denoiser to a generator.
        encoder: judges where the checks name no other.
        out: the run folder.
        device: of a judge that the checks name.
    """
    if checks is None:
        return None
    judge = encoder
    if checks.encoder is not None or judge is None:
        judge = encoders.load(checks.encoder or "bundled", device=device)
    faces = diffusion.open_faces(source)
    kept = np.flatnonzero(faces.sources >= 0)
    rows = diffusion.held_out_rows(cache, checks.pictures)
    others = np.flatnonzero(cache.held_out)[:REAL_FACES]
    known, places = np.unique(np.concatenate([rows, others]), return_inverse=True)
    real = judge.embed(centre_crop(faces.images[kept[known]], CROP))
    asked, population = real[places[: len(rows)]], real[places[len(rows) :]]

    def measure(denoiser: diffusion.ConditionalUNet, images: int) -> Mapping[str, float]:
        generator = build(denoiser)
        pictures = diffusion.held_out_pictures(generator, cache, checks)
        if current().first:
            with atomic_path(out / "previews" / f"{images:09d}.png") as temporary:
                Image.fromarray(diffusion.picture_grid(pictures[: checks.shown])).save(temporary, format="PNG")
        made = judge.embed(centre_crop(pictures, CROP))
        figures = {f"frechet_{judge.name}": evaluation.frechet_distance(made, population)}
        if generator.context_width:
            figures[f"cosine_{judge.name}"] = float((made * asked).sum(1).mean())
        return figures

    return measure
