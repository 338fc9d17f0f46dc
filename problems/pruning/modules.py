"""Modules that stand in a pruned model where a linear layer or a submodule was.

This file stands alone (torch, and :mod:`.sparse_cache` beside it): exported models carry a copy of
it. An export says of each such module its type and sizes; :data:`MODULES` builds the empty one from
the dense module in its place.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from .sparse_cache import opened_attention


class Factors(nn.Module):
    """A linear layer as the product of two thin ones: y = U (V x) + b.

    Args:
        first: V, (svd_rank, d_in).
        second: U, (d_out, svd_rank).
        bias: b, (d_out,), or None.
    """

    def __init__(
        self, first: torch.Tensor, second: torch.Tensor, bias: torch.Tensor | None
    ) -> None:
        super().__init__()
        self.first = nn.Parameter(first, requires_grad=False)
        self.second = nn.Parameter(second, requires_grad=False)
        self.bias = None if bias is None else nn.Parameter(bias, requires_grad=False)

    def forward(self, hidden_states: torch.Tensor) -> torch.Tensor:
        """Shape (…, d_out) from (…, d_in)."""
        inner = nn.functional.linear(hidden_states, self.first)
        return nn.functional.linear(inner, self.second, self.bias)

    @classmethod
    def empty(cls, dense: Any, svd_rank: int) -> Factors:
        """Of the shape that a dense linear layer (``nn.Linear`` or ``Conv1D``) asks for."""
        d_out, d_in = linear_shape(dense)
        weight = dense.weight
        first, second = weight.new_empty(svd_rank, d_in), weight.new_empty(d_out, svd_rank)
        bias = None if dense.bias is None else torch.empty_like(dense.bias)
        return cls(first, second, bias)


class Pivot(nn.Module):
    """A linear layer of low rank: some outputs are computed, the others are mixed from those.

    Args:
        pivots: Which outputs are computed, ascending, (svd_rank,) of int32.
        kept: Their rows of the weight, (svd_rank, d_in).
        mix: The other outputs, in their order, from the computed ones, (d_out - svd_rank,
            svd_rank).
        bias: (d_out,), or None.
    """

    def __init__(
        self,
        pivots: torch.Tensor,
        kept: torch.Tensor,
        mix: torch.Tensor,
        bias: torch.Tensor | None,
    ) -> None:
        super().__init__()
        self.pivots = nn.Parameter(pivots, requires_grad=False)
        self.kept = nn.Parameter(kept, requires_grad=False)
        self.mix = nn.Parameter(mix, requires_grad=False)
        self.bias = None if bias is None else nn.Parameter(bias, requires_grad=False)
        self._places: torch.Tensor | None = None

    def forward(self, hidden_states: torch.Tensor) -> torch.Tensor:
        """Shape (…, d_out) from (…, d_in)."""
        computed = nn.functional.linear(hidden_states, self.kept)
        mixed = nn.functional.linear(computed, self.mix)
        found = torch.cat([computed, mixed], -1).index_select(-1, self.places())
        return found if self.bias is None else found + self.bias

    def places(self) -> torch.Tensor:
        """Where each output is among the computed and then the mixed ones, (d_out,)."""
        if self._places is None or self._places.device != self.pivots.device:
            with torch.inference_mode(False):  # kept for calls that may want gradients
                count = len(self.kept) + len(self.mix)
                is_mixed = torch.ones(count, dtype=torch.bool, device=self.pivots.device)
                is_mixed[self.pivots.long()] = False
                self._places = torch.argsort(torch.argsort(is_mixed.int(), stable=True))
        return self._places

    def _load_from_state_dict(self, *args: Any, **kwargs: Any) -> None:
        super()._load_from_state_dict(*args, **kwargs)
        self._places = None

    @classmethod
    def empty(cls, dense: Any, svd_rank: int) -> Pivot:
        """Of the shape that a dense linear layer (``nn.Linear`` or ``Conv1D``) asks for."""
        d_out, d_in = linear_shape(dense)
        weight = dense.weight
        pivots = torch.arange(svd_rank, dtype=torch.int32, device=weight.device)
        kept, mix = weight.new_empty(svd_rank, d_in), weight.new_empty(d_out - svd_rank, svd_rank)
        bias = None if dense.bias is None else torch.empty_like(dense.bias)
        return cls(pivots, kept, mix, bias)


def linear_shape(dense: Any) -> tuple[int, int]:
    """(d_out, d_in) of an ``nn.Linear``, or of a ``Conv1D``, which stores its weight transposed."""
    rows, columns = dense.weight.shape
    return (columns, rows) if hasattr(dense, "nf") else (rows, columns)


MODULES: dict[str, Callable[..., nn.Module]] = {
    "factors": Factors.empty,
    "pivot": Pivot.empty,
    "sparse_cache": opened_attention,
}
"""Type → (the dense module in its place, **sizes) → an empty module of that type."""
