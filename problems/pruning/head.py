"""What follows the blocks: final norms and the language-model head, whole or in pieces.

In pieces the logits of a whole micro-batch never exist at once. That needs to be known: the head
is one linear layer, and what the model does to its output is nothing or a soft cap. Both are found
by probing the model's own ``forward``, never assumed; where the probe shows anything else, logits
come whole from that ``forward``.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import nn

from .layouts import twin
from .models import Pretrained

REACH = 300.0  # the probe's logits lie between minus this and this


@dataclass(frozen=True, eq=False)
class Projection:
    """From what the head is given to logits, for any number of positions.

    Args:
        weight: (V, D).
        bias: (V,) or None.
        cap: c of logits c · tanh(z / c), or None.
    """

    weight: torch.Tensor
    bias: torch.Tensor | None = None
    cap: float | None = None

    @property
    def vocabulary(self) -> int:
        """V."""
        return self.weight.shape[0]

    def __call__(self, features: torch.Tensor, out: torch.Tensor) -> torch.Tensor:
        """Logits (N, V) of features (N, D), written into ``out``."""
        torch.mm(features, self.weight.t(), out=out)
        if self.bias is not None:
            out.add_(self.bias)
        if self.cap is not None:
            out.div_(self.cap).tanh_().mul_(self.cap)
        return out


class _Inject(nn.Module):
    """Stands where all blocks were and returns a given state."""

    state: torch.Tensor

    def forward(self, *args: Any, **kwargs: Any) -> torch.Tensor:
        return self.state


class _Catch(nn.Module):
    """Stands where the linear head was, keeps what it is given, and answers something else."""

    given: torch.Tensor
    answer: torch.Tensor | None = None

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        self.given = features
        return features[..., :1] if self.answer is None else self.answer


class Head:
    """The end of one dense model, from the state after the last block on.

    Args:
        pretrained: The dense model; not modified.
    """

    def __init__(self, pretrained: Pretrained) -> None:
        self._pretrained = pretrained
        self._inject, self._catch = _Inject(), _Catch()
        ends = {pretrained.blocks_path: nn.ModuleList([self._inject])}
        self._tail: Any = twin(pretrained.model, ends)
        self._ends_with_blocks = False  # learnt at the first call

    def __call__(self, inputs: dict[str, Any], state: torch.Tensor) -> torch.Tensor:
        """Logits (B, T, V) of a language model, or last hidden states (B, T, D) of an encoder.

        Args:
            inputs: The model's keyword arguments for the micro-batch, without a mask: every
                attention has run, and norms and head need none.
            state: Hidden states after the last block, (B, T, D).
        """
        if self._ends_with_blocks:
            return state
        self._inject.state = state
        output = self._tail(**inputs)
        if self._pretrained.kind == "lm":
            return output.logits
        self._ends_with_blocks = output.last_hidden_state is state
        return output.last_hidden_state

    def pieces(
        self, inputs: dict[str, Any], state: torch.Tensor
    ) -> tuple[torch.Tensor, Projection] | None:
        """What the linear head is given, (B, T, D), and that head; None where it is not known."""
        projection = self._projection
        if projection is None:
            return None
        self._inject.state, self._catch.answer = state, None
        self._headless(**inputs)
        return self._catch.given, projection

    @cached_property
    def _headless(self) -> Any:
        path, _ = self._linear or ("", None)
        return twin(self._tail, {path: self._catch})

    @cached_property
    def _linear(self) -> tuple[str, nn.Linear] | None:
        """The head's path and layer, if it is a plain linear layer."""
        if self._pretrained.kind != "lm":
            return None
        head = self._pretrained.model.get_output_embeddings()
        paths = [p for p, m in self._pretrained.model.named_modules() if m is head]
        return (paths[0], head) if type(head) is nn.Linear and len(paths) == 1 else None

    @cached_property
    def _projection(self) -> Projection | None:
        """The head if all that becomes of its output is known; in single precision only.

        With fewer bits a product of another shape rounds to other logits.
        """
        if self._linear is None or self._linear[1].weight.dtype != torch.float32:
            return None
        layer = self._linear[1]
        device = layer.weight.device
        asked = torch.linspace(-REACH, REACH, layer.weight.shape[0], device=device)[None, None]
        self._inject.state = asked.new_zeros(1, 1, layer.weight.shape[1])
        self._catch.answer = asked
        told = self._headless(input_ids=torch.zeros(1, 1, dtype=torch.long, device=device)).logits
        if told.shape != asked.shape:
            return None
        if torch.equal(told, asked):
            return Projection(layer.weight, layer.bias)
        cap = getattr(self._pretrained.config, "final_logit_softcapping", None)
        if cap and torch.allclose(told, torch.tanh(asked / cap) * cap, rtol=1e-6):
            return Projection(layer.weight, layer.bias, float(cap))
        return None
