"""Attention over a cache whose older keys and values are sparse: Mustafar (arXiv 2505.22913).

Each token's key and value keep, head by head, their entries of largest magnitude; the last few
tokens that a query sees are whole. Nothing is compressed here: entries that would not be stored are
zeros, and the outcome is that of decoding token by token, whether the tokens come one by one with a
cache or all at once. A text that comes at once is treated as if it were being decoded; the paper's
code reads a prompt with dense attention and prunes afterwards.

This file stands alone (torch and transformers): exported models carry a copy of it.
"""

from __future__ import annotations

import copy
import inspect
import sys
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

NAME = "sparse_cache"  # of the attention function, as transformers knows it
_LEAST = torch.finfo(torch.float16).min / 2  # additive masks that hide a key are below this


@dataclass(frozen=True)
class SparseCache:
    """What an attention's cache holds.

    Args:
        keys: Nominal share of every key that is dropped, in [0, 1); see :func:`kept`.
        values: The same of every value.
        window: Tokens that are whole: the newest of those that a query sees, its own included.
    """

    keys: float
    values: float
    window: int


def kept(size: int, share: float) -> int:
    """How many of ``size`` entries of different magnitude stay when ``share`` of them is dropped.

    The paper's code keeps whatever is at least as large as the entry of rank ``int(share * size)``
    from below, that entry included: one more than the share says.
    """
    return size - max(0, int(share * size) - 1)


def pruned(vectors: torch.Tensor, share: float) -> torch.Tensor:
    """Vectors (…, D) with zeros at their smallest entries; entries as large as the last stay."""
    rank = int(share * vectors.shape[-1])
    if rank == 0:
        return vectors
    sizes = vectors.abs()
    return vectors.masked_fill(sizes < sizes.kthvalue(rank, dim=-1, keepdim=True).values, 0)


def goes_through_interface(attention: nn.Module) -> bool:
    """Whether an attention looks its function up in transformers, where others can be put."""
    forward = inspect.unwrap(type(attention).forward)
    names = getattr(getattr(forward, "__code__", None), "co_names", ())
    return "ALL_ATTENTION_FUNCTIONS" in names and hasattr(attention, "config")


def with_sparse_cache(attention: nn.Module, cache: SparseCache) -> nn.Module:
    """A copy of a causal attention that shares its weights and sees a sparse cache.

    Args:
        attention: Not modified; see :func:`goes_through_interface`.
        cache: What the cache holds.
    """
    from transformers import AttentionInterface

    AttentionInterface.register(NAME, attend)
    twin: Any = copy.copy(attention)
    twin._modules = dict(attention._modules)
    config: Any = copy.copy(attention.config)
    config.__dict__.pop("_heterogeneity_spec", None)
    config.__dict__["_attn_implementation_internal"] = NAME
    twin.__dict__.update(config=config, dense_config=attention.config, sparse_cache=cache)
    return twin


class Behind(nn.Module):
    """A linear layer whose tensors are stored one name further down.

    An attention with a sparse cache has the tensors of the dense one. Whoever opens it without its
    loader would get the dense attention; with a layer out of its place, loading stops instead.
    """

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, hidden_states: torch.Tensor) -> torch.Tensor:
        """What the layer gives."""
        return self.inner(hidden_states)


def opened_attention(attention: nn.Module, *, output: str, **settings: Any) -> nn.Module:
    """The attention of an exported model; ``output`` is the name of its last layer in it."""
    made = with_sparse_cache(attention, SparseCache(**settings))
    made._modules[output] = Behind(attention.get_submodule(output))
    return made


def attend(
    module: Any, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor,
    attention_mask: torch.Tensor | None, **settings: Any,
) -> tuple[torch.Tensor, torch.Tensor | None]:  # fmt: skip
    """Attention in the form that transformers asks for; dense where nothing would be missing.

    Args:
        module: An attention made by :func:`with_sparse_cache`.
        query: (B, H, Q, D), the last Q tokens.
        key: (B, G, T, D); H / G query heads share a head of keys and values.
        value: (B, G, T, D).
        attention_mask: Which keys a query sees, (B or 1, H or 1, Q, T), boolean or added to the
            scores; None for all up to its own.
        settings: ``scaling``, ``softcap``, ``dropout``, and others that change nothing here.

    Returns:
        (B, Q, H, D), and the attention weights (B, H, Q, T) where they were made.

    Raises:
        ValueError: A kind of mask or bias that is not known here.
    """
    cache: SparseCache = module.sparse_cache
    if key.shape[2] <= cache.window or not (cache.keys or cache.values):
        return _dense(module)(module, query, key, value, attention_mask, **settings)
    _refuse_unknown(attention_mask, settings)
    visible = _visible(query, key, attention_mask)
    recent = _recent(visible, cache.window)
    scores = _scores(query, key, settings)
    if cache.keys:
        scores = torch.where(recent, scores, _scores(query, pruned(key, cache.keys), settings))
    if attention_mask is None or attention_mask.dtype == torch.bool:
        scores = scores.masked_fill(~visible, torch.finfo(scores.dtype).min)
    else:
        scores = scores + attention_mask
    weights = scores.softmax(dim=-1, dtype=torch.float32).to(query.dtype)
    weights = nn.functional.dropout(weights, settings.get("dropout", 0.0), module.training)
    if cache.values:
        older = weights.masked_fill(recent, 0) @ _spread(pruned(value, cache.values), query)
        output = weights.masked_fill(~recent, 0) @ _spread(value, query) + older
    else:
        output = weights @ _spread(value, query)
    return output.transpose(1, 2).contiguous(), weights


def _dense(module: Any) -> Any:
    """The function that the attention had before."""
    from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

    eager = sys.modules[type(module).__module__].eager_attention_forward
    return ALL_ATTENTION_FUNCTIONS.get_interface(module.dense_config._attn_implementation, eager)


def _refuse_unknown(mask: Any, settings: dict[str, Any]) -> None:
    if mask is not None and (not isinstance(mask, torch.Tensor) or mask.dim() != 4):
        raise ValueError(
            "a sparse cache needs masks of four dimensions, which the attention implementations "
            "'eager' and 'sdpa' have"
        )
    for name in ("position_bias", "s_aux"):
        if settings.get(name) is not None:
            raise ValueError(f"a sparse cache is not known to work with {name}")


def _visible(query: torch.Tensor, key: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
    """Which keys each query sees, boolean (…, Q, T)."""
    if mask is not None:
        return mask if mask.dtype == torch.bool else mask > _LEAST
    queries, keys = query.shape[2], key.shape[2]
    # without a mask, several queries come first in a cache that is laid out for more of them
    first = keys - 1 if queries == 1 else 0
    own = torch.arange(first, first + queries, device=key.device)
    return torch.arange(keys, device=key.device) <= own[:, None]


def _recent(visible: torch.Tensor, window: int) -> torch.Tensor:
    """Which keys are among the last ``window`` up to the query's own, the last that it sees."""
    places = torch.arange(visible.shape[-1], device=visible.device)
    own = (visible * places).amax(dim=-1, keepdim=True)
    return own - places < window


def _scores(query: torch.Tensor, key: torch.Tensor, settings: dict[str, Any]) -> torch.Tensor:
    """Products of queries and keys, scaled and softly capped, (B, H, Q, T)."""
    scaling, softcap = settings.get("scaling"), settings.get("softcap")
    scaling = query.shape[-1] ** -0.5 if scaling is None else scaling
    scores = query @ _spread(key, query).transpose(2, 3) * scaling
    return scores if softcap is None else softcap * torch.tanh(scores / softcap)


def _spread(shared: torch.Tensor, query: torch.Tensor) -> torch.Tensor:
    """Heads of keys or values repeated for the query heads that share them, (B, H, T, D)."""
    return shared.repeat_interleave(query.shape[1] // shared.shape[1], dim=1)
