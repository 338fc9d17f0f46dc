"""Magnitude: the absolute value of a weight; needs no data."""

from __future__ import annotations

import torch


def magnitude(weight: torch.Tensor, input_norms: torch.Tensor) -> torch.Tensor:
    """|W|, shape (d_out, d_in); the norms are not used."""
    return weight.abs().float()
