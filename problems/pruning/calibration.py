"""What a kind of variant may learn from: a model that reads calibration text."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

from .listening import See, listen
from .models import Block, Pretrained


@dataclass(frozen=True, eq=False)
class Calibration:
    """A model and the calibration text it reads.

    Args:
        pretrained: The model whose activations are seen; not modified.
        batches: Micro-batches with ``ids`` (B, T) and ``mask`` (B, T) or None.
        fingerprint: Hash of the text.
        blocks: The blocks to fit; by default all of the model's.
        dense: The untouched model where ``pretrained`` has a pruned prefix; else the same object.
    """

    pretrained: Pretrained
    batches: Sequence[Any]
    fingerprint: str
    blocks: tuple[Block, ...] = ()
    dense: Pretrained = field(default=None)  # type: ignore[assignment]

    def __post_init__(self) -> None:
        if not self.blocks:
            object.__setattr__(self, "blocks", self.pretrained.blocks)
        if self.dense is None:
            object.__setattr__(self, "dense", self.pretrained)

    def listen(self, see: See) -> None:
        """Show the inputs of every linear layer of :attr:`blocks`, one micro-batch at a time."""
        listen(self.pretrained, self.batches, self.blocks, see)

    def run(self, look: Callable[[Any], Any], pretrained: Pretrained | None = None) -> None:
        """Pass every micro-batch through the model while hooks of the caller's are in place.

        Args:
            look: Called with each micro-batch just before it passes.
            pretrained: Another model than :attr:`pretrained`, for instance :attr:`dense`.
        """
        chosen = self.pretrained if pretrained is None else pretrained
        with torch.inference_mode():
            for batch in self.batches:
                look(batch)
                mask = None if batch.mask is None else batch.mask.to(chosen.device)
                chosen.model.base_model(input_ids=batch.ids.to(chosen.device), attention_mask=mask)
