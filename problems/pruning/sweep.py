"""Judge n candidates in one pass over the blocks of the unmodified model.

Candidates that agree on all sites so far share one state (the hidden states of one micro-batch). At
each block the distinct (state, choices) pairs are the work: an attention is computed once for all
feed-forward choices that follow it, and a removed submodule is no work. Three orders give the same
results: depth-first keeps one state per depth, which stays in a processor's cache; breadth-first
stacks all states that make the same choice into one product, which fills a GPU; layer by layer, all
micro-batches pass a block before the next one is touched, so that weights which lie in a file are
read once per call and may be more than memory holds.

A block is run by its own ``forward`` with other submodules in place, so every wiring (norms before,
after, both; parallel residuals) is the model's own.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from evo.errors import ModelError

from . import paging
from .assembly import Assembly, map_tensors
from .entrance import Prepared, enter, inputs
from .head import Head
from .models import Block, Pretrained
from .prefixes import Rows
from .sites import SiteTable
from .states import States
from .tally import Tally, Work, synchronise

ORDERS = ("auto", "depth", "breadth", "layer")
BUILT = 2 << 30  # bytes of variants that are kept


class MicroBatch(Protocol):
    """A few sequences that are judged together."""

    @property
    def ids(self) -> torch.Tensor:
        """Token ids, (B, T)."""
        ...

    @property
    def mask(self) -> torch.Tensor | None:
        """1 for real tokens and 0 for padding, (B, T); None when nothing is padded."""
        ...


class Reader(Protocol):
    """Turns what the model gives for one micro-batch into numbers per sequence.

    A reader of logits may also have ``in_pieces(index, batch, features (B, T, D), projection)``,
    which gives the same numbers without all logits at once; see :mod:`.head`.
    """

    @property
    def width(self) -> int:
        """Numbers per sequence."""
        ...

    def __call__(self, index: int, batch: Any, output: torch.Tensor) -> torch.Tensor:
        """Numbers of micro-batch ``index``, (B, width), from logits or hidden states (B, T, …)."""
        ...


Final = tuple[int, NDArray[np.intp], torch.Tensor]
"""Place of a micro-batch, rows of genomes, and the state in which these end up on it."""


class Sweep:
    """The engine for one dense model and one table of sites.

    Args:
        pretrained: The dense model; never modified.
        table: Its sites.
        order: ``depth``, ``breadth``, ``layer``, or ``auto``: depth on a processor, breadth on a
            GPU.
        memory: Bytes of built variants to keep; the least recently used go first.
        states: Bytes of hidden states to keep from one call to the next, so that children start at
            their first change; 0 keeps none. Only depth-first sweeps use them.
        tally: Where work is counted.
    """

    def __init__(
        self,
        pretrained: Pretrained,
        table: SiteTable,
        *,
        order: str = "auto",
        memory: int = BUILT,
        states: int = 0,
        tally: Tally | None = None,
    ) -> None:
        if order not in ORDERS:
            raise ModelError(f"order must be one of {', '.join(ORDERS)}, got {order!r}")
        self.pretrained = pretrained
        self.table = table
        on_cpu = pretrained.device.type == "cpu"
        self.order = ("depth" if on_cpu else "breadth") if order == "auto" else order
        self.tally = Tally() if tally is None else tally
        self._work = Work(table, pretrained, self.tally)
        self._assembly = Assembly(pretrained.blocks, table, memory, self.tally)
        self._states = States(states)
        self._head = Head(pretrained)
        self._prepared: dict[int, tuple[Any, Prepared]] = {}

    def __call__(
        self,
        choices: NDArray[Any],
        batches: Sequence[MicroBatch],
        reader: Reader,
        only: Sequence[int] | None = None,
    ) -> NDArray[np.float64]:
        """Numbers per candidate and sequence.

        Args:
            choices: Variant index per site, (n, S).
            batches: Micro-batches; their sequences are stacked in order.
            reader: What to read off.
            only: Which of the micro-batches to judge, in this order; all by default.

        Returns:
            Shape (n, sequences, reader.width), float64.
        """
        distinct, inverse = np.unique(np.asarray(choices), axis=0, return_inverse=True)
        rows = Rows(distinct)
        wanted = range(len(batches)) if only is None else only
        sizes = [len(batches[index].ids) for index in wanted]
        stops = np.cumsum(sizes)
        out = np.zeros((len(rows), int(stops[-1]), reader.width))
        self._plan(rows, batches)
        with torch.inference_mode():
            chosen = [batches[index] for index in wanted]
            self.tally.tokens += len(choices) * sum(batch.ids.numel() for batch in chosen)
            for place, slots, state in self._timed(self._visit(rows, chosen)):
                with self.tally.timing("heads"):
                    read = self._read(reader, wanted[place], chosen[place], state)
                    span = slice(stops[place] - sizes[place], stops[place])
                    out[slots, span] = read.double().cpu().numpy()
                self._work.head(state)
        return out[inverse.reshape(-1)]

    def _visit(self, rows: Rows, batches: Sequence[MicroBatch]) -> Iterator[Final]:
        """Final states of all micro-batches: which micro-batch, who reaches it, and the state."""
        prepared = [self.prepare(batch) for batch in batches]
        if self.order == "layer":
            yield from self._layer_by_layer(rows, prepared)
            return
        visit = self._depth_first if self.order == "depth" else self._breadth_first
        for place, one in enumerate(prepared):
            for slots, state in visit(rows, one):
                yield place, slots, state

    def _timed(self, states: Iterator[Final]) -> Iterator[Final]:
        """The same, with the time that each took counted as blocks."""
        while True:
            with self.tally.timing("blocks"):
                found = next(states, None)
                if found is not None:
                    synchronise(found[2].device)
            if found is None:
                return
            yield found

    def _plan(self, rows: Rows, batches: Sequence[MicroBatch]) -> None:
        """Decide which states are kept for children of these rows."""
        depths = range(1, len(self.pretrained.blocks))
        counts = [len(rows.groups(rows.everyone, self._before(depth))) for depth in depths]
        prepared = [self.prepare(batch) for batch in batches]
        self._states.plan(counts, {id(p): p.hidden.nbytes for p in prepared})

    def prepare(self, batch: MicroBatch) -> Prepared:
        """Embedding and block arguments of a micro-batch, computed once per batch object."""
        known = self._prepared.get(id(batch))
        if known is None or known[0] is not batch:
            with self.tally.timing("enter"):
                self._prepared[id(batch)] = known = (batch, enter(self.pretrained, batch))
        return known[1]

    def keep(self, states: int) -> None:
        """Keep so many bytes of hidden states from now on."""
        self._states.budget = states

    def forget(self) -> None:
        """Let go of all that is kept for micro-batches seen so far; what was built stays."""
        self._prepared.clear()
        self._states = States(self._states.budget)

    def _inputs(self, batch: MicroBatch, *, masked: bool = True) -> dict[str, Any]:
        return inputs(self.pretrained, batch, masked=masked)

    def head(self, batch: MicroBatch, state: torch.Tensor) -> torch.Tensor:
        """Logits (B, T, V) of a language model, or last hidden states (B, T, D) of an encoder."""
        return self._head(self._inputs(batch, masked=False), state)

    def _read(
        self, reader: Reader, index: int, batch: MicroBatch, state: torch.Tensor
    ) -> torch.Tensor:
        """A reader's numbers, from pieces of the head's output if both can do that."""
        in_pieces = getattr(reader, "in_pieces", None)
        found = None
        if in_pieces is not None:
            found = self._head.pieces(self._inputs(batch, masked=False), state)
        if in_pieces is None or found is None:
            return reader(index, batch, self.head(batch, state))
        return in_pieces(index, batch, *found)

    # -- depth first -----------------------------------------------------------------------------

    def _depth_first(
        self, rows: Rows, prepared: Prepared
    ) -> Iterator[tuple[NDArray[np.intp], torch.Tensor]]:
        """Final states with the rows that reach them."""
        yield from self._descend(0, rows.everyone, rows, prepared.hidden, prepared)

    def _descend(
        self, depth: int, members: NDArray[np.intp], rows: Rows, state: torch.Tensor,
        prepared: Prepared,
    ) -> Iterator[tuple[NDArray[np.intp], torch.Tensor]]:  # fmt: skip
        if depth == len(self.pretrained.blocks):
            yield members, state
            return
        rung = self._states.rung_after(depth, len(self.pretrained.blocks), id(prepared))
        if rung is not None:
            for key, group in self._prefixes(rows, members, rung, prepared):
                known = self._states.get(key)
                if known is not None:
                    self.tally.recalled += (rung - depth) * len(group)
                    members = np.setdiff1d(members, group, assume_unique=True)
                    yield from self._descend(rung, group, rows, known, prepared)
        for inner, after in self._step(depth, members, rows, state, prepared):
            if rung is not None and rung == depth + 1:
                ((key, _),) = self._prefixes(rows, inner[:1], rung, prepared)
                self._states.put(key, after)
            yield from self._descend(depth + 1, inner, rows, after, prepared)

    def _step(
        self, depth: int, members: NDArray[np.intp], rows: Rows, state: torch.Tensor,
        prepared: Prepared,
    ) -> Iterator[tuple[NDArray[np.intp], torch.Tensor]]:  # fmt: skip
        """One block for one state: each distinct choice with the rows that make it."""
        block = self.pretrained.blocks[depth]
        args, kwargs = prepared.calls[depth]
        first, second = (self._assembly.part(depth, p) for p in ("attention", "feed_forward"))
        for attention, group in rows.groups(members, first):
            memo = self._assembly.attention(block, attention)
            fresh = True
            for rest, inner in rows.groups(group, second):
                self.tally.shared += len(inner) - 1
                if self._assembly.passes(depth, attention, rest):
                    yield inner, state
                else:
                    self.tally.blocks += 1
                    if fresh:
                        self._work.half(first, attention, state, first=True)
                    fresh = False
                    self._work.half(second, rest, state, first=False)
                    module = self._assembly.assemble(block, attention, rest, memo)
                    yield inner, module(state, *args, **kwargs)

    def _prefixes(
        self, rows: Rows, members: NDArray[np.intp], depth: int, prepared: Prepared
    ) -> list[tuple[Any, NDArray[np.intp]]]:
        """Members by their choices at all sites before a depth, under the key of that state."""
        found = rows.groups(members, self._before(depth))
        return [((id(prepared), depth, k), group) for k, group in found]

    def _before(self, depth: int) -> list[int]:
        """The sites before a depth."""
        return list(range(self._assembly.sites_before(depth)))

    # -- layer by layer --------------------------------------------------------------------------

    def _layer_by_layer(self, rows: Rows, prepared: Sequence[Prepared]) -> Iterator[Final]:
        """The same final states, with all micro-batches taken through a block before the next."""
        blocks = self.pretrained.blocks
        states = [[(rows.everyone, one.hidden)] for one in prepared]
        for depth, block in enumerate(blocks):
            if depth + 1 < len(blocks):
                paging.fetch(blocks[depth + 1].module)
            for place, one in enumerate(prepared):
                reached, states[place] = states[place], []
                while reached:
                    members, state = reached.pop()
                    states[place] += self._step(depth, members, rows, state, one)
            self._assembly.forget(depth)
            paging.drop(block.module)
        for place, reached in enumerate(states):
            while reached:
                yield place, *reached.pop()

    # -- breadth first ---------------------------------------------------------------------------

    def _breadth_first(
        self, rows: Rows, prepared: Prepared
    ) -> Iterator[tuple[NDArray[np.intp], torch.Tensor]]:
        """The same final states, with all distinct states of a depth stacked."""
        length = len(prepared.hidden)
        stacked, owner = prepared.hidden, np.zeros(len(rows), dtype=np.intp)
        for depth, block in enumerate(self.pretrained.blocks):
            stacked, owner = self._layer(block, rows, stacked, owner, length, prepared.calls[depth])
        for which in range(len(stacked) // length):
            final = stacked[which * length : (which + 1) * length]
            yield np.flatnonzero(owner == which), final

    def _layer(
        self, block: Block, rows: Rows, stacked: torch.Tensor, owner: NDArray[np.intp],
        length: int, call: tuple[tuple[Any, ...], dict[str, Any]],
    ) -> tuple[torch.Tensor, NDArray[np.intp]]:  # fmt: skip
        """One block for all states: (k·B, T, D) and each row's state, before → after."""
        depth, after, new_owner = block.index, [], np.empty_like(owner)
        count = 0
        first, second = (self._assembly.part(depth, p) for p in ("attention", "feed_forward"))
        for attention, group in rows.groups(rows.everyone, first):
            sources = np.unique(owner[group])
            x = _pick(stacked, sources, length)
            memo = self._assembly.attention(block, attention)
            self._run(self._assembly.assemble(block, attention, None, memo), x, call, length)
            self._work.half(first, attention, x, first=True)
            for rest, inner in rows.groups(group, second):
                wanted = np.unique(owner[inner])
                positions = np.searchsorted(sources, wanted)
                memo.rows = _rows(positions, length, x.device)
                module = self._assembly.assemble(block, attention, rest, memo)
                chosen = _pick(x, positions, length)
                self._work.half(second, rest, chosen, first=False)
                after.append(self._run(module, chosen, call, length))
                new_owner[inner] = count + np.searchsorted(wanted, owner[inner])
                count += len(wanted)
                self.tally.blocks += len(wanted)
                self.tally.shared += len(inner) - len(wanted)
        return torch.cat(after), new_owner

    def _run(
        self, module: nn.Module, x: torch.Tensor, call: tuple[tuple[Any, ...], dict[str, Any]],
        length: int,
    ) -> torch.Tensor:  # fmt: skip
        times = len(x) // length
        args, kwargs = map_tensors(call, lambda t: _repeat(t, times, length))
        return module(x, *args, **kwargs)


def _rows(positions: NDArray[np.intp], length: int, device: torch.device) -> torch.Tensor:
    index = torch.as_tensor(positions, device=device)
    return (index[:, None] * length + torch.arange(length, device=device)).reshape(-1)


def _pick(stacked: torch.Tensor, positions: NDArray[np.intp], length: int) -> torch.Tensor:
    return stacked[_rows(positions, length, stacked.device)]


def _repeat(tensor: torch.Tensor, times: int, length: int) -> torch.Tensor:
    """Repeat a tensor whose first axis counts the sequences; others broadcast as they are."""
    if times == 1 or length == 1 or tensor.dim() < 2 or tensor.shape[0] != length:
        return tensor
    return tensor.repeat(times, *(1,) * (tensor.dim() - 1))
