"""Do the algorithms search as well here as the libraries that they come from, called directly?

    python experiments/suites/run.py [--problems zdt1:2 dtlz2:3 wfg4:3] [--seeds 11]
        [--evaluations 1000] [--population 40] [--algorithms nsga2 …] [--jobs 2]

Every algorithm of pymoo and DEAP is run behind our ask and tell, and as its library's own loop,
with the same population, evaluations, seeds, reference directions and the library's operators; with
``--own`` ours vary by their own defaults. ``moead`` is compared with pymoo's MOEA/D, which judges
one candidate at a time, and as ``moead-batch`` with its version for whole generations. Compared are
the populations that they end with, not archives: hypervolume in the box of the known front
(reference point 1.1), and IGD+ to it. Written are, per problem and algorithm, the median of both
sides, A12 and the Mann-Whitney p-value, with Holm's correction over the algorithms of the problem
(``results/same.csv`` or ``own.csv``), and who is better how often (``.md``). Runs are kept in
``results/runs.csv`` and not repeated.
"""

from __future__ import annotations

import argparse
import csv
import random
import time
import warnings
from collections import Counter, defaultdict
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np

from evo.algorithms import Settings, create
from evo.algorithms.directions import directions, exactly
from evo.config import ProblemConfig
from evo.indicators import igd_plus, nondominated, unit_hypervolume
from evo.problem import Context
from evo.registry import build_problem
from evo.statistics import a12, holm, rank_sum
from operators.discrete import Reset, TwoPoint
from operators.real import SBX, Polynomial
from operators.sample import Uniform

PYMOO = ("nsga2", "nsga3", "unsga3", "age-moea", "age-moea2", "sms-emoa", "moead", "moead-batch",
         "rvea", "spea2", "ctaea")  # fmt: skip
DEAP = ("deap-nsga2", "deap-nsga3", "deap-spea2")
PROBLEMS = (
    *(f"zdt{k}:2" for k in range(1, 7)),
    *(f"dtlz{k}:{m}" for m in (2, 3, 5, 10) for k in range(1, 8)),
    *(f"wfg{k}:{m}" for m in (2, 3, 5, 10) for k in range(4, 10)),
)
FIELDS = ("problem", "algorithm", "side", "seed", "population", "evaluations", "judged", "size",
          "hypervolume", "igd_plus")  # fmt: skip
RESULTS = Path(__file__).parent / "results"
Key = tuple[str, ...]


def problem_of(name: str) -> Any:
    """The problem of a name such as ``dtlz2:3``."""
    base, m = name.split(":")
    settings = {} if base.startswith("zdt") else {"n_objectives": int(m)}
    return build_problem(ProblemConfig(f"synthetic/{base}", settings))


def judged(problem: Any, genomes: Any) -> np.ndarray:
    batch = problem.batch(genomes, Context())
    return np.stack([o(batch) for o in problem.objectives], axis=1)


def goal_of(name: str, problem: Any) -> np.ndarray:
    """Points of the known front; for DTLZ5 and 6 above three objectives their curve."""
    base, told = name.split(":")
    m = int(told)
    if base not in ("dtlz5", "dtlz6") or m < 4:
        return problem.front(2000)
    angle = np.linspace(0, np.pi / 2, 2000)[:, None]
    height = np.sqrt(0.5) ** np.concatenate([[m - 2], np.arange(m - 2, 0, -1)])
    return np.concatenate([np.cos(angle) * height, np.sin(angle)], axis=1)


@dataclass(frozen=True)
class Sparse:
    """A mutation whose changes are kept gene by gene with probability 1/d, as in both libraries.

    Ours changes one gene at least; pymoo leaves a tenth of all children as they are.
    """

    mutation: Any
    share: float

    def __call__(self, genomes: Any, bounds: Any, rng: Any) -> Any:
        changed = self.mutation(genomes, bounds, rng)
        some = rng.random(genomes.shape) < 1.0 / genomes.shape[1]
        return np.where(some & (rng.random((len(genomes), 1)) < self.share), changed, genomes)


def variation(algorithm: str, problem: Any) -> dict[str, Any]:
    """The operators that the library uses by default, and objectives as they are."""
    own = {"extra": {"mating": "first"}} if algorithm == "deap-spea2" else {}
    deap = algorithm.startswith("deap")
    whole = algorithm in ("nsga3", "unsga3", "rvea", "ctaea", "moead", "moead-batch")
    rate = 1.0 if whole else 0.9
    if problem.space.parts[0].kind == "mask":
        return {"crossover": TwoPoint(), "mutation": Sparse(Reset(1.0), 1.0),
                "sampling": Uniform(), "crossover_rate": rate, "scaling": False, **own}  # fmt: skip
    eta = 20 if deap or algorithm.startswith("moead") else 30 if whole else 15
    mutation = Sparse(Polynomial(20, 1.0), 1.0 if deap else 0.9)
    return {"crossover": SBX(eta), "mutation": mutation, "crossover_rate": rate,
            "scaling": False, **own}  # fmt: skip


def ours(name: str, algorithm: str, population: int, evaluations: int, seed: int, own: bool) -> Any:
    problem = problem_of(name)
    chosen = {} if own else variation(algorithm, problem)
    settings = Settings(population, seed, generations=evaluations // population, **chosen)
    search = create(
        algorithm.removesuffix("-batch"), problem.space, n_objectives=len(problem.objectives),
        constrained=False, settings=settings,
    )  # fmt: skip
    count = 0
    while count < evaluations:
        genomes = search.ask()
        fitness = judged(problem, genomes)
        search.tell(genomes, fitness, np.zeros(len(genomes)))
        count += len(genomes)
    return search.population.fitness, count


def direct(name: str, algorithm: str, population: int, evaluations: int, seed: int) -> Any:
    run = by_deap if algorithm.startswith("deap-") else by_pymoo
    return run(name, algorithm, population, evaluations, seed)


def by_pymoo(name: str, algorithm: str, population: int, evaluations: int, seed: int) -> Any:
    from pymoo.algorithms.moo import age, age2, ctaea, moead, nsga2, nsga3, rvea, sms, spea2, unsga3
    from pymoo.operators.crossover.pntx import TwoPointCrossover
    from pymoo.operators.mutation.bitflip import BitflipMutation
    from pymoo.operators.sampling.rnd import BinaryRandomSampling
    from pymoo.optimize import minimize
    from pymoo.problems import get_problem

    problem, (base, told) = problem_of(name), name.split(":")
    m, d = int(told), problem.space.length
    sizes: dict[str, Any] = {"n_var": d} if base.startswith("zdt") else {"n_var": d, "n_obj": m}
    rays, every = directions(m, population), exactly(m, population)
    made = {
        "nsga2": lambda: nsga2.NSGA2(pop_size=population),
        "nsga3": lambda: nsga3.NSGA3(ref_dirs=rays, pop_size=population),
        "unsga3": lambda: unsga3.UNSGA3(ref_dirs=rays, pop_size=population),
        "age-moea": lambda: age.AGEMOEA(pop_size=population),
        "age-moea2": lambda: age2.AGEMOEA2(pop_size=population),
        "sms-emoa": lambda: sms.SMSEMOA(pop_size=population),
        "moead": lambda: moead.MOEAD(ref_dirs=every),
        "moead-batch": lambda: moead.ParallelMOEAD(ref_dirs=every, n_offsprings=len(every)),
        "rvea": lambda: rvea.RVEA(ref_dirs=every, pop_size=population),
        "spea2": lambda: spea2.SPEA2(pop_size=population),
        "ctaea": lambda: ctaea.CTAEA(ref_dirs=every),
    }[algorithm]()
    limit = ("n_gen", evaluations // population) if algorithm == "rvea" else ("n_eval", evaluations)
    if base == "zdt5":
        sizes = {}
        made.initialization.sampling = BinaryRandomSampling()
        made.mating.crossover, made.mating.mutation = TwoPointCrossover(), BitflipMutation()
    found = minimize(get_problem(base, **sizes), made, limit, seed=seed)
    return found.pop.get("F"), found.algorithm.evaluator.n_eval


def by_deap(name: str, algorithm: str, population: int, evaluations: int, seed: int) -> Any:
    """The loops of DEAP's examples: simulated binary crossover, polynomial mutation, a selector.

    Bits are crossed at two points and flipped.
    """
    from deap import base, tools

    problem = problem_of(name)
    m, part = len(problem.objectives), problem.space.parts[0]
    bits = part.kind == "mask"
    low, high = (bound.tolist() for bound in (part.bounds.low, part.bounds.high))
    fitness = type("Fitness", (base.Fitness,), {"weights": (-1.0,) * m})
    rays = tools.selNSGA3WithMemory(directions(m, population), nd="log")
    selector = {
        "deap-nsga2": lambda rows, k: tools.selNSGA2(rows, k, nd="log"),
        "deap-nsga3": rays, "deap-spea2": tools.selSPEA2,
    }[algorithm]  # fmt: skip
    random.seed(seed)
    np.random.seed(seed)  # noqa: NPY002 - DEAP draws from it

    class Row(list):
        def __init__(self, genes: Any) -> None:
            super().__init__(genes)
            self.fitness = fitness()

    def judge(rows: list[Any]) -> None:
        values = problem.evaluate(np.array(rows))
        values = values[0] if isinstance(values, tuple) else values
        for row, value in zip(rows, values, strict=True):
            row.fitness.values = tuple(value)

    def drawn(a: Any, b: Any) -> Any:
        return random.random() < 0.5 if bits else random.uniform(a, b)

    people = [Row(map(drawn, low, high)) for _ in range(population)]
    judge(people)
    people, count = selector(people, population), population
    while count < evaluations:
        if algorithm == "deap-nsga2":
            parents = tools.selTournamentDCD(people, population)
        elif algorithm == "deap-spea2":
            parents = tools.selTournament(people, population, tournsize=2)
        else:
            parents = random.sample(people, population)
        children = [Row(parent) for parent in parents]
        for a, b in zip(children[::2], children[1::2], strict=True):
            if random.random() <= 0.9:
                if bits:
                    tools.cxTwoPoint(a, b)
                else:
                    tools.cxSimulatedBinaryBounded(a, b, eta=20.0, low=low, up=high)
        for child in children:
            if bits:
                tools.mutFlipBit(child, indpb=1.0 / len(low))
            else:
                tools.mutPolynomialBounded(child, eta=20.0, low=low, up=high, indpb=1.0 / len(low))
        judge(children)
        count += len(children)
        people = selector(people + children, population)
    return np.array([row.fitness.values for row in people]), count


def cell(key: Key) -> dict[str, Any]:
    """One run, measured."""
    name, algorithm, side, seed, population, evaluations = key
    warnings.simplefilter("ignore")
    given = name, algorithm, int(population), int(evaluations), int(seed)
    if side == "direct":
        try:
            found, count = direct(*given)
        except ZeroDivisionError:  # pymoo's AGE-MOEA, now and then
            return dict(zip(FIELDS, (*key, 0, 0, np.nan, np.nan), strict=True))
    else:
        found, count = ours(*given, own=side == "own")
    front, goal = found[nondominated(found)], goal_of(name, problem_of(name))
    low, high = goal.min(axis=0), goal.max(axis=0)
    scaled, target = (front - low) / (high - low), (goal - low) / (high - low)
    quality = (unit_hypervolume(scaled, 0.0, 1.0), igd_plus(scaled, target))
    told = (f"{value:.6g}" for value in quality)
    return dict(zip(FIELDS, (*key, count, len(front), *told), strict=True))


def kept() -> list[dict[str, str]]:
    if not (RESULTS / "runs.csv").exists():
        return []
    with open(RESULTS / "runs.csv", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def tested(rows: list[dict[str, str]], problem: str, side: str) -> list[dict[str, Any]]:
    """Cells of a problem: an algorithm and an indicator each, with at least two runs a side."""
    cells = []
    for indicator, goal in (("hypervolume", "max"), ("igd_plus", "min")):
        found: dict[tuple[str, str], list[float]] = defaultdict(list)
        for row in rows:
            if row["problem"] == problem and int(row["size"]):
                found[row["algorithm"], row["side"]].append(float(row[indicator]))
        lines = []
        for algorithm in dict.fromkeys(name for name, _ in found):
            a, b = np.array(found[algorithm, side]), np.array(found[algorithm, "direct"])
            if min(len(a), len(b)) > 1:
                lines.append({
                    "problem": problem, "algorithm": algorithm, "indicator": indicator,
                    "runs": min(len(a), len(b)), "ours": np.median(a), "direct": np.median(b),
                    "A12": a12(a, b, goal), "p": rank_sum(a, b),
                })  # fmt: skip
        for line, q in zip(lines, holm([line["p"] for line in lines]), strict=True):
            better = "ours" if line["A12"] > 0.5 else "direct"
            cells.append({**line, "holm": q, "better": better if q <= 0.05 else ""})
    return cells


def write(cells: list[dict[str, Any]], side: str) -> None:
    """The table of all cells, and a count of who is better by algorithm."""
    with open(RESULTS / f"{side}.csv", "w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(cells[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(
            {k: f"{v:.5g}" if isinstance(v, float) else v for k, v in c.items()} for c in cells
        )
    lines = ["| algorithm | indicator | cells | ours better | library better | not told apart | "
             "medians ahead | smallest p |", "|---|---|---|---|---|---|---|---|"]  # fmt: skip
    for algorithm in [*dict.fromkeys(c["algorithm"] for c in cells), "all"]:
        for indicator in ("hypervolume", "igd_plus"):
            some = [c for c in cells if c["indicator"] == indicator
                    and algorithm in (c["algorithm"], "all")]  # fmt: skip
            sign = 1 if indicator == "hypervolume" else -1
            ahead = sum(sign * c["ours"] > sign * c["direct"] for c in some)
            count = Counter(c["better"] for c in some)
            least = min(c["p"] for c in some)
            lines.append(f"| {algorithm} | {indicator} | {len(some)} | {count['ours']} | "
                         f"{count['direct']} | {count['']} | {ahead} | {least:.2g} |")  # fmt: skip
    text = "\n".join(lines) + "\n"
    (RESULTS / f"{side}.md").write_text(text, encoding="utf-8")
    print(text)
    for c in cells:
        if c["better"]:
            print(f"{c['problem']} {c['algorithm']} {c['indicator']}: {c['better']} better, "
                  f"{c['ours']:.4g} and {c['direct']:.4g}, Holm {c['holm']:.2g}")  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--problems", nargs="+", default=PROBLEMS)
    parser.add_argument("--algorithms", nargs="+", default=[*PYMOO, *DEAP])
    parser.add_argument("--seeds", type=int, default=11)
    parser.add_argument("--evaluations", type=int, default=1000)
    parser.add_argument("--population", type=int, default=40)
    parser.add_argument("--own", action="store_true", help="ours with its own default operators")
    parser.add_argument("--jobs", type=int, default=2)
    given = parser.parse_args()
    side = "own" if given.own else "same"
    wanted: list[Key] = [
        (name, algorithm, who, str(seed), str(given.population), str(given.evaluations))
        for seed in range(given.seeds) for name in given.problems for algorithm in given.algorithms
        for who in (side, "direct")
        # pymoo's SMS-EMOA removes one candidate at a time with exact volumes
        if not (algorithm == "sms-emoa" and int(name.split(":")[1]) > 3)
    ]  # fmt: skip
    done = {tuple(row[field] for field in FIELDS[:6]) for row in kept()}
    todo = [key for key in wanted if key not in done]
    RESULTS.mkdir(exist_ok=True)
    fresh, begun = not done, time.monotonic()
    with open(RESULTS / "runs.csv", "a", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, FIELDS, lineterminator="\n")
        if fresh:
            writer.writeheader()
        with ProcessPoolExecutor(given.jobs, mp_context=get_context("spawn")) as pool:
            for count, row in enumerate(pool.map(cell, todo, chunksize=4), 1):
                writer.writerow(row)
                file.flush()
                if count % 200 == 0:
                    left = (time.monotonic() - begun) / count * (len(todo) - count)
                    print(f"{count} of {len(todo)}, {left / 60:.0f} min left", flush=True)
    asked = set(wanted)
    rows = [row for row in kept() if tuple(row[field] for field in FIELDS[:6]) in asked]
    broken = Counter(row["algorithm"] for row in rows if row["size"] == "0")
    print(f"{len(rows)} of {len(wanted)} runs · population {given.population}, "
          f"{given.evaluations} evaluations, {given.seeds} seeds · "
          f"ended by an error of the library: {dict(broken) or 'none'}\n")  # fmt: skip
    write([c for name in given.problems for c in tested(rows, name, side)], side)


if __name__ == "__main__":
    main()
