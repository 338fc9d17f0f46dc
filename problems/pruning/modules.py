"""Modules that stand in a pruned model where a linear layer or a submodule was.

This file stands alone (torch, and :mod:`.sliced` and :mod:`.sparse_cache` beside it): exported
models carry a copy of it. An export says of each such module its type and sizes; :data:`MODULES`
builds the empty one from the dense module in its place.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from .sliced import Sliced
from .sparse_cache import opened_attention


class Factors(nn.Module):
    """A linear layer as the product of two thin ones: y = U (V x) + b.

    Args:
        first: V, (svd_rank, d_in).
        second: U, (d_out, svd_rank).
        bias: b, (d_out,), or None.
    """

    def __init__(
        self, first: torch.Tensor, second: torch.Tensor, bias: torch.Tensor | None
    ) -> None:
        super().__init__()
        self.first = nn.Parameter(first, requires_grad=False)
        self.second = nn.Parameter(second, requires_grad=False)
        self.bias = None if bias is None else nn.Parameter(bias, requires_grad=False)

    def forward(self, hidden_states: torch.Tensor) -> torch.Tensor:
        """Shape (…, d_out) from (…, d_in)."""
        inner = nn.functional.linear(hidden_states, self.first)
        return nn.functional.linear(inner, self.second, self.bias)

    @classmethod
    def empty(cls, dense: Any, svd_rank: int) -> Factors:
        """Of the shape that a dense linear layer (``nn.Linear`` or ``Conv1D``) asks for."""
        d_out, d_in = linear_shape(dense)
        weight = dense.weight
        first, second = weight.new_empty(svd_rank, d_in), weight.new_empty(d_out, svd_rank)
        bias = None if dense.bias is None else torch.empty_like(dense.bias)
        return cls(first, second, bias)


class Pivot(nn.Module):
    """A linear layer of low rank: some outputs are computed, the others are mixed from those.

    Args:
        pivots: Which outputs are computed, ascending, (svd_rank,) of int32.
        kept: Their rows of the weight, (svd_rank, d_in).
        mix: The other outputs, in their order, from the computed ones, (d_out - svd_rank,
            svd_rank).
        bias: (d_out,), or None.
    """

    def __init__(
        self,
        pivots: torch.Tensor,
        kept: torch.Tensor,
        mix: torch.Tensor,
        bias: torch.Tensor | None,
    ) -> None:
        super().__init__()
        self.pivots = nn.Parameter(pivots, requires_grad=False)
        self.kept = nn.Parameter(kept, requires_grad=False)
        self.mix = nn.Parameter(mix, requires_grad=False)
        self.bias = None if bias is None else nn.Parameter(bias, requires_grad=False)
        self._places: torch.Tensor | None = None

    def forward(self, hidden_states: torch.Tensor) -> torch.Tensor:
        """Shape (…, d_out) from (…, d_in)."""
        computed = nn.functional.linear(hidden_states, self.kept)
        mixed = nn.functional.linear(computed, self.mix)
        found = torch.cat([computed, mixed], -1).index_select(-1, self.places())
        return found if self.bias is None else found + self.bias

    def places(self) -> torch.Tensor:
        """Where each output is among the computed and then the mixed ones, (d_out,)."""
        if self._places is None or self._places.device != self.pivots.device:
            with torch.inference_mode(False):  # kept for calls that may want gradients
                count = len(self.kept) + len(self.mix)
                is_mixed = torch.ones(count, dtype=torch.bool, device=self.pivots.device)
                is_mixed[self.pivots.long()] = False
                self._places = torch.argsort(torch.argsort(is_mixed.int(), stable=True))
        return self._places

    def _load_from_state_dict(self, *args: Any, **kwargs: Any) -> None:
        super()._load_from_state_dict(*args, **kwargs)
        self._places = None

    @classmethod
    def empty(cls, dense: Any, svd_rank: int) -> Pivot:
        """Of the shape that a dense linear layer (``nn.Linear`` or ``Conv1D``) asks for."""
        d_out, d_in = linear_shape(dense)
        weight = dense.weight
        pivots = torch.arange(svd_rank, dtype=torch.int32, device=weight.device)
        kept, mix = weight.new_empty(svd_rank, d_in), weight.new_empty(d_out - svd_rank, svd_rank)
        bias = None if dense.bias is None else torch.empty_like(dense.bias)
        return cls(pivots, kept, mix, bias)


def linear_shape(dense: Any) -> tuple[int, int]:
    """(d_out, d_in) of an ``nn.Linear``, or of a ``Conv1D``, which stores its weight transposed."""
    rows, columns = dense.weight.shape
    return (columns, rows) if hasattr(dense, "nf") else (rows, columns)


class Bypass(nn.Module):
    """A linear map of the residual stream that stands where a submodule was: u = B x + b.

    Args:
        first: First factor, (svd_rank, d), or the whole B, (d, d), where ``second`` is None.
        second: Second factor by rows, (svd_rank, d): B is secondᵀ · first.
        offset: b, (d,), or None.
    """

    def __init__(
        self, first: torch.Tensor, second: torch.Tensor | None, offset: torch.Tensor | None
    ) -> None:
        super().__init__()
        self.first = nn.Parameter(first, requires_grad=False)
        self.second = None if second is None else nn.Parameter(second, requires_grad=False)
        self.offset = None if offset is None else nn.Parameter(offset, requires_grad=False)

    def update(self, hidden_states: torch.Tensor) -> torch.Tensor:
        """What is added to the residual sum, (…, d) from (…, d)."""
        inner = nn.functional.linear(hidden_states, self.first)
        made = inner if self.second is None else inner @ self.second
        return made if self.offset is None else made + self.offset

    def forward(self, hidden_states: torch.Tensor, *args: object, **kwargs: object) -> Any:
        """The update, as a feed-forward gives it."""
        return self.update(hidden_states)

    @classmethod
    def empty(cls, dense: Any, width: int, svd_rank: int | None, offset: bool) -> Bypass:
        """Of the given shape; ``svd_rank`` None means the whole matrix."""
        like = next(dense.parameters())
        rows = width if svd_rank is None else svd_rank
        first = like.new_empty(rows, width)
        second = None if svd_rank is None else like.new_empty(svd_rank, width)
        return cls(first, second, like.new_empty(width) if offset else None)


class AttentionBypass(Bypass):
    """A bypass where an attention was: it keeps no keys or values."""

    def forward(
        self, hidden_states: torch.Tensor, *args: object, **kwargs: object
    ) -> tuple[torch.Tensor, None]:
        """The update, and no attention weights."""
        return self.update(hidden_states), None


class SharedBypass(nn.Module):
    """A bypass u = Dᵀ P x + b whose basis P one module of a model holds for all of a name.

    Args:
        name: Of the basis.
        basis: P, at least (svd_rank, d), of which the leading rows are used.
        second: D, (svd_rank, d).
        offset: b, (d,), or None.
    """

    def __init__(
        self, name: str, basis: torch.Tensor, second: torch.Tensor, offset: torch.Tensor | None
    ) -> None:
        super().__init__()
        self.name = name
        self.basis: nn.Parameter | None = nn.Parameter(basis, requires_grad=False)
        self.second = nn.Parameter(second, requires_grad=False)
        self.offset = None if offset is None else nn.Parameter(offset, requires_grad=False)

    def forward(self, hidden_states: torch.Tensor) -> torch.Tensor:
        """What is added to the residual sum, (…, d) from (…, d)."""
        holder: Any = self if self.basis is not None else self.__dict__["holder"]
        inner = nn.functional.linear(hidden_states, holder.basis[: len(self.second)])
        made = inner @ self.second
        return made if self.offset is None else made + self.offset

    def held_by(self, holder: SharedBypass | None, basis: torch.Tensor) -> SharedBypass:
        """A twin that holds a basis, or that asks another module for it."""
        made = SharedBypass(self.name, basis, self.second, self.offset)
        if holder is not None:
            made.basis = None
            made.__dict__["holder"] = holder  # no submodule: it has a place of its own
        return made

    @classmethod
    def empty(cls, dense: Any, width: int, svd_rank: int, offset: bool, basis: str) -> SharedBypass:
        """Of the given shape, holding a basis of its own until :func:`share`."""
        like = next(dense.parameters())
        first, second = like.new_empty(svd_rank, width), like.new_empty(svd_rank, width)
        return cls(basis, first, second, like.new_empty(width) if offset else None)


def share(model: nn.Module) -> None:
    """Let the first module that uses a basis hold it, as large as any needs; in place."""
    users: dict[str, dict[str, SharedBypass]] = {}
    for path, module in model.named_modules():
        if isinstance(module, SharedBypass):
            users.setdefault(module.name, {})[path] = module
    for members in users.values():
        bases = [m.basis for m in members.values() if m.basis is not None]
        basis, holder = max(bases, key=len), None
        for path, module in members.items():
            made = module.held_by(holder, basis)
            parent, _, name = path.rpartition(".")
            setattr(model.get_submodule(parent), name, made)
            holder = holder or made


def _identity(dense: Any) -> nn.Module:
    return nn.Identity()


MODULES: dict[str, Callable[..., nn.Module]] = {
    "attention-bypass": AttentionBypass.empty,
    "bypass": Bypass.empty,
    "factors": Factors.empty,
    "identity": _identity,
    "pivot": Pivot.empty,
    "shared-bypass": SharedBypass.empty,
    "sliced": Sliced.empty,
    "sparse_cache": opened_attention,
}
"""Type → (the dense module in its place, **sizes) → an empty module of that type."""

CACHELESS = frozenset({"attention-bypass"})
"""Types that stand for an attention and keep no keys or values."""
