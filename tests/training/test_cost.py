"""Counting: against closed forms, against real tensors, and against what others measured."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from facewright.encoders.encoder import NETWORKS
from facewright.errors import ConfigError
from facewright.training.cost import Work, measure_speed, network_cost, plan_of
from facewright.training.schedule import Schedule

SCHEDULE = Schedule(images=1000, batch=8, parts=2, optimiser="sgd", ema_maximum=None, precision="fp32")


def small() -> nn.Module:
    return nn.Sequential(nn.Conv2d(3, 4, 3, padding=1, bias=False), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 64, 5))


def pictures(count: int) -> tuple[Tensor, ...]:
    return (torch.zeros(count, 3, 8, 8),)


WORK = Work(build=small, inputs=pictures, schedule=SCHEDULE, images=250)


def test_operations_follow_the_formulas() -> None:
    cost = network_cost(small, pictures, "fp32")
    assert cost.parameters == 3 * 4 * 9 + 4 * 64 * 5 + 5
    convolution, linear = 2 * 3 * 4 * 9 * 64, 2 * 4 * 64 * 5
    assert cost.forward_flops == convolution + linear
    assert cost.training_flops == 2 * convolution + 3 * linear, "the picture needs no gradient"
    assert cost.width == 5
    kept = 4 * (3 * 64 + 4 * 64)  # the picture for the convolution, the ReLU's output for itself and the linear layer
    assert cost.activation_bytes == kept
    assert network_cost(small, pictures, "bf16").activation_bytes == kept / 2


def test_a_public_network_has_its_known_size() -> None:
    cost = network_cost(NETWORKS["iresnet50"], lambda count: (torch.zeros(count, 3, 112, 112),), "bf16")
    assert cost.parameters == 43_590_848
    assert cost.forward_flops == pytest.approx(2 * 6.3e9, rel=0.01)  # arcface_torch's README counts 6.3 G products


def test_a_plan_adds_up() -> None:
    network = network_cost(small, pictures, "fp32")
    plan = plan_of(replace(WORK, classes=100))
    assert (plan.parameters, plan.head_parameters) == (network.parameters, 500)
    assert plan.training_flops == network.training_flops + 6 * 500
    assert plan.run_flops == 1000 * plan.training_flops
    assert (plan.steps, plan.epochs) == (125, 4.0)
    assert plan.weight_bytes == (network.parameters + 500) * 12  # weight, gradient, momentum
    assert plan.activation_bytes == 4 * network.activation_bytes + 4 * 100 * 4 * 4
    averaged = replace(SCHEDULE, ema_maximum=0.9, ema_more=(0.5,), optimiser="adamw")
    assert plan_of(replace(WORK, schedule=averaged)).weight_bytes == network.parameters * (16 + 8)


def test_processes_share_a_sharded_head_and_a_sample_needs_less() -> None:
    whole = plan_of(replace(WORK, classes=10_000))
    shared = plan_of(replace(WORK, classes=10_000, sharded=True), processes=2)
    assert whole.weight_bytes - shared.weight_bytes == 5_000 * 5 * 12
    assert shared.training_flops == whole.training_flops
    sampled = plan_of(replace(WORK, classes=10_000, sample_rate=0.1))
    assert sampled.weight_bytes < whole.weight_bytes
    assert sampled.device_bytes - plan_of(WORK).device_bytes < 0.75 * (whole.device_bytes - plan_of(WORK).device_bytes)
    with pytest.raises(ConfigError, match="3 devices cannot share a batch of 2 parts"):
        plan_of(WORK, processes=3)


def test_memory_is_near_what_was_measured_on_eight_gpus() -> None:
    # github.com/deepinsight/insightface, benchmarks/train/nvidia_a100.md: 618 thousand people, fp16, GB a GPU; the
    # libraries and the allocator take some 3 GB of it
    for batch, measured in ((1024, 10.1), (2048, 16.4), (10_240, 66.7)):
        schedule = replace(SCHEDULE, images=batch, batch=batch, parts=8, precision="bf16")
        work = Work(
            build=NETWORKS["iresnet50"],
            inputs=lambda n: (torch.zeros(n, 3, 112, 112),),
            schedule=schedule,
            classes=617_970,
            sharded=True,
        )
        found = plan_of(work, processes=8).device_bytes / 1e9
        assert 0.85 * (measured - 3) < found < measured, batch


def test_a_measured_speed_is_that_of_real_steps() -> None:
    measured = measure_speed(replace(WORK, schedule=replace(SCHEDULE, batch=16)), device="cpu", seconds=0.05)
    assert measured["batch"] == 8
    assert measured["steps"] >= 1
    assert measured["images_per_s"] > 0
    cost = network_cost(small, pictures, "fp32")
    assert measured["flops_per_s"] == pytest.approx(measured["images_per_s"] * cost.training_flops)
