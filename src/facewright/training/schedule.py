"""How long and how fast to train, in images seen."""

import math
from bisect import bisect_right
from dataclasses import dataclass, replace

from facewright.errors import ConfigError

OPTIMISERS = ("adamw", "muon", "sgd")
PRECISIONS = ("bf16", "fp32")
DECAYED = ("weights", "all")
FALLS = ("cosine", "steps", "polynomial", "constant")


@dataclass(frozen=True)
class Schedule:
    """How long and how fast to train; lengths count images seen, so they survive a change of batch size."""

    images: int  # images seen in the whole run
    batch: int = 128  # images
    parts: int = 1  # a batch is computed in so many equal parts, in turn or shared out among the processes
    optimiser: str = "adamw"  # adamw, muon or sgd
    learning_rate: float = 1e-3  # at the top of the schedule
    weight_decay: float = 0.01
    decayed: str = "weights"  # what decays: weights of layers (no norms, biases, slopes, tokens, positions), or all
    momentum: float = 0.9  # sgd momentum
    betas: tuple[float, float] = (0.9, 0.99)  # AdamW
    warmup_images: int = 0
    fall: str = "cosine"  # after the warm-up: cosine, steps, polynomial or constant
    cycle_images: int | None = None  # cosine: length of the first cycle; the run ends with a cycle. None: one cycle
    cycle_growth: int = 1  # cosine: each cycle is so many times as long as the one before
    milestones: tuple[int, ...] = ()  # steps: images at which the rate falls
    milestone_factor: float = 0.1  # steps: by which the rate falls
    power: float = 1.0  # polynomial: of the part of the run that is left
    epoch: int | None = None  # images of the epoch that the lengths were written for; None: they hold for any data
    clip_norm: float | None = 1.0
    clip_children: bool = False  # clip each direct part of the module (network, head) by a norm of its own
    ema_maximum: float | None = 0.999  # cap of the averaging decay; None: no average
    ema_more: tuple[float, ...] = ()  # caps of further averages that are kept beside it
    precision: str = "bf16"  # bf16 (autocast) or fp32
    seed: int = 0
    log_every: int = 5_000  # images
    save_every: int = 50_000  # images

    def __post_init__(self) -> None:
        if self.images < 1 or self.batch < 1:
            raise ConfigError(f"images and batch must be at least 1, got {self.images} and {self.batch}")
        if self.parts < 1 or self.batch % self.parts:
            raise ConfigError(f"parts must divide the batch of {self.batch} evenly, got {self.parts}")
        if self.log_every < 1 or self.save_every < 1:
            raise ConfigError(f"log_every and save_every must be at least 1, got {self.log_every}, {self.save_every}")
        _one_of("optimiser", self.optimiser, OPTIMISERS)
        _one_of("precision", self.precision, PRECISIONS)
        _one_of("decayed", self.decayed, DECAYED)
        _one_of("fall", self.fall, FALLS)
        if not 0 < self.learning_rate < 10:
            raise ConfigError(f"learning_rate must be in (0, 10), got {self.learning_rate}")
        if not 0 <= self.warmup_images <= self.images:
            raise ConfigError(f"warmup_images must be in [0, {self.images}], got {self.warmup_images}")
        if self.milestones and self.fall != "steps":
            raise ConfigError(f"milestones need fall = 'steps', got {self.fall!r}")
        if list(self.milestones) != sorted(set(self.milestones)):
            raise ConfigError(f"milestones must rise, got {self.milestones}")
        if self.epoch is not None and self.epoch < 1:
            raise ConfigError(f"epoch must be at least 1 image, got {self.epoch}")
        if self.ema_more and self.ema_maximum is None:
            raise ConfigError("ema_more needs an ema_maximum")
        if self.cycle_images is not None:
            self._check_cycles()

    def rate_at(self, images: int) -> float:
        """Learning rate of the step that begins after `images` images: linear warm-up, then the fall."""
        if images < self.warmup_images:
            return self.learning_rate * (images + self.batch) / (self.warmup_images + self.batch)
        if self.fall == "constant":
            return self.learning_rate
        if self.fall == "steps":
            return self.learning_rate * self.milestone_factor ** bisect_right(self.milestones, images)
        if self.fall == "polynomial":
            left = (self.images - images) / max(1, self.images - self.warmup_images)
            return self.learning_rate * max(0.0, left) ** self.power
        start, end = self.cycle_at(images)
        return self.learning_rate * 0.5 * (1.0 + math.cos(math.pi * min(1.0, (images - start) / max(1, end - start))))

    def cycle_at(self, images: int) -> tuple[int, int]:
        """Where the cosine cycle that holds the position `images` begins and ends; without cycles, the whole fall."""
        if self.cycle_images is None:
            return self.warmup_images, self.images
        start, length = self.warmup_images, self.cycle_images
        while images >= start + length and start + length < self.images:
            start, length = start + length, length * self.cycle_growth
        return start, start + length

    def for_samples(self, samples: int) -> "Schedule":
        """The same epochs over `samples` images: where `epoch` says what the lengths were written for, they follow.

        Lengths are then rounded to whole batches, which several processes need. Without `epoch` the schedule stays as
        it is.
        """
        if self.epoch is None:
            return self
        factor = samples / self.epoch / self.batch

        def scaled(length: int) -> int:
            return round(length * factor) * self.batch

        warmup = scaled(self.warmup_images)
        cycle = None if self.cycle_images is None else max(self.batch, scaled(self.cycle_images))
        images = max(self.batch, scaled(self.images))
        if cycle is not None:
            images = warmup + cycle * _sum_of_powers(self.cycle_growth, self._cycles())
        milestones = tuple(scaled(length) for length in self.milestones)
        return replace(
            self, images=images, warmup_images=warmup, cycle_images=cycle, milestones=milestones, epoch=samples
        )

    def _cycles(self) -> int:
        """Number of whole cycles that fit into the run."""
        assert self.cycle_images is not None
        count = 0
        while self.warmup_images + self.cycle_images * _sum_of_powers(self.cycle_growth, count + 1) <= self.images:
            count += 1
        return count

    def _check_cycles(self) -> None:
        assert self.cycle_images is not None
        if self.fall != "cosine" or self.cycle_images < 1 or self.cycle_growth < 1:
            raise ConfigError(
                "cycle_images needs fall = 'cosine', and cycle_images and cycle_growth of at least 1, got "
                f"{self.fall!r}, {self.cycle_images} and {self.cycle_growth}"
            )
        count = self._cycles()
        ends = [
            self.warmup_images + self.cycle_images * _sum_of_powers(self.cycle_growth, n) for n in (count, count + 1)
        ]
        if self.images != ends[0]:
            nearest = " or ".join(f"{end:,}" for end in ends if end > self.warmup_images)
            raise ConfigError(f"images must be where a cycle ends, such as {nearest}, got {self.images:,}")


def _sum_of_powers(base: int, count: int) -> int:
    """1 + base + base ** 2 + ... of `count` terms."""
    return sum(base**exponent for exponent in range(count))


def _one_of(name: str, value: str, known: tuple[str, ...]) -> None:
    if value not in known:
        raise ConfigError(f"{name} must be {', '.join(known[:-1])} or {known[-1]}, got {value!r}")
