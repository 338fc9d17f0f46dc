"""Sums over tokens from which every linear fit of one stream on another follows, in float64."""

from __future__ import annotations

from dataclasses import dataclass

import torch


@dataclass
class Moments:
    """Second moments of a regressor x and a target u, and their sums for an intercept.

    Args:
        xx: S = Σ x xᵀ, (d, d).
        xu: C = Σ x uᵀ, (d, e).
        uu: tr E = Σ uᵀu, without axes.
        x: Σ x, (d,).
        u: Σ u, (e,).
        count: Number of tokens.
    """

    xx: torch.Tensor
    xu: torch.Tensor
    uu: torch.Tensor
    x: torch.Tensor
    u: torch.Tensor
    count: int = 0

    @classmethod
    def zero(cls, d: int, e: int, device: torch.device | str = "cpu") -> Moments:
        """No token yet."""

        def zeros(*shape: int) -> torch.Tensor:
            return torch.zeros(shape, dtype=torch.float64, device=device)

        return cls(zeros(d, d), zeros(d, e), zeros(), zeros(d), zeros(e))

    def add(self, x: torch.Tensor, u: torch.Tensor) -> None:
        """Take more tokens into account: x (t, d) and u (t, e), both float64."""
        self.xx += x.t() @ x
        self.xu += x.t() @ u
        self.uu += u.square().sum()
        self.x += x.sum(0)
        self.u += u.sum(0)
        self.count += len(x)

    def centred(self) -> Moments:
        """The same about the means, so that a fit without intercept is one with it."""
        n = max(1, self.count)
        return Moments(
            self.xx - torch.outer(self.x, self.x) / n,
            self.xu - torch.outer(self.x, self.u) / n,
            self.uu - self.u.square().sum() / n,
            torch.zeros_like(self.x),
            torch.zeros_like(self.u),
            self.count,
        )

    def error(self, weight: torch.Tensor) -> torch.Tensor:
        """Sum of squared errors of u ≈ x W over the same tokens, W (d, e); without axes."""
        return self.uu - 2 * (weight * self.xu).sum() + (weight * (self.xx @ weight)).sum()
