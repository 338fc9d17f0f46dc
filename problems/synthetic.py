"""Problems whose fronts are known or exactly computable: ZDT, DTLZ, a knapsack, layers to thin out.

Sources: Zitzler, Deb and Thiele, *Comparison of multiobjective evolutionary algorithms*, 2000
(ZDT); Deb, Thiele, Laumanns and Zitzler, *Scalable test problems for evolutionary multiobjective
optimization*, 2005 (DTLZ); Zitzler and Thiele, *Multiobjective evolutionary algorithms*, 1999
(knapsack); Nemhauser and Ullmann, *Discrete dynamic programming and capital allocation*, 1969
(exact fronts of additive problems).
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from evo.errors import ConfigError
from evo.genomes import Genomes
from evo.problem import Array, Constraint, Context, Objective
from evo.space import Choice, Mask, Real, SearchSpace
from evo.streams import stream
from operators import RNG


@dataclass(frozen=True, eq=False)
class PointBatch:
    """n decoded candidates whose objective values are one array."""

    problem: ZDT | DTLZ
    x: Array

    def __len__(self) -> int:
        return len(self.x)

    @cached_property
    def values(self) -> Array:
        """All objectives, shape (n, m)."""
        return self.problem.evaluate(self.x)


def _value(j: int, batch: PointBatch) -> Array:
    return batch.values[:, j]


class ZDT:
    """Two objectives over real genes, both minimised.

    Args:
        number: 1, 2, 3, 4 or 6; number 5 is binary and not offered.
        n_variables: d; by default 30, for 4 and 6 it is 10.

    Raises:
        ConfigError: No such problem, or fewer than two variables.
    """

    constraints: Sequence[Constraint] = ()

    def __init__(self, number: int = 1, n_variables: int | None = None) -> None:
        if number not in (1, 2, 3, 4, 6):
            raise ConfigError(f"there is no ZDT{number}; numbers are 1, 2, 3, 4 and 6")
        d = (10 if number in (4, 6) else 30) if n_variables is None else n_variables
        if d < 2:
            raise ConfigError(f"ZDT{number} needs at least 2 variables, got {d}")
        self.number = number
        low, high = np.zeros(d), np.ones(d)
        if number == 4:
            low[1:], high[1:] = -5.0, 5.0
        self.space = SearchSpace((Real("x", low, high),))
        self.objectives = tuple(Objective(f"f{j + 1}", "min", partial(_value, j)) for j in range(2))

    def batch(self, genomes: Genomes, context: Context) -> PointBatch:
        """Decode n genomes."""
        self.space.check(genomes)
        return PointBatch(self, genomes["x"])

    def evaluate(self, x: Array) -> Array:
        """Both objectives of points of shape (n, d); shape (n, 2)."""
        first, rest = x[:, 0], x[:, 1:]
        mean = rest.mean(axis=1)
        g = 1.0 + 9.0 * mean
        if self.number == 4:
            waves = rest**2 - 10.0 * np.cos(4.0 * np.pi * rest)
            g = 1.0 + 10.0 * rest.shape[1] + waves.sum(axis=1)
        if self.number == 6:
            first = 1.0 - np.exp(-4.0 * first) * np.sin(6.0 * np.pi * first) ** 6
            g = 1.0 + 9.0 * mean**0.25
        return np.stack([first, g * self._shape(first, g)], axis=1)

    def front(self, n: int = 200) -> Array:
        """About n points of the true front, shape (k, 2)."""
        least = 0.2807753191 if self.number == 6 else 0.0  # smallest value of the first objective
        first = np.linspace(least, 1.0, n)
        values = np.stack([first, self._shape(first, np.ones(n))], axis=1)
        best = np.minimum.accumulate(values[:, 1])  # number 3 is cut into five pieces
        return values[np.r_[True, values[1:, 1] < best[:-1]]]

    def describe(self) -> Mapping[str, Any]:
        """Title for people."""
        return {"title": f"ZDT{self.number}"}

    def _shape(self, first: Array, g: Array) -> Array:
        share = first / g
        if self.number in (1, 4):
            return 1.0 - np.sqrt(share)
        if self.number == 3:
            return 1.0 - np.sqrt(share) - share * np.sin(10.0 * np.pi * first)
        return 1.0 - share**2


class DTLZ:
    """Any number of objectives over real genes in [0, 1], all minimised.

    Args:
        number: 1 (a plane, many local fronts) or 2 (a sphere).
        n_objectives: m, at least 2.
        n_variables: d; by default m + 4 for number 1, m + 9 for number 2.

    Raises:
        ConfigError: No such problem, or too few objectives or variables.
    """

    constraints: Sequence[Constraint] = ()

    def __init__(
        self, number: int = 2, n_objectives: int = 3, n_variables: int | None = None
    ) -> None:
        if number not in (1, 2):
            raise ConfigError(f"there is no DTLZ{number} here; numbers are 1 and 2")
        d = n_objectives + (4 if number == 1 else 9) if n_variables is None else n_variables
        if n_objectives < 2 or d < n_objectives:
            raise ConfigError(
                f"DTLZ{number} needs at least 2 objectives and as many variables, got "
                f"{n_objectives} and {d}"
            )
        self.number, self.n_objectives = number, n_objectives
        self.space = SearchSpace((Real("x", np.zeros(d), np.ones(d)),))
        self.objectives = tuple(
            Objective(f"f{j + 1}", "min", partial(_value, j)) for j in range(n_objectives)
        )

    def batch(self, genomes: Genomes, context: Context) -> PointBatch:
        """Decode n genomes."""
        self.space.check(genomes)
        return PointBatch(self, genomes["x"])

    def evaluate(self, x: Array) -> Array:
        """All objectives of points of shape (n, d); shape (n, m)."""
        place, rest = x[:, : self.n_objectives - 1], x[:, self.n_objectives - 1 :] - 0.5
        bowl = (rest**2).sum(axis=1)
        if self.number == 1:
            waves = np.cos(20.0 * np.pi * rest).sum(axis=1)
            g = 100.0 * (rest.shape[1] + bowl - waves)
            scale, towards, away = 0.5 * (1.0 + g), place, 1.0 - place
        else:
            angle = place * np.pi / 2.0
            scale, towards, away = 1.0 + bowl, np.cos(angle), np.sin(angle)
        ones = np.ones((len(x), 1))
        products = np.cumprod(np.concatenate([ones, towards], axis=1), axis=1)[:, ::-1]
        last = np.concatenate([ones, away[:, ::-1]], axis=1)
        return scale[:, None] * products * last

    def front(self, n: int = 500) -> Array:
        """About n points of the true front, shape (n, m)."""
        from .suites import dtlz_front

        return dtlz_front(self.number, n, self.n_objectives)

    def describe(self) -> Mapping[str, Any]:
        """Title for people."""
        return {"title": f"DTLZ{self.number} with {self.n_objectives} objectives"}


@dataclass(frozen=True, eq=False)
class SackBatch:
    """n packed sacks: which items are in, shape (n, items)."""

    packed: NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.packed)


class Knapsack:
    """Pack a sack: as much as possible of several profits, not above a weight.

    Args:
        items: Number of items.
        n_objectives: Number of profits, at least 1.
        instance: Which random instance; weights and profits are whole numbers from 10 to 100.
    """

    def __init__(self, items: int = 100, n_objectives: int = 2, instance: int = 0) -> None:
        if items < 1 or n_objectives < 1:
            raise ConfigError(
                f"a knapsack needs items and objectives, got {items} and {n_objectives}"
            )
        draw = stream(instance, "knapsack", items, n_objectives)
        self.weights = draw.integers(10, 101, items)
        self.profits = draw.integers(10, 101, (n_objectives, items))
        self.capacity = int(self.weights.sum()) // 2
        self.space = SearchSpace((Mask("packed", items),))
        self.objectives = tuple(
            Objective(f"profit{j + 1}", "max", partial(_carried, self.profits[j]), resolution=1.0)
            for j in range(n_objectives)
        )
        self.constraints = (Constraint("weight", partial(_carried, self.weights), self.capacity),)

    def batch(self, genomes: Genomes, context: Context) -> SackBatch:
        """Decode n genomes."""
        self.space.check(genomes)
        return SackBatch(genomes["packed"])

    def front(self) -> Array:
        """All Pareto-optimal profits, shape (k, m), exact; sensible up to some forty items."""
        states = np.zeros((1, 1 + len(self.profits)), dtype=np.int64)  # weight, then profits
        for weight, profit in zip(self.weights, self.profits.T, strict=True):
            grown = states + np.r_[weight, profit]
            both = np.concatenate([states, grown[grown[:, 0] <= self.capacity]])
            states = _efficient(both, np.r_[1, -np.ones(len(profit), dtype=np.int64)])
        profits = states[:, 1:]
        return _efficient(profits, -np.ones(profits.shape[1], dtype=np.int64)).astype(np.float64)

    def describe(self) -> Mapping[str, Any]:
        """Title for people."""
        return {"title": f"knapsack with {len(self.weights)} items, capacity {self.capacity}"}


def _carried(amounts: NDArray[np.int64], batch: SackBatch) -> NDArray[np.int64]:
    return batch.packed @ amounts


@dataclass(frozen=True, eq=False)
class LayerBatch:
    """n thinned models: the choice at each layer, and what each choice is worth there."""

    choices: NDArray[np.int16]
    losses: Array
    sizes: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.choices)

    @cached_property
    def loss(self) -> Array:
        """Added loss per layer, shape (n, layers)."""
        return np.take_along_axis(self.losses, self.choices.T.astype(np.intp), axis=1).T

    @cached_property
    def params(self) -> NDArray[np.int64]:
        """Kept parameters per layer, shape (n, layers)."""
        return np.take_along_axis(self.sizes, self.choices.T.astype(np.intp), axis=1).T


class Layers:
    """A toy of pruning: each layer is kept, thinned in steps, or removed; losses and sizes add up.

    Judging on validation data uses slightly other losses, as real text would.

    Args:
        layers: How many layers.
        levels: Choices per layer, from untouched (0) to removed (levels − 1); at least 2.
        instance: Which random model.
    """

    validation = True
    bytes_per_candidate = 4096
    constraints: Sequence[Constraint] = ()
    default_objectives = ("loss", "params")

    def __init__(self, layers: int = 12, levels: int = 5, instance: int = 0) -> None:
        if layers < 1 or levels < 2:
            raise ConfigError(f"layers needs 1 layer and 2 levels, got {layers} and {levels}")
        draw = stream(instance, "layers", layers, levels)
        gone = np.arange(levels) / (levels - 1)
        full = draw.integers(100, 1001, layers) * (levels - 1)
        self.sizes = np.rint(full[:, None] * (1.0 - gone)).astype(np.int64)
        weight, bend = draw.uniform(0.1, 2.0, (layers, 1)), draw.uniform(1.0, 4.0, (layers, 1))
        # Multiples of 1/1024 add up without rounding, so that the exact front is exact.
        self.losses = np.ceil(1024 * weight * gone**bend) / 1024
        other = self.losses * draw.uniform(1.0, 1.1, self.losses.shape)
        self.unseen = np.ceil(1024 * other) / 1024
        self.space = SearchSpace((Choice("choices", [levels] * layers),))
        self.objectives = (
            Objective("loss", "min", _loss, "nats", resolution=1 / 1024),
            Objective("params", "min", _params, resolution=1.0, free=True),
            Objective(
                "sparsity", "max", partial(_sparsity, int(full.sum())), resolution=1e-6, free=True
            ),
            Objective(
                "removed", "max", partial(_removed, levels - 1), "layers", resolution=1.0, free=True
            ),
        )

    def batch(self, genomes: Genomes, context: Context) -> LayerBatch:
        """Decode n genomes; the split decides which losses count."""
        self.space.check(genomes)
        losses = self.unseen if context.split == "validation" else self.losses
        return LayerBatch(genomes["choices"], losses, self.sizes)

    def starts(self, n: int, rng: RNG) -> Genomes:
        """The first n rungs of the ladder."""
        return self.ladder().take(slice(0, n))

    def ladder(self) -> Genomes:
        """The same level everywhere, from untouched to removed."""
        layers, levels = self.sizes.shape
        rungs = np.repeat(np.arange(levels, dtype=np.int16)[:, None], layers, axis=1)
        return Genomes({"choices": rungs})

    def front(self) -> Array:
        """All Pareto-optimal pairs of loss and params, shape (k, 2), exact."""
        states = np.zeros((1, 2))
        for loss, size in zip(self.losses, self.sizes, strict=True):
            options = np.stack([loss, size], axis=1)
            states = (states[:, None] + options[None]).reshape(-1, 2)
            states = _efficient(states, np.ones(2))
        return states

    def fingerprint(self) -> Mapping[str, str]:
        """Hashes of the model and of the data that it is judged on."""
        digest = hashlib.blake2b(self.sizes.tobytes(), digest_size=8).hexdigest()
        tables = self.losses.tobytes() + self.unseen.tobytes()
        return {"model": digest, "text": hashlib.blake2b(tables, digest_size=8).hexdigest()}

    def describe(self) -> Mapping[str, Any]:
        """Facts for report and command line, in the shape that pruned models have."""
        levels = self.sizes.shape[1]
        return {
            "title": f"{len(self.sizes)} layers with {levels} levels",
            "model": "synthetic layers",
            "choices_part": "choices",
            "sites": [self._site(i, row) for i, row in enumerate(self.sizes.tolist())],
            "dense": {
                "loss": 0.0, "params": int(self.sizes[:, 0].sum()), "sparsity": 0.0, "removed": 0,
            },
            "facts": {"losses": "additive, known exactly"},
        }  # fmt: skip

    def _site(self, depth: int, sizes: Sequence[int]) -> dict[str, Any]:
        last = len(sizes) - 1
        names = ["dense", *(f"level {k}" for k in range(1, last)), "removed"]
        kinds = ["dense", *["width"] * (last - 1), "removed"]
        variants = [
            {"name": n, "kind": k, "params": s, "macs": s, "weight_bytes": 4 * s, "kv_bytes": 0}
            for n, k, s in zip(names, kinds, sizes, strict=True)
        ]
        return {"name": f"layer {depth}", "kind": "layer", "depth": depth, "variants": variants}


def _loss(batch: LayerBatch) -> Array:
    return batch.loss.sum(axis=1)


def _params(batch: LayerBatch) -> NDArray[np.int64]:
    return batch.params.sum(axis=1)


def _sparsity(total: int, batch: LayerBatch) -> Array:
    return 1.0 - batch.params.sum(axis=1) / total


def _removed(last: int, batch: LayerBatch) -> NDArray[np.intp]:
    return (batch.choices == last).sum(axis=1)


def _efficient(states: NDArray[Any], signs: NDArray[Any]) -> NDArray[Any]:
    """Distinct rows that no other beats, sorted, when each column times its sign is minimised."""
    costs = np.unique(states * signs, axis=0)  # ascending, so that only earlier rows dominate
    if costs.shape[1] == 2:
        best = np.minimum.accumulate(costs[:, 1])
        return costs[np.r_[True, costs[1:, 1] < best[:-1]]] * signs
    kept: list[NDArray[Any]] = []
    for row in costs:
        if not any((other <= row).all() for other in kept):
            kept.append(row)
    return np.array(kept) * signs
