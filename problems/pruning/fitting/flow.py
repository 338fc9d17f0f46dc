"""Calibration text passes through the blocks one after the other; each block's streams are shown.

Only the hidden states before one block are kept, so what is learnt of a block can be put away
before the next one is looked at.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from ..calibration import Calibration
from ..entrance import Call, enter
from ..layouts import get, twin
from ..models import Block
from ..sites import Replacements


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
    """

    before: torch.Tensor
    after: torch.Tensor
    attention: Part
    feed_forward: Part
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


@dataclass(frozen=True, eq=False)
class Passage:
    """All blocks on one micro-batch.

    Args:
        states: Hidden states before each block and after the last, (t, d) in the model's own type.
        last: Whether each row is the last token of its sequence, (t,).
        flows: What was asked for, by index of the block.
    """

    states: list[torch.Tensor]
    last: torch.Tensor
    flows: dict[int, Flow]


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
    wanted = {block.index: block for block in calibration.blocks}
    modules = _modules(calibration)
    entered = [enter(calibration.pretrained, batch) for batch in calibration.batches]
    states, calls = [e.hidden for e in entered], [e.calls for e in entered]
    kept = [_kept(batch, skip, calibration.pretrained.device)[0] for batch in calibration.batches]

    def flows(block: Block) -> Iterator[Flow]:
        for i, rows in enumerate(kept):
            index = block.index
            states[i], flow = _run(block, modules[index], states[i], calls[i][index], rows)
            yield flow

    for index, module in enumerate(modules[: max(wanted) + 1]):
        if index in wanted:
            yield wanted[index], flows(wanted[index])
        else:
            states = [_plain(module, s, c[index]) for s, c in zip(states, calls, strict=True)]


def passages(
    calibration: Calibration, blocks: Sequence[Block] = (), skip: int = 0
) -> Iterator[Passage]:
    """Every micro-batch through all blocks.

    Args:
        calibration: The model and its text.
        blocks: Whose flows are wanted.
        skip: Leading tokens of each sequence that are not shown.
    """
    wanted = {block.index: block for block in blocks}
    for batch in calibration.batches:
        rows, last = _kept(batch, skip, calibration.pretrained.device)
        entered = enter(calibration.pretrained, batch)
        state, calls = entered.hidden, entered.calls
        states, found = [_flat(state)[rows]], {}
        for index, module in enumerate(_modules(calibration)):
            if index in wanted:
                state, found[index] = _run(wanted[index], module, state, calls[index], rows)
            else:
                state = _plain(module, state, calls[index])
            states.append(_flat(state)[rows])
        yield Passage(states, last, found)


def _run(
    block: Block, module: nn.Module, hidden: torch.Tensor, call: Call, rows: torch.Tensor
) -> tuple[torch.Tensor, Flow]:
    """A block's output, and what went on inside."""
    with _tapped(block) as seen:
        out = _plain(module, hidden, call)
    parts = {
        part: Part(*(_rows(seen[part, what], rows) for what in ("residual", "in", "out")))
        for part in ("attention", "feed_forward")
    }
    flow = Flow(_rows(hidden, rows), _rows(out, rows), **parts, _module=module, _hidden=hidden,
                _call=call, _kept=rows)  # fmt: skip
    return out, flow


def _plain(module: nn.Module, hidden: torch.Tensor, call: Call) -> torch.Tensor:
    with torch.inference_mode():
        return module(hidden, *call[0], **call[1])


def _modules(calibration: Calibration) -> list[nn.Module]:
    listed: Any = get(calibration.pretrained.model, calibration.pretrained.blocks_path)
    return list(listed)


def _flat(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.reshape(-1, tensor.shape[-1])


def _rows(tensor: torch.Tensor, kept: torch.Tensor) -> torch.Tensor:
    """(t, d) in float64 of (B, T, d), or of (B*T, d) as some blocks flatten it."""
    return _flat(tensor)[kept].double()


def _kept(batch: Any, skip: int, device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    """Which of the B*T tokens are looked at, and which of those end their sequence."""
    mask = torch.ones_like(batch.ids) if batch.mask is None else batch.mask
    place = mask.long().cumsum(1) * mask.long()  # 1 for the first real token, 0 at padding
    ends = (place == place.max(1, keepdim=True).values).reshape(-1)
    kept = (place > skip).reshape(-1)
    return kept.to(device), ends[kept].to(device)


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
