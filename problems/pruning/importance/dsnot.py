"""DSnoT: weights come back and others go for them until a row's expected output error is small.

Zhang et al., arXiv 2310.08915, "Dynamic Sparse No Training", and the authors' code. An input's mean
says what a weight adds to its row on average, m_ij = W_ij · μ_j, so the pruned weights of a row
leave an expected error, the sum of their m. In each cycle the pruned weight that mends it most, and
most surely, comes back, and the least important survivor that mends it too goes.

The published lists run out of pruned weights of a sign, or of survivors, and go on with others,
which changes the number of zeros and makes the error that is kept up a wrong one. Here a row stops.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol

import torch


@dataclass(frozen=True)
class Rule:
    """When a row stops, and what comes back first.

    Args:
        cycles: Most exchanges of a row.
        threshold: A row stops for good once its error is no larger. The error is in units of the
            output, summed over the tokens of a sequence, so it grows with weights and text.
        power: Of the variance by which what a weight adds is divided; 0 leaves it out.
        same_sign: Whether a row stops before its error changes sign.
    """

    cycles: int = 50
    threshold: float = 0.1
    power: float = 1.0
    same_sign: bool = False


def refined(
    weight: torch.Tensor,
    gone: torch.Tensor,
    mean: torch.Tensor,
    variance: torch.Tensor,
    scores: torch.Tensor,
    rule: Rule,
    group: int | None = None,
) -> tuple[torch.Tensor, torch.Tensor]:
    """The mask with as many zeros in each row, and the expected error that it leaves.

    Args:
        weight: W, (d_out, d_in); not modified.
        gone: The first mask, True where a weight goes, (d_out, d_in); not modified.
        mean: μ, sum of each input over the tokens, mean over sequences, (d_in,).
        variance: Of each input within a sequence, at least 0, (d_in,). What an input that never
            varies adds comes back first.
        scores: The lowest survivor goes first, (d_out, d_in), finite.
        rule: When to stop.
        group: Neighbouring inputs that form a group of N:M. A survivor then goes in the group in
            which a weight came back, whatever its sign, and a row always stops before its error
            changes sign. None exchanges within the row, for a survivor of the other sign.

    Returns:
        bool, (d_out, d_in), and Σ m over the weights that go, float64, (d_out,). Of equal weights
        the first is taken.
    """
    added = weight.double() * mean.double()  # m
    gone, error = gone.clone(), added.masked_fill(~gone, 0).sum(1)
    positive, negative = added > 0, added < 0
    worth = added / variance.double() ** rule.power
    back = _Lists.of(
        (-worth, gone & positive), (worth, gone & negative), most=rule.cycles
    )  # for an error above 0, and below
    partners: _Partners
    if group is None:
        partners = _InRow(
            _Lists.of((scores, ~gone & negative), (scores, ~gone & positive), most=rule.cycles)
        )
    else:
        partners = _InGroup.of(scores, gone, group)
    same_sign = rule.same_sign or group is not None
    rows = torch.arange(len(weight), device=weight.device)
    taken = torch.zeros_like(back.count)
    active = torch.ones_like(rows, dtype=torch.bool)
    for _ in range(rule.cycles):
        side = (error < 0).long()
        step = taken[side, rows]
        comes, left = back.at(side, step)
        goes, free = partners.offer(side, step, comes)
        after = error + added[rows, goes] - added[rows, comes]
        active &= (error.abs() > rule.threshold) & left & free
        if same_sign:
            active &= after * error >= 0
        if not active.any():
            break
        chosen = rows[active]
        gone[chosen, comes[active]] = False
        gone[chosen, goes[active]] = True
        error = after.where(active, error)
        taken[side, rows] += active
        partners.accept(chosen, comes[active])
    return gone, error


class _Partners(Protocol):
    """Which survivor goes when a weight comes back."""

    def offer(
        self, side: torch.Tensor, step: torch.Tensor, comes: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Column for each row and whether there is one, (d_out,)."""
        ...

    def accept(self, rows: torch.Tensor, comes: torch.Tensor) -> None:
        """The offers of some rows are taken."""
        ...


@dataclass(frozen=True)
class _Lists:
    """Two lists of columns for each row: for an error above 0, and below.

    Args:
        columns: (2, d_out, most); what lies beyond a list's end has no meaning.
        count: Length of each list, (2, d_out).
    """

    columns: torch.Tensor
    count: torch.Tensor

    @classmethod
    def of(cls, *sides: tuple[torch.Tensor, torch.Tensor], most: int) -> _Lists:
        """Allowed columns by ascending keys, at most so many; sides are (keys, allowed)."""
        columns, counts = [], []
        for keys, allowed in sides:
            order = keys.masked_fill(~allowed, torch.inf).argsort(dim=1, stable=True)
            columns.append(order[:, : max(1, most)].clone())
            counts.append(allowed.sum(1).clamp(max=columns[-1].shape[1]))
        return cls(torch.stack(columns), torch.stack(counts))

    def at(self, side: torch.Tensor, step: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Column at a step of each row's list of a side, and whether the list is that long."""
        rows = torch.arange(len(side), device=side.device)
        inside = step.clamp(max=self.columns.shape[2] - 1)
        return self.columns[side, rows, inside], step < self.count[side, rows]


@dataclass(frozen=True)
class _InRow:
    """Survivors of the row that mend the error, one after the other."""

    lists: _Lists

    def offer(
        self, side: torch.Tensor, step: torch.Tensor, comes: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """As many of a side's list are used up as have come back from the same side."""
        return self.lists.at(side, step)

    def accept(self, rows: torch.Tensor, comes: torch.Tensor) -> None:
        """Steps say it all."""


@dataclass(frozen=True)
class _InGroup:
    """Survivors of the group, one after the other.

    Args:
        order: Survivors of a group first, by ascending score, (d_out, groups, m).
        count: How many survive, (d_out, groups).
        used: How many of them have gone, (d_out, groups); changed in place.
    """

    order: torch.Tensor
    count: torch.Tensor
    used: torch.Tensor = field(repr=False)

    @classmethod
    def of(cls, scores: torch.Tensor, gone: torch.Tensor, m: int) -> _InGroup:
        """Groups of m neighbouring inputs."""
        keys = scores.masked_fill(gone, torch.inf).unflatten(1, (-1, m))
        count = (~gone).unflatten(1, (-1, m)).sum(2)
        return cls(keys.argsort(dim=2, stable=True), count, torch.zeros_like(count))

    def offer(
        self, side: torch.Tensor, step: torch.Tensor, comes: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """The lowest survivor that is left beside the weight that comes back."""
        m = self.order.shape[2]
        rows, group = torch.arange(len(comes), device=comes.device), comes // m
        used = self.used[rows, group]
        column = group * m + self.order[rows, group, used.clamp(max=m - 1)]
        return column, used < self.count[rows, group]

    def accept(self, rows: torch.Tensor, comes: torch.Tensor) -> None:
        """One more of each of these groups has gone."""
        self.used[rows, comes // self.order.shape[2]] += 1
