"""Loading: wrappers come off, every tensor is accounted for, and what does not fit is named."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tests.checkpoints.conftest import State, filled
from torch import Tensor

from facewright import checkpoints
from facewright.errors import DataError, InputError

MOBILE = "tface/mobilefacenet"


def assert_same(network: torch.nn.Module, state: State) -> None:
    loaded = network.state_dict()
    assert loaded.keys() == state.keys()
    assert all(torch.equal(loaded[key], state[key].to(loaded[key].dtype)) for key in state)
    assert not network.training
    assert not any(tensor.is_meta for tensor in loaded.values())


def test_a_mapping_of_tensors_or_of_arrays(state: State) -> None:
    assert_same(checkpoints.load(state, layout=MOBILE), state)
    assert_same(checkpoints.load({key: value.numpy() for key, value in state.items()}, layout=MOBILE), state)


def test_the_network_owns_its_weights(state: State) -> None:
    network = checkpoints.load(state)
    before = network.state_dict()["conv1.conv.weight"].clone()
    state["conv1.conv.weight"].zero_()
    assert torch.equal(network.state_dict()["conv1.conv.weight"], before)
    assert all(parameter.requires_grad for parameter in network.parameters())


@pytest.mark.parametrize(
    "prefix",
    ["module.", "_orig_mod.module.", "module._forward_module.", "model.", "net.", "backbone.", "module.module.model."],
)
def test_wrappers_come_off(state: State, prefix: str) -> None:
    assert_same(checkpoints.load({prefix + key: value for key, value in state.items()}), state)


@pytest.mark.parametrize("container", ["state_dict", "state_dict_backbone", "model_state_dict", "model"])
def test_a_trainers_checkpoint(state: State, container: str) -> None:
    trained = {"epoch": 3, "optimizer": {"lr": 0.1}, container: {f"model.{key}": value for key, value in state.items()}}
    assert_same(checkpoints.load(trained, layout=MOBILE), state)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_other_precisions_become_float32(state: State, dtype: torch.dtype) -> None:
    stored = {key: value.to(dtype) if value.is_floating_point() else value for key, value in state.items()}
    loaded = checkpoints.load(stored, layout=MOBILE).state_dict()
    assert {tensor.dtype for tensor in loaded.values()} == {torch.float32, torch.int64}
    assert torch.equal(loaded["conv1.conv.weight"], stored["conv1.conv.weight"].float())


def test_what_lies_beside_a_network_is_left_out_by_name(small: State) -> None:
    state = filled("ldm/vq-encoder")
    whole: dict[str, Tensor] = {f"first_stage_model.{key}": value for key, value in state.items()}
    whole |= {"betas": torch.zeros(1000), "model.diffusion_model.out.2.bias": torch.zeros(3)}
    whole |= {"first_stage_model.decoder.conv_in.bias": torch.zeros(3), "logvar": torch.zeros(1000)}
    assert_same(checkpoints.load({"state_dict": whole}, layout="ldm/vq-encoder"), state)
    bin_file = {f"postfuse_module.{key}": value for key, value in small.items()}
    bin_file |= {"unet.conv_in.weight": torch.zeros(1), "text_encoder.text_model.x": torch.zeros(1)}
    assert_same(checkpoints.load(bin_file), small)
    with pytest.raises(DataError, match=r"unexpected: stranger\.weight; give the whole state dict"):
        checkpoints.load({**bin_file, "stranger.weight": torch.zeros(1)})


def test_tables_of_noise_levels_are_left_out() -> None:
    layout = checkpoints.LAYOUTS["idiff/unet-ca"]
    for name in ("betas", "alphas", "sigmas", "sqrt_alphas_inv", "alpha_bars", "sqrt_alpha_bars"):
        assert layout.is_beside(layout.stripped(f"module.{name}"))
    assert layout.is_beside("one_minus_alphas_over_sqrt_one_minus_alpha_bars")
    assert layout.stripped("averaged_model.module.eps_model.down.0.res.conv1.weight") == "down.0.res.conv1.weight"
    assert not layout.is_beside("alphas_prev")


def test_the_head_of_an_adaface_checkpoint_tells_it_apart() -> None:
    wrapped = {f"model.{key}": value for key, value in _meta("adaface/ir_18").items()}
    assert checkpoints.identify(wrapped) == ["tface/ir_18", "adaface/ir_18"]
    assert checkpoints.identify({**wrapped, "head.kernel": torch.zeros(512, 10)}) == ["adaface/ir_18"]


def _shapes(layout: str, form: int = 0) -> dict[str, tuple[int, ...]]:
    generation = checkpoints.LAYOUTS[layout].generations[form]
    with torch.device("meta"):
        return {key: tuple(tensor.shape) for key, tensor in generation.build().state_dict().items()}


def _meta(layout: str, form: int = 0) -> State:
    ints = "num_batches_tracked"
    return {
        key: torch.zeros(shape, dtype=torch.int64 if key.endswith(ints) else torch.float32, device="meta")
        for key, shape in _shapes(layout, form).items()
    }


@pytest.mark.parametrize(
    ("layout", "form", "found"),
    [
        ("arcface_torch/r34", 0, ["arcface_torch/r34"]),
        ("arcface_torch/vit_s", 0, ["arcface_torch/vit_s"]),
        ("arcface_torch/mbf", 0, ["arcface_torch/mbf"]),
        ("elasticface/iresnet100", 0, ["arcface_torch/r100", "elasticface/iresnet100"]),
        ("tface/ir_se_50", 0, ["tface/ir_se_50"]),
        ("tface/ir_101", 0, ["tface/ir_101", "adaface/ir_101", "curricularface/ir_101"]),
        ("curricularface/ir_101", 1, ["curricularface/ir_101"]),
        ("f2d/msid", 0, ["f2d/msid"]),
        ("f2d/msid", 1, ["f2d/msid"]),
        ("idiff/unet-adagn", 0, ["idiff/unet-adagn"]),
        ("idiff/controlnet", 0, ["idiff/controlnet"]),
        ("bisenet", 0, ["bisenet"]),
    ],
)
def test_layouts_are_found_from_names_and_shapes(layout: str, form: int, found: list[str]) -> None:
    assert sorted(checkpoints.identify(_meta(layout, form))) == sorted(found)


def test_an_ambiguous_checkpoint_lists_the_layouts() -> None:
    with pytest.raises(InputError, match=r"arcface_torch/r50, elasticface/iresnet50; name one"):
        checkpoints.load(_meta("arcface_torch/r50"))


def test_both_generations_of_curricularface_load() -> None:
    network = checkpoints.load(filled("curricularface/ir_101", form=1), layout="curricularface/ir_101")
    assert len(network.state_dict()) == 672
    with pytest.raises(DataError, match=r"does not fit tface/ir_101: missing: .*; it fits curricularface/ir_101"):
        checkpoints.load(_meta("curricularface/ir_101", 1), layout="tface/ir_101")


def test_missing_unexpected_and_misshaped_tensors_are_named(state: State) -> None:
    del state["conv_23.conv.bn.weight"]
    state["head.kernel"] = torch.zeros(2)
    state["conv1.conv.weight"] = state["conv1.conv.weight"][:, :1]
    state["conv1.bn.bias"] = state["conv1.bn.bias"].long()
    expected = (
        "missing: conv_23.conv.bn.weight; unexpected: head.kernel; of another shape or type: "
        "conv1.conv.weight (64, 1, 3, 3) instead of (64, 3, 3, 3) and 1 more; no known layout fits"
    )
    with pytest.raises(DataError, match=re.escape(f"does not fit {MOBILE}: {expected}")):
        checkpoints.load(state, layout=MOBILE)
    with pytest.raises(DataError, match=rf"fits no known layout; the nearest is {MOBILE}: missing"):
        checkpoints.load(state)


@pytest.mark.parametrize(
    ("layout", "key", "shape", "said"),
    [
        ("arcface_torch/r50", "fc.weight", (256, 25088), "an embedding width of 256, the layout is for 512"),
        (
            "arcface_torch/r50",
            "fc.weight",
            (512, 512 * 14 * 14),
            "pictures of 224 x 224 px, the layout is for 112 x 112 px",
        ),
        (
            "arcface_torch/r50",
            "fc.weight",
            (512, 512 * 7 * 6),
            "pictures of 42 cells of 16 x 16 px, such as 96 x 112 px, ",
        ),
        ("arcface_torch/r50", "fc.weight", (512, 512 * 53), "such as 16 x 848 px, the layout is for 112 x 112 px"),
        ("tface/ir_152", "output_layer.3.weight", (512, 2048 * 100), "pictures of 160 x 160 px, the layout is for 112"),
        ("tface/ir_50", "output_layer.3.weight", (512, 512 * 14 * 14), "pictures of 224 x 224 px, the layout is for"),
        (
            "tface/mobilefacenet",
            "output_layer.conv_6_dw.conv.weight",
            (512, 1, 7, 8),
            "pictures of 112 x 128 px, the layout is for 112 x 112 px",
        ),
        (
            "arcface_torch/vit_t",
            "pos_embed",
            (1, 24 * 24, 256),
            "pictures of 216 to 224 px a side (24 x 24 patches of 9 px), ",
        ),
        (
            "arcface_torch/vit_t",
            "pos_embed",
            (1, 150, 256),
            "pictures of 150 patches of 9 px, the layout is for 108 to 116 px",
        ),
        ("f2d/msid", "pos_embed", (1, 28 * 28 + 1, 384), "pictures of 224 to 231 px a side (28 x 28 patches of 8 px)"),
        ("f2d/msid", "cls_token", (1, 1, 768), "an embedding width of 768, the layout is for 384"),
        ("idiff/unet-ca", "context_emb.weight", (256, 786), "an embedding width of 786, the layout is for 512"),
        ("f2d/mapping", "i2t_first.layers.0.0.weight", (1536, 576), "an identity width of 512"),
        ("f2d/mapping", "i2t_first.fc_out.weight", (1024, 1536), "a text width of 1024, the layout is for 768"),
    ],
)
def test_another_picture_size_or_width_is_named(layout: str, key: str, shape: tuple[int, ...], said: str) -> None:
    state = {**_meta(layout), key: torch.zeros(shape, device="meta")}
    with pytest.raises(DataError, match=f"it was made for .*{re.escape(said)}.*{re.escape(key)}"):
        checkpoints.load(state, layout=layout)


@pytest.mark.parametrize("layout", [None, "arcface_torch/vit_t"])
def test_a_transformer_of_other_patches_is_told_the_sizes_that_fit(layout: str | None) -> None:
    state = _meta("arcface_torch/vit_t")
    state["pos_embed"] = torch.zeros(1, 14 * 14, 256, device="meta")
    state["patch_embed.proj.weight"] = torch.zeros(256, 3, 16, 16, device="meta")
    said = (
        "it was made for pictures of 224 to 239 px a side (14 x 14 patches of 16 px), the layout is for 108 to 116 px "
        "a side (12 x 12 patches of 9 px)"
    )
    with pytest.raises(DataError, match=re.escape(said)):
        checkpoints.load(state, layout=layout)


@pytest.mark.parametrize("key", ["pos_embed", "patch_embed.proj.weight", "cls_token"])
def test_sizes_are_not_guessed_from_tensors_without_axes(key: str) -> None:
    with pytest.raises(DataError, match=rf"does not fit f2d/msid: of another shape or type: {re.escape(key)} \(\)"):
        checkpoints.load({**_meta("f2d/msid"), key: torch.zeros(())}, layout="f2d/msid")


def test_an_empty_name_of_a_layout_is_no_name(small: State) -> None:
    with pytest.raises(InputError, match="unknown layout ''"):
        checkpoints.load(small, layout="")


def test_a_tensor_without_axes_is_only_mis_shaped() -> None:
    state = {**_meta(MOBILE), "output_layer.conv_6_dw.conv.weight": torch.zeros(())}
    with pytest.raises(
        DataError, match=r"of another shape or type: output_layer\.conv_6_dw\.conv\.weight \(\) instead"
    ):
        checkpoints.load(state, layout=MOBILE)


def test_the_layout_that_would_fit_is_named() -> None:
    with pytest.raises(DataError, match=r"does not fit arcface_torch/vit_t: .*; it fits arcface_torch/vit_s$"):
        checkpoints.load(_meta("arcface_torch/vit_s"), layout="arcface_torch/vit_t")


def test_shapes_without_values_are_refused(small: State) -> None:
    small["mlp1.fc1.weight"] = small["mlp1.fc1.weight"].to("meta")
    with pytest.raises(DataError, match=r"tensor mlp1\.fc1\.weight has a shape but no values"):
        checkpoints.load(small)


def test_a_mapping_that_holds_itself_is_refused() -> None:
    endless: dict[str, Any] = {}
    endless["state_dict"] = endless
    with pytest.raises(DataError, match="entry 'state_dict' is a value of type dict, expected a tensor"):
        checkpoints.load(endless)


def test_arrays_of_any_order_load(small: State) -> None:
    arrays = {key: value.numpy() for key, value in small.items()}
    arrays["mlp1.fc1.weight"] = arrays["mlp1.fc1.weight"][::-1, ::-1]
    arrays["mlp1.fc1.bias"] = arrays["mlp1.fc1.bias"].astype(">f4")
    arrays["mlp2.fc1.weight"] = np.asfortranarray(arrays["mlp2.fc1.weight"])
    small["mlp1.fc1.weight"] = small["mlp1.fc1.weight"].flip(0, 1)
    assert_same(checkpoints.load(arrays), small)


def test_an_unknown_layout_is_refused_with_the_likely_one() -> None:
    with pytest.raises(InputError, match=r"unknown layout 'arcface_torch/r5O'; did you mean arcface_torch/r50\?"):
        checkpoints.load({"x": torch.zeros(1)}, layout="arcface_torch/r5O")


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ({}, "holds no tensor"),
        ({"a": torch.zeros(1)}, "no known layout has tensors like 'a'"),
        ({"a": "text"}, "entry 'a' is a value of type str, expected a tensor"),
        ({"a": np.array(["text"])}, "entry 'a' is an array of <U4"),
        ({"a": np.zeros(2, np.longdouble)}, "entry 'a' is an array of "),
        ({"a": torch.zeros(2, 2).to_sparse()}, "sparse or quantised"),
        ({"state_dict": {"model": {"a": [1]}}}, "entry 'a' is a value of type list"),
        ({"module.a": torch.zeros(1), "a": torch.zeros(1)}, "no known layout"),
    ],
)
def test_other_mappings_are_refused(source: dict[str, Any], said: str) -> None:
    with pytest.raises(DataError, match=re.escape(said)):
        checkpoints.load(source)


def test_the_same_tensor_twice_is_refused(state: State) -> None:
    state["module.conv1.bn.bias"] = state["conv1.bn.bias"]
    with pytest.raises(DataError, match=r"conv1\.bn\.bias and module\.conv1\.bn\.bias are the same tensor"):
        checkpoints.load(state, layout=MOBILE)
    with pytest.raises(DataError, match=r"conv1\.bn\.bias and module\.conv1\.bn\.bias are the same tensor"):
        checkpoints.load(state)


def test_files_of_every_kind(tmp_path: Path, small: State) -> None:
    from safetensors.torch import save_file

    torch.save(small, tmp_path / "new.pt")
    torch.save({"state_dict": small}, tmp_path / "old.ckpt", _use_new_zipfile_serialization=False)
    save_file(small, tmp_path / "plain.safetensors")
    np.savez(tmp_path / "arrays.npz", **{key: value.numpy() for key, value in small.items()})  # type: ignore[arg-type]
    np.savez_compressed(tmp_path / "packed.npz", **{key: value.numpy() for key, value in small.items()})  # type: ignore[arg-type]
    for path in tmp_path.iterdir():
        assert_same(checkpoints.load(path), small)
        assert_same(checkpoints.load(str(path), layout="fastcomposer/postfuse"), small)


def test_what_is_no_checkpoint_at_all_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is a folder; name the checkpoint file in it"):
        checkpoints.load(tmp_path)
    with pytest.raises(InputError, match="a checkpoint is a file or a mapping of names to tensors, got int"):
        checkpoints.load(3)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="a layout is named by its text"):
        checkpoints.load({"a": torch.zeros(1)}, layout=checkpoints.LAYOUTS["f2d/msid"])  # type: ignore[arg-type]


def test_a_stranger_is_not_compared_with_what_it_hardly_resembles() -> None:
    few = {"input_layer.0.weight": torch.zeros(64, 3, 3, 3), **{f"other.{n}": torch.zeros(1) for n in range(9)}}
    with pytest.raises(DataError, match=r"no known layout has tensors like 'input_layer\.0\.weight'"):
        checkpoints.load(few)
