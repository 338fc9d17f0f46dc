"""Blocks with their choices in place: built once, put together by the model's own ``forward``."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn

from .layouts import get, twin, without_feed_forward
from .models import Block
from .sites import Replacements, SiteTable
from .tally import Tally


class Memo(nn.Module):
    """Computes a module once and hands the result out again, whole or by rows."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module
        self.result: Any = None
        self.rows: torch.Tensor | None = None

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """The module's result at its first call, or the chosen rows of it."""
        if self.result is None:
            self.result = self.module(*args, **kwargs)
        if self.rows is None:
            return self.result
        return map_tensors(self.result, lambda t: t if t.dim() == 0 else t[self.rows])


class Assembly:
    """Puts the blocks of one dense model together under any choices.

    Args:
        blocks: The dense blocks; never modified.
        table: The sites.
        memory: Bytes of built variants to keep; the least recently used go first.
        tally: Where the time of building is counted.
    """

    def __init__(
        self, blocks: Sequence[Block], table: SiteTable, memory: int, tally: Tally
    ) -> None:
        self._blocks, self._table = blocks, table
        self._built = _Built(table, memory, tally)
        self._columns = table.by_block()

    def sites_before(self, depth: int) -> int:
        """How many sites lie in the blocks before a depth."""
        return sum(len(self._columns.get(d, ())) for d in range(depth))

    def forget(self, depth: int) -> None:
        """Let go of what was built for a block."""
        for column in self._columns.get(depth, ()):
            self._built.forget(column)

    def part(self, depth: int, part: str) -> list[int]:
        """Columns of one half of a block; a whole-block site counts as its feed-forward."""
        sites = self._table.sites
        return [
            c
            for c in self._columns.get(depth, ())
            if (sites[c].place.part == "attention") == (part == "attention")
        ]

    def _choice(self, depth: int, part: str, values: tuple[int, ...]) -> dict[str, nn.Module]:
        found: dict[str, nn.Module] = {}
        for column, value in zip(self.part(depth, part), values, strict=True):
            found.update(self._built(column, value))
        return found

    def attention(self, block: Block, values: tuple[int, ...]) -> Memo:
        """The block's shared module under an attention choice, computing once."""
        shared = block.layout.shared
        chosen = self._choice(block.index, "attention", values)
        inside = {
            p.removeprefix(shared).removeprefix("."): m for p, m in chosen.items() if _in(p, shared)
        }
        return Memo(twin(get(block.module, shared), inside))

    def assemble(
        self, block: Block, attention: tuple[int, ...], rest: tuple[int, ...] | None, memo: Memo
    ) -> nn.Module:
        """A block with its choices in place; ``rest`` None means without feed-forward."""
        shared = block.layout.shared
        chosen = self._choice(block.index, "attention", attention)
        outside = {p: m for p, m in chosen.items() if not _in(p, shared)}
        if rest is None:
            other: Replacements = without_feed_forward(block.module, block.layout)
        else:
            other = self._choice(block.index, "feed_forward", rest)
            if "" in other:
                return other[""]
        inner = {p: m for p, m in other.items() if _in(p, shared)}
        if inner:  # a whole-block site may change layers of the attention too
            cut = {p.removeprefix(shared).removeprefix("."): m for p, m in inner.items()}
            outside[shared] = twin(get(block.module, shared), cut)
            return twin(block.module, outside | {p: m for p, m in other.items() if p not in inner})
        return twin(block.module, outside | {shared: memo} | dict(other))

    def passes(self, depth: int, attention: tuple[int, ...], rest: tuple[int, ...]) -> bool:
        """Whether a block does nothing: both submodules are gone and no norm stays."""
        if not self._blocks[depth].layout.attention_norms:
            return False
        columns = self.part(depth, "attention") + self.part(depth, "feed_forward")
        sites = [self._table.sites[c] for c in columns]
        whole = all(s.kind in ("attention", "feed_forward") for s in sites) and len(sites) == 2
        chosen = [s.variants[v].kind for s, v in zip(sites, attention + rest, strict=True)]
        return whole and all(kind == "removal" for kind in chosen)


@dataclass
class _Built:
    """Built variants, the least recently used dropped beyond a number of bytes."""

    table: SiteTable
    memory: int
    tally: Tally
    kept: OrderedDict[tuple[int, int], tuple[Replacements, int]] = field(
        default_factory=OrderedDict
    )
    bytes: int = 0

    def __call__(self, site: int, variant: int) -> Replacements:
        key = (site, int(variant))
        if key not in self.kept:
            place = self.table.sites[site].place
            with self.tally.timing("build"):
                made = self.table.sites[site].variants[key[1]].build()
            shared = {p.data_ptr() for p in place.block.module.parameters()}
            size = sum(
                p.numel() * p.element_size()
                for m in made.values()
                for p in m.parameters()
                if p.data_ptr() not in shared
            )
            self.kept[key] = (made, size)
            self.bytes += size
            while self.bytes > self.memory and len(self.kept) > 1:
                _, (_, freed) = self.kept.popitem(last=False)
                self.bytes -= freed
        self.kept.move_to_end(key)
        return self.kept[key][0]

    def forget(self, site: int) -> None:
        """Drop all variants of a site."""
        for key in [k for k in self.kept if k[0] == site]:
            self.bytes -= self.kept.pop(key)[1]


def _in(path: str, parent: str) -> bool:
    return path == parent or path.startswith(parent + ".")


def map_tensors(value: Any, fn: Any) -> Any:
    """Apply a function to every tensor inside tuples, lists and dicts."""
    if isinstance(value, torch.Tensor):
        return fn(value)
    if isinstance(value, (tuple, list)):
        return type(value)(map_tensors(v, fn) for v in value)
    if isinstance(value, dict):
        return {k: map_tensors(v, fn) for k, v in value.items()}
    return value
