"""What a generation costs besides its evaluation, against plain pymoo.

    python experiments/benchmarks/overhead.py [--only 0,4] [--rounds 5] [--folder DIR]

A whole ``evo`` search (asking, variation, repeats, survival, archive, run file; no live table) and
``pymoo.optimize.minimize`` search the same genes with the same population, objectives and
generations, in turns; the seconds of the objective function are subtracted on both sides. Before a
ratio is printed, both must have judged equally many candidates, ours all different, and ours must
dominate at least nine tenths of what pymoo's last population does. Run files lie below DIR, by
default in the folder for temporary files, and are synchronised with the disk as in any run.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from pymoo.algorithms.moo.nsga2 import NSGA2
from pymoo.algorithms.moo.nsga3 import NSGA3
from pymoo.core.problem import Problem as PymooProblem
from pymoo.operators.crossover.pntx import TwoPointCrossover
from pymoo.operators.mutation.bitflip import BitflipMutation
from pymoo.operators.sampling.rnd import BinaryRandomSampling
from pymoo.optimize import minimize

from evo.algorithms.directions import directions
from evo.archive import Box
from evo.config import RunConfig
from evo.genomes import Genomes
from evo.indicators import nondominated
from evo.problem import Array, Context, Objective
from evo.run import Run
from evo.space import Mask, Real, SearchSpace
from evo.streams import stream
from evo.view import read_run


@dataclass(frozen=True)
class Case:
    """One line of the table."""

    population: int
    genes: int
    objectives: int
    algorithm: str
    kind: str
    generations: int

    def __str__(self) -> str:
        return (
            f"{self.population} x {self.genes} {self.kind}, {self.objectives} objectives, "
            f"{self.algorithm}, {self.generations} generations"
        )


CASES = (
    Case(100, 30, 2, "nsga2", "real", 100),
    Case(500, 30, 2, "nsga2", "real", 50),
    Case(100, 30, 5, "nsga3", "real", 100),
    Case(500, 30, 5, "nsga3", "real", 50),
    Case(500, 256, 2, "nsga2", "real", 30),
    Case(500, 256, 2, "nsga2", "mask", 30),
    Case(1000, 4096, 2, "nsga2", "real", 6),
    Case(1000, 4096, 2, "nsga2", "mask", 6),
)


@dataclass
class Clock:
    """Seconds of wall and of processor time, added up."""

    seconds: Array = field(default_factory=lambda: np.zeros(2))

    def __enter__(self) -> Clock:
        self._begun = now()
        return self

    def __exit__(self, *_: object) -> None:
        self.seconds += now() - self._begun


def now() -> Array:
    """Wall and processor time."""
    return np.array([time.perf_counter(), time.process_time()])


class Function:
    """What is minimised: a sphere over real genes, or weights of switches; its time is kept."""

    def __init__(self, genes: int, objectives: int, kind: str) -> None:
        self.objectives, self.kind, self.clock = objectives, kind, Clock()
        self.weights = stream(0, "weights").normal(size=(genes, objectives))

    def __call__(self, x: Any) -> Array:
        """Shape (n, d) to (n, m)."""
        with self.clock:
            if self.kind == "mask":
                return x.astype(np.float64) @ self.weights
            place, rest = x[:, : self.objectives - 1] * (np.pi / 2), x[:, self.objectives - 1 :]
            ones = np.ones((len(x), 1))
            products = np.cumprod(np.concatenate([ones, np.cos(place)], axis=1), axis=1)[:, ::-1]
            last = np.concatenate([ones, np.sin(place)[:, ::-1]], axis=1)
            return (1.0 + ((rest - 0.5) ** 2).sum(axis=1))[:, None] * products * last


class Searched:
    """The function as a problem of ours."""

    constraints = ()

    def __init__(self, genes: int = 30, objectives: int = 2, kind: str = "real") -> None:
        self.function = Function(genes, objectives, kind)
        part = Mask("x", genes) if kind == "mask" else Real("x", np.zeros(genes), np.ones(genes))
        self.space = SearchSpace((part,))
        self.objectives = tuple(
            Objective(f"f{j}", "min", lambda batch, j=j: batch.values[:, j])
            for j in range(objectives)
        )

    def batch(self, genomes: Genomes, context: Context) -> Judged:
        """Judged at once."""
        return Judged(self.function(genomes["x"]))


@dataclass(frozen=True)
class Judged:
    """n candidates, values (n, m)."""

    values: Array

    def __len__(self) -> int:
        return len(self.values)


class Plain(PymooProblem):
    """The function as a problem of pymoo's."""

    def __init__(self, case: Case) -> None:
        kind: Any = bool if case.kind == "mask" else float
        super().__init__(n_var=case.genes, n_obj=case.objectives, xl=0, xu=1, vtype=kind)
        self.function = Function(case.genes, case.objectives, case.kind)

    def _evaluate(self, x: Any, out: Any, *args: Any, **kwargs: Any) -> None:
        out["F"] = self.function(x)


def ours(case: Case, seed: int, folder: Path) -> tuple[Array, Array, int]:
    """Seconds besides the function, fitness of the last population, and evaluations."""
    config = RunConfig.from_mapping(
        {
            "problem": {
                "id": "overhead:Searched", "genes": case.genes, "objectives": case.objectives,
                "kind": case.kind,
            },
            "algorithm": {"id": case.algorithm, "population": case.population},
            "stop": {"generations": case.generations}, "seed": seed, "baseline": False,
            "validate": False,
        }
    )  # fmt: skip
    with Clock() as clock:
        run: Any = Run.create(config, folder)
        with run:
            for _ in run:
                pass
            last = run.search.algorithm.population.fitness
            run.finish()
    genomes = read_run(folder).candidates.genomes
    count = len(genomes)
    assert len(set(genomes.rows())) == count, "a genome was judged twice"
    return clock.seconds - run.problem.function.clock.seconds, last, count


def theirs(case: Case, seed: int) -> tuple[Array, Array, int]:
    """The same by pymoo."""
    problem = Plain(case)
    with Clock() as clock:
        binary = {
            "sampling": BinaryRandomSampling(), "crossover": TwoPointCrossover(),
            "mutation": BitflipMutation(),
        }  # fmt: skip
        more: Any = binary if case.kind == "mask" else {}
        algorithm = (
            NSGA2(pop_size=case.population, **more)
            if case.algorithm == "nsga2"
            else NSGA3(directions(case.objectives, case.population), case.population, **more)
        )
        found = minimize(problem, algorithm, ("n_gen", case.generations), seed=seed)
    return (
        clock.seconds - problem.function.clock.seconds,
        found.pop.get("F"),
        found.algorithm.evaluator.n_eval,
    )


def measured(case: Case, rounds: int, home: Path) -> None:
    """Print one line."""
    seconds: list[tuple[Array, Array]] = []
    shares: list[float] = []
    for seed in range(rounds):
        with tempfile.TemporaryDirectory(dir=home) as folder:
            mine, found, count = ours(case, seed, Path(folder) / "run")
        other, known, judged = theirs(case, seed)
        assert count == judged == case.population * case.generations, (count, judged)
        every = np.concatenate([found, known])
        box = Box.spanning(every[nondominated(every)])
        shares.append(box.hypervolume(found) / box.hypervolume(known))
        seconds.append((mine / case.generations, other / case.generations))
    assert statistics.median(shares) >= 0.9, f"{case}: hypervolumes {shares}"
    a, b = (np.median([pair[i] for pair in seconds], axis=0) for i in (0, 1))
    ratio = a / b
    print(
        f"{case}: wall {1e3 * a[0]:.2f} against {1e3 * b[0]:.2f} ms a generation, "
        f"{ratio[0]:.3f}; processor {1e3 * a[1]:.2f} against {1e3 * b[1]:.2f}, {ratio[1]:.3f}; "
        f"hypervolume {statistics.median(shares):.3f}",
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--only", default="", help="numbers of cases, from 0")
    parser.add_argument("--folder", type=Path, help="where run files lie while they are written")
    arguments = parser.parse_args()
    chosen = [int(i) for i in arguments.only.split(",") if i] or range(len(CASES))
    for i in chosen:
        measured(CASES[i], arguments.rounds, arguments.folder)


if __name__ == "__main__":
    main()
