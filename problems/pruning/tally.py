"""What a sweep did, and what it was spared: tokens, products, bytes, blocks, seconds by part."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray

from .models import Block, Pretrained
from .sites import SiteTable, padded

PARTS = ("enter", "build", "blocks", "heads", "teacher", "latency")
"""What seconds are spent on: embeddings and arguments of blocks, making variants, blocks, head and
reading, the dense model's part of quality, timing."""


@dataclass
class Tally:
    """Counts since the process began.

    Args:
        tokens: Candidates times tokens they were judged on.
        macs: Multiply-accumulates that were done; zeros under a mask are done, too.
        bytes: Least that had to be moved: weights of what ran, and states read and written.
        blocks: Block evaluations of one micro-batch that were run.
        shared: What one candidate at a time would have run, minus what was run or recalled.
        recalled: Taken from an earlier call.
        heads: Final states that were read.
        seconds: By part.
    """

    tokens: int = 0
    macs: float = 0.0
    bytes: float = 0.0
    blocks: int = 0
    shared: int = 0
    recalled: int = 0
    heads: int = 0
    seconds: dict[str, float] = field(default_factory=lambda: dict.fromkeys(PARTS, 0.0))
    _inside: float = 0.0  # seconds that went to parts within the part being timed

    @contextlib.contextmanager
    def timing(self, part: str) -> Iterator[None]:
        """Add the time of what happens inside to a part, but for that of other parts in it."""
        start, around = time.perf_counter(), self._inside
        self._inside = 0.0
        try:
            yield
        finally:
            spent = time.perf_counter() - start
            self.seconds[part] += spent - self._inside
            self._inside = around + spent

    def counts(self) -> Mapping[str, float]:
        """Everything by name; seconds as ``seconds.PART``."""
        plain = {k: float(v) for k, v in vars(self).items() if k not in ("seconds", "_inside")}
        return plain | {f"seconds.{part}": spent for part, spent in self.seconds.items()}


class Work:
    """Counts products and bytes of the halves of blocks.

    Args:
        table: The sites.
        pretrained: The dense model.
        tally: Where it is added.
    """

    def __init__(self, table: SiteTable, pretrained: Pretrained, tally: Tally) -> None:
        self._tally, self._table = tally, table
        self._macs, self._bytes = _done(table, "macs"), _done(table, "weight_bytes")
        self._head = head_macs(pretrained)
        blocks: Sequence[Block] = pretrained.blocks
        self._unowned = max(0.0, table.base.macs - self._head) / len(blocks)

    def half(
        self, columns: Sequence[int], values: Sequence[int], state: torch.Tensor, *, first: bool
    ) -> None:
        """One half of a block ran on states (k, T, D).

        Args:
            columns: Its sites.
            values: Their variants.
            state: What went in.
            first: Whether to add what no site of the block owns.
        """
        tally, positions = self._tally, state.shape[0] * state.shape[1]
        macs = sum(float(self._macs[c, v]) for c, v in zip(columns, values, strict=True))
        tally.macs += positions * (macs + (self._unowned if first else 0.0))
        tally.bytes += sum(float(self._bytes[c, v]) for c, v in zip(columns, values, strict=True))
        tally.bytes += 2 * state.numel() * state.element_size()

    def head(self, state: torch.Tensor) -> None:
        """The head ran on a state (B, T, D)."""
        self._tally.heads += 1
        self._tally.macs += state.shape[0] * state.shape[1] * self._head


def synchronise(device: torch.device) -> None:
    """Wait until a device has done what it was told."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def head_macs(pretrained: Pretrained) -> float:
    """Multiply-accumulates per token of the language-model head."""
    head = pretrained.model.get_output_embeddings() if pretrained.kind == "lm" else None
    return float(head.weight.numel()) if head is not None else 0.0


def _done(table: SiteTable, name: str) -> NDArray[np.float64]:
    """A cost as it is run, (S, V): a mask saves nothing, another shape does."""
    return padded(
        [
            [getattr((v if v.shape else s.variants[0]).cost, name) for v in s.variants]
            for s in table.sites
        ]
    )
