"""The golden networks of generation and personalisation as calls of facewright; no arithmetic between.

Weights come from `fill`; outputs bear the names of the case files, `out_` and all.
"""

import json
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import torch
from tests.golden.fill import fill
from torch import Tensor, nn

from facewright import checkpoints
from facewright.diffusion.controlnet import ControlledUNet, ControlNet
from facewright.diffusion.samplers import ancestral, ddim, ddim_invert, ddim_plan
from facewright.diffusion.schedules import alpha_bars, linear_betas
from facewright.diffusion.unet import ConditionalUNet, UNetConfig
from facewright.diffusion.vq import VQDecoder, VQEncoder
from facewright.personalise.bisenet import BiSeNet
from facewright.personalise.mapping import Mapping
from facewright.personalise.postfuse import PostFuse
from facewright.personalise.text import TextConfig, TextEncoder, insert_words

Case = dict[str, np.ndarray]

TOLERANCES = {
    "idiff__unet-ca": 7e-5,
    "idiff__unet-adagn": 2e-5,
    "idiff__unet-uncond": 2e-5,
    "idiff__controlnet": 8e-4,
    "idiff__ddpm-ddim:out_ddim*_repo_*": 7e-3,
    "idiff__ddpm-ddim:out_ddim*_exact_*": 2e-3,
    "idiff__ddpm-ddim": 3e-5,
    "ldm__vq-encoder": 4e-5,
    "ldm__vq-decoder": 4e-5,
    "f2d__mapping": 8e-6,
    "f2d__text-injection": 2e-5,
    "fastcomposer__postfuse": 7e-6,
    "bisenet": 4e-5,
}
"""Largest absolute difference by case, or by case and array; integers must be equal."""


def run_net(name: str, case: Case) -> Case:
    """Every output of a case, under its name in the file.

    Args:
        name: the file's stem.
        case: the file's arrays without its outputs.
    """
    compute = _CASES[max((prefix for prefix in _CASES if name.startswith(prefix)), key=len)]
    inputs = {key.removeprefix("in_"): torch.from_numpy(value) for key, value in case.items() if key.startswith("in_")}
    with torch.inference_mode():
        return {f"out_{key}": value.numpy() for key, value in compute(case, inputs).items()}


def covers(name: str) -> bool:
    """Whether `run_net` knows cases of this name."""
    return name.startswith(tuple(_CASES))


def filled(layout: str, build: Callable[[], nn.Module], case: Case, *, of: str = "") -> Any:
    """The network with the weights that the case names, in eval mode.

    Weights that fit the layout come in through `checkpoints.load`; a case of other sizes goes into what `build` gives.
    """
    sizes = (tuple(int(size) for size in text.split(",") if size) for text in case[f"{of}shapes"].tolist())
    weights = fill(dict(zip(case[f"{of}keys"].tolist(), sizes, strict=True)), int(case[f"{of}seed"]))
    if layout in checkpoints.identify(weights):
        return checkpoints.load(weights, layout=layout)
    with torch.device("meta"):
        network = build()
    own = {key.removeprefix("postfuse_module."): torch.from_numpy(value) for key, value in weights.items()}
    network.load_state_dict(own, assign=True)
    return network.eval()


def unet_config(values: dict[str, Any]) -> UNetConfig:
    """The public constructor's settings as facewright's."""
    conditional = values["is_context_conditional"]
    return UNetConfig(
        channels=values["input_channels"],
        width=values["initial_channels"],
        multipliers=tuple(values["channel_multipliers"]),
        attention=tuple(values["is_attention"]),
        blocks=values["n_blocks_per_resolution"],
        context_inputs=values["context_input_channels"] if conditional else None,
        context_width=values["context_channels"],
        partial_dropout=values.get("context_dropout_probability", 0.0),
        condition={"CA": "cross-attention", "AdaGN": "adagn"}[values["condition_type"]],
        head_width=values["attention_head_channels"],
        learn_empty_context=values["learn_empty_context"],
    )


def _denoiser(settings: dict[str, Any], case: Case, *, of: str = "") -> Any:
    config = unet_config(settings)
    form = "uncond" if config.context_inputs is None else "adagn" if config.condition == "adagn" else "ca"
    return filled(f"idiff/unet-{form}", partial(ConditionalUNet, config), case, of=of)


def _settings(case: Case) -> dict[str, Any]:
    return json.loads(str(case["config"]))


def _unet(case: Case, inputs: dict[str, Tensor]) -> dict[str, Tensor]:
    network = _denoiser(_settings(case), case)
    x, times = inputs["x"], inputs["t"]
    if "context" not in inputs:
        return {"eps": network(x, times)}
    return {
        "eps": network(x, times, inputs["context"]),
        "eps_no_context": network(x, times),
        "eps_dropout_mask": network(x, times, inputs["context"], drop=inputs["dropout_mask"]),
    }


def _controlnet(case: Case, inputs: dict[str, Tensor]) -> dict[str, Tensor]:
    settings = _settings(case)
    control = filled("idiff/controlnet", partial(ControlNet, unet_config(settings["control"])), case)
    unet = _denoiser(settings["unet"], case, of="unet_")
    both = ControlledUNet(unet, control).eval()
    x, times, context, hint = (inputs[key] for key in ("x", "t", "context", "hint"))
    return {
        **{f"control_{k:02}": maps[:, :8] for k, maps in enumerate(control(x, times, context, hint=hint))},
        "hint_features": control.input_hint_block(hint)[:, :8],
        "eps_controlled": both(x, times, context, hint=hint),
        "eps_controlled_no_context": both(x, times, hint=hint),
        "eps_controlled_dropout_mask": both(x, times, context, hint=hint, drop=inputs["dropout_mask"]),
        "eps_mid_only": both(x, times, context, hint=hint, only_middle=True),
        "eps_plain_unet": unet(x, times, context),
    }


def _samplers(case: Case, inputs: dict[str, Tensor]) -> dict[str, Tensor]:
    network = _denoiser(_settings(case), case)
    betas = linear_betas(len(case["sched_betas"]))
    bars = alpha_bars(betas)

    def predict(x: Tensor, time: int) -> Tensor:
        return network(x.float(), torch.full((len(x),), time), inputs["context"]).to(x.dtype)

    out = {}
    for steps in (20, 50):
        for name, variant, start in (("repo", "published", inputs["x_T"]), ("exact", "exact", inputs["x_T"].double())):
            states = [start]
            clean = ddim(predict, start, ddim_plan(bars, steps, variant=variant), on_step=states.append)
            out[f"ddim{steps}_{name}_traj"] = torch.stack(states).float()
            out[f"ddim{steps}_{name}_x0"] = clean.float()
    parts = (
        ("ddpm_first5", inputs["x_T"], range(len(betas) - 1, len(betas) - 6, -1), inputs["z_first5"]),
        ("ddpm_last4", inputs["x_at_3"], range(3, -1, -1), inputs["z_last"]),
    )
    for name, start, times, noise in parts:
        states = []
        draw = dict(zip(times, noise, strict=False)).__getitem__
        ancestral(predict, start, betas, noise=draw, variant="published", times=times, on_step=states.append)
        out[name] = torch.stack(states)
    clean = inputs["x0_for_reverse"]
    out["ddim20_reverse10"] = ddim_invert(predict, clean, bars, 20, variant="published", first=10)
    return out


def _vq_encoder(case: Case, inputs: dict[str, Tensor]) -> dict[str, Tensor]:
    return {"latent": filled("ldm/vq-encoder", VQEncoder, case)(inputs["images"])}


def _vq_decoder(case: Case, inputs: dict[str, Tensor]) -> dict[str, Tensor]:
    network = filled("ldm/vq-decoder", VQDecoder, case)
    quantised, indices = network.quantize(inputs["latent"])
    return {
        "image_quantized": network(inputs["latent"]),
        "image_not_quantized": network(inputs["latent"], quantise=False),
        "indices": indices,
        "quantized": quantised,
    }


def _mapping(case: Case, inputs: dict[str, Tensor]) -> dict[str, Tensor]:
    network = filled("f2d/mapping", Mapping, case)
    identity, expression = inputs["idvec"], inputs["exp"]
    out = {}
    out["first_none"], out["last_none"] = network(identity)
    out["first_exp"], out["last_exp"] = network(identity, expression)
    out["first_expmask"], out["last_expmask"] = network(identity, expression, given=inputs["mask"])
    return out


def _text(case: Case, inputs: dict[str, Tensor]) -> dict[str, Tensor]:
    settings = _settings(case)
    config = TextConfig(
        vocabulary=settings["vocab_size"],
        length=settings["max_position_embeddings"],
        width=settings["hidden_size"],
        hidden=settings["intermediate_size"],
        layers=settings["num_hidden_layers"],
        heads=settings["num_attention_heads"],
        activation=settings["hidden_act"],
        end_token=settings["eos_token_id"],
    )
    network = filled("", partial(TextEncoder, config), case)
    ids, words = inputs["input_ids"], torch.stack([inputs["first"], inputs["last"]], 1)
    embeddings = network.embed(ids)
    plain, plain_end = network(ids)
    states, end = network(ids, embeddings=insert_words(embeddings, words, positions=inputs["pos"]))
    return {
        "input_embeds": embeddings[:, :8],
        "last_hidden_plain": plain,
        "pooled_plain": plain_end,
        "last_hidden_injected": states,
        "pooled_injected": end,
    }


def _postfuse(case: Case, inputs: dict[str, Tensor]) -> dict[str, Tensor]:
    network = filled("fastcomposer/postfuse", partial(PostFuse, inputs["text_states"].shape[-1]), case)
    subjects = inputs["object_embeds"].squeeze(2)
    marked, counts = inputs["image_token_mask"], inputs["num_objects"]
    return {"text_states": network(inputs["text_states"], subjects, marked=marked, counts=counts)}


def _bisenet(case: Case, inputs: dict[str, Tensor]) -> dict[str, Tensor]:
    network = filled("bisenet", BiSeNet, case)
    first, second, third = network(inputs["x"])
    middle = first.shape[2] // 2
    return {
        "labels_s8": network.labels(inputs["x"])[:, ::8, ::8],
        "logits_slice": first[:, :, ::16, ::16],
        "logits_rows": first[:, :, middle - 1 : middle + 1, :64],
        "logits16_slice": second[:, :, ::16, ::16],
        "logits32_slice": third[:, :, ::16, ::16],
    }


_CASES: dict[str, Callable[[Case, dict[str, Tensor]], dict[str, Tensor]]] = {
    "bisenet": _bisenet,
    "f2d__mapping": _mapping,
    "f2d__text-injection": _text,
    "fastcomposer__postfuse": _postfuse,
    "idiff__controlnet": _controlnet,
    "idiff__ddpm-ddim": _samplers,
    "idiff__unet": _unet,
    "ldm__vq-decoder": _vq_decoder,
    "ldm__vq-encoder": _vq_encoder,
}
