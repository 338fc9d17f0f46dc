"""What each baseline of influence takes, and what its seeds reach.

    EVO_DATA=FOLDER python experiments/benchmarks/seeds.py [--graphs NAME …] [--limit 5] [--numpy]

For every graph of ``EVO_DATA/graphs`` that is named, under IC (0.05) and WC: seconds of process
time on one thread (medians of rounds taken in turns) in which each method ranks 100 nodes, and the
spread of the first 10, 50 and 100 of them on 4,096 worlds that none of them has seen, with its
standard error. CELF chooses on 128 worlds, by the fastest backend that is installed and by NumPy;
before it is timed, its first five seeds on 16 worlds must be those of plain greedy, which judges
every node again for every seed, and ``plain`` is how many times longer plain greedy took for them.
OPIM-C takes the epsilon of the baseline; ``share`` is the guarantee it reached.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from evo.problem import Context
from problems.influence.baselines import prefixes
from problems.influence.cascades import Groups, SeedSets, propagated
from problems.influence.celf import celf
from problems.influence.heuristics import degree, generalised_discount, pagerank, single_discount
from problems.influence.problem import Influence
from problems.influence.sketches import EPSILON, opim_c
from problems.influence.worlds import Pool

SEEDS, WORLDS = 100, 128
SHOWN = (10, 50, 100)


def plain_greedy(pool: Pool, k: int, limit: int | None) -> list[int]:
    """Every node judged again for every seed."""
    n = pool.model.graph.n
    together, chosen = Groups(np.zeros(n, dtype=np.int32)), []
    for _ in range(k):
        totals = np.zeros(n, dtype=np.int64)
        for some in np.array_split(np.arange(n), -(-n // 512)):
            rows = np.array([[*chosen, v] for v in some], dtype=np.int32)
            found = propagated(SeedSets(rows, n), pool.model, pool, together, limit, steps=False)
            totals[some] = found.active.sum(axis=(1, 2))
        totals[chosen] = -1
        chosen.append(int(totals.argmax()))
    return chosen


def spent(work: Callable[[], Any]) -> tuple[float, Any]:
    start = time.process_time()
    result = work()
    return time.process_time() - start, result


def study(problem: Influence, rounds: int, *, slow: bool) -> None:
    model, graph, limit = problem.model, problem.graph, problem.limit
    small = Pool(model, 1, "equality", 16)
    celf(small, 1, limit)  # compiles, and draws the worlds
    took, expected = spent(lambda: plain_greedy(small, 5, limit))
    lazily, found = spent(lambda: celf(small, 5, limit).nodes.tolist())
    assert found == expected, (found, expected)
    pool = problem.pool(Context())
    methods: dict[str, Callable[[], Any]] = {
        "degree": lambda: degree(graph, SEEDS),
        "single-discount": lambda: single_discount(graph, SEEDS),
        "gdd": lambda: generalised_discount(model, SEEDS, problem.name),
        "pagerank": lambda: pagerank(model, SEEDS),
        "celf": lambda: celf(pool, SEEDS, limit),
        "opim-c": lambda: opim_c(model, SEEDS, limit, EPSILON),
    }
    seconds: dict[str, list[float]] = {name: [] for name in methods}
    results: dict[str, Any] = {}
    for _ in range(rounds):
        for name, work in methods.items():
            lap, results[name] = spent(work)
            seconds[name].append(lap)
    if slow:
        lap, results["celf, numpy"] = spent(lambda: celf(pool, SEEDS, limit, backend="numpy"))
        seconds["celf, numpy"] = [lap]
        assert (results["celf, numpy"].nodes == results["celf"].nodes).all()
    print(f"\n{problem.name}: {graph.n:,} nodes, {graph.m:,} arcs, limit {limit}")
    print(f"  {'method':16} {'seconds':>9}" + "".join(f"{k:>18}" for k in SHOWN))
    for name, result in results.items():
        nodes = getattr(result, "nodes", result)
        sets = prefixes(nodes, SEEDS).take(np.array(SHOWN) - 1)
        spread = problem.batch(sets, Context(split="validation")).spread
        error = spread.std(axis=1, ddof=1) / spread.shape[1] ** 0.5
        told = "".join(f"{m:11.1f} ± {e:4.1f}" for m, e in zip(spread.mean(1), error, strict=True))
        print(f"  {name:16} {statistics.median(seconds[name]):9.4f}{told}")
    bounds, lazy = results["opim-c"], results["celf"]
    print(
        f"  opim-c: {bounds.lower:.1f} to {bounds.upper:.1f}, share {bounds.share:.3f}, "
        f"{bounds.sketches:,} sketches; celf: {lazy.judged:,} gains, plain {took / lazily:.1f} x"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--graphs", nargs="+", default=["CA-HepTh_un", "wiki-vote_di"])
    parser.add_argument("--limit", type=int, default=5)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--numpy", action="store_true", help="also time CELF without compiled code")
    asked = parser.parse_args()
    folder = Path(os.environ["EVO_DATA"], "graphs")
    for name in asked.graphs:
        for model in ("ic", "wc"):
            problem = Influence(
                str(next(folder.glob(f"edges/{name}.txt*"))), model=model, most=SEEDS,
                limit=asked.limit, worlds=(WORLDS, 4096), directed=name.endswith("_di"),
            )  # fmt: skip
            print(f"\n{name}", end="")
            study(problem, asked.rounds, slow=asked.numpy)


if __name__ == "__main__":
    main()
