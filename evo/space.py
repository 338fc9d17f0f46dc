"""Search spaces: named parts, each an array of genes with bounds."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import ArrayLike, NDArray

from operators import RNG, Bounds

from .errors import ShapeError, SpaceError
from .genomes import Genomes


@runtime_checkable
class Part(Protocol):
    """A named array of genes: Real, Integer, Choice, Mask or Subset."""

    @property
    def name(self) -> str:
        """Identifier, unique in the space."""
        ...

    @property
    def kind(self) -> str:
        """``real``, ``integer``, ``choice``, ``mask`` or ``subset``; picks the operators."""
        ...

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of one row; always one-dimensional, (d,)."""
        ...

    @property
    def dtype(self) -> np.dtype[Any]:
        """Narrowest honest type of the genes."""
        ...

    @property
    def bounds(self) -> Bounds:
        """Legal range per gene, each array of shape (d,)."""
        ...

    def sample(self, n: int, rng: RNG) -> NDArray[Any]:
        """Draw n legal rows, shape (n, d)."""
        ...

    def repair(self, values: NDArray[Any]) -> NDArray[Any]:
        """Nearest legal rows, shape (n, d), in the part's dtype."""
        ...


@dataclass(frozen=True, eq=False)
class _Box:
    """What all parts with per-gene bounds share: storage and checks, no behaviour of their own."""

    name: str
    low: ArrayLike
    high: ArrayLike
    bounds: Bounds = field(init=False, repr=False)

    def _check(self, dtype: Any, ordered: ArrayLike) -> None:
        low, high = np.atleast_1d(np.asarray(self.low)), np.atleast_1d(np.asarray(self.high))
        low, high = np.broadcast_arrays(low, high)
        if not self.name.isidentifier():
            raise SpaceError(f"a part needs an identifier as its name, got {self.name!r}")
        if low.ndim != 1 or low.size == 0:
            raise SpaceError(f"part {self.name!r} needs one-dimensional, non-empty bounds")
        if not (np.isfinite(low).all() and np.isfinite(high).all()) or (low > high).any():
            raise SpaceError(f"part {self.name!r} needs finite bounds with low <= high")
        flags = np.broadcast_to(np.asarray(ordered, dtype=bool), low.shape).copy()
        object.__setattr__(
            self, "bounds", Bounds(low.astype(dtype).copy(), high.astype(dtype).copy(), flags)
        )

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of one row, (d,)."""
        return (len(self.bounds),)


@dataclass(frozen=True, eq=False)
class Real(_Box):
    """d real genes between ``low`` and ``high`` (scalars or shape (d,)).

    Args:
        precision: ``float64``, or ``float32`` for genes that are used in single precision anyway:
            a run keeps half as many bytes of them.

    Raises:
        SpaceError: Bounds are wrong, or there is another precision.
    """

    precision: str = "float64"
    kind = "real"

    def __post_init__(self) -> None:
        if self.precision not in ("float32", "float64"):
            raise SpaceError(
                f"part {self.name!r} needs precision float32 or float64, got {self.precision!r}"
            )
        self._check(self.dtype, True)

    @property
    def dtype(self) -> np.dtype[Any]:
        """Of the genes."""
        return np.dtype(self.precision)

    def sample(self, n: int, rng: RNG) -> NDArray[Any]:
        """Uniform rows, shape (n, d)."""
        drawn = rng.uniform(self.bounds.low, self.bounds.high, (n, *self.shape))
        return drawn.astype(self.dtype)

    def repair(self, values: NDArray[Any]) -> NDArray[Any]:
        """Clip to the bounds; NaN becomes the lower bound."""
        values = np.asarray(values)
        if not ((values >= self.bounds.low) & (values <= self.bounds.high)).all():
            values = np.where(np.isnan(values), self.bounds.low, values)
            values = np.clip(values, self.bounds.low, self.bounds.high)
        return values.astype(self.dtype, copy=False)


@dataclass(frozen=True, eq=False)
class Integer(_Box):
    """d integer genes from ``low`` to ``high``, both inclusive, ordered."""

    kind = "integer"
    dtype = np.dtype(np.int64)

    def __post_init__(self) -> None:
        self._check(np.int64, True)

    def sample(self, n: int, rng: RNG) -> NDArray[Any]:
        """Uniform rows, shape (n, d)."""
        return rng.integers(self.bounds.low, self.bounds.high, (n, *self.shape), endpoint=True)

    def repair(self, values: NDArray[Any]) -> NDArray[Any]:
        """Round half up, then clip; NaN becomes the lower bound."""
        return _repair_levels(values, self.bounds, self.dtype)


@dataclass(frozen=True, eq=False)
class Choice:
    """One index per gene into that gene's list of choices.

    Args:
        name: Identifier of the part.
        sizes: Number of choices per gene, shape (d,), each at least 1.
        ordered: Whether neighbouring indices are alike (levels) or not; scalar or shape (d,).
    """

    name: str
    sizes: Sequence[int]
    ordered: ArrayLike = True
    bounds: Bounds = field(init=False, repr=False)
    kind = "choice"
    dtype = np.dtype(np.int16)

    def __post_init__(self) -> None:
        sizes = np.asarray(self.sizes, dtype=np.int64)
        if not self.name.isidentifier():
            raise SpaceError(f"a part needs an identifier as its name, got {self.name!r}")
        if sizes.ndim != 1 or sizes.size == 0 or (sizes < 1).any() or (sizes > 32767).any():
            raise SpaceError(f"part {self.name!r} needs 1 to 32767 choices for each gene")
        flags = np.broadcast_to(np.asarray(self.ordered, dtype=bool), sizes.shape).copy()
        bounds = Bounds(np.zeros_like(sizes, dtype=np.int16), (sizes - 1).astype(np.int16), flags)
        object.__setattr__(self, "bounds", bounds)

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of one row, (d,)."""
        return (len(self.bounds),)

    def sample(self, n: int, rng: RNG) -> NDArray[Any]:
        """Uniform indices, shape (n, d)."""
        draws = rng.integers(0, self.bounds.high.astype(np.int64) + 1, (n, *self.shape))
        return draws.astype(self.dtype)

    def repair(self, values: NDArray[Any]) -> NDArray[Any]:
        """Round half up, then clip; NaN becomes 0."""
        return _repair_levels(values, self.bounds, self.dtype)


@dataclass(frozen=True, eq=False)
class Mask:
    """d on/off genes."""

    name: str
    length: int
    bounds: Bounds = field(init=False, repr=False)
    kind = "mask"
    dtype = np.dtype(np.bool_)

    def __post_init__(self) -> None:
        if not self.name.isidentifier() or self.length < 1:
            raise SpaceError(f"mask {self.name!r} needs an identifier and a length of at least 1")
        zeros = np.zeros(self.length, dtype=bool)
        object.__setattr__(self, "bounds", Bounds(zeros, ~zeros, ~zeros))

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of one row, (d,)."""
        return (self.length,)

    def sample(self, n: int, rng: RNG) -> NDArray[Any]:
        """Fair coins, shape (n, d)."""
        return rng.integers(0, 2, (n, self.length)).astype(bool)

    def repair(self, values: NDArray[Any]) -> NDArray[Any]:
        """True where the value is above one half."""
        given = np.asarray(values)
        return given.copy() if given.dtype == np.bool_ else given.astype(np.float64) > 0.5


@dataclass(frozen=True, eq=False)
class Subset:
    """Sets of ``least`` to ``most`` items out of ``universe``, as sorted rows padded with -1.

    A row has shape (most,): the chosen items in ascending order, then -1.
    """

    name: str
    universe: int
    most: int
    least: int = 1
    bounds: Bounds = field(init=False, repr=False)
    kind = "subset"
    dtype = np.dtype(np.int32)

    def __post_init__(self) -> None:
        if not self.name.isidentifier() or not 0 <= self.least <= self.most <= self.universe:
            raise SpaceError(
                f"subset {self.name!r} needs 0 <= least <= most <= universe, got "
                f"{self.least}, {self.most}, {self.universe}"
            )
        if self.most < 1:
            raise SpaceError(f"subset {self.name!r} must be allowed at least one item")
        low = np.full(self.most, -1, dtype=np.int32)
        high = np.full(self.most, self.universe - 1, dtype=np.int32)
        object.__setattr__(self, "bounds", Bounds(low, high, np.zeros(self.most, dtype=bool)))

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of one row, (most,)."""
        return (self.most,)

    def sample(self, n: int, rng: RNG) -> NDArray[Any]:
        """Uniform size, then uniform items; shape (n, most)."""
        out = np.full((n, self.most), -1, dtype=self.dtype)
        for i, k in enumerate(rng.integers(self.least, self.most, n, endpoint=True)):
            out[i, :k] = np.sort(rng.choice(self.universe, size=k, replace=False))
        return out

    def repair(self, values: NDArray[Any]) -> NDArray[Any]:
        """Drop illegal and repeated items, sort, and top up with the smallest missing items."""
        values = np.asarray(np.nan_to_num(np.asarray(values, dtype=np.float64), nan=-1.0))
        out = np.full((len(values), self.most), -1, dtype=self.dtype)
        for i, row in enumerate(np.floor(values + 0.5).astype(np.int64)):
            items = np.unique(row[(row >= 0) & (row < self.universe)])
            if len(items) < self.least:
                missing = np.setdiff1d(np.arange(self.universe), items)
                items = np.sort(np.concatenate([items, missing[: self.least - len(items)]]))
            out[i, : len(items)] = items
        return out


@dataclass(frozen=True, eq=False)
class SearchSpace:
    """What can be varied: parts in order, and rules that span them.

    Args:
        parts: At least one part, names unique.
        rules: Repairs applied in order after each part was repaired; each maps Genomes to Genomes
            and leaves legal genomes alone.
    """

    parts: tuple[Part, ...]
    rules: tuple[Callable[[Genomes], Genomes], ...] = ()

    def __post_init__(self) -> None:
        names = [p.name for p in self.parts]
        if not names or len(set(names)) != len(names):
            raise SpaceError(f"a search space needs parts with distinct names, got {names}")

    @property
    def length(self) -> int:
        """Number of genes d over all parts."""
        return sum(p.shape[0] for p in self.parts)

    def sample(self, n: int, rng: RNG) -> Genomes:
        """Draw n legal genomes, parts in order, from ``rng``."""
        return self.repair(Genomes({p.name: p.sample(n, rng) for p in self.parts}))

    def repair(self, genomes: Genomes) -> Genomes:
        """Nearest legal genomes: parts first, then the rules."""
        fixed = Genomes({p.name: p.repair(genomes[p.name]) for p in self.parts})
        for rule in self.rules:
            fixed = rule(fixed)
        return fixed

    def check(self, genomes: Genomes) -> None:
        """Raise unless every row is legal.

        Raises:
            SpaceError: Parts are missing or of the wrong shape or dtype, or a row is illegal.
        """
        want = [p.name for p in self.parts]
        if list(genomes.parts) != want:
            raise SpaceError(f"genomes need the parts {want}, got {list(genomes.parts)}")
        for part in self.parts:
            values = genomes[part.name]
            if values.shape[1:] != part.shape:
                raise SpaceError(
                    f"part {part.name!r} needs rows of shape {part.shape}, got {values.shape[1:]}"
                )
            if values.dtype != part.dtype:
                raise SpaceError(f"part {part.name!r} needs dtype {part.dtype}, got {values.dtype}")
        fixed = self.repair(genomes)
        for name in want:
            bad = (fixed[name] != genomes[name]).any(axis=1)
            if bad.any():
                row = int(np.flatnonzero(bad)[0])
                raise SpaceError(f"row {row} of part {name!r} lies outside its legal values")

    def flat(self, genomes: Genomes) -> NDArray[np.float64]:
        """All genes side by side, shape (n, d), for libraries that want one matrix."""
        return np.concatenate([genomes[p.name].astype(np.float64) for p in self.parts], axis=1)

    def unflat(self, matrix: NDArray[Any]) -> Genomes:
        """The inverse of :meth:`flat`, without repair.

        Raises:
            ShapeError: ``matrix`` is not (n, d).
        """
        matrix = np.asarray(matrix)
        if matrix.ndim != 2 or matrix.shape[1] != self.length:
            raise ShapeError(f"expected a matrix of shape (n, {self.length}), got {matrix.shape}")
        stops = np.cumsum([p.shape[0] for p in self.parts])[:-1]
        cut = np.split(matrix, stops, axis=1)
        return Genomes({p.name: c.astype(p.dtype) for p, c in zip(self.parts, cut, strict=True)})


def _repair_levels(values: NDArray[Any], bounds: Bounds, dtype: np.dtype[Any]) -> NDArray[Any]:
    if np.issubdtype(np.asarray(values).dtype, np.floating):
        values = np.floor(np.where(np.isnan(values), bounds.low, values) + 0.5)
    return np.clip(values, bounds.low, bounds.high).astype(dtype, copy=False)
