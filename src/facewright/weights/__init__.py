"""Weights on disk: safetensors files that carry a card, and the ones that ship with the package."""

from facewright.weights.card import Card, InputConvention
from facewright.weights.store import (
    bundled_cards,
    load_weights,
    read_card,
    save_weights,
    tensors_sha256,
    weights_path,
)

__all__ = [
    "Card",
    "InputConvention",
    "bundled_cards",
    "load_weights",
    "read_card",
    "save_weights",
    "tensors_sha256",
    "weights_path",
]
