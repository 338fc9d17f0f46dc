"""Calibration text passes through the blocks one after the other; each block's streams are shown.

Only the hidden states before one block are kept, so what is learnt of a block can be put away
before the next one is looked at.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from ..calibration import Calibration
from ..layouts import get, twin
from ..models import Block
from ..sites import Replacements

Call = tuple[tuple[Any, ...], dict[str, Any]]


@dataclass(frozen=True, eq=False)
class Part:
    """One submodule of a block on t tokens.

    Args:
        residual: What the residual sum is before it, (t, d), float64.
        entering: What the submodule is given: the residual, normalised where the block does so.
        update: What is added to the residual sum.
    """

    residual: torch.Tensor
    entering: torch.Tensor
    update: torch.Tensor


@dataclass(frozen=True, eq=False)
class Flow:
    """One block on one micro-batch, in rows of the t tokens that are looked at, float64.

    Args:
        before: Hidden states before the block, (t, d).
        after: Hidden states after it, (t, d).
        attention: Its first submodule.
        feed_forward: Its second submodule.
        last: Whether each row is the last token of its sequence, (t,).
    """

    before: torch.Tensor
    after: torch.Tensor
    attention: Part
    feed_forward: Part
    last: torch.Tensor
    _module: nn.Module
    _hidden: torch.Tensor
    _call: Call
    _kept: torch.Tensor

    def entering(self, replacements: Replacements, recorder: Recorder) -> torch.Tensor:
        """What a recorder is given when the block runs with other modules in place, (t, d)."""
        args, kwargs = self._call
        with torch.inference_mode():
            twin(self._module, replacements)(self._hidden, *args, **kwargs)
        assert recorder.seen is not None
        return _rows(recorder.seen, self._kept)


class Recorder(nn.Module):
    """Stands where a bypass would, notes what it is given and adds nothing."""

    seen: torch.Tensor | None = None

    def forward(self, hidden_states: torch.Tensor, *args: Any, **kwargs: Any) -> torch.Tensor:
        """A zero of the input's shape."""
        self.seen = hidden_states
        return torch.zeros_like(hidden_states)


def walk(calibration: Calibration, skip: int = 0) -> Iterator[tuple[Block, Iterator[Flow]]]:
    """Every block to fit, in order of depth, with its flows; each flow must be taken.

    Args:
        calibration: The model and its text.
        skip: Leading tokens of each sequence that are not shown.
    """
    pretrained = calibration.pretrained
    wanted = {block.index: block for block in calibration.blocks}
    modules: Any = get(pretrained.model, pretrained.blocks_path)
    states, calls = _entered(calibration)
    kept = [_kept(batch, skip, pretrained.device) for batch in calibration.batches]
    for index, module in enumerate(modules):
        if index > max(wanted):
            return
        if index in wanted:
            yield wanted[index], _flows(wanted[index], module, states, calls, kept)
            continue
        with torch.inference_mode():
            for i, call in enumerate(calls):
                states[i] = module(states[i], *call[index][0], **call[index][1])


def _flows(
    block: Block,
    module: nn.Module,
    states: list[torch.Tensor],
    calls: list[list[Call]],
    kept: list[tuple[torch.Tensor, torch.Tensor]],
) -> Iterator[Flow]:
    for i, (rows, last) in enumerate(kept):
        hidden, call = states[i], calls[i][block.index]
        with torch.inference_mode(), _tapped(block) as seen:
            states[i] = module(hidden, *call[0], **call[1])
        parts = {
            part: Part(*(_rows(seen[part, what], rows) for what in ("residual", "in", "out")))
            for part in ("attention", "feed_forward")
        }
        before, after = _rows(hidden, rows), _rows(states[i], rows)
        yield Flow(before, after, **parts, last=last, _module=module,
                   _hidden=hidden, _call=call, _kept=rows)  # fmt: skip


def _rows(tensor: torch.Tensor, kept: torch.Tensor) -> torch.Tensor:
    """(t, d) in float64 of (B, T, d), or of (B*T, d) as some blocks flatten it."""
    return tensor.reshape(-1, tensor.shape[-1])[kept].double()


def _kept(batch: Any, skip: int, device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    """Which of the B*T tokens are looked at, and which of those end their sequence."""
    mask = torch.ones_like(batch.ids) if batch.mask is None else batch.mask
    place = mask.long().cumsum(1) * mask.long()  # 1 for the first real token, 0 at padding
    ends = (place == place.max(1, keepdim=True).values).reshape(-1)
    kept = (place > skip).reshape(-1)
    return kept.to(device), ends[kept].to(device)


class _Entry(nn.Module):
    """Stands where a block was and notes how it was called."""

    def __init__(self, calls: list[Any]) -> None:
        super().__init__()
        self.calls = calls

    def forward(self, *args: Any, **kwargs: Any) -> torch.Tensor:
        if not args:
            args = (kwargs.pop("hidden_states"),)
        self.calls.append((args[0], (args[1:], kwargs)))
        return args[0]


def _entered(calibration: Calibration) -> tuple[list[torch.Tensor], list[list[Call]]]:
    """Hidden states before the first block, and how every block is called, by micro-batch."""
    pretrained, seen = calibration.pretrained, []
    count = len(get(pretrained.model, pretrained.blocks_path))  # type: ignore[arg-type]
    states, calls = [], []
    for batch in calibration.batches:
        seen = []
        stand_ins = nn.ModuleList(_Entry(seen) for _ in range(count))
        model: Any = twin(pretrained.model, {pretrained.blocks_path: stand_ins})
        mask = None if batch.mask is None else batch.mask.to(pretrained.device)
        cache = {"use_cache": False} if pretrained.kind == "lm" else {}
        with torch.inference_mode():
            model.base_model(
                input_ids=batch.ids.to(pretrained.device), attention_mask=mask, **cache
            )
        states.append(seen[0][0])
        calls.append([call for _, call in seen])
    return states, calls


@contextlib.contextmanager
def _tapped(block: Block) -> Iterator[dict[tuple[str, str], torch.Tensor]]:
    """What passes in front of, into and out of each submodule while the block runs."""
    seen: dict[tuple[str, str], torch.Tensor] = {}
    layout = block.layout
    inside = layout.output.startswith(layout.attention + ".")
    attention = (layout.attention, layout.attention if inside else layout.output)
    feed_forward = (layout.feed_forward or layout.ups[0], layout.feed_forward or layout.down)
    taps = {
        "attention": (layout.attention_norms, *attention),
        "feed_forward": (layout.feed_forward_norms, *feed_forward),
    }
    handles = []
    for part, (norms, into, out) in taps.items():
        points = {"residual": norms[0] if norms else into, "in": into}
        for what, path in points.items():
            handles.append(_on_input(get(block.module, path), seen, (part, what)))
        last = norms[1] if len(norms) > 1 else out  # Gemma normalises what is added
        handles.append(_on_output(get(block.module, last), seen, (part, "out")))
    try:
        yield seen
    finally:
        for handle in handles:
            handle.remove()


def _on_input(module: nn.Module, seen: dict[Any, torch.Tensor], key: Any) -> Any:
    def hook(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        seen[key] = args[0] if args else kwargs["hidden_states"]

    return module.register_forward_pre_hook(hook, with_kwargs=True)


def _on_output(module: nn.Module, seen: dict[Any, torch.Tensor], key: Any) -> Any:
    def hook(module: nn.Module, args: Any, output: Any) -> None:
        seen[key] = output[0] if isinstance(output, tuple) else output

    return module.register_forward_hook(hook)
