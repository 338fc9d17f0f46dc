"""Ridge regression from second moments: in full, of every rank at once, and in a common basis.

Row vectors throughout: u ≈ x B. The reduced-rank solution is that of reduced-rank regression
(Izenman, 1975, https://doi.org/10.1016/0047-259X(75)90042-1) with a ridge.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

from .moments import Moments


def penalty(xx: torch.Tensor, strength: float) -> float:
    """λ of a ridge whose strength is a share of the mean diagonal of S."""
    return strength * float(xx.diagonal().mean())


def ridge(xx: torch.Tensor, xu: torch.Tensor, strength: float) -> torch.Tensor:
    """B = (S + λI)⁻¹ C, (d, e); the shortest solution where S is singular and λ is 0.

    Args:
        xx: S, (d, d).
        xu: C, (d, e).
        strength: λ as a share of the mean diagonal of S, at least 0.
    """
    lam = penalty(xx, strength)
    if lam > 0:
        damped = xx.clone()
        damped.diagonal().add_(lam)
        factor, failed = torch.linalg.cholesky_ex(damped)
        if not failed:
            return torch.cholesky_solve(xu, factor)
    return torch.linalg.pinv(xx, hermitian=True) @ xu


def by_rank(moments: Moments, strength: float) -> tuple[torch.Tensor, torch.Tensor]:
    """Factors whose first r rows are the best map of rank r, for every r.

    With B the ridge solution and V the eigenvectors of Bᵀ(S + λI)B = CᵀB in descending order, the
    best map of rank r is (B Vᵣ) Vᵣᵀ; without a ridge each eigenvalue is what its rank explains.

    Args:
        moments: Sums over tokens.
        strength: λ as a share of the mean diagonal of S, at least 0.

    Returns:
        (BV)ᵀ, (e, d), and Vᵀ, (e, e): u ≈ x · first[:r]ᵀ · second[:r].
    """
    full = ridge(moments.xx, moments.xu, strength)
    fitted = moments.xu.t() @ full
    _, vectors = torch.linalg.eigh((fitted + fitted.t()) / 2)
    vectors = vectors.flip(1)
    return (full @ vectors).t(), vectors.t()


def common_basis(moments: Sequence[torch.Tensor]) -> torch.Tensor:
    """Principal directions of several streams' Σ S/tr S, one per row, strongest first, (d, d)."""
    pooled = sum(xx / xx.diagonal().sum().clamp_min(torch.finfo(xx.dtype).tiny) for xx in moments)
    assert isinstance(pooled, torch.Tensor)
    return torch.linalg.eigh(pooled).eigenvectors.flip(1).t()


def in_basis(
    xx: torch.Tensor, xu: torch.Tensor, basis: torch.Tensor, strength: float
) -> torch.Tensor:
    """D = (P S Pᵀ + λI)⁻¹ P C for the rows P of a basis: u ≈ x Pᵀ D.

    Args:
        xx: S, (d, d).
        xu: C, (d, e).
        basis: P, (R, d), orthonormal rows.
        strength: λ as a share of the mean diagonal of S in the basis.

    Returns:
        Shape (R, e).
    """
    return ridge(basis @ xx @ basis.t(), basis @ xu, strength)
