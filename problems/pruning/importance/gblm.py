"""GBLM: a weight's absolute value times the norm of its input plus that of its gradients.

Das et al., arXiv 2311.04902, the score with the 2-norm of gradients over calibration sequences and
their weight of 100. The published pruner takes the mean over sequences for inputs but the sum for
gradients, so its mixture depends on their number; here both are sums, and the default weight makes
the mixture that of its 128 sequences.
"""

from __future__ import annotations

import torch

SCALE = 100 * 128**0.5  # published weight, times the root of the published number of sequences


def gblm(
    weight: torch.Tensor,
    input_norms: torch.Tensor,
    gradient_norms: torch.Tensor,
    scale: float = SCALE,
) -> torch.Tensor:
    """|W_ij| · (‖X_j‖₂ + scale · ‖G_ij‖₂), shape (d_out, d_in).

    Args:
        weight: (d_out, d_in).
        input_norms: Norm of each input over the calibration tokens, (d_in,).
        gradient_norms: Norm of each weight's gradient of the mean cross-entropy of a sequence,
            over the same sequences, (d_out, d_in).
        scale: How much gradients weigh; 0 is Wanda.
    """
    inputs, gradients = input_norms.to(weight.device), gradient_norms.to(weight.device)
    return weight.abs().float() * (inputs[None, :] + scale * gradients)
