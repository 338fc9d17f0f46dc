"""Calibration text passes through the dense model while someone looks at its layers' inputs."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import nn

from .layouts import get
from .models import Block, Pretrained

See = Callable[[Block, str, torch.Tensor, int], None]
"""(block, path of a linear layer, its inputs (B*T, d_in) in float64, B) of one micro-batch;
inputs at padding are zero."""


def layers_of(blocks: Sequence[Block]) -> list[tuple[Block, str]]:
    """Every linear layer of some blocks: the block, and the path inside it."""
    return [
        (block, path)
        for block in blocks
        for path in (*block.layout.attention_linears, *block.layout.feed_forward_linears)
    ]


def listen(
    pretrained: Pretrained, calibration: Sequence[Any], blocks: Sequence[Block], see: See
) -> None:
    """Show the inputs of every linear layer of some blocks, one micro-batch at a time.

    Args:
        pretrained: The dense model; not modified.
        calibration: Micro-batches with ``ids`` (B, T) and ``mask`` (B, T) or None.
        blocks: Whose layers are looked at.
        see: Called within inference mode.
    """
    base = pretrained.model.base_model
    with torch.inference_mode():
        for batch in calibration:
            mask = None if batch.mask is None else batch.mask.to(pretrained.device)
            with hooked(blocks, batch, see):
                base(input_ids=batch.ids.to(pretrained.device), attention_mask=mask)


@contextlib.contextmanager
def hooked(blocks: Sequence[Block], batch: Any, see: See) -> Iterator[None]:
    """Show the inputs of every linear layer of some blocks while the context lasts."""
    handles = [
        get(block.module, path).register_forward_pre_hook(_hook(block, path, batch, see))
        for block, path in layers_of(blocks)
    ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _hook(block: Block, path: str, batch: Any, see: See) -> Any:
    def hook(module: nn.Module, arguments: tuple[torch.Tensor, ...]) -> None:
        x = arguments[0].reshape(-1, arguments[0].shape[-1]).double()  # (B*T, d_in)
        if batch.mask is not None:
            x = x * batch.mask.reshape(-1, 1).to(x)
        see(block, path, x, len(batch.ids))

    return hook
