"""Singular values of linear layers, weighed by the inputs that calibration text gives them.

Truncation-aware whitening of SVD-LLM (arXiv 2403.07378): with S Sᵀ = X Xᵀ and W S = U Σ Vᵀ, keeping
the r largest singular values changes the layer's output by exactly the sum of the squares of the
others, and no other matrix of rank r changes it less.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch

from .calibration import Calibration
from .grams import grams
from .layouts import get, matrix
from .listening import layers_of
from .models import Block

REPAIR = 1e-6


@dataclass(frozen=True)
class Spectrum:
    """A matrix as factors of which every rank is a prefix: W_r = ``second[:, :r] @ first[:r]``.

    SVD-LLM gives each factor Σ^½. The product is the same; with all of Σ in the first one, nothing
    is divided by vanishing singular values, and half precision holds both for inputs of any size.

    Args:
        first: Uᵀ W = Σ Vᵀ S⁻¹, (k, n) with k = min(m, n).
        second: U, (m, k).
        values: Singular values Σ of W S, descending, (k,).
    """

    first: torch.Tensor
    second: torch.Tensor
    values: torch.Tensor


@dataclass(frozen=True)
class Spectra:
    """Learns the spectra of all linear layers, whole, so that one fit serves every rank.

    Args:
        whiten: Weigh by the inputs; else it is the plain singular value decomposition.
    """

    whiten: bool = True
    version: int = 1

    @property
    def settings(self) -> Mapping[str, Any]:
        """What the spectra depend on besides model and text."""
        return {"whiten": self.whiten}

    def fit(self, calibration: Calibration) -> Iterator[dict[str, torch.Tensor]]:
        """Factors block by block, in the model's dtype, under :func:`names`.

        Raises:
            ModelError: Inputs are not finite.
        """
        if self.whiten:
            for block, found in grams(calibration):
                roots = {id(gram): whitener(gram) for gram in found.values()}
                yield _block(block, {path: roots[id(gram)] for path, gram in found.items()})
        else:
            for block in calibration.blocks:
                yield _block(block, {})


def names(block: Block, path: str) -> tuple[str, str]:
    """Under which names a layer's first and second factor are kept."""
    return f"{block.index}.{path}.first", f"{block.index}.{path}.second"


def whitener(gram: torch.Tensor) -> torch.Tensor:
    """Lower triangular S with S Sᵀ = gram; the gram is repaired where it is not positive definite.

    Args:
        gram: Σ x xᵀ, (n, n), float64; not modified.

    Returns:
        Shape (n, n). Where Cholesky fails, (1e-6 - λ_min) I is added first, as SVD-LLM does.
    """
    root, failed = torch.linalg.cholesky_ex(gram)
    if not int(failed):
        return root
    lowest = torch.linalg.eigvalsh(gram)[0].clamp(max=0.0)
    # λ_min is only known to the rounding of the largest one
    lift = REPAIR - lowest + torch.finfo(gram.dtype).eps * len(gram) * gram.diagonal().max()
    return torch.linalg.cholesky(gram + lift * torch.eye(len(gram)).to(gram))


def spectrum(weight: torch.Tensor, root: torch.Tensor | None = None) -> Spectrum:
    """Spectrum of a matrix under a whitener.

    Args:
        weight: W, (m, n); not modified.
        root: S, (n, n); None stands for the identity.

    Returns:
        In float64.
    """
    weight = weight.double()
    whitened = weight if root is None else weight @ root
    left, values, _ = torch.linalg.svd(whitened, full_matrices=False)
    return Spectrum(left.t() @ weight, left, values)


def _block(block: Block, roots: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    made: dict[str, torch.Tensor] = {}
    for _, path in layers_of([block]):
        weight = matrix(get(block.module, path)).detach()
        found = spectrum(weight, roots.get(path))
        first, second = names(block, path)
        made[first], made[second] = (t.to(weight.dtype) for t in (found.first, found.second))
    return made
