"""What passes from block to block of the dense model while it reads calibration text."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import torch

from ..calibration import Calibration
from ..models import Block
from ..searches import Mixed
from .removals import longest

States = list[torch.Tensor]  # L + 1 times (B, T, D)


def residual_states(problem: Mixed, samples: int | None = None) -> Iterator[tuple[States, Any]]:
    """Hidden states before every block and after the last one, one micro-batch at a time.

    The states after the last block are its own output; what the model itself gives out as its last
    hidden states has passed a norm.

    Args:
        problem: Whose dense model reads; not modified.
        samples: Read that many calibration sequences; None takes all.

    Yields:
        The L + 1 states, each (B, T, D), and which tokens are real, bool (B, T).
    """
    pretrained = problem.pretrained
    for batch in longest(problem.data.batches("calibration"), samples):
        states: States = []
        with _noting(pretrained.blocks, states):
            Calibration(pretrained, [batch], "").run(lambda _: None)
        real = torch.ones_like(batch.ids) if batch.mask is None else batch.mask
        yield states, real.to(pretrained.device).bool()


@contextlib.contextmanager
def _noting(blocks: tuple[Block, ...], states: States) -> Iterator[None]:
    """Note the input of every block, and the output of the last."""

    def before(module: Any, arguments: tuple[Any, ...], named: dict[str, Any]) -> None:
        states.append(arguments[0] if arguments else named["hidden_states"])

    def after(module: Any, arguments: tuple[Any, ...], output: Any) -> None:
        states.append(output[0] if isinstance(output, tuple) else output)

    handles = [b.module.register_forward_pre_hook(before, with_kwargs=True) for b in blocks]
    handles.append(blocks[-1].module.register_forward_hook(after))
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
