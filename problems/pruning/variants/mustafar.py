"""Mustafar: keys and values in an attention's cache keep their entries of largest magnitude.

Joo et al., arXiv 2505.22913: unstructured sparsity per token and head, found after the rotary
embedding, with a window of recent tokens left whole. :mod:`..sparse_cache` computes what decoding
with such a cache gives.

A key or value of D entries, of which k stay, takes a bitmap of ceil(D / 8) bytes and k values, or
its dense form where that is smaller. In a cache of L tokens of G heads, w of them in the window,
a token takes on average::

    G * (w * 2 * dense + (L - w) * (packed key + packed value)) / L    bytes

The paper's kernel adds an offset of 4 bytes for every 64 entries and rounds the number of values up
to a multiple of eight; that depends on the text and is left out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from evo.errors import ConfigError

from ..layouts import get
from ..library import Library
from ..sites import Cost, Place, Replacements, Variant
from ..sparse_cache import SparseCache, goes_through_interface, kept, with_sparse_cache

WINDOW = 32


@dataclass(frozen=True)
class Mustafar:
    """Levels are nominal shares of every key and value that are dropped.

    Args:
        window: Recent tokens that stay whole.
        keys: Share dropped of keys, whatever the level; None follows the level.
        values: Share dropped of values, likewise: ``mustafar(values=0)@0.5`` prunes keys alone.
    """

    name: str = "mustafar"
    levels: tuple[float, ...] = (0.3, 0.5, 0.7, 0.9)
    scorer: str | None = None
    window: int = WINDOW
    keys: float | None = None
    values: float | None = None

    def __post_init__(self) -> None:
        if self.window < 1:
            raise ConfigError(f"window of variant {self.name!r} is {self.window}, it must be 1 on")
        for side, share in (("keys", self.keys), ("values", self.values)):
            if share is not None and not 0.0 <= share < 1.0:
                raise ConfigError(
                    f"{side} of variant {self.name!r} is {share}; it must be a share from 0 on, "
                    "less than 1"
                )
        if self.keys == self.values == 0.0:
            raise ConfigError(f"variant {self.name!r} drops nothing of keys and of values")

    def variants(self, place: Place, library: Library, levels: Sequence[float]) -> list[Variant]:
        """One variant per level where the cache of an attention outgrows the window.

        Raises:
            ConfigError: The model keeps no cache, its attention cannot be told to see a sparse one,
                or the text is no longer than the window.
        """
        if not place.attends:
            return []
        self._require_cache(place)
        if _cached(place) <= self.window:
            return []  # a sliding window that leaves nothing to prune
        caches = {
            SparseCache(
                level if self.keys is None else self.keys,
                level if self.values is None else self.values,
                self.window,
            ): None
            for level in levels
        }
        return [self._variant(place, cache) for cache in caches]

    def _require_cache(self, place: Place) -> None:
        attention = get(place.block.module, place.block.layout.attention)
        family = type(attention).__name__
        if not place.caches or not getattr(attention, "is_causal", False):
            raise ConfigError(
                f"variant {self.name!r} prunes the cache of keys and values, and {family} keeps "
                "none: the model is no decoder",
                hint="use it with a causal language model",
            )
        if not goes_through_interface(attention):
            raise ConfigError(
                f"variant {self.name!r} does not fit {family}: it does not look its attention "
                "function up in transformers"
            )
        if place.length is not None and place.length <= self.window:
            raise ConfigError(
                f"variant {self.name!r} leaves the last {self.window} tokens whole, and sequences "
                f"have {place.length}: nothing would be pruned",
                hint="raise problem.length, or give the variant a smaller window, as in "
                f"mustafar(window={max(1, place.length // 4)})",
            )

    def _variant(self, place: Place, cache: SparseCache) -> Variant:
        layout = place.block.layout
        said = {"keys": cache.keys, "values": cache.values, "window": cache.window}
        output = layout.output.removeprefix(f"{layout.attention}.")

        def build() -> Replacements:
            attention = get(place.block.module, layout.attention)
            return {layout.attention: with_sparse_cache(attention, cache)}

        module = {"type": "sparse_cache", **said, "output": output}
        shape = {"modules": {layout.attention: module}}
        return Variant(_name(cache), "mustafar", _cost(place, cache), build, shape)


def _name(cache: SparseCache) -> str:
    both = f"{cache.keys:g}"
    shares = both if cache.keys == cache.values else f"k{both}-v{cache.values:g}"
    return f"mustafar-{shares}" + (f"-w{cache.window}" if cache.window != WINDOW else "")


def _cached(place: Place) -> float:
    """Tokens in the attention's cache at the end of a sequence; infinite if no length is known."""
    attention = get(place.block.module, place.block.layout.attention)
    config = attention.config
    uniform = None if getattr(config, "layer_types", None) else "sliding_window"
    window = getattr(attention, "sliding_window", uniform and getattr(config, uniform, None))
    return min(place.length or np.inf, window or np.inf)  # type: ignore[type-var]


def _cost(place: Place, cache: SparseCache) -> Cost:
    """Dense cost but for what a query multiplies with older tokens, and for the cache."""
    dense, heads = place.cost(), place.block.heads
    itemsize, cached = place.itemsize, _cached(place)
    whole, packed, gone = heads.size * itemsize, 0, 0
    for share in (cache.keys, cache.values):
        left = kept(heads.size, share)
        packed += min(whole, (heads.size + 7) // 8 + left * itemsize)
        gone += heads.size - left
    recent = cache.window / cached  # share of the cached tokens
    kv_bytes = heads.groups * (2 * whole * recent + packed * (1 - recent))
    older = max(0.0, place.tokens - _seen_whole(place.length, cache.window))
    return replace(dense, macs=dense.macs - heads.query * gone * older, kv_bytes=kv_bytes)


def _seen_whole(length: int | None, window: int) -> float:
    """Mean number of positions that a query sees whole."""
    seen = np.arange(1, (length or window) + 1)
    return float(np.minimum(seen, window).mean())


MUSTAFAR = Mustafar()
