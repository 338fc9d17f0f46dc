"""Wanda: a weight's absolute value times the norm of its input (arXiv 2306.11695, eq. 1)."""

from __future__ import annotations

import torch


def wanda(weight: torch.Tensor, input_norms: torch.Tensor) -> torch.Tensor:
    """|W_ij| · ‖X_j‖₂, shape (d_out, d_in)."""
    return weight.abs().float() * input_norms.to(weight.device)[None, :]
