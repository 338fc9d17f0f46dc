"""NeuroAL: the ramp over blocks, then over rows, under which neurons change least.

Cunegatti et al., arXiv 2411.07066. A candidate allocation is applied block by block; each linear
layer's input norms in the dense and in the pruned block, both fed by the pruned prefix, are
compared. The allocation with the smallest difference is chosen, first of ramps over the blocks
(early blocks densest), then of spreads over rows by the alignment of what reads them. Rows lose
int(d_in·s) weights, as Wanda counts, where the published pruner rounds the kept ones down.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from evo.errors import ConfigError
from operators import RNG

from ..importance import Scorer, find, gone_by_row
from ..layouts import Layout, get, matrix, twin, with_weight
from ..listening import hooked, layers_of
from ..models import Block
from . import Allocation, Layer, Share, by_block, require_target, shapes
from .text import first, tokens_in

if TYPE_CHECKING:
    from ..searches import Mixed

BLOCK_SPREADS = (0.01, 0.02, 0.03, 0.04, 0.05, 0.06, 0.07, 0.08, 0.09, 0.10, 0.12, 0.15, 0.20, 0.25)
ROW_SPREADS = (0.0, *BLOCK_SPREADS)
LEAST, MOST = 0.01, 0.99
_STEEP = 0.25  # left out from a sparsity of 0.8 on

Alignment = dict[Layer, torch.Tensor]
"""Norm of each input in the dense block minus that in the pruned one, (d_in,)."""


def ramp(blocks: int, sparsity: float, spread: float) -> NDArray[np.float64]:
    """Sparsities that rise by twice the spread from the first block to the last, (L,).

    The mean is the target unless a value is cut off at 0.01 or 0.99; one block has the target.
    """
    if blocks == 1:
        return np.array([sparsity])
    rise = np.linspace(-spread, spread, blocks)
    return (sparsity + rise).clip(LEAST, MOST)


def rows(alignment: NDArray[np.float64], sparsity: float, spread: float) -> NDArray[np.float64]:
    """Sparsities of rows whose mean is the layer's unless one is cut off, (d_out,).

    A row that loses more of its norm to pruning is kept denser; rows that do not differ, or
    whose alignments sum to zero, all have the layer's sparsity.
    """
    width = alignment.max() - alignment.min()
    if width == 0 or alignment.sum() == 0 or spread == 0:
        return np.full(len(alignment), sparsity)
    kept = (alignment - alignment.min()) / width * 2 * spread
    return (sparsity - (kept - kept.mean())).clip(LEAST, MOST)


def reader_of(layout: Layout, path: str) -> str | None:
    """The layer of the same block whose inputs are a layer's outputs, as far as published.

    With a gated feed-forward: the attention's output reads queries, keys and values, the gate
    reads the attention's output, and the last layer reads gate and up. With any other, the next
    layer in order. None for a block's last layer: its reader sees the same dense and pruned.
    """
    order = (*layout.attention_linears, *layout.feed_forward_linears)
    if len(layout.queries) == 3 and len(layout.ups) == 2:
        readers = dict.fromkeys(layout.queries, layout.output)
        readers |= {layout.output: layout.ups[0]} | dict.fromkeys(layout.ups, layout.down)
        return readers.get(path)
    after = order.index(path) + 1
    return order[after] if after < len(order) else None


@dataclass(frozen=True)
class NeuroAL:
    """Two grid searches by passes over a little calibration text.

    Args:
        step: ``both``, or only ``block`` or ``row``.
        by: Scorer of the trial prunings; one that needs no gradients.
        sequences: Calibration sequences to look at.
    """

    step: str = "both"
    by: str = "wanda"
    sequences: int = 8

    def __post_init__(self) -> None:
        if self.step not in ("both", "block", "row"):
            raise ConfigError(f"step of neuroal must be both, block or row, got {self.step!r}")
        if find(self.by).gradients:
            raise ConfigError(f"neuroal prunes on trial without gradients, got by={self.by!r}")

    def __call__(self, problem: Mixed, sparsity: float, rng: RNG) -> Allocation:
        """One share per block, or per row; nothing is drawn."""
        require_target(sparsity)
        trial = Trial(problem, self.sequences, find(self.by))
        blocks = len(problem.pretrained.blocks)
        ramps = (ramp(blocks, sparsity, spread) for spread in self._ramps(sparsity))
        chosen, alignment = best(trial, (by_block(problem, shares) for shares in ramps))
        if self.step == "block":
            return chosen
        tried = (spread_rows(problem, chosen, alignment, spread) for spread in ROW_SPREADS)
        return best(trial, tried)[0]

    def tokens(self, problem: Mixed) -> int:
        """Tokens read while choosing: two passes per trial, at most so many trials."""
        tried = {"both": len(BLOCK_SPREADS) + len(ROW_SPREADS), "block": len(BLOCK_SPREADS)}
        trials = tried.get(self.step, 1 + len(ROW_SPREADS))
        return 2 * trials * tokens_in(first(problem, self.sequences))

    def _ramps(self, sparsity: float) -> tuple[float, ...]:
        if self.step == "row":
            return (0.0,)
        return tuple(s for s in BLOCK_SPREADS if s < _STEEP or sparsity < 0.8)


def spread_rows(
    problem: Mixed, chosen: Mapping[Layer, Share], alignment: Alignment, spread: float
) -> Allocation:
    """The allocation with rows spread by what reads them; all rows alike in the last block.

    Layers whose reader has other inputs than they have rows (fused queries, grouped keys) keep
    one share too.
    """
    made = dict(chosen)
    sizes = shapes(problem)
    for block, path in layers_of(problem.pretrained.blocks[:-1]):
        reader = reader_of(block.layout, path)
        found = None if reader is None else alignment[block.index, reader]
        layer = (block.index, path)
        if found is not None and len(found) == sizes[layer][0]:
            shares = rows(found.cpu().numpy(), float(np.mean(chosen[layer])), spread)
            made[layer] = float(shares[0]) if (shares == shares[0]).all() else shares
    return made


def best(trial: Trial, candidates: Iterable[Allocation]) -> tuple[Allocation, Alignment]:
    """The first allocation with the smallest misalignment, and its alignment."""
    found = [(*trial(candidate), candidate) for candidate in candidates]
    _, alignment, chosen = min(found, key=lambda one: one[0])
    return chosen, alignment


@dataclass(frozen=True, eq=False)
class Trial:
    """Prunes on trial and compares the neurons.

    Args:
        problem: For its model and calibration text.
        sequences: How many of the text's first.
        scorer: What goes first in each row.
    """

    problem: Mixed
    sequences: int
    scorer: Scorer

    def __call__(self, allocation: Mapping[Layer, Share]) -> tuple[float, Alignment]:
        """Misalignment summed over all linear layers, and the alignment of each."""
        total, alignment = 0.0, {}
        sweep = self.problem.sweep(str(self.problem.pretrained.device))
        batches = first(self.problem, self.sequences)
        states = [sweep.prepare(batch).hidden for batch in batches]
        with torch.inference_mode():
            for block in self.problem.pretrained.blocks:
                calls = [sweep.prepare(batch).calls[block.index] for batch in batches]
                dense, _ = _norms(block, block.module, batches, calls, states)
                pruned = twin(block.module, self._pruned(block, dense, allocation))
                sparse, states = _norms(block, pruned, batches, calls, states)
                for path, before in dense.items():
                    total += misalignment(before, sparse[path])
                    alignment[block.index, path] = before - sparse[path]
        return total, alignment

    def _pruned(
        self, block: Block, norms: Mapping[str, torch.Tensor], allocation: Mapping[Layer, Share]
    ) -> dict[str, nn.Module]:
        made = {}
        for path, own in norms.items():
            layer = get(block.module, path)
            weight = matrix(layer).detach()
            shares = np.broadcast_to(allocation[block.index, path], len(weight))
            gone = gone_by_row(self.scorer.score(weight, own.float()), shares)
            made[path] = with_weight(layer, weight.masked_fill(gone, 0), None)
        return made


def misalignment(dense: torch.Tensor, pruned: torch.Tensor) -> float:
    """Distance of two vectors of norms, each scaled to a sum of one, over their length."""
    before, after = (v / total if (total := v.sum()) > 0 else v for v in (dense, pruned))
    return float((before - after).norm()) / len(dense)


def _norms(
    block: Block, module: nn.Module, batches: list[Any], calls: list[Any],
    states: list[torch.Tensor],
) -> tuple[dict[str, torch.Tensor], list[torch.Tensor]]:  # fmt: skip
    """Root of the mean over sequences of each input's squared sum, (d_in,); and the outputs."""
    squares: dict[str, torch.Tensor] = {}

    def see(_: Block, path: str, x: torch.Tensor, sequences: int) -> None:
        squares[path] = squares.get(path, 0) + x.square().sum(0)

    after = []
    for batch, (args, kwargs), state in zip(batches, calls, states, strict=True):
        with hooked([replace(block, module=module)], batch, see):
            after.append(module(state, *args, **kwargs))
    count = sum(len(batch.ids) for batch in batches)
    return {path: (total / count).sqrt() for path, total in squares.items()}, after
