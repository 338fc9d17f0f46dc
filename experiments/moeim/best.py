"""evo's own configuration on MOEIM's graphs, at the same number of evaluations.

    EVO_DATA=FOLDER python experiments/moeim/best.py [--graph …] [--model …] [--seeds 10] [--jobs 2]

One search over all six objectives per seed. Its front is judged again on 1,024 worlds that the
search never saw, and on 100, as many as the published values rest on. Appends to
``results/best.csv``, skips what is there, and writes ``results/best.md``: hypervolume in I-S and in
six dimensions beside GDD, CELF, MOEIM(I-S) and MOEIM(all) as published.
"""

from __future__ import annotations

import argparse
import time
from typing import Any

import numpy as np
from cases import (
    GRAPHS,
    MODELS,
    SIX,
    Array,
    completed,
    hypervolumes,
    judged,
    markdown,
    problem_of,
    published_runs,
    published_table,
)
from run import RESULTS
from scipy.stats import ranksums, ttest_ind_from_stats
from search import search

SETTINGS: dict[str, Any] = {"operators": "plain", "initial": "ranked"}
ALGORITHM, POPULATION, EVALUATIONS, WORLDS = "sms-emoa", 200, 10_100, 128
KEYS = ("graph", "model", "seed")
RIVALS = ("GDD", "CELF", "MOEIM(I-S)", "MOEIM(all)")
CHUNK = 512  # seed sets judged at once


def again(graph: str, model: str, seed: int, seeds: Any, worlds: int) -> dict[str, float]:
    """Hypervolumes of seed sets on so many worlds of the validation."""
    problem = problem_of(graph, model, seed=seed, worlds=(1, worlds))
    parts = [
        judged(problem, seeds[i : i + CHUNK], "validation") for i in range(0, len(seeds), CHUNK)
    ]
    return hypervolumes(np.concatenate(parts))


def one(task: tuple[str, str, int]) -> dict[str, Any]:
    """A line of the results."""
    graph, model, seed = task
    start = time.process_time()
    problem = problem_of(graph, model, seed=seed, worlds=(WORLDS, 1), **SETTINGS)
    found = search(
        problem, SIX, algorithm=ALGORITHM, seed=seed, population=POPULATION,
        evaluations=EVALUATIONS,
    )  # fmt: skip
    front = found.front
    values = {"searched": hypervolumes(found.values[front])}
    spent = time.process_time() - start
    for worlds in (100, 1024):
        values[str(worlds)] = again(graph, model, seed, found.seeds[front], worlds)
    return {
        **dict(zip(KEYS, task, strict=True)), "front": len(front), "evaluations": len(found.seeds),
        **{f"{k}_{n}": f"{v:.8g}" for n, some in values.items() for k, v in some.items()},
        "cpu_seconds": f"{spent:.0f}",
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--graph", nargs="+", default=GRAPHS, choices=GRAPHS)
    parser.add_argument("--model", nargs="+", default=MODELS, choices=MODELS)
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--jobs", type=int, default=1)
    args = parser.parse_args()
    tasks = [
        (graph, model, seed)
        for seed in range(args.seeds) for graph in args.graph for model in args.model
    ]  # fmt: skip
    rows = completed(RESULTS / "best.csv", KEYS, tasks, one, args.jobs)
    text = summary(rows)
    (RESULTS / "best.md").write_text(text, encoding="utf-8")
    print(text)


def summary(lines: list[dict[str, str]]) -> str:
    """Per case our means beside the published ones, who is higher, and tests."""
    texts = []
    for space, title in (("hv_is", "I-S"), ("hv_all", "six dimensions")):
        rows, won = [], 0
        for graph in GRAPHS:
            for model in MODELS:
                some = [r for r in lines if (r["graph"], r["model"]) == (graph, model)]
                if not some:
                    continue
                ours = {
                    k: np.array([float(r[f"{space}_{k}"]) for r in some])
                    for k in ("searched", "100", "1024")
                }
                theirs = [published_table(graph, model, name)[space] for name in RIVALS]
                ahead = bool(ours["1024"].mean() > max(theirs))
                won += ahead
                means = (f"{v.mean():.4g}" for v in ours.values())
                tests = (f"{p:.1g}" for p in tested(ours["1024"], graph, model, space))
                rows.append([
                    graph, model.upper(), len(some), *means, *(f"{v:.4g}" for v in theirs), *tests,
                    "yes" if ahead else "no",
                ])  # fmt: skip
        head = ["graph", "model", "runs", "ours, searched", "on 100", "on 1,024", *RIVALS]
        head += ["p, MOEIM(I-S)", "p, MOEIM(all)", "highest"]
        texts.append(f"Hypervolume in {title}: highest in {won} of {len(rows)} cases.\n\n")
        texts.append(markdown(head, rows) + "\n")
    return "".join(texts).rstrip() + "\n"


def tested(ours: Array, graph: str, model: str, space: str) -> list[float]:
    """p of our runs against those of MOEIM(I-S) and of MOEIM(all).

    Wilcoxon's rank-sum test; in six dimensions, where only means and deviations of ten runs are
    published, Welch's test on these.
    """
    found = []
    for name, objectives in (("MOEIM(I-S)", "is"), ("MOEIM(all)", "all")):
        if space != "hv_all":
            runs = published_runs(graph, model, objectives)[space]
            found.append(float(ranksums(ours, runs).pvalue))
            continue
        row = published_table(graph, model, name)
        sd = ours.std(ddof=1) if len(ours) > 1 else np.nan
        test = ttest_ind_from_stats(
            ours.mean(), sd, len(ours), row[space], row[f"{space}_sd"], 10, equal_var=False
        )
        found.append(float(test.pvalue))
    return found


if __name__ == "__main__":
    main()
