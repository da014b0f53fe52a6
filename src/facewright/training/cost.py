"""What a training will cost: parameters, operations and memory, counted without memory or arithmetic of that size."""

import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks
from torch.utils.flop_counter import FlopCounterMode

from facewright.errors import ConfigError
from facewright.training.schedule import Schedule
from facewright.training.trainer import Trainer

STATES = {"sgd": 1, "adamw": 2, "muon": 1}  # float32 values an optimiser keeps for a weight (Muon: of a matrix)
LOGIT_COPIES = 4  # cosines, logits, probabilities and a gradient, float32
COUNTED = 2  # images that are counted on; batch norms need two


@dataclass(frozen=True)
class Work:
    """A network to train, as `plan_of` takes it.

    build: makes the network.
    inputs: the arguments of its forward for so many images; only shapes and types matter.
    schedule: of the run.
    images: in the training set; None: not known.
    classes: rows of the head's table; 0: no head.
    sample_rate: share of the classes that a step is computed against.
    sharded: whether each process holds a share of the table.
    """

    build: Callable[[], nn.Module]
    inputs: Callable[[int], tuple[Tensor, ...]]
    schedule: Schedule
    images: int | None = None
    classes: int = 0
    sample_rate: float = 1.0
    sharded: bool = False


@dataclass(frozen=True)
class NetworkCost:
    """A network's size; operations are counted as two for a multiplication with its addition."""

    parameters: int
    forward_flops: float  # an image
    training_flops: float  # an image, forward and backward
    activation_bytes: float  # an image, kept from forward to backward
    width: int  # of the output


@dataclass(frozen=True)
class Plan:
    """What a run costs on each of `processes` devices."""

    parameters: int
    head_parameters: int
    forward_flops: float  # of the network, an image
    training_flops: float  # of network and head, an image
    run_flops: float  # of the whole run
    weight_bytes: float  # a device: weights, gradients, optimiser, averages
    activation_bytes: float  # a device: what is kept from forward to backward
    images: int  # of the run
    steps: int
    epochs: float | None
    processes: int

    @property
    def device_bytes(self) -> float:
        """Memory of a device; what the allocator and the libraries need comes on top."""
        return self.weight_bytes + self.activation_bytes


def network_cost(
    build: Callable[[], nn.Module], inputs: Callable[[int], tuple[Tensor, ...]], precision: str
) -> NetworkCost:
    """Count a network on torch's meta device, where tensors have shapes and no contents.

    Convolutions, matrix products and attention are counted, not what is done entry by entry.

    Args:
        build: makes the network.
        inputs: arguments of its forward for so many images.
        precision: bf16 or fp32; under bf16 what is kept for the backward pass is half as large.
    """
    kind = torch.bfloat16 if precision == "bf16" else torch.float32
    with torch.device("meta"):
        network = build().to(kind).train()
        taken = tuple(x.to(kind) if x.is_floating_point() else x for x in inputs(COUNTED))
    owned = {x.untyped_storage()._cdata for x in (*network.parameters(), *network.buffers())}
    kept: dict[int, torch.UntypedStorage] = {}

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage._cdata not in owned:
            kept[storage._cdata] = storage
        return tensor

    counter = FlopCounterMode(display=False)
    with counter, saved_tensors_hooks(keep, lambda tensor: tensor):
        output = network(*taken)
        forward = counter.get_total_flops()
        output.sum().backward()
    return NetworkCost(
        parameters=sum(p.numel() for p in network.parameters()),
        forward_flops=forward / COUNTED,
        training_flops=counter.get_total_flops() / COUNTED,
        activation_bytes=sum(storage.nbytes() for storage in kept.values()) / COUNTED,
        width=output.shape[1],
    )


def plan_of(work: Work, *, processes: int = 1) -> Plan:
    """Count what a run costs.

    The head is counted by formula: 2 operations an entry of its table forward and 4 backward, logits of one part.

    Args:
        work: what is trained.
        processes: devices that share each batch.

    Raises:
        ConfigError: the processes cannot share the parts of the batch.
    """
    schedule = work.schedule
    if schedule.parts % processes:
        raise ConfigError(
            f"{processes} devices cannot share a batch of {schedule.parts} parts; make recipe.schedule.parts a "
            f"multiple of {processes}"
        )
    network = network_cost(work.build, work.inputs, schedule.precision)
    part = schedule.batch // schedule.parts
    table = work.classes * network.width
    rows = work.classes / (processes if work.sharded else 1)
    sampled = rows * work.sample_rate
    averages = 0 if schedule.ema_maximum is None else 1 + len(schedule.ema_more)
    trained = 4 * (2 + STATES[schedule.optimiser])  # bytes: the weight, its gradient, the optimiser's values
    partial = work.sample_rate < 1  # gradients of sampled rows only, and no average
    head = rows * network.width * (4 * (1 + STATES[schedule.optimiser]) if partial else trained + 4 * averages)
    head += sampled * network.width * 8 if partial else 0
    copies = 2 if schedule.precision == "bf16" else 0  # autocast's copy of each weight
    logits = LOGIT_COPIES * 4 * sampled * part * (processes if work.sharded else 1)
    flops = network.training_flops + 6 * table * work.sample_rate
    return Plan(
        parameters=network.parameters,
        head_parameters=table,
        forward_flops=network.forward_flops,
        training_flops=flops,
        run_flops=flops * schedule.images,
        weight_bytes=network.parameters * (trained + 4 * averages + copies) + head,
        activation_bytes=network.activation_bytes * part + logits,
        images=schedule.images,
        steps=-(-schedule.images // schedule.batch),
        epochs=None if work.images is None else schedule.images / work.images,
        processes=processes,
    )


def measure_speed(work: Work, *, device: str, seconds: float = 20.0) -> dict[str, Any]:
    """Train here for some seconds, with the real loop, one part of a batch a step.

    The inputs are always the same, so reading pictures costs nothing; the head is left out, and so is its time.

    Args:
        work: what is trained.
        device: such as "cpu" or "cuda".
        seconds: to train for, after two steps that are not counted.

    Returns:
        images_per_s, flops_per_s (of the network, sustained), batch, steps and precision.
    """
    cost = network_cost(work.build, work.inputs, work.schedule.precision)
    batch = work.schedule.batch // work.schedule.parts
    schedule = replace(
        work.schedule,
        images=2**40,
        batch=batch,
        parts=1,
        warmup_images=0,
        fall="constant",
        milestones=(),
        cycle_images=None,
        learning_rate=1e-6,
        epoch=None,
    )
    layout = torch.channels_last  # of pictures and convolutions, as the trainings here have it
    taken = tuple(x.to(device, memory_format=layout) if x.ndim == 4 else x.to(device) for x in work.inputs(batch))
    network = work.build().to(memory_format=layout)  # type: ignore[call-overload]
    with tempfile.TemporaryDirectory() as folder:
        trainer = Trainer(network, schedule, out=Path(folder), device=device)
        indices = torch.arange(batch)
        steps, began = 0, time.perf_counter()
        while steps < 3 or time.perf_counter() - began < seconds:
            trainer.step(lambda *_: {"mean": network(*taken).float().mean()}, indices)  # waits for the device
            steps += 1
            if steps == 2:
                began = time.perf_counter()
        speed = (steps - 2) * batch / (time.perf_counter() - began)
    return {
        "images_per_s": speed,
        "flops_per_s": speed * cost.training_flops,
        "batch": batch,
        "steps": steps - 2,
        "precision": schedule.precision,
    }
