"""A submodule that reads and writes fewer channels than the residual sum has, between two bases.

This file stands alone (torch, and :mod:`.layouts` beside it): exported models carry a copy of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from .layouts import get, matrix, twin, with_weight


class Sliced(nn.Module):
    """A submodule f, or the first or the last layer of one: y = Q' f(Qᵀ x).

    Args:
        entry: Qᵀ, (width, d); None hands x on as it is.
        inner: f; what it reads and gives has ``width`` channels on the sides that have a matrix.
        exit: Q', (d, width); None hands on what f gives.
    """

    def __init__(
        self, entry: torch.Tensor | None, inner: nn.Module, exit: torch.Tensor | None
    ) -> None:
        super().__init__()
        self.entry = None if entry is None else nn.Parameter(entry, requires_grad=False)
        self.inner = inner
        self.exit = None if exit is None else nn.Parameter(exit, requires_grad=False)

    def forward(self, hidden_states: torch.Tensor, *args: Any, **kwargs: Any) -> Any:
        """Shape (…, d) from (…, d); further things that an attention gives follow as they are."""
        x = hidden_states
        if self.entry is not None:
            x = nn.functional.linear(x, self.entry)
        made = self.inner(x, *args, **kwargs)
        if self.exit is None:
            return made
        if isinstance(made, tuple):
            return (nn.functional.linear(made[0], self.exit), *made[1:])
        return nn.functional.linear(made, self.exit)

    @classmethod
    def empty(cls, dense: Any, width: int, entering: Sequence[str], leaving: str | None) -> Sliced:
        """Of the shapes that a dense submodule asks for; see :func:`sliced`."""
        entry = exit = None
        made: dict[str, nn.Module] = {}
        for path in entering:
            layer: Any = get(dense, path)
            d_out, d_in = matrix(layer).shape
            entry = layer.weight.new_empty(width, d_in)
            made[path] = with_weight(layer, layer.weight.new_empty(d_out, width), None)
        if leaving is not None:
            layer = get(dense, leaving)
            d_out, d_in = matrix(layer).shape
            exit = layer.weight.new_empty(d_out, width)
            bias = None if layer.bias is None else layer.bias.new_empty(width)
            made[leaving] = with_weight(layer, layer.weight.new_empty(width, d_in), bias)
        return cls(entry, twin(dense, made), exit)


def sliced(
    dense: nn.Module, read: torch.Tensor, written: torch.Tensor, entering: Sequence[str],
    leaving: str | None,
) -> Sliced:  # fmt: skip
    """A submodule in some directions of what it reads and of what it gives.

    Args:
        dense: Attention, feed-forward or linear layer; not modified.
        read: Qᵀ, (width, d), orthonormal rows; the layers that read x get W Q.
        written: Q'ᵀ, (width, d), orthonormal rows; the last layer gets Q'ᵀ W and Q'ᵀ b.
        entering: Paths of the linear layers that read x; "" is ``dense`` itself.
        leaving: Path of the last linear layer, or None where it is elsewhere.
    """
    made: dict[str, nn.Module] = {}
    entry = exit = None
    for path in entering:
        layer: Any = get(dense, path)
        entry = read.to(layer.weight, copy=True)
        weight = matrix(layer).detach().double() @ read.to(layer.weight.device).double().t()
        made[path] = with_weight(layer, weight.to(layer.weight.dtype), None)
    if leaving is not None:
        layer = get(dense, leaving)
        rows = written.to(layer.weight.device).double()
        weight = rows @ matrix(layer).detach().double()
        bias = None if layer.bias is None else (rows @ layer.bias.detach().double()).to(layer.bias)
        made[leaving] = with_weight(layer, weight.to(layer.weight.dtype), bias)
        exit = written.to(layer.weight).t().clone(memory_format=torch.contiguous_format)
    return Sliced(entry, twin(dense, made), exit)
