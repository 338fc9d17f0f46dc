"""Sites and variants: the places where a choice is made, the choices, and what each one costs.

A *site* is an attention, a feed-forward, a whole block or a single linear layer. It has an ordered
list of *variants*, dense first, then from the largest to the smallest. A genome holds one integer
per site, sites in order of depth.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from torch import nn

from evo.errors import ConfigError

from .layouts import get, matrix
from .models import Block

SiteKind = Literal["attention", "feed_forward", "block", "linear"]
Replacements = Mapping[str, nn.Module]


@dataclass(frozen=True, slots=True)
class Cost:
    """What a variant of a site costs.

    Args:
        params: Parameters that remain (non-zero ones under unstructured sparsity).
        macs: Multiply-accumulates per token at the evaluated sequence length; zeros count as saved.
        weight_bytes: Bytes of the weights when stored compactly (values and a bitmap under
            sparsity).
        kv_bytes: Bytes of keys and values kept per token of context, on average at the evaluated
            sequence length.
        weights: Weights of the linear layers that remain and are not zero, biases left out.
    """

    params: int
    macs: float
    weight_bytes: int
    kv_bytes: float
    weights: int = 0


@dataclass(frozen=True, slots=True)
class Shared:
    """Weights that several sites use and a model holds once, as large as the largest user needs.

    Args:
        name: Whose weights; users of one name share.
        params: Parameters that this user needs; all are weights of linear layers.
        weight_bytes: Their bytes.
    """

    name: str
    params: int
    weight_bytes: int

    @property
    def weights(self) -> int:
        """Weights of linear layers, as in :class:`Cost`."""
        return self.params


@dataclass(frozen=True, slots=True, eq=False)
class Variant:
    """One choice at a site.

    Args:
        name: Unique at its site, e.g. ``width-0.5``.
        kind: The family of choices it belongs to, e.g. ``width``.
        cost: What it costs.
        build: Makes the modules that replace the dense ones, by path inside the block; shares what
            it can.
        shape: What an exported model must know to rebuild the empty modules: ``skip``,
            ``intermediate_size``, ``num_attention_heads``, ``num_key_value_heads``, ``modules``
            (path → type and sizes, see :mod:`.modules`); empty when shapes stay dense.
        sparsity: Share of the site's prunable weights that are zero, 0 for structured choices.
        shared: Weights used in common with other sites, beside ``cost``.
    """

    name: str
    kind: str
    cost: Cost
    build: Callable[[], Replacements]
    shape: Mapping[str, Any] = field(default_factory=dict)
    sparsity: float = 0.0
    shared: Shared | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Place:
    """Where a site is, before its variants are known.

    Args:
        kind: What is there.
        block: The block it belongs to.
        linears: Paths of its linear layers inside the block.
        own: Number of parameters that vanish with it.
        part: ``attention`` or ``feed_forward`` for parts of a block, ``both`` for a whole block.
        itemsize: Bytes of one weight.
        tokens: Mean number of positions a query attends to, for the attention's
            multiply-accumulates.
        caches: Whether the model keeps keys and values (decoders do).
        length: Tokens of an evaluated sequence, or None where it is not known.
    """

    kind: SiteKind
    block: Block
    linears: tuple[str, ...]
    own: int
    part: str
    itemsize: int
    tokens: float
    caches: bool
    length: int | None = None

    @property
    def name(self) -> str:
        """Readable and unique in the model."""
        suffix = self.linears[0] if self.kind == "linear" else self.kind
        return f"block{self.block.index}.{suffix}"

    @property
    def attends(self) -> bool:
        """Whether the site's cost includes the products of queries, keys and values."""
        return self.kind in ("attention", "block")

    def weight_count(self) -> int:
        """Number of weights in its linear layers, biases left out."""
        return sum(out * into for out, into in self.shapes().values())

    def shapes(self) -> dict[str, tuple[int, int]]:
        """(d_out, d_in) of every linear layer, by path."""
        return {p: shape_of(get(self.block.module, p)) for p in self.linears}

    def cost(
        self,
        shapes: Mapping[str, tuple[int, int]] | None = None,
        *,
        zeros: int = 0,
        groups: int | None = None,
        sizes: Mapping[str, tuple[int, int]] | None = None,
    ) -> Cost:
        """Cost when the linear layers have the given shapes and some of their weights are zero.

        Args:
            shapes: New (d_out, d_in) of the layers that are cut; the others stay dense.
            zeros: Weights that are zero; stored as a bitmap and the remaining values.
            groups: Key/value groups that remain; None means all.
            sizes: (parameters, multiply-accumulates per token) of layers that are no longer one
                matrix.
        """
        dense, other = self.shapes(), dict(sizes or {})
        now = {p: s for p, s in (dense | dict(shapes or {})).items() if p not in other}
        weights = sum(out * into for out, into in now.values())
        weights += sum(macs for _, macs in other.values())
        params = self.own - sum(self._size(p, s) for p, s in dense.items())
        params += sum(self._size(p, s) for p, s in now.items())
        params += sum(count for count, _ in other.values())
        heads = self.block.heads
        kept = heads.groups if groups is None else groups
        attended = 2 * kept * heads.per_group * heads.size * self.tokens if self.attends else 0.0
        bitmap = (weights + 7) // 8 if zeros else 0
        stored = min(params, params - zeros + bitmap / self.itemsize) if zeros else params
        kv = 2 * kept * heads.size * self.itemsize if self.attends and self.caches else 0
        left = weights - zeros
        return Cost(params - zeros, left + attended, int(stored * self.itemsize), kv, left)

    def _size(self, path: str, shape: tuple[int, int]) -> int:
        out, into = shape
        return out * into + (out if get(self.block.module, path).bias is not None else 0)

    def nothing(self) -> Cost:
        """Cost when the whole site is gone."""
        return Cost(0, 0.0, 0, 0)


@dataclass(frozen=True, slots=True, eq=False)
class Site:
    """A place with its variants, dense first."""

    place: Place
    variants: tuple[Variant, ...]

    @property
    def name(self) -> str:
        """Readable and unique in the model."""
        return self.place.name

    @property
    def kind(self) -> str:
        """What is there: attention, feed_forward, block or linear."""
        return self.place.kind

    @property
    def depth(self) -> int:
        """Index of the block."""
        return self.place.block.index


@dataclass(frozen=True, eq=False)
class SiteTable:
    """All sites of a model in order of depth, and their costs as arrays.

    Args:
        sites: The sites; S of them.
        base: Cost of everything that no site owns: embeddings, last norm, head, norms that stay.
    """

    sites: tuple[Site, ...]
    base: Cost
    params: NDArray[np.float64] = field(init=False)  # (S, V)
    macs: NDArray[np.float64] = field(init=False)  # (S, V)
    weight_bytes: NDArray[np.float64] = field(init=False)  # (S, V)
    kv_bytes: NDArray[np.float64] = field(init=False)  # (S, V)
    weights: NDArray[np.float64] = field(init=False)  # (S, V)

    def __post_init__(self) -> None:
        if not self.sites:
            raise ConfigError(
                "no site has anything to choose",
                hint="add a kind of variant, e.g. removal or width",
            )
        for name in ("params", "macs", "weight_bytes", "kv_bytes", "weights"):
            rows = [[getattr(v.cost, name) for v in s.variants] for s in self.sites]
            object.__setattr__(self, name, padded(rows))

    def __len__(self) -> int:
        return len(self.sites)

    @property
    def name(self) -> list[str]:
        """Name of each site."""
        return [s.name for s in self.sites]

    @property
    def kind(self) -> list[str]:
        """Kind of each site."""
        return [s.kind for s in self.sites]

    @property
    def depth(self) -> NDArray[np.int64]:
        """Index of each site's block, shape (S,)."""
        return np.array([s.depth for s in self.sites])

    @property
    def sizes(self) -> list[int]:
        """Number of variants of each site."""
        return [len(s.variants) for s in self.sites]

    def look_up(self, table: NDArray[np.float64], choices: NDArray[Any]) -> NDArray[np.float64]:
        """Entries of a (S, V) table for n rows of choices, shape (n, S)."""
        return table[np.arange(len(self.sites)), choices.astype(np.intp)]

    def costs(self, name: str, choices: NDArray[Any]) -> NDArray[np.float64]:
        """Costs of n rows of choices, (n, S); weights in common are paid by the first user.

        A later user that needs more of them pays the difference.

        Args:
            name: ``params``, ``macs``, ``weight_bytes``, ``kv_bytes`` or ``weights``.
            choices: Variant index per site, (n, S).
        """
        found = self.look_up(getattr(self, name), choices)
        for table in self._in_common(name):
            most = np.maximum.accumulate(self.look_up(table, choices), axis=1)
            found = found + np.diff(most, axis=1, prepend=0.0)
        return found

    def _in_common(self, name: str) -> list[NDArray[np.float64]]:
        """What every variant needs of each group of weights in common, (S, V)."""
        if name not in ("params", "weight_bytes", "weights"):
            return []
        users = {v.shared.name for s in self.sites for v in s.variants if v.shared}
        return [
            padded([
                [getattr(v.shared, name) if v.shared and v.shared.name == user else 0.0
                 for v in s.variants]
                for s in self.sites
            ])
            for user in sorted(users)
        ]  # fmt: skip

    def by_block(self) -> dict[int, list[int]]:
        """Block index → positions of its sites, in order."""
        found: dict[int, list[int]] = {}
        for i, site in enumerate(self.sites):
            found.setdefault(site.depth, []).append(i)
        return found


def padded(rows: Sequence[Sequence[float]]) -> NDArray[np.float64]:
    """Rows of unequal length as one (S, V) array; missing entries are NaN."""
    out = np.full((len(rows), max(map(len, rows))), np.nan)
    for i, row in enumerate(rows):
        out[i, : len(row)] = row
    return out


def shape_of(layer: nn.Module) -> tuple[int, int]:
    """(d_out, d_in) of a linear layer."""
    out, into = matrix(layer).shape
    return out, into


def _own(block: Block, kind: SiteKind, linear: str | None) -> int:
    """Parameters that vanish when the place is emptied; no parameter belongs to two places."""
    layout, module = block.layout, block.module
    if kind == "block":
        roots = [""]
    elif kind == "linear":
        roots = [str(linear)]
    elif kind == "attention":
        roots = [layout.attention, layout.output, *layout.attention_norms]
    else:
        ffn = [layout.feed_forward] if layout.feed_forward else list(layout.feed_forward_linears)
        roots = [*ffn, *layout.feed_forward_norms]
    unique = {id(p): p.numel() for root in roots for p in get(module, root).parameters()}
    return sum(unique.values())


def places(
    blocks: Sequence[Block], granularity: str, *, itemsize: int, tokens: float, caches: bool,
    length: int | None = None,
) -> list[Place]:  # fmt: skip
    """All places of a model in order of depth.

    Args:
        blocks: Blocks of the dense model.
        granularity: ``submodule`` (attention and feed-forward), ``linear`` or ``block``.
        itemsize: Bytes of one weight.
        tokens: Mean number of positions a query attends to.
        caches: Whether keys and values are kept per token.
        length: Tokens of an evaluated sequence.

    Raises:
        ConfigError: Unknown granularity.
    """
    found = []
    for block in blocks:
        attention, ffn = block.layout.attention_linears, block.layout.feed_forward_linears
        wanted: list[tuple[SiteKind, tuple[str, ...], str]] = []
        if granularity == "submodule":
            wanted.append(("attention", attention, "attention"))
            wanted.append(("feed_forward", ffn, "feed_forward"))
        elif granularity == "block":
            wanted.append(("block", (*attention, *ffn), "both"))
        elif granularity == "linear":
            wanted.extend(("linear", (p,), "attention") for p in attention)
            wanted.extend(("linear", (p,), "feed_forward") for p in ffn)
        else:
            raise ConfigError(
                f"sites must be 'submodule', 'block' or 'linear', got {granularity!r}"
            )
        for kind, linears, part in wanted:
            own = _own(block, kind, linears[0] if kind == "linear" else None)
            found.append(Place(kind, block, linears, own, part, itemsize, tokens, caches, length))
    return found
