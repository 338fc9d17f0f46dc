"""Refits the factors of one linear layer to what it should give on the inputs it now has.

The reconstruction M of MPIFA (arXiv 2501.19090), whose targets mix what the dense layer gives on
the pruned model's inputs with what it gives in the dense model. Everything is known from products
of the inputs: G = X Xᵀ and Q = T Xᵀ for targets T.
"""

from __future__ import annotations

import torch

from evo.errors import ConfigError

RIDGE = 1e-3


def targets(
    weight: torch.Tensor, gram: torch.Tensor, cross: torch.Tensor, mu: float
) -> torch.Tensor:
    """Q = T Xᵀ of the targets T = (1 - μ) W X + μ W X_dense.

    Args:
        weight: W, (m, n).
        gram: G = X Xᵀ, (n, n).
        cross: X_dense Xᵀ, (n, n).
        mu: Share of the dense model's own outputs, in [0, 1].

    Returns:
        Shape (m, n).
    """
    return weight @ ((1 - mu) * gram + mu * cross)


def refit(
    weight: torch.Tensor, first: torch.Tensor, gram: torch.Tensor, target: torch.Tensor, *,
    steps: int = 2, ridge: float = RIDGE,
) -> tuple[torch.Tensor, torch.Tensor]:  # fmt: skip
    """Factors U, V with which U V X comes close to the targets.

    Step 1 is the best U for the given V; step 2 then brings V to the matrix that an unbounded
    layer would have, W' = (Q + ridge W)(G + ridge I)⁻¹. Inputs equal to the dense ones give W' = W.

    Args:
        weight: W, (m, n).
        first: V to begin with, (r, n).
        gram: G = X Xᵀ over the tokens, (n, n).
        target: Q = T Xᵀ, (m, n).
        steps: 1 refits U alone, 2 both.
        ridge: Pull towards W, on the scale of ``gram``.

    Returns:
        U (m, r) and V (r, n) in float64; the arguments are not modified.

    Raises:
        ConfigError: ``steps`` is neither 1 nor 2.
    """
    if steps not in (1, 2):
        raise ConfigError(f"steps of the reconstruction must be 1 or 2, got {steps}")
    weight, first, gram, target = (t.double() for t in (weight, first, gram, target))
    second = _divided(target @ first.t(), first @ gram @ first.t())
    if steps == 1:
        return second, first
    wanted = unbounded(weight, gram, target, ridge)
    return second, torch.linalg.pinv(second) @ wanted


def unbounded(
    weight: torch.Tensor, gram: torch.Tensor, target: torch.Tensor, ridge: float = RIDGE
) -> torch.Tensor:
    """W' = (Q + ridge W)(G + ridge I)⁻¹, the layer that meets the targets best, (m, n)."""
    eye = torch.eye(len(gram)).to(gram)
    return _divided(target + ridge * weight, gram + ridge * eye)


def _divided(product: torch.Tensor, square: torch.Tensor) -> torch.Tensor:
    """``product @ square⁻¹`` for a positive definite square, or with its pseudo-inverse."""
    scale = square.diagonal().clamp(min=0).sqrt()
    scale = torch.where(scale > 0, 1 / scale, 0.0)  # a diagonal of ones tames the spread
    scaled, product = scale[:, None] * square * scale, product * scale
    root, failed = torch.linalg.cholesky_ex(scaled)
    if int(failed):
        return product @ torch.linalg.pinv(scaled, hermitian=True, rtol=1e-10) * scale
    return torch.cholesky_solve(product.t(), root).t() * scale
