"""Do the algorithms search as well here as the libraries that they come from, called directly?

    python experiments/suites/run.py [--problems zdt1:2 dtlz2:3 wfg4:3] [--seeds 10]
        [--evaluations 2000] [--population 40] [--algorithms nsga2 …] [--jobs 2]
    python experiments/suites/run.py --full    # 2 to 10 objectives, 21 seeds, 20,000 judged each

Every algorithm of pymoo and DEAP is run behind our ask and tell, and as its library's own loop,
with the same population, evaluations, seeds and reference directions, each side with its own
default operators. Compared are the populations that they end with, not archives: hypervolume in the
box of the known front (reference point 1.1), and IGD+ to it. Printed is, per problem and algorithm,
the median of both sides, A12 and the Mann-Whitney p-value with Holm's correction over the
algorithms of the problem; in the end who is ahead by medians over everything (Wilcoxon's
signed-rank test). Runs are kept in results/runs.csv and not repeated.
"""

from __future__ import annotations

import argparse
import csv
import random
import warnings
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path
from typing import Any

import numpy as np

from evo.algorithms import Settings, create
from evo.algorithms.directions import directions, exactly
from evo.config import ProblemConfig
from evo.indicators import igd_plus, nondominated, unit_hypervolume
from evo.problem import Context
from evo.registry import build_problem
from evo.statistics import a12, holm, rank_sum, signed_rank

PYMOO = ("nsga2", "nsga3", "unsga3", "age-moea", "age-moea2", "sms-emoa", "moead", "rvea", "spea2",
         "ctaea")  # fmt: skip
DEAP = ("deap-nsga2", "deap-nsga3", "deap-spea2")
SCALED = ("zdt1:2", "dtlz2:3", "wfg4:3")
FULL = (
    *(f"zdt{k}:2" for k in (1, 2, 3, 4, 6)),
    *(f"dtlz{k}:{m}" for k in (1, 2, 3, 4, 7) for m in (3, 5, 10)),
    *(f"wfg{k}:{m}" for k in range(1, 10) for m in (2, 3, 5, 10) if k != 3 or m == 2),
)
FIELDS = ("problem", "algorithm", "side", "seed", "population", "evaluations", "judged", "size",
          "hypervolume", "igd_plus")  # fmt: skip
RESULTS = Path(__file__).parent / "results" / "runs.csv"
Key = tuple[str, ...]


def problem_of(name: str) -> Any:
    """The problem of a name such as ``dtlz2:3``."""
    base, m = name.split(":")
    settings = {} if base.startswith("zdt") else {"n_objectives": int(m)}
    return build_problem(ProblemConfig(f"synthetic/{base}", settings))


def judged(problem: Any, genomes: Any) -> np.ndarray:
    batch = problem.batch(genomes, Context())
    return np.stack([o(batch) for o in problem.objectives], axis=1)


def ours(name: str, algorithm: str, population: int, evaluations: int, seed: int) -> Any:
    problem = problem_of(name)
    settings = Settings(population, seed, generations=evaluations // population)
    search = create(algorithm, problem.space, n_objectives=len(problem.objectives),
                    constrained=False, settings=settings)  # fmt: skip
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
    from pymoo.optimize import minimize
    from pymoo.problems import get_problem

    problem, (base, told) = problem_of(name), name.split(":")
    m, d = int(told), problem.space.length
    sizes = {"n_var": d} if base.startswith("zdt") else {"n_var": d, "n_obj": m}
    rays, every = directions(m, population), exactly(m, population)
    made = {
        "nsga2": lambda: nsga2.NSGA2(pop_size=population),
        "nsga3": lambda: nsga3.NSGA3(ref_dirs=rays, pop_size=population),
        "unsga3": lambda: unsga3.UNSGA3(ref_dirs=rays, pop_size=population),
        "age-moea": lambda: age.AGEMOEA(pop_size=population),
        "age-moea2": lambda: age2.AGEMOEA2(pop_size=population),
        "sms-emoa": lambda: sms.SMSEMOA(pop_size=population),
        "moead": lambda: moead.MOEAD(ref_dirs=every),
        "rvea": lambda: rvea.RVEA(ref_dirs=every, pop_size=population),
        "spea2": lambda: spea2.SPEA2(pop_size=population),
        "ctaea": lambda: ctaea.CTAEA(ref_dirs=every),
    }[algorithm]()
    limit = ("n_gen", evaluations // population) if algorithm == "rvea" else ("n_eval", evaluations)
    found = minimize(get_problem(base, **sizes), made, limit, seed=seed)
    return found.pop.get("F"), found.algorithm.evaluator.n_eval


def by_deap(name: str, algorithm: str, population: int, evaluations: int, seed: int) -> Any:
    """The loops of DEAP's examples: simulated binary crossover, polynomial mutation, a selector."""
    from deap import base, tools

    problem = problem_of(name)
    m, part = len(problem.objectives), problem.space.parts[0]
    low, high = part.low.tolist(), part.high.tolist()
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

    people = [Row([random.uniform(a, b) for a, b in zip(low, high, strict=True)])
              for _ in range(population)]  # fmt: skip
    judge(people)
    people, count, eta = selector(people, population), population, 20.0
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
                tools.cxSimulatedBinaryBounded(a, b, eta=eta, low=low, up=high)
        for child in children:
            tools.mutPolynomialBounded(child, eta=20.0, low=low, up=high, indpb=1.0 / len(low))
        judge(children)
        count += len(children)
        people = selector(people + children, population)
    return np.array([row.fitness.values for row in people]), count


def cell(key: Key) -> dict[str, Any]:
    """One run, measured."""
    name, algorithm, side, seed, population, evaluations = key
    warnings.simplefilter("ignore")
    run = ours if side == "ours" else direct
    found, count = run(name, algorithm, int(population), int(evaluations), int(seed))
    front = found[nondominated(found)]
    goal = problem_of(name).front(2000)
    low, high = goal.min(axis=0), goal.max(axis=0)
    scaled, target = (front - low) / (high - low), (goal - low) / (high - low)
    values = (count, len(front), unit_hypervolume(scaled, 0.0, 1.0), igd_plus(scaled, target))
    return dict(zip(FIELDS, (*key, *values), strict=True))


def kept() -> list[dict[str, str]]:
    if not RESULTS.exists():
        return []
    with open(RESULTS, encoding="utf-8") as file:
        return list(csv.DictReader(file))


def tell(rows: list[dict[str, str]], problems: list[str], algorithms: list[str]) -> None:
    medians: dict[str, list[tuple[float, float]]] = {"hypervolume": [], "igd_plus": []}
    for name in problems:
        for indicator, goal in (("hypervolume", "max"), ("igd_plus", "min")):
            lines = []
            for algorithm in algorithms:
                both = [
                    np.array([float(r[indicator]) for r in rows if (r["problem"], r["algorithm"],
                              r["side"]) == (name, algorithm, side)])
                    for side in ("ours", "direct")
                ]  # fmt: skip
                if min(map(len, both)) < 2:
                    continue
                a, b = both
                lines.append((algorithm, a, b, rank_sum(a, b), a12(a, b, goal)))
                medians[indicator].append((float(np.median(a)), float(np.median(b))))
            adjusted = holm([line[3] for line in lines])
            print(f"\n{name} · {indicator}")
            for (algorithm, a, b, p, effect), q in zip(lines, adjusted, strict=True):
                mark = "" if q > 0.05 else "  ours better" if effect > 0.5 else "  direct better"
                both = f"ours {np.median(a):.4f}  direct {np.median(b):.4f}  A12 {effect:.2f}"
                tested = f"p {p:.3g}  Holm {q:.3g}  n {len(a)}/{len(b)}"
                print(f"  {algorithm:12} {both}  {tested}{mark}")
    for indicator, pairs in medians.items():
        if not pairs:
            continue
        a, b = np.array(pairs).T
        ahead = (a > b) if indicator == "hypervolume" else (a < b)
        print(f"\nall by {indicator}: ours ahead in {ahead.sum()} of {len(a)} medians, "
              f"Wilcoxon p = {signed_rank(a, b):.3g}")  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--full", action="store_true")
    parser.add_argument("--problems", nargs="+")
    parser.add_argument("--algorithms", nargs="+", default=[*PYMOO, *DEAP])
    parser.add_argument("--seeds", type=int)
    parser.add_argument("--evaluations", type=int)
    parser.add_argument("--population", type=int)
    parser.add_argument("--jobs", type=int, default=2)
    given = parser.parse_args()
    problems = given.problems or list(FULL if given.full else SCALED)
    seeds = given.seeds or (21 if given.full else 10)
    evaluations = given.evaluations or (20_000 if given.full else 2000)
    population = given.population or (100 if given.full else 40)
    wanted: list[Key] = [
        (name, algorithm, side, str(seed), str(population), str(evaluations))
        for seed in range(seeds) for name in problems for algorithm in given.algorithms
        for side in ("ours", "direct")
        # pymoo's SMS-EMOA removes one candidate at a time with exact volumes
        if not (algorithm == "sms-emoa" and int(name.split(":")[1]) > 3)
    ]  # fmt: skip
    done = {tuple(row[field] for field in FIELDS[:6]) for row in kept()}
    todo = [key for key in wanted if key not in done]
    RESULTS.parent.mkdir(exist_ok=True)
    fresh = not RESULTS.exists()
    with open(RESULTS, "a", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, FIELDS, lineterminator="\n")
        if fresh:
            writer.writeheader()
        with ProcessPoolExecutor(given.jobs) as pool:
            for future in as_completed([pool.submit(cell, key) for key in todo]):
                writer.writerow(future.result())
                file.flush()
    asked = set(wanted)
    rows = [row for row in kept() if tuple(row[field] for field in FIELDS[:6]) in asked]
    told = f"{population}, {evaluations} evaluations, {seeds} seeds"
    print(f"{len(rows)} of {len(wanted)} runs · population {told}")
    tell(rows, problems, given.algorithms)


if __name__ == "__main__":
    main()
