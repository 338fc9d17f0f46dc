"""What a genome of a plastic network holds: five coefficients per synapse or neuron, and masks.

Letters as in NcHL: A weighs the presynaptic activation, B the postsynaptic one, C their product, D
is constant; Najarro and Risi call the correlation A, the others B, C and D.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from evo.errors import ConfigError
from evo.genomes import Genomes
from evo.problem import Array

RULES = ("hl", "nchl", "wnchl", "static")
INITS = {"zero": 0.0, "uniform": 0.1, "linear": 1.0, "normal": 0.024}
"""How weights begin, and the published scale of each (1 leaves PyTorch's bounds as they are)."""
NORMS = ("none", "max", "clip")
COEFFICIENTS = ("eta", "a", "b", "c", "d")
PRUNED = ("none", "neurons", "synapses")

Values = NDArray[Any]


@dataclass(frozen=True, slots=True)
class Rule:
    """How a network learns.

    Args:
        layers: Neurons of each layer, inputs and outputs included.
        name: ``hl`` (ABCD per synapse), ``nchl`` (per neuron), ``wnchl`` (the same without stored
            weights) or ``static`` (weights are the genes).
        init: How weights begin a life: ``zero``, ``uniform`` in ±scale, ``normal`` with that
            deviation, or ``linear``, uniform in ±scale/√inputs. Weightless networks begin at zero.
        scale: See ``init``; None for the published value.
        norm: After each update: ``none``, ``max`` (each layer divided by its largest absolute
            weight) or ``clip``.
        limit: Largest absolute weight under ``clip``.
        every: Control steps between updates.
        window: Recorded steps of a weightless network.
        eta: One learning rate for all units, which then have four genes; None evolves them.
        packed: Leave out the genes that never act: A of outputs and B of inputs (``nchl``,
            ``wnchl``).
        dtype: ``float32`` or ``float64``.

    Raises:
        ConfigError: A setting is out of range, or two contradict each other.
    """

    layers: tuple[int, ...]
    name: str = "nchl"
    init: str = "uniform"
    scale: float | None = None
    norm: str = "none"
    limit: float = 1.0
    every: int = 1
    window: int = 10
    eta: float | None = None
    packed: bool = False
    dtype: str = "float32"

    def __post_init__(self) -> None:
        one_of("rule", self.name, RULES)
        one_of("init", self.init, tuple(INITS))
        one_of("norm", self.norm, NORMS)
        one_of("dtype", self.dtype, ("float32", "float64"))
        whole("every", self.every, 1)
        whole("window", self.window, 1)
        if len(self.layers) < 2:
            raise ConfigError(f"a network needs inputs and outputs, got layers {self.layers!r}")
        for size in self.layers:
            whole("hidden", size, 1)
        for name, value in (("scale", self.scale), ("limit", self.limit)):
            if value is not None and not (np.isfinite(value) and value > 0):
                raise ConfigError(f"problem.{name} must be a number above 0, got {value!r}")
        if self.eta is not None and not np.isfinite(self.eta):
            raise ConfigError(f"problem.eta must be a finite number, got {self.eta!r}")
        if self.name == "wnchl" and self.norm != "none":
            raise ConfigError("rule 'wnchl' stores no weights, so problem.norm must be 'none'")
        if self.packed and not self.by_neuron:
            raise ConfigError("problem.packed is for the rules 'nchl' and 'wnchl'")
        if self.name == "static" and self.eta is not None:
            raise ConfigError("rule 'static' learns nothing, so problem.eta must not be set")

    @property
    def by_neuron(self) -> bool:
        """Whether neurons, not synapses, have genes."""
        return self.name in ("nchl", "wnchl")

    @property
    def synapses(self) -> int:
        """W, all weights."""
        return sum(a * b for a, b in self.pairs)

    @property
    def neurons(self) -> int:
        """N, inputs and outputs included."""
        return sum(self.layers)

    @property
    def hidden(self) -> int:
        """Neurons that are neither inputs nor outputs."""
        return sum(self.layers[1:-1])

    @property
    def pairs(self) -> tuple[tuple[int, int], ...]:
        """Inputs and outputs of each layer of weights."""
        return tuple(pairwise(self.layers))

    @property
    def units(self) -> int:
        """What has genes of its own: neurons or synapses."""
        return self.neurons if self.by_neuron else self.synapses

    @property
    def coefficients(self) -> tuple[str, ...]:
        """Names of the genes of a unit."""
        if self.name == "static":
            return ("w",)
        return COEFFICIENTS if self.eta is None else COEFFICIENTS[1:]

    @property
    def genes(self) -> int:
        """Length of a genome: 5W, 5N or W; less where eta is fixed or dead genes are left out."""
        dead = self.layers[0] + self.layers[-1] if self.packed else 0
        return len(self.coefficients) * self.units - dead

    def decode(self, genomes: Array) -> dict[str, Values]:
        """Coefficients by name, each (n, units), from genomes (n, genes).

        Genes lie coefficient by coefficient; neurons layer by layer, synapses layer by layer and
        there row by row, one row per postsynaptic neuron.
        """
        n, dtype = len(genomes), np.dtype(self.dtype)
        full = np.zeros((n, len(self.coefficients), self.units), dtype=dtype)
        full.reshape(n, -1)[:, self._alive()] = genomes
        found = {name: full[:, i] for i, name in enumerate(self.coefficients)}
        if self.eta is not None:
            found["eta"] = np.full((n, self.units), self.eta, dtype=dtype)
        return found

    def _alive(self) -> NDArray[np.intp]:
        """Where the genes of a packed genome lie in a whole one."""
        used = np.ones((len(self.coefficients), self.units), dtype=bool)
        if self.packed:
            used[self.coefficients.index("a"), self.units - self.layers[-1] :] = False
            used[self.coefficients.index("b"), : self.layers[0]] = False
        return np.flatnonzero(used)

    def by_layer(self, values: Values) -> list[Values]:
        """Cut (n, units) into one array per layer: (n, neurons), or (n, outputs, inputs)."""
        if self.by_neuron:
            return np.split(values, np.cumsum(self.layers)[:-1], axis=1)
        return self.matrices(values)

    def matrices(self, values: Values) -> list[Values]:
        """Cut (n, W) into one (n, outputs, inputs) per layer of weights."""
        cuts = np.cumsum([a * b for a, b in self.pairs])[:-1]
        parts = zip(np.split(values, cuts, axis=1), self.pairs, strict=True)
        return [part.reshape(len(part), b, a) for part, (a, b) in parts]

    def beginnings(self, streams: Sequence[np.random.Generator]) -> list[Values]:
        """Weights at the beginning of each of e lives, (e, outputs, inputs) per layer.

        Draws from every stream in turn, the same for all candidates.
        """
        published = INITS[self.init]
        scale = published if self.scale is None else self.scale
        out = []
        for a, b in self.pairs:
            size = scale / np.sqrt(a) if self.init == "linear" else scale
            if self.init == "zero" or self.name in ("wnchl", "static"):
                drawn = [np.zeros((b, a)) for _ in streams]
            elif self.init == "normal":
                drawn = [rng.normal(0.0, size, (b, a)) for rng in streams]
            else:
                drawn = [rng.uniform(-size, size, (b, a)) for rng in streams]
            out.append(np.array(drawn).reshape(len(streams), b, a).astype(self.dtype))
        return out


@dataclass(frozen=True, slots=True)
class Kept:
    """What pruning leaves: hidden neurons (n, hidden), synapses (n, W); None where all stay."""

    neurons: NDArray[np.bool_] | None = None
    synapses: NDArray[np.bool_] | None = None

    def some(self, rows: slice) -> Kept:
        """Of these candidates."""
        return Kept(*(v if v is None else v[rows] for v in (self.neurons, self.synapses)))

    def by_layer(self, rule: Rule, n: int) -> list[NDArray[np.bool_]]:
        """Neurons that stay, (n, neurons) per layer; inputs and outputs always do."""
        every = np.ones((n, rule.neurons), dtype=bool)
        if self.neurons is not None:
            every[:, rule.layers[0] : rule.neurons - rule.layers[-1]] = self.neurons
        return np.split(every, np.cumsum(rule.layers)[:-1], axis=1)

    def matrices(self, rule: Rule, n: int) -> list[NDArray[np.bool_]]:
        """Synapses between neurons that stay, (n, outputs, inputs) per layer."""
        layers = self.by_layer(rule, n)
        kept = [b[:, :, None] & a[:, None, :] for a, b in pairwise(layers)]
        if self.synapses is not None:
            own = rule.matrices(self.synapses)
            kept = [one & two for one, two in zip(kept, own, strict=True)]
        return kept

    def counts(self, rule: Rule, n: int) -> tuple[Array, Array]:
        """Neurons and synapses that stay, each (n,)."""
        neurons = np.concatenate(self.by_layer(rule, n), axis=1).sum(axis=1)
        synapses = sum(m.sum(axis=(1, 2)) for m in self.matrices(rule, n))
        return neurons.astype(np.float64), np.asarray(synapses, dtype=np.float64)


def connected(rule: Rule, prune: str) -> Callable[[Genomes], Genomes]:
    """A repair of masks that leave a layer without neurons or synapses: its first one stays.

    Networks that pass nothing on are all alike, and too small to be dominated: a search of
    ``params`` would fill its front with them.
    """
    lengths = rule.layers[1:-1] if prune == "neurons" else [a * b for a, b in rule.pairs]
    starts = np.cumsum([0, *lengths[:-1]])

    def repair(genomes: Genomes) -> Genomes:
        kept = genomes["kept"].copy()
        for start, length in zip(starts, lengths, strict=True):
            kept[:, start] |= ~kept[:, start : start + length].any(axis=1)
        return Genomes({**genomes.parts, "kept": kept})

    return repair


def sizes(rule: Rule, kept: Kept, n: int) -> Mapping[str, Array]:
    """Evolved numbers in use (``params``) and numbers stored in a life (``memory``), each (n,).

    A network stores its rules, its weights or its record; masks are not counted.
    """
    neurons, synapses = kept.counts(rule, n)
    each = len(rule.coefficients)
    if not rule.by_neuron:
        own = each * synapses
        return {"params": own, "memory": own + (0 if rule.name == "static" else synapses)}
    dead = rule.layers[0] + rule.layers[-1] if rule.packed else 0
    own = each * neurons - dead
    state = rule.window * neurons if rule.name == "wnchl" else synapses
    return {"params": own, "memory": own + state}


def one_of(name: str, value: Any, known: Sequence[str]) -> None:
    """Raise ConfigError unless a setting is one of the known words."""
    if value not in known:
        raise ConfigError(f"problem.{name} must be one of {', '.join(known)}, got {value!r}")


def whole(name: str, value: Any, least: int) -> None:
    """Raise ConfigError unless a setting is a whole number that is large enough."""
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise ConfigError(
            f"problem.{name} must be a whole number of at least {least}, got {value!r}"
        )
