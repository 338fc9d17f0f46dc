"""Setting 2: how much of a graph small seed sets reach, against DeepIM's published percentages.

    EVO_DATA=FOLDER python experiments/moeim/deepim.py [--graph jazz_un] [--model wc] [--seeds 10]
        [--jobs 2]

A fifth of the nodes at most, no limit of steps, spread and size optimised as MOEIM did. Appends to
``results/deepim.csv`` and skips what is there; prints best, median and worst of the runs. Spreads
are those of the search (100 simulations), as published, and of 1,024 other worlds.
"""

from __future__ import annotations

import argparse
from typing import Any

import numpy as np
from cases import OPTIMISED, completed, data, judged, markdown, problem_of, rows_of
from run import RESULTS, STOCK
from search import search

GRAPHS, MODELS, SHARES = ("jazz_un", "cora-ml_un", "power_grid_un"), ("wc", "lt"), (1, 5, 10, 20)
NODES = {"jazz_un": 198, "cora-ml_un": 2810, "power_grid_un": 4941}
KEYS = ("graph", "model", "seed")


def one(task: tuple[str, str, int]) -> dict[str, Any]:
    """A line of the results."""
    graph, model, seed = task
    problem = problem_of(
        graph, model, most=NODES[graph] // 5, limit=0, stock=STOCK, seed=seed, operators="graph",
        initial="smart", worlds=(100, 1024),
    )  # fmt: skip
    found = search(problem, OPTIMISED["is"], seed=seed)
    seeds, values = found.seeds[found.archive], found.values[found.archive]
    size, again = (seeds >= 0).sum(axis=1), judged(problem, seeds, "validation")
    row: dict[str, Any] = dict(zip(KEYS, task, strict=True))
    for kind, spread in (("searched", values[:, 0]), ("judged", again[:, 0])):
        for share in SHARES:
            few = size <= NODES[graph] * share / 100
            row[f"{kind}_{share}"] = f"{100 * spread[few].max(initial=0):.2f}"
    return row


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--graph", nargs="+", default=GRAPHS, choices=GRAPHS)
    parser.add_argument("--model", nargs="+", default=MODELS, choices=MODELS)
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--jobs", type=int, default=1)
    args = parser.parse_args()
    tasks = [
        (graph, model, seed)
        for graph in args.graph for model in args.model for seed in range(args.seeds)
    ]  # fmt: skip
    rows = completed(RESULTS / "deepim.csv", KEYS, tasks, one, args.jobs)
    print(summary(rows))


def summary(lines: list[dict[str, str]]) -> str:
    """Best, median and worst of the runs under DeepIM's figures."""
    published = {
        (row["dataset"], row["model"].lower()): row
        for row in rows_of(data() / "moeim-results" / "deepim_setting2.csv")
    }
    rows = []
    for graph in GRAPHS:
        for model in MODELS:
            some = [r for r in lines if (r["graph"], r["model"]) == (graph, model)]
            if not some:
                continue
            theirs = published[graph, model]
            rows.append([graph, model.upper(), "DeepIM", *(theirs[str(s)] for s in SHARES)])
            for kind in ("searched", "judged"):
                cells = []
                for share in SHARES:
                    v = np.array([float(r[f"{kind}_{share}"]) for r in some])
                    cells.append(f"{v.max():.1f} / {np.median(v):.1f} / {v.min():.1f}")
                rows.append(["", "", f"ours, {kind}, {len(some)} runs", *cells])
    return markdown(["graph", "model", "", *(f"{s} %" for s in SHARES)], rows)


if __name__ == "__main__":
    main()
