"""Orders of channels that let N:M keep more, where changing the order costs nothing.

RIA's channel permutation (Zhang et al., ICLR 2024, "Plug-and-Play"), its heuristic allocation
alone; the published one goes on with linear sum assignments. It permutes the inputs of every layer,
and gathers them while the model runs. Here only those are permuted whose order nobody else sees:
the neurons of a feed-forward, and the values within a head. What comes out is a model of the same
form and function whose layers need no gather.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch

from .importance import n_of_m
from .layouts import Heads, Layout
from .models import Block
from .sites import Place


@dataclass(frozen=True)
class Order:
    """In which order a linear layer's rows and columns are taken; None as they are."""

    rows: torch.Tensor | None = None
    columns: torch.Tensor | None = None


UNCHANGED = Order()


def snake(totals: torch.Tensor, m: int) -> torch.Tensor:
    """Channels dealt out to groups of m, back and forth from the smallest total to the largest.

    Args:
        totals: What each channel's scores sum up to, (d,); m divides d.
        m: Channels of a group.

    Returns:
        Channel at each place, (d,); each group has one channel of every m-th part of the ranks.
    """
    parts = torch.argsort(totals, stable=True).reshape(m, -1).clone()  # (m, groups)
    parts[1::2] = parts[1::2].flip(1)
    return parts.t().reshape(-1)


def kept(scores: torch.Tensor, n: int, m: int) -> float:
    """Sum of the scores that n:m keeps."""
    return float(scores.double().masked_fill(n_of_m(scores, n, m), 0).sum())


def best(scores: torch.Tensor, totals: torch.Tensor, n: int, m: int) -> torch.Tensor:
    """The order of :func:`snake`, or the one that is there where that keeps no less.

    Args:
        scores: (..., d), of everything that takes the order.
        totals: (d,).
        n: Channels of a group that go.
        m: Channels of a group.
    """
    order = snake(totals, m)
    rows = scores.reshape(-1, len(totals))
    if kept(rows[:, order], n, m) > kept(rows, n, m):
        return order
    return torch.arange(len(totals))


def orders(place: Place, scores: Callable[[str], torch.Tensor], n: int, m: int) -> dict[str, Order]:
    """Orders of a place's linear layers by path, under which it computes what it did.

    Args:
        place: An attention, a feed-forward or a block; others have no order to choose.
        scores: Path → (d_out, d_in).
        n: Inputs of a group that go.
        m: Inputs of a group.
    """
    found: dict[str, Order] = {}
    layout = place.block.layout
    if {*layout.feed_forward_linears} <= {*place.linears}:
        found |= _neurons(layout, scores(layout.down), n, m)
    if {*layout.attention_linears} <= {*place.linears}:
        found |= _values(place.block, scores(layout.output), n, m)
    return found


def _neurons(layout: Layout, scores: torch.Tensor, n: int, m: int) -> dict[str, Order]:
    order = best(scores, scores.sum(0), n, m)
    rows = torch.cat([order, order + len(order)]) if layout.gated_in_one else order
    return {layout.down: Order(columns=order)} | dict.fromkeys(layout.ups, Order(rows=rows))


def _values(block: Block, scores: torch.Tensor, n: int, m: int) -> dict[str, Order]:
    """One order per key/value head, which all query heads that it serves have in common."""
    heads = block.heads
    if heads.size % m:
        return {}  # groups would hold values of two heads
    pieces = scores.reshape(len(scores), heads.groups, heads.per_group, heads.size)
    within = torch.stack(
        [best(piece, piece.sum((0, 1)), n, m) for piece in pieces.unbind(1)]
    )  # (groups, size)
    starts = torch.arange(heads.query).reshape(heads.groups, heads.per_group, 1) * heads.size
    columns = (starts + within[:, None]).reshape(-1)
    rows = _value_rows(block.layout, heads, within)
    return {block.layout.output: Order(columns=columns), block.layout.queries[-1]: Order(rows=rows)}


def _value_rows(layout: Layout, heads: Heads, within: torch.Tensor) -> torch.Tensor:
    """Rows of the layer that makes values, with those of each head in its order."""
    if layout.fused == "by head" and len(layout.queries) == 1:
        rows = torch.arange(3 * heads.query * heads.size).reshape(-1, 3, heads.size)
        rows[:, 2] = rows[:, 2].gather(1, within)
        return rows.reshape(-1)
    own = torch.arange(heads.groups * heads.size).reshape(heads.groups, -1).gather(1, within)
    if len(layout.queries) == 3:
        return own.reshape(-1)
    start = (heads.query + heads.groups) * heads.size
    return torch.cat([torch.arange(start), start + own.reshape(-1)])
