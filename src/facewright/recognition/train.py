"""Train a recogniser from scratch on labelled faces, real or generated, with the ArcFace loss."""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from facewright.data.augment import grey, jitter_crop, low_resolution, photometric
from facewright.data.images import to_tensor
from facewright.data.packs import read_pack
from facewright.data.sets import read_set
from facewright.encoders import Encoder, SlimFaceNet
from facewright.errors import ConfigError, DataError
from facewright.recognition.arcface import ArcFaceHead
from facewright.training.norms import remeasure_batch_norms
from facewright.training.trainer import Losses, Schedule, Trainer
from facewright.weights import tensors_sha256

PADDED = 120  # pixels; crops are padded to it by repeating their border so that they can be shifted


@dataclass(frozen=True)
class RecognitionConfig:
    """What to train on and how."""

    data: Path  # a labelled set, or a face pack (its held-out people and unlabelled faces are left out)
    schedule: Schedule
    margin: float = 0.5  # radians
    scale: float = 64.0
    shift: int = 4  # pixels by which a crop is off its place
    photometric: float = 0.3  # brightness, contrast, saturation
    grey_share: float = 0.05
    low_resolution_share: float = 0.2

    def __post_init__(self) -> None:
        if not 0 <= self.margin < np.pi / 2:
            raise ConfigError(f"margin must be in [0, pi / 2) radians, got {self.margin}")
        if not 0 <= self.shift <= (PADDED - 112) // 2:
            raise ConfigError(f"shift must be in 0 ... {(PADDED - 112) // 2} pixels, got {self.shift}")


class Recogniser(nn.Module):
    """The network and the class centres."""

    def __init__(self, network: SlimFaceNet, classes: int, config: RecognitionConfig) -> None:
        super().__init__()
        self.network = network
        self.head = ArcFaceHead(classes, margin=config.margin, scale=config.scale)


def labelled_crops(data: Path) -> tuple[np.ndarray, np.ndarray]:
    """Crops uint8 (N, 112, 112, 3) and labels (N,), contiguous from 0, of a set or a pack.

    Raises:
        DataError: `data` is neither, or holds fewer than two people.
    """
    if (data / "index.npz").exists():
        pack = read_pack(data)
        rows = pack.where(held_out=False)
        rows = rows[pack.labels[rows] >= 0]
        side = (pack.images.shape[1] - 112) // 2
        crops, labels = pack.images[rows, side : side + 112, side : side + 112], pack.labels[rows]
    else:
        faces = read_set(data)
        kept = np.flatnonzero([row.kept for row in faces.rows])
        crops, labels = faces.crops(kept.tolist()), faces.identities[kept]
    people, labels = np.unique(labels, return_inverse=True)
    if len(people) < 2:
        raise DataError(f"{data} holds {len(people)} people; a recogniser needs at least 2 to tell apart")
    return crops, labels


def train(
    config: RecognitionConfig,
    *,
    out: Path,
    device: str = "cpu",
    progress: Callable[[int, int], None] | None = None,
    validate: Callable[[Encoder], Mapping[str, float]] | None = None,
) -> Encoder:
    """Train a SlimFaceNet; the same call again resumes.

    Args:
        config: data and recipe.
        out: run folder.
        device: such as "cpu" or "cuda".
        progress: called with (images seen, images in all).
        validate: measures an encoder on people that are neither trained on nor reported.

    Returns:
        The network with its averaged weights.
    """
    crops, labels = labelled_crops(config.data)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.schedule.seed)
        module = Recogniser(SlimFaceNet(), int(labels.max()) + 1, config)
    module = module.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    settings = {key: value for key, value in asdict(config).items() if key != "schedule"}
    settings = {"kind": "recogniser", **settings, "data": str(config.data), "faces": len(labels)}
    trainer = Trainer(module, config.schedule, out=out, device=device, config=settings)
    targets = torch.from_numpy(labels)

    def losses(indices: Tensor, generator: torch.Generator) -> Losses:
        x = _views(to_tensor(crops[indices.numpy()]), config, generator).to(device)
        embedding = module.network(x.contiguous(memory_format=torch.channels_last))
        return {"arcface": module.head(embedding.float(), targets[indices].to(device))}

    def averaged() -> Encoder:
        prefix = "network."
        state = {name[len(prefix) :]: v for name, v in trainer.averaged().items() if name.startswith(prefix)}
        network = SlimFaceNet()
        network.load_state_dict(state)
        remeasure_batch_norms(network, to_tensor(crops[:: max(1, len(crops) // 1024)]).split(128))
        state = network.state_dict()
        return Encoder(network.to(device), name=f"recogniser in {out.name}", sha256=tensors_sha256(state))

    trainer.fit(
        losses,
        samples=len(labels),
        progress=progress,
        validate=None if validate is None else lambda: validate(averaged()),
    )
    return averaged()


def _views(images: Tensor, config: RecognitionConfig, generator: torch.Generator) -> Tensor:
    edge = (PADDED - images.shape[-1]) // 2
    x = nn.functional.pad(images, (edge, edge, edge, edge), mode="replicate")
    x = jitter_crop(x, 112, shift=config.shift, generator=generator)
    x = photometric(x, strength=config.photometric, generator=generator)
    x = grey(x, share=config.grey_share, generator=generator)
    return low_resolution(x, share=config.low_resolution_share, smallest=0.3, generator=generator)
