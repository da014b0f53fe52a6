"""The layouts: one row each. To add one, add a row; its builder's state dict gives every name and shape."""

from collections.abc import Callable, Iterator
from functools import partial

import torch
from torch import Tensor, nn

from facewright.checkpoints.layouts import (
    Family,
    Generation,
    Layout,
    Reading,
    axis,
    kernel_of,
    last_axis,
    map_of,
    patches_of,
)
from facewright.diffusion.controlnet import ControlNet
from facewright.diffusion.generator import autoencoder_architecture
from facewright.diffusion.unet import ConditionalUNet, published_config
from facewright.diffusion.vq import VQConfig, VQDecoder, VQEncoder
from facewright.diffusion.vq_autoencoder import VQAutoencoder
from facewright.encoders.encoder import NETWORKS
from facewright.encoders.msid import MSID
from facewright.personalise.bisenet import BiSeNet
from facewright.personalise.mapping import Mapping
from facewright.personalise.postfuse import PostFuse
from facewright.weights import InputConvention

RGB, BGR = InputConvention(), InputConvention(colour="BGR")
PICTURE = InputConvention(height=128, width=128)
PARSED = InputConvention(low=-2.118, high=2.64, height=512, width=512)  # normalised by the mean and spread of ImageNet

_IRESNET = (
    Reading("an embedding width of", ("fc.weight",), axis(0)),
    Reading("pictures of", ("fc.weight",), map_of(1, channels=512, cell=16)),
)
_IR = (
    Reading("an embedding width of", ("output_layer.3.weight",), axis(0)),
    Reading("pictures of", ("output_layer.3.weight",), map_of(1, channels=512, cell=16)),
)
_IR_WIDE = (_IR[0], Reading("pictures of", ("output_layer.3.weight",), map_of(1, channels=2048, cell=16)))
_PATCHES = ("pos_embed", "patch_embed.proj.weight")

_ARCFACE = "insightface recognition/arcface_torch"
_ARCFACE_LICENCE = "code MIT; published weights for non-commercial research only"
_TFACE_LICENCE = "code Apache-2.0 with further terms; of the weights: not said"

ARCFACE = Family("encoder", _ARCFACE, _ARCFACE_LICENCE, RGB, "layer1.0.conv1.weight", _IRESNET)
ARCFACE_MBF = Family(
    "encoder",
    _ARCFACE,
    _ARCFACE_LICENCE,
    RGB,
    "conv_sep.layers.0.weight",
    (
        Reading("an embedding width of", ("features.layers.2.weight",), axis(0)),
        Reading("pictures of", ("features.layers.0.layers.0.weight",), kernel_of(cell=16)),
    ),
)
ARCFACE_VIT = Family(
    "encoder",
    _ARCFACE,
    _ARCFACE_LICENCE,
    RGB,
    "feature.0.weight",
    (
        Reading("an embedding width of", ("feature.2.weight",), axis(0)),
        Reading("pictures of", _PATCHES, patches_of()),
    ),
)
ELASTICFACE = Family(
    "encoder", "ElasticFace (fdbtrs)", "CC BY-NC-SA 4.0, as far as known", RGB, "layer1.0.conv1.weight", _IRESNET
)
TFACE = Family("encoder", "TFace recognition (Tencent)", _TFACE_LICENCE, RGB, "input_layer.0.weight", _IR)
TFACE_WIDE = Family("encoder", "TFace recognition (Tencent)", _TFACE_LICENCE, RGB, "input_layer.0.weight", _IR_WIDE)
TFACE_MOBILE = Family(
    "encoder",
    "TFace recognition (Tencent)",
    _TFACE_LICENCE,
    RGB,
    "conv_6_sep.conv.weight",
    (
        Reading("an embedding width of", ("output_layer.linear.weight",), axis(0)),
        Reading("pictures of", ("output_layer.conv_6_dw.conv.weight",), kernel_of(cell=16)),
    ),
)
CURRICULARFACE = Family(
    "encoder", "CurricularFace (HuangYG123)", "code MIT; of the weights: not said", RGB, "input_layer.0.weight", _IR
)
ADAFACE = Family(
    "encoder",
    "AdaFace (mk-minchul)",
    "code MIT; of the weights: not said",
    BGR,
    "input_layer.0.weight",
    _IR,
    beside=r"head\.(kernel|t|batch_mean|batch_std)$",  # the classifier of its Lightning checkpoints
)
FACE2DIFFUSION = Family(
    "msid",
    "Face2Diffusion (mapooon)",
    "CC BY-NC-SA 4.0",
    RGB,
    "cls_token",
    (
        Reading("an embedding width of", ("cls_token",), axis(2)),
        Reading("pictures of", _PATCHES, patches_of(extra=1)),
    ),
)
MAPPING = Family(
    "mapper",
    "Face2Diffusion (mapooon)",
    "CC BY-NC-SA 4.0",
    None,
    "null_exp",
    (
        Reading("an identity width of", ("i2t_first.layers.0.0.weight",), last_axis(less=64)),
        Reading("a text width of", ("i2t_first.fc_out.weight",), axis(0)),
    ),
)
FASTCOMPOSER = Family(
    "postfuse",
    "fastcomposer (mit-han-lab)",
    "code MIT; of the weights: not said",
    None,
    "mlp1.layernorm.weight",
    (Reading("a text width of", ("layer_norm.weight",), axis(0)),),
    prefixes=("postfuse_module.",),
    beside=r"(text_encoder|image_encoder|vae|unet)\.",  # the rest of pytorch_model.bin
)
FACE_PARSER = Family(
    "parser",
    "face-parsing BiSeNet (zllrunning)",
    "code MIT; trained on CelebAMask-HQ, which is for non-commercial research",
    PARSED,
    "cp.resnet.conv1.weight",
    (Reading("a number of classes of", ("conv_out.conv_out.weight",), axis(0)),),
)
SCHEDULE = (
    r"(betas|alphas|sigmas|sqrt_alphas_inv|alpha_bars|sqrt_alpha_bars|sqrt_one_minus_alpha_bars"
    r"|one_minus_alphas_over_sqrt_one_minus_alpha_bars)$"
)
"""The eight tables of noise levels that IDiff-Face keeps beside its denoiser."""
_IDIFF = "IDiff-Face (fdbtrs) and its descendants"
_CONTEXT = (Reading("an embedding width of", ("context_emb.weight",), axis(1)),)
DENOISER = Family("denoiser", _IDIFF, "CC BY-NC-SA 4.0", None, "time_emb.lin1.weight", _CONTEXT, beside=SCHEDULE)
CONTROL = Family(
    "controlnet", "IDiff-Face-Reproduce", "not said", None, "time_emb.lin1.weight", _CONTEXT, beside=SCHEDULE
)
_LATENT_DIFFUSION = (
    r"loss\.|model_ema\.|diffusion_model\.|cond_stage_model\."
    r"|(betas|(sqrt_|log_|posterior_|alphas_cumprod|lvlb_)\w*|scale_factor|logvar)$"
)
VQ_F4 = Family(
    "autoencoder",
    "latent-diffusion (CompVis), VQ-f4",
    "code MIT; of the weights: not said",
    PICTURE,
    "post_quant_conv.weight",
    prefixes=("first_stage_model.",),
    beside=_LATENT_DIFFUSION,
)
VQ_ENCODER = Family(
    "vq-encoder",
    VQ_F4.source,
    VQ_F4.licence,
    PICTURE,
    "encoder.conv_in.weight",
    prefixes=VQ_F4.prefixes,
    beside=r"decoder\.|quantize\.|post_quant_conv\.|" + _LATENT_DIFFUSION,
)
VQ_DECODER = Family(
    "vq-decoder",
    VQ_F4.source,
    VQ_F4.licence,
    None,
    "decoder.conv_in.weight",
    prefixes=VQ_F4.prefixes,
    beside=r"encoder\.|quant_conv\.|" + _LATENT_DIFFUSION,
)


def _generation(
    network: str, tensors: int, parameters: int, build: Callable[[], nn.Module] | None = None, *, form: str = ""
) -> Generation:
    return Generation(network, build or NETWORKS[network], tensors, parameters, form=form)


def _denoiser(condition: str | None) -> nn.Module:
    return ConditionalUNet(published_config(condition))


def _control() -> nn.Module:
    return ControlNet(published_config())


def _vq_f4() -> nn.Module:
    return VQAutoencoder(VQConfig())


def unscaled(channels: int) -> dict[str, Tensor]:
    """The mean and spread of latents that are used as they are."""
    return {"mean": torch.zeros(1, channels, 1, 1), "std": torch.ones(1, channels, 1, 1)}


def without_half(name: str) -> str:
    """A tensor's name in a whole autoencoder without "encoder." or "decoder.", the half it belongs to."""
    return name.partition(".")[2]


_BUILT: tuple[tuple[str, str, Family, Callable[[], nn.Module], int, int], ...] = (
    ("f2d/mapping", "mapping to two words", MAPPING, Mapping, 13, 12_000_832),
    ("fastcomposer/postfuse", "postfuse", FASTCOMPOSER, PostFuse, 14, 2_958_336),
    ("bisenet", "BiSeNet, 19 classes", FACE_PARSER, BiSeNet, 191, 13_300_416),
    ("idiff/unet-ca", "U-Net, cross-attention", DENOISER, partial(_denoiser, "cross-attention"), 842, 216_341_187),
    ("idiff/unet-adagn", "U-Net, AdaGN", DENOISER, partial(_denoiser, "adagn"), 566, 134_595_939),
    ("idiff/unet-uncond", "U-Net, unconditional", DENOISER, partial(_denoiser, None), 520, 132_392_163),
    ("idiff/controlnet", "ControlNet, cross-attention", CONTROL, _control, 412, 109_340_752),
    ("ldm/vq-encoder", "VQ-f4 encoder", VQ_ENCODER, VQEncoder, 90, 22_337_423),
    ("ldm/vq-decoder", "VQ-f4 decoder", VQ_DECODER, VQDecoder, 115, 32_985_359),
)
"""Layouts with one network each: name, title, family, builder, tensors, parameters."""


def _rows() -> Iterator[Layout]:
    for name, depth, tensors, parameters in (
        ("r18", 18, 187, 24_025_600),
        ("r34", 34, 331, 34_139_328),
        ("r50", 50, 475, 43_590_848),
        ("r100", 100, 925, 65_156_160),
        ("r200", 200, 1807, 118_833_920),
    ):
        generation = _generation(f"iresnet{depth}", tensors, parameters)
        yield Layout(f"arcface_torch/{name}", f"IResNet-{depth}", ARCFACE, (generation,))
        if depth in (50, 100):
            yield Layout(f"elasticface/iresnet{depth}", f"IResNet-{depth}", ELASTICFACE, (generation,))
    for name, title, tensors, parameters in (
        ("mbf", "MobileFaceNet, scale 2", 333, 2_059_520),
        ("mbf_large", "MobileFaceNet, scale 4", 606, 6_314_880),
    ):
        yield Layout(f"arcface_torch/{name}", title, ARCFACE_MBF, (_generation(name, tensors, parameters),))
    for size, width, depth, tensors, parameters in (
        ("t", 256, 12, 150, 19_137_792),
        ("s", 512, 12, 150, 76_023_296),
        ("b", 512, 24, 282, 113_833_472),
        ("l", 768, 24, 282, 255_684_352),
        ("h", 1024, 48, 546, 756_393_984),
    ):
        title = f"ViT, width {width}, {depth} blocks"
        generation = _generation(f"vit_{size}", tensors, parameters)
        yield Layout(f"arcface_torch/vit_{size}", title, ARCFACE_VIT, (generation,))
    for name, family, tensors, parameters in (
        ("ir_18", TFACE, 179, 24_020_352),
        ("ir_34", TFACE, 323, 34_134_080),
        ("ir_50", TFACE, 467, 43_585_600),
        ("ir_101", TFACE, 917, 65_150_912),
        ("ir_152", TFACE_WIDE, 1291, 109_636_736),
        ("ir_200", TFACE_WIDE, 1691, 114_138_240),
        ("ir_se_50", TFACE, 515, 43_808_320),
        ("ir_se_101", TFACE, 1015, 65_523_136),
        ("ir_se_152", TFACE_WIDE, 1391, 116_214_912),
        ("ir_se_200", TFACE_WIDE, 1823, 121_240_704),
    ):
        title = name.upper().replace("_", "-")
        generation = _generation(name, tensors, parameters)
        yield Layout(f"tface/{name}", title, family, (generation,))
        if name in ("ir_18", "ir_50", "ir_101"):
            yield Layout(f"adaface/{name}", title, ADAFACE, (generation,))
        if name == "ir_101":
            later = _generation(name, tensors, parameters, form="later releases")
            first = _generation("ir_101_first", 672, 65_128_768, form="first release, one norm fewer a unit")
            yield Layout("curricularface/ir_101", title, CURRICULARFACE, (later, first))
    yield Layout("tface/mobilefacenet", "MobileFaceNet", TFACE_MOBILE, (_generation("mobilefacenet", 331, 1_199_488),))
    yield Layout(
        "f2d/msid",
        "MSID, ViT of width 384 with taps",
        FACE2DIFFUSION,
        (
            _generation("msid", 178, 21_450_624, MSID, form="norms at blocks 2, 5, 8, 11"),
            _generation("msid_one_tap", 157, 21_446_016, partial(MSID, (11,)), form="norms at block 11 alone"),
        ),
    )
    vq_f4 = Generation(
        "vq-f4",
        _vq_f4,
        205,
        55_322_782,
        public=without_half,
        added=partial(unscaled, VQConfig().channels),
        architecture=autoencoder_architecture(VQConfig()),
    )
    yield Layout("ldm/vq-f4", "VQ-f4 autoencoder", VQ_F4, (vq_f4,))
    for name, title, family, build, tensors, parameters in _BUILT:
        yield Layout(name, title, family, (_generation(name, tensors, parameters, build),))


LAYOUTS: dict[str, Layout] = {layout.name: layout for layout in _rows()}
"""Every layout by its name."""
