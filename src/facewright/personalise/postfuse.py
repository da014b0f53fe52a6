"""FastComposer's fusion of a subject's picture embedding into the encoded word that names it (Xiao et al. 2023).

Module names follow the public checkpoint, without its prefix `postfuse_module.`.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from facewright.errors import InputError


class MLP(nn.Module):
    """Layer norm, linear, GELU, linear."""

    def __init__(self, inputs: int, width: int) -> None:
        super().__init__()
        self.layernorm = nn.LayerNorm(inputs)
        self.fc1 = nn.Linear(inputs, width)
        self.fc2 = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc2(F.gelu(self.fc1(self.layernorm(x))))


class PostFuse(nn.Module):
    """Writes each subject into its marked token; all other tokens stay as they are."""

    def __init__(self, width: int = 768) -> None:
        super().__init__()
        self.mlp1 = MLP(2 * width, width)
        self.mlp2 = MLP(width, width)
        self.layer_norm = nn.LayerNorm(width)

    def forward(self, text: Tensor, subjects: Tensor, *, marked: Tensor, counts: Tensor) -> Tensor:
        """The text with its subjects, (B, T, D).

        Args:
            text: encoded prompts, (B, T, D).
            subjects: picture embeddings, (B, N, D), of which the first `counts` of a prompt are used.
            marked: (B, T) bool; the k-th marked token of a prompt takes its k-th subject.
            counts: subjects of each prompt, (B,), at most N.

        Raises:
            InputError: a prompt has another number of marked tokens than of subjects.
        """
        found = marked.sum(1)
        if subjects.shape[1] < int(counts.max()) or not torch.equal(found, counts.to(found)):
            raise InputError(
                f"each prompt needs one marked token a subject and at most {subjects.shape[1]} subjects, got "
                f"{found.tolist()} marked tokens for {counts.tolist()} subjects"
            )
        turn = (marked.cumsum(1) - 1).clamp_min(0)  # which subject a marked token takes
        own = subjects.gather(1, turn.clamp_max(subjects.shape[1] - 1)[:, :, None].expand(-1, -1, subjects.shape[2]))
        fused = self.mlp1(torch.cat([text, own.to(text.dtype)], 2)) + text
        fused = self.layer_norm(fused + self.mlp2(fused))
        return torch.where(marked[:, :, None], fused.to(text.dtype), text)
