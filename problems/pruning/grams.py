"""Products of the inputs of linear layers over calibration text, once for all that share an input.

Queries, keys and values read the same hidden states, and so do gate and up: such layers are one
group, and the first of them stands for all.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

import torch

from evo.errors import ModelError

from .calibration import Calibration
from .layouts import Layout, get, matrix
from .models import Block

GRAM_BYTES = 2 << 30  # Grams held at once; the text passes once per group of blocks that fit


def input_groups(layout: Layout) -> tuple[tuple[str, ...], ...]:
    """Paths of the linear layers that share an input, in the order in which a block runs them."""
    return layout.queries, (layout.output,), layout.ups, (layout.down,)


def grams(calibration: Calibration) -> Iterator[tuple[Block, dict[str, torch.Tensor]]]:
    """Each block with the Σ x xᵀ of its inputs over all tokens, padding left out.

    Args:
        calibration: Model, text and the blocks to look at.

    Yields:
        Block, and (d_in, d_in) in float64 by path; layers of one group have one tensor.

    Raises:
        ModelError: An input is not finite.
    """
    for blocks in fitting(calibration.blocks, _bytes):
        sums = _summed(calibration, blocks)
        for block in blocks:
            found = {}
            for group in input_groups(block.layout):
                gram = sums.pop((block.index, group[0]))
                require_finite(gram, block, group[0])
                found |= dict.fromkeys(group, gram)
            yield block, found


def require_finite(gram: torch.Tensor, block: Block, path: str) -> None:
    """Stop at sums that overflowed.

    Raises:
        ModelError: Says which layer's inputs they are.
    """
    if not gram.isfinite().all():
        raise ModelError(
            f"inputs of {path} of block {block.index} are not finite on the calibration text",
            hint="load the model as float32 with --set problem.dtype=float32",
        )


def fitting(
    blocks: Sequence[Block], size_of: Callable[[Block], int]
) -> Iterator[tuple[Block, ...]]:
    """Neighbouring blocks whose sums fit together, at least one at a time.

    Args:
        blocks: In order of depth.
        size_of: Bytes of the sums of one block.
    """
    group: list[Block] = []
    size = 0
    for block in blocks:
        own = size_of(block)
        if group and size + own > GRAM_BYTES:
            yield tuple(group)
            group, size = [], 0
        group.append(block)
        size += own
    if group:
        yield tuple(group)


def _bytes(block: Block) -> int:
    firsts = [group[0] for group in input_groups(block.layout)]
    return sum(8 * matrix(get(block.module, path)).shape[1] ** 2 for path in firsts)


def _summed(
    calibration: Calibration, blocks: tuple[Block, ...]
) -> dict[tuple[int, str], torch.Tensor]:
    sums: dict[tuple[int, str], torch.Tensor] = {}
    firsts = {b.index: {group[0] for group in input_groups(b.layout)} for b in blocks}

    def see(block: Block, path: str, x: torch.Tensor, sequences: int) -> None:
        if path in firsts[block.index]:
            key, product = (block.index, path), x.t() @ x
            sums[key] = sums[key].add_(product) if key in sums else product

    replace(calibration, blocks=blocks).listen(see)
    return sums
