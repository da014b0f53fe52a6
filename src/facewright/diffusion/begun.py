"""Networks at the start of a training, and with the weights that one has come to."""

from collections.abc import Callable, Mapping
from typing import TypeVar

import torch
from torch import Tensor, nn

Network = TypeVar("Network", bound=nn.Module)


def begun(build: Callable[[], Network], *, seed: int) -> Network:
    """A network whose first weights depend on the seed alone, in the layout that convolutions like."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = build()
    return network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]


def holding(network: Network, state: Mapping[str, Tensor]) -> Network:
    """The network with these weights, copied, in eval mode and the layout that convolutions like."""
    network.load_state_dict(dict(state))
    return network.to(memory_format=torch.channels_last).eval()  # type: ignore[call-overload]
