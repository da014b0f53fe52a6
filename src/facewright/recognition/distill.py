"""Train the bundled encoder: copy a teacher's embeddings, with an ArcFace term where identities are known."""

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from facewright.data.augment import grey, jitter_crop, low_resolution, photometric
from facewright.data.images import centre_crop, to_tensor
from facewright.data.packs import FacePack
from facewright.encoders.slimfacenet import SlimFaceNet
from facewright.encoders.teacher import OnnxTeacher
from facewright.recognition.arcface import ArcFaceHead
from facewright.training.norms import remeasure_batch_norms
from facewright.training.trainer import Losses, Schedule, Trainer

log = logging.getLogger(__name__)

TEACHER_MAPS = ("395", "471", "503")  # fr_feature.onnx after its 28 x 28, 14 x 14 and 7 x 7 stages
TEACHER_WIDTHS = (64, 128, 128)


@dataclass(frozen=True)
class DistillConfig:
    """What to distil and how."""

    schedule: Schedule
    map_weight: float = 0.3  # of the feature maps (FitNets, Romero et al. 2015)
    arcface_weight: float = 0.002  # of the margin loss
    mixed_share: float = 0.3  # share of the images that are blended with another one
    shift: int = 5  # pixels by which a crop is off its place


class Distillation(nn.Module):
    """The student, what compares its feature maps with the teacher's, and the class centres."""

    def __init__(self, student: SlimFaceNet, widths: tuple[int, ...], classes: int) -> None:
        super().__init__()
        self.student = student
        self.adapters = nn.ModuleList(nn.Conv2d(a, b, 1) for a, b in zip(widths, TEACHER_WIDTHS, strict=True))
        self.head = ArcFaceHead(classes)


def views(images: Tensor, config: DistillConfig, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Augmented 112-px views of 128-px faces, and which of them are blends of two."""
    x = jitter_crop(images, 112, shift=config.shift, generator=generator)
    x = photometric(x, strength=0.3, generator=generator)
    x = grey(x, share=0.05, generator=generator)
    x = low_resolution(x, share=0.2, smallest=0.3, generator=generator)
    mixed = torch.rand(len(x), generator=generator) < config.mixed_share
    ratio = torch.where(mixed, torch.rand(len(x), generator=generator), torch.ones(len(x)))
    return torch.lerp(x.roll(1, 0), x, ratio.view(-1, 1, 1, 1)), mixed


def distill(
    pack: FacePack,
    teacher: OnnxTeacher,
    config: DistillConfig,
    *,
    out: Path,
    device: str = "cpu",
    progress: Callable[[int, int], None] | None = None,
    settings: Mapping[str, Any] | None = None,
    validate: Callable[[SlimFaceNet], dict[str, float]] | None = None,
) -> SlimFaceNet:
    """Train a SlimFaceNet to embed as the teacher does; the same call again resumes.

    The loss is 1 - cosine to the teacher's embedding of the same augmented view, plus the difference of the
    standardised feature maps, plus ArcFace on the views that are not blends and whose person is known. `settings` are
    kept in RUN/config.json too, and a resumed run must share them.

    Returns:
        The student with its averaged weights, in eval mode.
    """
    rows = pack.where(held_out=False)
    rows = rows[pack.sources[rows] >= 0]
    labels = _labels_of_repeated_people(pack.labels[rows])
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.schedule.seed)
        student = SlimFaceNet()
        module = Distillation(student, (64, 128, 256), int(labels.max()) + 1)
    module = module.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    label = torch.compile(teacher.to(device).eval().with_maps)
    trainer = Trainer(module, config.schedule, out=out, device=device, config={"kind": "encoder", **(settings or {})})
    known = torch.from_numpy(labels)
    chosen = rows[:: max(1, len(rows) // 1024)]
    calibration = to_tensor(centre_crop(pack.images[chosen], 112)).split(128)

    def losses(indices: Tensor, generator: torch.Generator) -> Losses:
        images = to_tensor(pack.images[rows[indices.numpy()]])
        x, mixed = views(images, config, generator)
        x = x.to(device).contiguous(memory_format=torch.channels_last)
        with torch.no_grad():
            target, targets = label(x, TEACHER_MAPS)
        maps = student.features(x)
        embedding = student.embed_features(maps[-1])
        cosine = F.cosine_similarity(embedding.float(), target.float())
        map_loss = torch.stack(
            [_map_distance(adapt(a), b) for adapt, a, b in zip(module.adapters, maps, targets, strict=True)]
        ).mean()
        result = {"embedding": (1 - cosine).mean(), "maps": config.map_weight * map_loss}
        own = torch.where(mixed, -1, known[indices])
        if config.arcface_weight and bool((own >= 0).any()):
            result["arcface"] = config.arcface_weight * module.head(
                embedding[own >= 0].float(), own[own >= 0].to(device)
            )
        return result

    def averaged() -> SlimFaceNet:
        net = SlimFaceNet()
        prefix = "student."
        net.load_state_dict(
            {name[len(prefix) :]: v for name, v in trainer.averaged().items() if name.startswith(prefix)}
        )
        remeasure_batch_norms(net, calibration)
        return net

    trainer.fit(
        losses,
        samples=len(rows),
        progress=progress,
        validate=None if validate is None else lambda: validate(averaged()),
    )
    return averaged()


def _map_distance(ours: Tensor, theirs: Tensor) -> Tensor:
    theirs = theirs.float()
    return F.mse_loss(ours.float(), theirs) / theirs.var().clamp_min(1e-6)


def _labels_of_repeated_people(labels: np.ndarray) -> np.ndarray:
    """Contiguous labels of the people with two or more images, -1 for all others."""
    people, counts = np.unique(labels[labels >= 0], return_counts=True)
    repeated = people[counts > 1]
    out = np.full(len(labels), -1, np.int64)
    chosen = np.isin(labels, repeated)
    out[chosen] = np.searchsorted(repeated, labels[chosen])
    return out
