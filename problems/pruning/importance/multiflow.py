"""MULTIFLOW: a weight's absolute value times the flow through the neurons that it connects.

Farina et al., arXiv 2404.05621 (CVPR 2024): the score, and the counts per matrix, which follow
the magnitudes of all matrices pooled. A model of text alone is one modality, so one pool.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

_HALF = 1 << 16


def multiflow(weight: torch.Tensor, input_norms: torch.Tensor) -> torch.Tensor:
    """out_i · |W_ij| · in_j, shape (d_out, d_in).

    With flow V_ij = |W_ij| · ‖X_j‖₂, out_i is the mean of row i of V, in_j that of column j.
    """
    size = weight.abs().float()
    flow = size * input_norms.to(weight.device)[None, :]
    return flow.mean(1)[:, None] * size * flow.mean(0)[None, :]


def pooled_counts(weights: Sequence[torch.Tensor], sparsities: Sequence[float]) -> list[list[int]]:
    """How many of the k = int(numel·s) smallest of all weights lie in each matrix.

    The published pruner lets all that tie with the k-th smallest go as well; here exactly k go,
    ties in order of the matrices. Memory beyond one matrix does not grow with the model.

    Args:
        weights: The pool, matrices of any shapes.
        sparsities: Levels in [0, 1).

    Returns:
        One list per level, one count per matrix.
    """
    numel = sum(w.numel() for w in weights)
    high = torch.stack([torch.bincount(_keys(w) // _HALF, minlength=_HALF) for w in weights])
    return [_smallest(weights, high, int(numel * s)) for s in sparsities]


def _keys(weight: torch.Tensor) -> torch.Tensor:
    """Magnitudes as integers of the same order: the bits of floats that are not negative."""
    return weight.abs().float().flatten().cpu().view(torch.int32)


def _smallest(weights: Sequence[torch.Tensor], high: torch.Tensor, k: int) -> list[int]:
    """Find the k-th smallest by its upper, then by its lower 16 bits; ``high`` counts the upper."""
    upper = _reaching(high, k)
    below = high[:, :upper].sum(1)
    low = torch.stack([_lower_bits(w, upper) for w in weights])
    lower = _reaching(low, k - int(below.sum()))
    counts = (below + low[:, :lower].sum(1)).tolist()
    left = k - sum(counts)
    for i, tied in enumerate(low[:, lower].tolist()):
        counts[i] += min(tied, left)
        left -= min(tied, left)
    return counts


def _lower_bits(weight: torch.Tensor, upper: int) -> torch.Tensor:
    """Counts of the lower 16 bits of those magnitudes whose upper bits are given, (65536,)."""
    keys = _keys(weight)
    return torch.bincount(keys[keys // _HALF == upper] % _HALF, minlength=_HALF)


def _reaching(counts: torch.Tensor, k: int) -> int:
    """The first bin at which (matrices, bins) counts, summed up, reach k."""
    return int(torch.searchsorted(counts.sum(0).cumsum(0), torch.tensor(k)))
