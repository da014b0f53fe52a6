"""The golden cases of personalisation as calls of facewright: names on one side, public functions on the other."""

import re
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from facewright.personalise import delay, losses

Case = Mapping[str, np.ndarray]
Outputs = dict[str, Any]

_LAYER = re.compile(r"attention_(?P<layer>layer\d+_size(?P<side>\d+))")


def _localization(case: Case) -> Outputs:
    layers = {match["layer"]: match for match in map(_LAYER.fullmatch, sorted(case, key=_layer_number)) if match}
    attention = [_tensor(case, match[0]).double().requires_grad_() for match in layers.values()]
    masks, single = _tensor(case, "segmaps"), [layer.detach().float() for layer in attention]
    people = {"tokens": _tensor(case, "token_index"), "valid": _tensor(case, "token_valid")}
    total = losses.localisation_loss(attention, masks.double(), **people)
    total.backward()
    columns = _tensor(case, "grad_columns")
    gradients = [layer.grad.index_select(2, columns) for layer in attention if layer.grad is not None]
    with torch.no_grad():
        out = {"total": total.detach(), "total_float32": losses.localisation_loss(single, masks, **people)}
        out["per_layer"] = losses.localisation_losses(attention, masks.double(), **people)
        people["normalise"] = True
        out["normalised_per_layer"] = losses.localisation_losses(attention, masks.double(), **people)
        out["normalised_total"] = losses.localisation_loss(attention, masks.double(), **people)
        out["normalised_total_float32"] = losses.localisation_loss(single, masks, **people)
    resized = {
        f"resized_masks_{match['side']}": losses.shrink_masks(masks.double(), int(match["side"]))
        for match in layers.values()
    }
    named = {f"grad_{layer}": gradient for layer, gradient in zip(layers, gradients, strict=True)}
    return {**out, **named, **resized}


def _masked_denoise(case: Case) -> Outputs:
    prediction, target = _tensor(case, "prediction").requires_grad_(), _tensor(case, "target")
    mask = losses.union_mask(_tensor(case, "segmaps").to(target), size=(target.shape[2], target.shape[3]))
    loss = losses.denoising_loss(prediction, target, mask=mask)
    loss.backward()
    with torch.no_grad():
        return {
            "latent_mask": mask,
            "loss": loss.detach(),
            "grad_prediction": prediction.grad,
            "area_normalised_loss": losses.denoising_loss(prediction, target, mask=mask, normalise="area"),
            "loss_without_objects": losses.denoising_loss(prediction, target, mask=torch.zeros_like(mask)),
            "plain_mse": losses.denoising_loss(prediction, target),
        }


def _total(case: Case) -> Outputs:
    weight = _tensor(case, "weight")
    return {"loss": losses.total_loss(_tensor(case, "denoise"), _tensor(case, "localization"), weight=weight)}


def _cgdr(case: Case) -> Outputs:
    noise, mask = _tensor(case, "noise"), _tensor(case, "mask")
    subject = _tensor(case, "prediction_subject").requires_grad_()
    prior = _tensor(case, "prediction_class").requires_grad_()
    loss = losses.cgdr_loss(subject, noise, prior, mask=mask)
    loss.backward()
    composed = losses.cgdr_target(subject.detach(), prior, mask=mask)
    return {
        "target": losses.cgdr_target(noise, prior, mask=mask),
        "loss": loss.detach(),
        "grad_prediction_subject": subject.grad,
        "grad_prediction_class": torch.zeros_like(prior) if prior.grad is None else prior.grad,
        "prediction_side_loss": losses.denoising_loss(composed, noise),
    }


def _delayed_conditioning(case: Case) -> Outputs:
    out: Outputs = {}
    for key in [name for name in case if name.endswith("alpha")]:
        prefix = key.removesuffix("alpha")
        steps, alpha = int(case[f"{prefix}steps"]), float(case[key])
        published = delay.published_text_only(steps, alpha)
        out[f"{prefix}start_value_float"] = delay.published_start(steps, alpha)
        out[f"{prefix}reference_text_only"] = len(published)
        out[f"{prefix}reference_last_text_only_index"] = published[-1]
        out[f"{prefix}exact_text_only"] = delay.text_only_steps(steps, alpha)
        out[f"{prefix}exact_text_only_if_rounded_up"] = delay.text_only_steps(steps, alpha, rounding="up")
    return out


def _tensor(case: Case, name: str) -> Tensor:
    return torch.from_numpy(np.array(case[name]))


def _layer_number(name: str) -> tuple[int, ...]:
    return tuple(int(number) for number in re.findall(r"\d+", name))


CASES: Mapping[str, Callable[[Case], Outputs]] = {
    "cgdr": _cgdr,
    "delayed_conditioning": _delayed_conditioning,
    "localization": _localization,
    "masked_denoise": _masked_denoise,
    "total": _total,
}
