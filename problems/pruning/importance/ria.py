"""RIA: a weight's share of its row and of its column times a power of its input's norm.

Relative importance and activations, Zhang et al., ICLR 2024, "Plug-and-Play: An Efficient
Post-training Pruning Method for Large Language Models", the score RIA with its exponent a = 1/2.
"""

from __future__ import annotations

import torch

EXPONENT = 0.5  # published default


def ria(
    weight: torch.Tensor, input_norms: torch.Tensor, exponent: float = EXPONENT
) -> torch.Tensor:
    """(|W_ij| / Σ_i |W_ij| + |W_ij| / Σ_j |W_ij|) · ‖X_j‖₂^exponent, shape (d_out, d_in).

    A row or column of zeros has shares of 0. Exponent 0 is the relative importance alone.
    """
    size = weight.abs().float()
    shares = _shares(size, 0) + _shares(size, 1)
    return shares * input_norms.to(weight.device)[None, :] ** exponent


def _shares(size: torch.Tensor, axis: int) -> torch.Tensor:
    total = size.sum(axis, keepdim=True)
    return size / total.where(total > 0, 1)
