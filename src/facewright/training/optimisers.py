"""The optimiser of a schedule, and which parameters decay."""

from typing import Any

import torch
from torch import nn
from torch.nn.modules.batchnorm import _NormBase

from facewright.training.muon import Muon
from facewright.training.schedule import Schedule

WITHOUT_DECAY = (_NormBase, nn.LayerNorm, nn.GroupNorm, nn.RMSNorm, nn.PReLU)


def make_optimiser(module: nn.Module, schedule: Schedule) -> torch.optim.Optimizer:
    """The schedule's optimiser over every parameter of `module` that is trained."""
    if schedule.optimiser == "muon":
        return Muon(_muon_groups(module, schedule), lr=schedule.learning_rate, betas=schedule.betas)
    decays = decaying(module, schedule.decayed)
    trained = _trained(module)
    groups = [
        {"params": [p for p in trained if id(p) in decays], "weight_decay": schedule.weight_decay},
        {"params": [p for p in trained if id(p) not in decays], "weight_decay": 0.0},
    ]
    groups = [group for group in groups if group["params"]]
    if schedule.optimiser == "sgd":
        return torch.optim.SGD(groups, lr=schedule.learning_rate, momentum=schedule.momentum, fused=True)
    return torch.optim.AdamW(groups, lr=schedule.learning_rate, betas=schedule.betas, fused=True)


def decaying(module: nn.Module, rule: str) -> set[int]:
    """The ids of the parameters that decay.

    Args:
        module: what is trained.
        rule: "weights", the weights of layers, by the type of the module that owns them: neither norms nor PReLU
            slopes, no vector (biases among them), and no parameter of a module that is made of others (class tokens,
            positions); or "all", as most public recognition trainers do.
    """
    if rule == "all":
        return {id(p) for p in module.parameters()}
    return {
        id(parameter)
        for owner in module.modules()
        if not isinstance(owner, WITHOUT_DECAY) and (not any(True for _ in owner.children()) or _is_layer(owner))
        for parameter in owner.parameters(recurse=False)
        if parameter.ndim > 1
    }


def _is_layer(owner: nn.Module) -> bool:
    """Whether a module with parts has weights of its own that are a layer's."""
    return isinstance(owner, nn.MultiheadAttention) or getattr(owner, "is_table", False)


def _trained(module: nn.Module) -> list[nn.Parameter]:
    return [p for p in module.parameters() if p.requires_grad]


def _muon_groups(module: nn.Module, schedule: Schedule) -> list[dict[str, Any]]:
    """Matrices and kernels for Muon; vectors, tokens and tables (class centres, one row a class) for AdamW."""
    decays, layers = decaying(module, schedule.decayed), decaying(module, "weights")
    tables = {id(p) for part in module.modules() if getattr(part, "is_table", False) for p in part.parameters()}
    trained = _trained(module)
    matrices = [p for p in trained if id(p) in layers and id(p) not in tables]
    others = [p for p in trained if id(p) not in layers and id(p) not in tables]
    rows = [p for p in trained if id(p) in tables]
    groups = [
        {"params": matrices, "weight_decay": schedule.weight_decay, "orthogonal": True},
        {"params": rows, "weight_decay": schedule.weight_decay},
        {"params": [p for p in others if id(p) in decays], "weight_decay": schedule.weight_decay},
        {"params": [p for p in others if id(p) not in decays], "weight_decay": 0.0},
    ]
    return [group for group in groups if group["params"]]
