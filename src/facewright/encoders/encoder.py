"""A trained face encoder: aligned crops in, unit embeddings out."""

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from facewright.data.images import to_tensor
from facewright.encoders import ir, iresnet, mobilefacenet_arcface, vit
from facewright.encoders.dlib_network import DlibNetwork
from facewright.encoders.mobilefacenet import MobileFaceNet
from facewright.encoders.msid import MSID
from facewright.encoders.slimfacenet import SlimFaceNet
from facewright.encoders.teacher import OnnxTeacher
from facewright.errors import DataError, InputError
from facewright.training.precision import arithmetic, chosen_precision
from facewright.weights import Card, load_weights

NETWORKS: dict[str, Callable[[], nn.Module]] = {
    "slimfacenet": SlimFaceNet,
    "mobilefacenet": MobileFaceNet,
    **iresnet.NETWORKS,
    **ir.NETWORKS,
    **mobilefacenet_arcface.NETWORKS,
    **vit.NETWORKS,
    "msid": MSID,
}
"""Every network by name; each takes (B, 3, 112, 112) and gives (B, `width_of` it), not normalised."""
CROP_SIZE = 112


def width_of(network: str) -> int:
    """The width of the embeddings of a network of `NETWORKS`."""
    return 1536 if network == "msid" else 512  # MSID: the class token after four blocks, side by side


class Encoder(nn.Module):
    """A network in eval mode with its name and the hash of its weights.

    `card` is what the card of its file says, as a mapping; None where it came without one.

    Pictures are given as RGB whatever the network takes: `bgr` turns the colours round before it. `precision` is that
    of `embed`: fp32, bf16, or auto, which is bf16 where the device is fast at it (`training.precision`). On a CPU with
    AVX-512 bf16 that is twice as fast and leaves a cosine of at least 0.9999 to the float32 embedding (bundled encoder,
    256 LFW crops).
    """

    def __init__(
        self,
        network: nn.Module,
        *,
        name: str,
        sha256: str = "",
        width: int = 512,
        bgr: bool = False,
        precision: str = "auto",
        card: Card | None = None,
    ) -> None:
        super().__init__()
        self.network = network.to(memory_format=torch.channels_last).eval()  # type: ignore[call-overload]
        self.name = name
        self.sha256 = sha256
        self.width = width
        self.eval()
        self.bgr = bgr
        chosen_precision(precision, "cpu")  # refuses an unknown one
        self.precision = precision
        self.card: Mapping[str, Any] | None = None if card is None else asdict(card)

    def forward(self, images: Tensor) -> Tensor:
        """Unit embeddings (B, width) of crops (B, 3, 112, 112) RGB in [-1, 1]."""
        return F.normalize(self._raw(images))

    def _raw(self, images: Tensor) -> Tensor:
        return self.network(images.flip(1) if self.bgr else images).float()

    def embed(
        self,
        crops: np.ndarray,
        *,
        batch: int = 64,
        mirror: bool = False,
        unit: bool = True,
        progress: Callable[[int, int], None] | None = None,
    ) -> np.ndarray:
        """Embed many crops.

        Args:
            crops: uint8 (N, 112, 112, 3) RGB.
            batch: crops at a time.
            mirror: add the raw embedding of the mirrored crop before normalising, as the verification protocol does.
            unit: bring each row to unit length; False gives what the network gave.
            progress: called with (crops done, crops in all).

        Returns:
            float32 (N, width).
        """
        if crops.ndim != 4 or crops.shape[1:] != (CROP_SIZE, CROP_SIZE, 3) or crops.dtype != np.uint8:
            raise InputError(
                f"crops must be uint8 (N, {CROP_SIZE}, {CROP_SIZE}, 3), got {crops.dtype} {crops.shape}; "
                "align photos first"
            )
        device = next((p.device for p in self.parameters()), torch.device("cpu"))
        rows = [np.empty((0, self.width), np.float32)]
        with torch.inference_mode(), arithmetic(self.precision, device):
            for start in range(0, len(crops), batch):
                images = to_tensor(crops[start : start + batch]).to(device)
                images = images.contiguous(memory_format=torch.channels_last)
                raw = self._raw(images)
                if mirror:
                    raw = raw + self._raw(images.flip(3))
                rows.append((F.normalize(raw) if unit else raw).cpu().numpy())
                if progress is not None:
                    progress(min(start + batch, len(crops)), len(crops))
        return np.concatenate(rows)


def load(name: str | Path = "bundled", *, device: str = "cpu", precision: str = "auto") -> Encoder:
    """Load an encoder.

    Args:
        name: "bundled"; "dlib", dlib's own network, which shares nothing with the bundled one (extra `dlib`); or the
            path of an encoder's .safetensors file, or of an .onnx file as `OnnxTeacher` takes it.
        device: such as "cpu" or "cuda".
        precision: of `Encoder.embed`: auto, bf16 or fp32. dlib's network and .onnx files are always fp32.

    Raises:
        InputError: no such file, or a model of another kind.
        DataError: the file is damaged, or its card names a network that is not known here.
    """
    if name == "dlib":
        network = DlibNetwork()
        return Encoder(network, name="dlib", sha256=network.sha256, width=network.width, precision="fp32")
    path = Path(name)
    if path.suffix == ".onnx":
        if not path.is_file():
            raise InputError(f"{path}: no such .onnx file")
        sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
        return Encoder(OnnxTeacher(path), name=path.stem, sha256=sha256, precision="fp32").to(device)
    state, card = load_weights(name, kind="encoder")
    return from_state(state, card, precision=precision).to(device)


def from_state(state: dict[str, Tensor], card: Card, *, precision: str = "auto") -> Encoder:
    """The encoder of a state dict and its card."""
    known = card.architecture.get("network")
    if known not in NETWORKS:
        raise DataError(f"encoder {card.name}: unknown network {known!r}; known: {', '.join(sorted(NETWORKS))}")
    network = NETWORKS[known]()
    try:
        network.load_state_dict(state)
    except RuntimeError as error:
        raise DataError(f"encoder {card.name}: its tensors do not fit a {known} ({error})") from error
    bgr = card.input is not None and card.input.colour == "BGR"
    return Encoder(
        network, name=card.name, sha256=card.sha256, width=width_of(known), bgr=bgr, precision=precision, card=card
    )
