"""Calibration text read by a dense and a pruned model side by side, block by block.

Both keep the hidden states that reach the present block, so that a block can be run again and again
while its layers are being replaced, and no earlier block is run twice.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import nn

from .entrance import enter
from .layouts import get
from .models import Pretrained


class Prefixes:
    """Hidden states of all micro-batches in front of one block, in both models.

    Args:
        dense: The dense model, whose embeddings the pruned one shares.
        batches: The text.
    """

    def __init__(self, dense: Pretrained, batches: Sequence[Any]) -> None:
        self._masks = [b.mask for b in batches]
        entered = [enter(dense, batch) for batch in batches]
        self._calls, self._dense = [e.calls for e in entered], [e.hidden for e in entered]
        self._pruned = self._dense

    @torch.inference_mode()
    def products(
        self, index: int, dense: nn.Module, pruned: nn.Module, path: str
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Products of a layer's inputs in the two models, padding left out.

        Args:
            index: Position of the block.
            dense: The dense block.
            pruned: The block as it is by now.
            path: A linear layer, in both blocks.

        Returns:
            X Xᵀ and X_dense Xᵀ for inputs X in the pruned model, each (d_in, d_in) in float64.
        """
        gram, cross = torch.zeros(()), torch.zeros(())
        for batch in range(len(self._masks)):
            x = self._input(self._pruned, index, batch, pruned, path)
            y = self._input(self._dense, index, batch, dense, path)
            gram, cross = gram.to(x) + x.t() @ x, cross.to(x) + y.t() @ x
        return gram, cross

    @torch.inference_mode()
    def dense_grams(
        self, index: int, dense: nn.Module, paths: tuple[str, ...]
    ) -> Mapping[str, torch.Tensor]:
        """X_dense X_denseᵀ of some layers in one pass, each (d_in, d_in) in float64."""
        sums: dict[str, torch.Tensor] = {}
        for batch in range(len(self._masks)):
            for path, x in self._inputs(self._dense, index, batch, dense, paths).items():
                sums[path] = sums[path] + x.t() @ x if path in sums else x.t() @ x
        return sums

    @torch.inference_mode()
    def advance(self, index: int, dense: nn.Module, pruned: nn.Module) -> None:
        """Pass the block; nothing is computed twice while both models are one."""
        same = pruned is dense and self._pruned is self._dense
        after = [self._run(self._dense, index, i, dense) for i in range(len(self._masks))]
        self._pruned = (
            after
            if same
            else [self._run(self._pruned, index, i, pruned) for i in range(len(self._masks))]
        )
        self._dense = after

    def _run(
        self, states: list[torch.Tensor], index: int, batch: int, block: nn.Module
    ) -> torch.Tensor:
        args, kwargs = self._calls[batch][index]
        return block(states[batch], *args, **kwargs)

    def _input(
        self, states: list[torch.Tensor], index: int, batch: int, block: nn.Module, path: str
    ) -> torch.Tensor:
        return self._inputs(states, index, batch, block, (path,))[path]

    def _inputs(
        self, states: list[torch.Tensor], index: int, batch: int, block: nn.Module,
        paths: tuple[str, ...],
    ) -> dict[str, torch.Tensor]:  # fmt: skip
        """Inputs of some layers, (B*T, d_in) in float64, zero at padding."""
        seen: dict[str, torch.Tensor] = {}

        def noting(path: str) -> Any:
            def hook(module: nn.Module, given: tuple[torch.Tensor, ...]) -> None:
                seen[path] = given[0]

            return hook

        handles = [get(block, p).register_forward_pre_hook(noting(p)) for p in paths]
        try:
            self._run(states, index, batch, block)
        finally:
            for handle in handles:
                handle.remove()
        mask = self._masks[batch]
        flat = {path: x.reshape(-1, x.shape[-1]).double() for path, x in seen.items()}
        if mask is None:
            return flat
        return {path: x * mask.reshape(-1, 1).to(x) for path, x in flat.items()}
