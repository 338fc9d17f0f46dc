"""MOEIM's runs again: final hypervolumes per graph, model, optimised objectives and seed.

    EVO_DATA=FOLDER python experiments/moeim/run.py [--graph CA-HepTh_un] [--model ic]
        [--objectives all] [--seeds 10] [--jobs 2]

Appends a line per run to ``results/runs.csv`` and skips what is there, so that an interrupted study
goes on; archives of runs over all objectives are kept below ``--out`` for ``correlation.py``.
``table.py`` compares the lines with the published runs.
"""

from __future__ import annotations

import argparse
import time
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from cases import (
    GRAPHS,
    MODELS,
    OPTIMISED,
    completed,
    hypervolumes,
    problem_of,
)  # fmt: skip
from search import search

RESULTS = Path(__file__).with_name("results")
STOCK = 16  # candidates share a sixteenth of their worlds with one another

METHODS = {
    "MOEIM": {"operators": "graph", "initial": "smart"},
    "MOEA": {"operators": "base", "initial": "random"},
}
Task = tuple[str, str, str, str, int]
KEYS = ("method", "graph", "model", "objectives", "seed")


def one(task: Task, out: Path) -> dict[str, Any]:
    """A line of the results."""
    method, graph, model, objectives, seed = task
    start = time.process_time()
    problem = problem_of(graph, model, stock=STOCK, seed=seed, **METHODS[method])
    found = search(problem, OPTIMISED[objectives], seed=seed)
    archive = found.archive
    if objectives == "all":
        out.mkdir(parents=True, exist_ok=True)
        name = f"{method}-{graph}-{model}-{seed}.npz"
        np.savez_compressed(out / name, seeds=found.seeds[archive], values=found.values[archive])
    return {
        **dict(zip(KEYS, task, strict=True)), "archive": len(archive),
        **{k: f"{v:.8g}" for k, v in hypervolumes(found.values[archive]).items()},
        "front": len(found.front), "evaluations": len(found.seeds),
        "cpu_seconds": f"{time.process_time() - start:.0f}",
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--method", default="MOEIM", choices=METHODS)
    parser.add_argument("--graph", nargs="+", default=GRAPHS, choices=GRAPHS)
    parser.add_argument("--model", nargs="+", default=MODELS, choices=MODELS)
    parser.add_argument("--objectives", nargs="+", default=list(OPTIMISED), choices=OPTIMISED)
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--out", type=Path, default=Path("runs/moeim"))
    args = parser.parse_args()
    tasks = [
        (args.method, graph, model, objectives, seed)
        for seed in range(args.seeds)
        for graph in args.graph
        for model in args.model
        for objectives in args.objectives
    ]
    completed(RESULTS / "runs.csv", KEYS, tasks, partial(one, out=args.out), args.jobs)


if __name__ == "__main__":
    main()
