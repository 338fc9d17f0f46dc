"""Plasticity and sparsity searched together: return, rule parameters, return under damage.

    python experiments/nchl/front.py [--task cheetah] [--rule nchl] [--prune neurons] [--seeds 3]

Needs ``pip install 'evoprune[hebbian]'``. Each candidate holds a rule and a mask of what stays of
the network; it lives in an intact body and in one with a dead leg. Three ways, of which the first
two judge as many candidates:

- ``nsga2``: NSGA-II from random rules and masks;
- ``warm``: half of the budget goes to CMA-ES on the mean of both returns of whole networks;
  NSGA-II begins with what that found, under masks that leave out more and more;
- ``thinned``: the first generation of ``warm``, which is pruning at random after the search.

Fronts are judged again in episodes no search saw, in the two bodies and in one with the other leg
dead, and what is then dominated is left out. Writes ``results/front.csv`` and
``results/front.svg``; hypervolumes are of returns from 0 and parameters from none to all of them,
each as a share of the largest value met.
"""

from __future__ import annotations

import argparse
import csv
import time
from pathlib import Path
from typing import Any

import numpy as np

from evo.algorithms import Settings, create
from evo.genomes import Genomes
from evo.indicators import hypervolume, nondominated
from evo.problem import Context
from evo.streams import stream
from problems.hebbian.problem import Plastic

HERE = Path(__file__).parent / "results"
WAYS = {"nsga2": "#0b5394", "warm": "#b8430b", "thinned": "#a9b1bd"}
NAMES = ("distance", "robustness", "unseen")
WHOLE = 1200  # genes up to which the whole covariance is adapted


def problem_of(given: argparse.Namespace, prune: str) -> Plastic:
    """Two lives in each body for the search, sixteen for the judgement."""
    return Plastic(
        task=given.task, rule=given.rule, prune=prune, steps=given.steps, episodes=(2, 16),
        damage=["leg@0"], unseen=["leg@1"], threads=1,
    )  # fmt: skip


def judged(problem: Plastic, genomes: Genomes, split: str, *names: str) -> np.ndarray:
    """Values of some objectives, (n, names)."""
    batch = problem.batch(genomes, Context(seed=0, split=split))
    offered = {o.name: o for o in problem.objectives}
    return np.stack([offered[name](batch) for name in names], axis=1)


def fitness(problem: Plastic, genomes: Genomes) -> np.ndarray:
    """Distance, distance with a dead leg, parameters, all minimised, (n, 3)."""
    return judged(problem, genomes, "search", "distance", "robustness", "params") * [-1, -1, 1]


def evolved(
    problem: Plastic, seed: int, size: int, generations: int, starts: Genomes | None = None
) -> tuple[Genomes, Genomes]:
    """First and last population of NSGA-II."""
    settings = Settings(size, seed)
    algorithm = create(
        "nsga2", problem.space, n_objectives=3, constrained=False, settings=settings, starts=starts
    )
    first = None
    for _ in range(generations):
        asked = algorithm.ask()
        first = first or asked
        algorithm.tell(asked, fitness(problem, asked), np.zeros(len(asked)))
    assert first is not None
    return first, algorithm.population.genomes


def trained(whole: Plastic, seed: int, size: int, generations: int) -> np.ndarray:
    """Genes of a whole network that CMA-ES found for the mean of both returns."""
    name = "cma-es" if whole.rule.genes <= WHOLE else "sep-cma-es"
    zeros = Genomes({"rules": np.zeros((1, whole.rule.genes))})
    algorithm = create(
        name, whole.space, n_objectives=1, constrained=False, starts=zeros,
        settings=Settings(size, seed, extra={"sigma": 0.1}),
    )  # fmt: skip
    for _ in range(generations):
        asked = algorithm.ask()
        cost = fitness(whole, asked)[:, :2].mean(axis=1, keepdims=True)
        algorithm.tell(asked, cost, np.zeros(len(asked)))
    return algorithm.ask()["rules"].mean(axis=0)


def thinned(problem: Plastic, genes: np.ndarray, seed: int, size: int) -> Genomes:
    """A rule under masks that leave out up to all but one."""
    rng = stream(seed, "thinned")
    length = problem.space.parts[1].shape[0]
    order = rng.random((size, length)).argsort(axis=1)
    left = np.linspace(length, 1, size).round().astype(int)
    return Genomes({"rules": np.tile(genes, (size, 1)), "kept": order < left[:, None]})


def rows_of(problem: Plastic, way: str, seed: int, genomes: Genomes) -> list[dict[str, Any]]:
    """What is left of a population in new episodes."""
    values = judged(problem, genomes, "validation", *NAMES, "params")
    good = nondominated(values[:, [0, 1, 3]] * [-1, -1, 1])
    hidden = genomes["kept"].sum(axis=1)
    return [
        {"way": way, "seed": seed, "kept": int(k), "params": int(row[3]),
         **{name: round(float(v), 4) for name, v in zip(NAMES, row, strict=False)}}
        for k, row in zip(hidden[good], values[good], strict=True)
    ]  # fmt: skip


def drawn(rows: list[dict[str, Any]], title: str, file: Path) -> None:
    """Each return against the parameters; steps of what a front reaches, a line per seed."""
    import matplotlib as mpl

    mpl.use("svg")
    mpl.rcParams.update({"svg.fonttype": "none", "svg.hashsalt": "front", "font.size": 9})
    from matplotlib import pyplot as plt

    figure, panels = plt.subplots(1, 3, figsize=(10, 3.4), sharey=True, layout="constrained")
    labels = (
        "distance, m ↑",
        "with a dead hind leg, m ↑",
        "with a dead front leg (not searched), m ↑",
    )
    for panel, name, label in zip(panels, NAMES, labels, strict=True):
        for way, colour in WAYS.items():
            for seed in sorted({r["seed"] for r in rows}):
                mine = sorted(
                    (r["params"], r[name]) for r in rows if (r["way"], r["seed"]) == (way, seed)
                )
                x, y = np.array(mine).T
                panel.plot(x, y, ".", color=colour, alpha=0.5, markersize=4)
                panel.step(x, np.maximum.accumulate(y), where="post", color=colour, lw=1,
                           label=way if seed == 0 else None)  # fmt: skip
        panel.set(xlabel="evolved numbers ↓", title=label)
        panel.grid(color="#e4e7ec")
    panels[0].legend(frameon=False)
    figure.suptitle(title)
    figure.savefig(file, metadata={"Date": None})


def volumes(rows: list[dict[str, Any]], most: int) -> dict[tuple[str, int], float]:
    """Hypervolume by way and seed."""
    values = np.array([[-r["distance"], -r["robustness"], r["params"]] for r in rows])
    scale = np.array([*np.abs(values[:, :2].min(axis=0)), most])
    found = {}
    for way, seed in sorted({(r["way"], r["seed"]) for r in rows}):
        mine = [(r["way"], r["seed"]) == (way, seed) for r in rows]
        found[way, seed] = hypervolume(values[mine] / scale, np.array([0.0, 0.0, 1.0]))
    return found


def written(problem: Plastic, rows: list[dict[str, Any]], folder: Path) -> None:
    """Table and figure of the seeds so far."""
    with (folder / "front.csv").open("w", newline="") as out:
        writer = csv.DictWriter(out, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    found = volumes(rows, problem.rule.genes)
    for way in WAYS:
        mine = [f"{v:.3f}" for (name, _), v in found.items() if name == way]
        print(f"{way}: hypervolume {', '.join(mine)}", flush=True)
    layers, seeds = "-".join(map(str, problem.rule.layers)), len({r["seed"] for r in rows})
    title = f"{problem.task} {layers}, {problem.rule.name}, {problem.prune} pruned, {seeds} seeds"
    drawn(rows, title, folder / "front.svg")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--task", default="cheetah", choices=("cheetah", "ant", "walker"))
    parser.add_argument("--rule", default="nchl", choices=("hl", "nchl", "static"))
    parser.add_argument("--prune", default="neurons", choices=("neurons", "synapses"))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--population", type=int, default=32)
    parser.add_argument("--generations", type=int, default=40)
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--out", type=Path, default=HERE)
    given = parser.parse_args()
    given.out.mkdir(exist_ok=True)
    rows: list[dict[str, Any]] = []
    half, size = given.generations // 2, given.population
    problem, whole = problem_of(given, given.prune), problem_of(given, "none")
    for seed in range(given.seeds):
        begun = time.process_time()
        _, found = evolved(problem, seed, size, 2 * half)
        rows += rows_of(problem, "nsga2", seed, found)
        starts = thinned(problem, trained(whole, seed, size, half), seed, size)
        first, found = evolved(problem, seed, size, half, starts)
        rows += rows_of(problem, "thinned", seed, first) + rows_of(problem, "warm", seed, found)
        print(f"seed {seed}: {time.process_time() - begun:.0f} s of the processor", flush=True)
        written(problem, rows, given.out)
    problem.close()


if __name__ == "__main__":
    main()
