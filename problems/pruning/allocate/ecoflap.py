"""ECoFLaP: blocks whose loss depends more on their weights keep more; gradients are never taken.

Sung et al., arXiv 2310.02998, section 3.3: the size of a layer's gradient is estimated from the
loss at weights moved forth and back along a random direction, since E|z·g| = ‖g‖·√(2/π); then
the kept weights are dealt out in proportion. As published, every share dealt out is rounded up,
so a few weights more than the target are kept. A language model's loss is that of the next tokens.
An encoder has none: there the length of the difference of the two embeddings stands for the
difference of the two losses, which is a choice of ours.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn.functional import cross_entropy

from evo.errors import ModelError
from operators import RNG

from ..layouts import get, matrix, twin, with_weight
from ..listening import layers_of
from ..models import Block
from ..quality import pooled
from . import Allocation, block_counts, by_block, require_target
from .text import first, tokens_in

if TYPE_CHECKING:
    from ..searches import Mixed

STEP = 1e-3
_ROUNDING = 9  # decimals: what floating point adds must not be rounded up to a whole weight


def kept(
    scores: Sequence[float] | NDArray[np.float64],
    counts: Sequence[int] | NDArray[np.int64],
    sparsity: float,
    margin: float,
) -> NDArray[np.int64]:
    """How many weights each group keeps, (L,); together at least the target's.

    Args:
        scores: How much the loss depends on each group, (L,).
        counts: Weights of each group, (L,).
        sparsity: Share of all weights to remove.
        margin: No group loses more than this beyond the target.
    """
    sizes, weights = np.asarray(counts, dtype=np.int64), np.array(scores, dtype=np.float64)
    wanted = int((1 - sparsity) * sizes.sum())
    least = max(0.0, 1 - (sparsity + margin))
    found = np.array([math.ceil(round(n * least, _ROUNDING)) for n in sizes])
    while found.sum() < wanted:
        weights[found >= sizes] = 0
        if weights.sum() == 0:  # nothing tells the rest apart
            weights[found < sizes] = 1
        more = weights / weights.sum() * (wanted - found.sum())
        found = np.minimum(sizes, found + np.ceil(more.round(_ROUNDING)).astype(np.int64))
    return found


@dataclass(frozen=True)
class ECoFLaP:
    """Zeroth-order sensitivity, two passes per linear layer and micro-batch.

    Args:
        sequences: Calibration sequences to look at.
        step: How far weights are moved, in units of a standard normal direction (ε).
        margin: Most that a block loses beyond the target.
    """

    sequences: int = 32
    step: float = STEP
    margin: float = 0.1

    def __call__(self, problem: Mixed, sparsity: float, rng: RNG) -> Allocation:
        """One share per block, from directions that ``rng`` draws."""
        require_target(sparsity)
        scores, counts = self.scores(problem, rng), block_counts(problem)
        shares = 1 - kept(scores, counts, sparsity, self.margin) / counts
        return by_block(problem, shares)

    def tokens(self, problem: Mixed) -> int:
        """Tokens read while choosing; passes begin at the moved layer but count as whole."""
        layers = len(layers_of(problem.pretrained.blocks))
        return 2 * layers * tokens_in(first(problem, self.sequences))

    def scores(self, problem: Mixed, rng: RNG) -> NDArray[np.float64]:
        """Estimated size of the loss's gradient, summed over each block's layers, (L,).

        Raises:
            ModelError: The loss is not finite.
        """
        blocks = problem.pretrained.blocks
        generator = torch.Generator().manual_seed(int(rng.integers(2**63)))
        found = np.zeros(len(blocks))
        with torch.inference_mode():
            for batch in first(problem, self.sequences):
                for block, state in _dense_states(problem, batch):
                    for _, path in layers_of([block]):
                        found[block.index] += self._one(
                            problem, batch, state, block, path, generator
                        )
        if not np.isfinite(found).all():
            raise ModelError(
                f"the loss of {problem.pretrained.name} is not finite on the calibration text",
                hint="load the model as float32 with --set problem.dtype=float32",
            )
        return found

    def _one(
        self, problem: Mixed, batch: Any, state: torch.Tensor, block: Block, path: str,
        generator: torch.Generator,
    ) -> float:  # fmt: skip
        layer = get(block.module, path)
        weight = matrix(layer).detach()
        z = torch.randn(weight.shape, generator=generator).to(weight.device)
        ends = []
        for sign in (1, -1):
            moved = (weight.float() + sign * self.step * z).to(weight.dtype)
            module = twin(block.module, {path: with_weight(layer, moved, None)})
            ends.append(_judged(problem, batch, state, block.index, module))
        return float((ends[0] - ends[1]).norm(dim=-1).mean()) / (2 * self.step)


def _dense_states(problem: Mixed, batch: Any) -> Iterator[tuple[Block, torch.Tensor]]:
    """Every block with what the dense model gives it, (B, T, D)."""
    prepared = problem.sweep(str(problem.pretrained.device)).prepare(batch)
    state = prepared.hidden
    for block in problem.pretrained.blocks:
        yield block, state
        args, kwargs = prepared.calls[block.index]
        state = block.module(state, *args, **kwargs)


def _judged(
    problem: Mixed, batch: Any, state: torch.Tensor, start: int, module: nn.Module
) -> torch.Tensor:
    """The loss (1, 1), or embeddings (B, D), when one block is another; the rest is dense."""
    sweep = problem.sweep(str(problem.pretrained.device))
    prepared = sweep.prepare(batch)
    for block in problem.pretrained.blocks[start:]:
        args, kwargs = prepared.calls[block.index]
        state = (module if block.index == start else block.module)(state, *args, **kwargs)
    output = sweep.head(batch, state)
    if problem.kind != "lm":
        return pooled(output, batch.mask, problem.data.pooling)
    logits, wanted = output[:, :-1].flatten(0, 1).float(), batch.ids[:, 1:].flatten()
    each = cross_entropy(logits, wanted.to(logits.device), reduction="none")
    return each.double().mean().reshape(1, 1)  # single precision would swallow the difference
