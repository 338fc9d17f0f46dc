"""How a micro-batch enters the blocks of a model: the embedding, and how each block is called."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from evo.errors import ModelError

from .layouts import twin
from .models import Pretrained

Call = tuple[tuple[Any, ...], dict[str, Any]]
"""Arguments of a block besides the hidden states."""


@dataclass(frozen=True, eq=False)
class Prepared:
    """What all candidates share on one micro-batch: the embedding and the blocks' arguments."""

    hidden: torch.Tensor  # (B, T, D)
    calls: list[Call]


def inputs(pretrained: Pretrained, batch: Any, *, masked: bool = True) -> dict[str, Any]:
    """A micro-batch as arguments of the model.

    Args:
        pretrained: The model.
        batch: ``ids`` (B, T), and ``mask`` (B, T) or None.
        masked: Whether the mask is among them.
    """
    given: dict[str, Any] = {"input_ids": batch.ids.to(pretrained.device)}
    if masked and batch.mask is not None:
        given["attention_mask"] = batch.mask.to(pretrained.device)
    if pretrained.kind == "lm":
        given["use_cache"] = False
    return given


@torch.inference_mode()
def enter(pretrained: Pretrained, batch: Any) -> Prepared:
    """Everything in front of the blocks, computed; none of the blocks is run.

    Raises:
        ModelError: The model's forward pass does not run its blocks once each, in order.
    """
    calls: list[Any] = []
    stand_ins = nn.ModuleList(_Capture(calls) for _ in pretrained.blocks)
    model: Any = twin(pretrained.model, {pretrained.blocks_path: stand_ins})
    model.base_model(**inputs(pretrained, batch))
    if len(calls) != len(pretrained.blocks):
        raise ModelError(
            f"{pretrained.name}: its forward pass runs {len(calls)} of "
            f"{len(pretrained.blocks)} blocks in order; that structure is not supported"
        )
    return Prepared(calls[0][0], [call for _, call in calls])


class _Capture(nn.Module):
    """Stands where a block was and notes how it was called."""

    def __init__(self, calls: list[Any]) -> None:
        super().__init__()
        self.calls = calls

    def forward(self, *args: Any, **kwargs: Any) -> torch.Tensor:
        if not args:
            args = (kwargs.pop("hidden_states"),)
        self.calls.append((args[0], (args[1:], kwargs)))
        return args[0]
