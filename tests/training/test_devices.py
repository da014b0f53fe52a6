"""The table of devices, and the speed that follows from it."""

import pytest
import torch

from facewright.encoders.encoder import NETWORKS
from facewright.errors import InputError
from facewright.training.cost import network_cost
from facewright.training.devices import expected_speed, find_device, known_devices


def test_the_operations_in_the_table_are_those_counted() -> None:
    row = next(row for row in find_device("a10-8").measured if row.network == "iresnet100")
    cost = network_cost(NETWORKS["iresnet100"], lambda count: (torch.zeros(count, 3, 112, 112),), "fp32")
    assert row.flops_per_s == pytest.approx(2210 * (cost.training_flops + 6 * 512 * row.classes))


def test_every_device_has_a_source_and_figures() -> None:
    for name, device in known_devices().items():
        assert device.name == name
        assert device.source
        assert device.measured
        assert {row.precision for row in device.measured} <= {"half", "fp32"}
        assert f"{device.count} " in device.what


def test_a_measured_run_gets_its_own_speed() -> None:
    device = find_device("a100-8")
    for row in device.measured:
        flops = row.flops_per_s / row.images_per_s
        precision = "bf16" if row.precision == "half" else "fp32"
        speed = expected_speed(device, network=row.network, training_flops=flops, precision=precision, batch=row.batch)
        assert speed.same_network
        if row.classes == 617_970:
            assert speed.images_per_s == pytest.approx(row.images_per_s)


def test_another_network_is_scaled_by_operations_from_the_nearest_batch() -> None:
    device = find_device("a100-8")
    one = expected_speed(device, network="vit_t", training_flops=9e9, precision="bf16", batch=2000)
    assert not one.same_network
    assert (one.measured.batch, one.measured.network) == (2048, "iresnet50")
    half = expected_speed(device, network="vit_t", training_flops=18e9, precision="bf16", batch=2000)
    assert half.images_per_s == pytest.approx(one.images_per_s / 2)


def test_what_is_not_in_the_table_is_said() -> None:
    with pytest.raises(InputError, match=r"unknown device 'a100'. Did you mean a100-8\? Known: v100-8, .*--measure"):
        find_device("a100")
    with pytest.raises(InputError, match="nothing was measured on v100-8 in bf16"):
        expected_speed(find_device("v100-8"), network="iresnet50", training_flops=1e9, precision="bf16", batch=512)
