"""Plasticity rules, judged by the lives of networks that learn by them."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from evo.errors import ConfigError
from evo.genomes import Genomes
from evo.problem import Array, Constraint, Context, Objective
from evo.space import Mask, Part, Real, SearchSpace
from operators import RNG

from .genes import PRUNED, Kept, Rule, connected, one_of, sizes, whole
from .lives import Clock, Episodes, Lives, live
from .objectives import offered
from .worlds import INTACT, make

BACKENDS = ("auto", "numpy", "torch")


@dataclass(frozen=True, eq=False)
class PlasticBatch:
    """n rules; networks live when something that needs their lives is first asked for."""

    problem: Plastic
    genomes: Genomes
    context: Context

    def __len__(self) -> int:
        return len(self.genomes)

    @property
    def scored(self) -> int:
        """Which of the rewards damaged bodies are judged by."""
        return self.problem.scored

    @cached_property
    def kept(self) -> Kept:
        """What pruning leaves."""
        return self.problem.kept(self.genomes)

    @cached_property
    def sizes(self) -> Mapping[str, Array]:
        """``params`` and ``memory``, each (n,)."""
        return sizes(self.problem.rule, self.kept, len(self))

    @cached_property
    def synapses(self) -> Array:
        """Synapses that stay, (n,)."""
        return self.kept.counts(self.problem.rule, len(self))[1]

    @cached_property
    def intact(self) -> Lives:
        """Lives in the intact body."""
        return self._live([INTACT])

    @cached_property
    def damaged(self) -> Lives:
        """Lives in the damaged bodies."""
        return self._live(self.problem.damage)

    @cached_property
    def unseen(self) -> Lives:
        """Lives in the bodies that are only reported."""
        return self._live(self.problem.unseen)

    @property
    def failures(self) -> list[str]:
        """Why candidates cannot be judged, as far as they have lived; empty where they can."""
        lived = [self.__dict__.get(name) for name in ("intact", "damaged", "unseen")]
        told: dict[int, str] = {}
        for lives in lived:
            told = (lives.reasons if lives else {}) | told
        return [told.get(i, "") for i in range(len(self))]

    def _live(self, bodies: Sequence[str]) -> Lives:
        problem = self.problem
        numbers = [problem.bodies.index(body) for body in bodies]
        return live(
            problem.rule, problem.rule.decode(self.genomes["rules"]), self.kept, problem.world,
            numbers, problem.episodes(self.context), noise=problem.noise,
            patience=problem.patience, clock=problem.clock,
            device=problem.device(self.context),
        )  # fmt: skip


class Plastic:
    """Evolve how a network learns.

    Args:
        task: ``cart``, ``reach``, ``ant``, ``ant-fast`` (a cheaper integrator), ``cheetah``,
            ``hopper``, ``swimmer`` or ``walker``.
        rule: ``hl`` (per synapse), ``nchl`` (per neuron), ``wnchl`` (weightless) or ``static``.
        hidden: Neurons of each hidden layer; by default what suits the task.
        episodes: In how many episodes each candidate is judged by the search, and in how many
            others the front is judged again.
        steps: Control steps of a life; by default those of the task.
        damage: Damaged bodies the search may judge by, such as ``leg@0``.
        unseen: Bodies that are only reported.
        score: Which reward damaged bodies are judged by; by default the first of the task.
        noise: Deviation of noise on every observation.
        friction: Factor of all friction.
        patience: End a life after more than so many steps in a row that lead back, from step 200
            on (NcHL: 30); by default it goes on.
        prune: ``neurons`` or ``synapses`` adds a mask to the genome, of which each layer keeps at
            least one; ``none``.
        bound: Genes lie in ± this.
        spread: Deviation of the genes of warm starts.
        init: How weights begin: ``zero``, ``uniform``, ``linear`` or ``normal``.
        scale: Of weights that begin; by default as published.
        norm: After each update: ``none``, ``max`` (by the largest of a layer) or ``clip``.
        limit: Largest absolute weight under ``clip``.
        every: Control steps between updates.
        window: Recorded steps of weightless networks.
        eta: One learning rate for all; by default it is evolved.
        packed: Leave out genes that never act.
        dtype: ``float32`` or ``float64``.
        threads: Of bodies and networks; 0 for all cores. Results do not depend on it.
        backend: What computes networks: ``numpy`` (with Numba where it is installed), ``torch`` on
            the run's device, or ``auto``, torch where that is not the CPU. They agree to rounding.

    Raises:
        ConfigError: A setting is out of range, or a simulator is missing.
    """

    constraints: Sequence[Constraint] = ()
    validation = True

    def __init__(
        self,
        task: str = "cart",
        rule: str = "nchl",
        hidden: Sequence[int] | None = None,
        episodes: Sequence[int] = (4, 32),
        steps: int | None = None,
        damage: Sequence[str] = (),
        unseen: Sequence[str] = (),
        score: str | None = None,
        noise: float = 0.0,
        friction: float = 1.0,
        patience: int | None = None,
        prune: str = "none",
        bound: float = 3.0,
        spread: float = 1.0,
        init: str = "uniform",
        scale: float | None = None,
        norm: str = "none",
        limit: float = 1.0,
        every: int = 1,
        window: int = 10,
        eta: float | None = None,
        packed: bool = False,
        dtype: str = "float32",
        threads: int = 0,
        backend: str = "auto",
    ) -> None:
        one_of("prune", prune, PRUNED)
        one_of("backend", backend, BACKENDS)
        self.backend = backend
        if len(episodes) != 2:
            raise ConfigError(
                f"problem.episodes must be two numbers, for search and validation, got {episodes!r}"
            )
        for count in episodes:
            whole("episodes", count, 1)
        for name, value, least in (("noise", noise, 0), ("friction", friction, 0)):
            if not (np.isfinite(value) and value >= least):
                raise ConfigError(f"problem.{name} must be a number of at least 0, got {value!r}")
        for name, value in (("bound", bound), ("spread", spread)):
            if not (np.isfinite(value) and value > 0):
                raise ConfigError(f"problem.{name} must be a number above 0, got {value!r}")
        self.damage, self.unseen = _bodies("damage", damage), _bodies("unseen", unseen)
        self.bodies = tuple(dict.fromkeys((INTACT, *self.damage, *self.unseen)))
        whole("threads", threads, 0)
        if patience is not None:
            whole("patience", patience, 0)
        self.patience = patience
        given: dict[str, Any] = {"friction": friction, "threads": threads}
        if steps is not None:
            whole("steps", steps, 1)
            given["steps"] = steps
        self.world = make(task, self.bodies, **given)
        one_of("score", score or self.world.parts[0], self.world.parts)
        self.scored = self.world.parts.index(score or self.world.parts[0])
        middle = self.world.hidden if hidden is None else tuple(hidden)
        self.rule = Rule(
            (self.world.inputs, *middle, self.world.outputs), rule, init, scale, norm, limit,
            every, window, eta, packed, dtype,
        )  # fmt: skip
        self.task, self.noise, self.prune, self.friction = task, float(noise), prune, friction
        self._counts = {"search": episodes[0], "validation": episodes[1]}
        self._spread = spread
        self.clock = Clock()
        if prune == "synapses" and rule == "wnchl":
            raise ConfigError("rule 'wnchl' stores no weights; problem.prune can be 'neurons'")
        if prune == "neurons" and self.rule.hidden == 0:
            raise ConfigError("problem.prune is 'neurons', but there are no hidden ones")
        parts: list[Part] = [Real("rules", np.full(self.rule.genes, -bound), bound, dtype)]
        if prune != "none":
            length = self.rule.hidden if prune == "neurons" else self.rule.synapses
            parts.append(Mask("kept", length))
        repairs = () if prune == "none" else (connected(self.rule, prune),)
        self.space = SearchSpace(tuple(parts), repairs)
        self.objectives: Sequence[Objective] = offered(
            self.world.parts, bool(self.damage), bool(self.unseen)
        )
        first = (self.world.parts[0], "robustness") if self.damage else (self.world.parts[0],)
        self.default_objectives = first if prune == "none" else (*first, "params")

    def batch(self, genomes: Genomes, context: Context) -> PlasticBatch:
        """Decode n candidates; nobody lives before an objective asks."""
        self.space.check(genomes)
        return PlasticBatch(self, genomes, context)

    def kept(self, genomes: Genomes) -> Kept:
        """What the masks of n candidates leave."""
        if self.prune == "none":
            return Kept()
        return Kept(**{self.prune: genomes["kept"]})

    def episodes(self, context: Context) -> Episodes:
        """The episodes of a split, the same for all candidates."""
        return Episodes(context.seed, context.split, self._counts[context.split])

    def device(self, context: Context) -> str | None:
        """Where torch computes networks; None for NumPy."""
        if self.backend == "torch" or (self.backend == "auto" and context.device != "cpu"):
            return context.device
        return None

    def starts(self, n: int, rng: RNG) -> Genomes:
        """Nothing learnt at first, then normal genes; masks keep all, then less and less."""
        genes = rng.normal(0.0, self._spread, (n, self.rule.genes))
        genes[0] = 0.0
        parts: dict[str, Any] = {"rules": genes}
        for part in self.space.parts[1:]:
            share = np.linspace(0.0, 0.8, n)[:, None]
            parts[part.name] = rng.random((n, *part.shape)) >= share
        return self.space.repair(Genomes(parts))

    def work(self) -> Mapping[str, float]:
        """Control steps simulated, and seconds in the world and in networks."""
        clock = self.clock
        return {
            "control_steps": clock.steps, "seconds.world": clock.world,
            "seconds.network": clock.network,
        }  # fmt: skip

    def fingerprint(self) -> Mapping[str, str]:
        """Hash of the simulated bodies."""
        told = getattr(self.world, "source", b"")
        return {"world": hashlib.blake2b(told, digest_size=16).hexdigest()}

    def describe(self) -> Mapping[str, Any]:
        """Facts for reports."""
        rule = self.rule
        return {
            "task": self.task, "rule": rule.name, "layers": list(rule.layers),
            "synapses": rule.synapses, "neurons": rule.neurons, "genes": rule.genes,
            "bodies": list(self.bodies), "steps": self.world.steps,
        }  # fmt: skip

    def export(
        self, genomes: Genomes, folder: Path, *, expected: Mapping[str, float]
    ) -> Mapping[str, Any]:
        """Write a rule (n = 1) as JSON, with a program in NumPy alone that lives by it."""
        from .export import write

        return write(self, genomes, folder, expected)

    @property
    def bytes_per_candidate(self) -> int:
        """Weights, coefficients and records of its lanes."""
        rule = self.rule
        state = 7 * rule.synapses if rule.name != "wnchl" else (rule.window + 12) * rule.neurons
        bodies = max(1, len(self.damage), len(self.unseen))
        each = 8 if rule.dtype == "float64" else 4
        lanes = bodies * max(self._counts.values())
        return lanes * (2 * each * state + getattr(self.world, "bytes_per_lane", 200))

    def close(self) -> None:
        """Release the simulator."""
        self.world.close()


def _bodies(name: str, given: Sequence[str]) -> tuple[str, ...]:
    if isinstance(given, str) or any(not isinstance(body, str) for body in given):
        raise ConfigError(f"problem.{name} must be a list of bodies such as leg@0, got {given!r}")
    if len(set(given)) != len(given) or INTACT in given:
        raise ConfigError(f"problem.{name} needs different damaged bodies, got {list(given)}")
    return tuple(given)
