"""Exponential moving average of weights, with a decay that grows with the run (as IDiff-Face intends it)."""

from collections.abc import Set as AbstractSet

import torch
from torch import Tensor, nn


def decay_at(
    step: int, *, inv_gamma: float = 1.0, power: float = 0.75, minimum: float = 0.0, maximum: float = 0.9999
) -> float:
    """Decay for an update when `step` updates have been made.

    1 - (1 + (step - 1) / inv_gamma) ** -power, clipped to [minimum, maximum]; 0 for the first two updates, which
    therefore copy the weights.
    """
    made = step - 1
    if made <= 0:
        return 0.0
    return min(max(1.0 - (1.0 + made / inv_gamma) ** -power, minimum), maximum)


class EMA:
    """Keeps an average of a module's parameters; buffers are copied.

    Args:
        module: whose weights are averaged.
        maximum: cap of the decay.
        power: see `decay_at`.
        skipped: names in the state dict of what is left out.
    """

    def __init__(
        self,
        module: nn.Module,
        *,
        maximum: float = 0.9999,
        power: float = 0.75,
        skipped: AbstractSet[str] = frozenset(),
    ) -> None:
        self.maximum = maximum
        self.power = power
        self.updates = 0
        state = module.state_dict()
        self.averaged = {name: value.detach().clone() for name, value in state.items() if name not in skipped}
        self._parameters = {name for name, _ in module.named_parameters()} - skipped

    @torch.no_grad()
    def update(self, module: nn.Module) -> None:
        """Move the average towards the module's present weights."""
        decay = decay_at(self.updates, maximum=self.maximum, power=self.power)
        self.updates += 1
        state = module.state_dict()
        moving = [name for name in self.averaged if name in self._parameters]
        torch._foreach_lerp_([self.averaged[n] for n in moving], [state[n] for n in moving], 1.0 - decay)
        for name in self.averaged.keys() - self._parameters:
            self.averaged[name].copy_(state[name])

    def state_dict(self) -> dict[str, Tensor | int]:
        """The average and the number of updates made."""
        return {"updates": self.updates, **{f"averaged.{name}": value for name, value in self.averaged.items()}}

    def load_state_dict(self, state: dict[str, Tensor | int]) -> None:
        """Restore what `state_dict` gave."""
        self.updates = int(state["updates"])
        for name, value in self.averaged.items():
            saved = state[f"averaged.{name}"]
            assert isinstance(saved, Tensor)
            value.copy_(saved)
