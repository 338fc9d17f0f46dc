"""Spread against 100,000 plain simulations on real graphs.

    EVO_DATA=FOLDER python experiments/benchmarks/agreement.py [--simulations 100000]

One seed set of 20 nodes drawn by degree per graph, under IC (0.05), WC and LT (thresholds in 0.3 to
0.6, and in 0 to 1, which the evaluator simulates by live arcs), with at most 5 steps and without a
limit. The plain side simulates one cascade after another: every node activated in the last step
tries each of its arcs once, with a number drawn for that attempt, or every node is asked in every
step whether enough of its in-neighbours are active. It shares nothing with the evaluator but the
graph, and is compiled only to be done in time. Both sides are means; the gap is printed in standard
errors of their difference, and the script fails where one is above three.
"""

from __future__ import annotations

import argparse
import json
import os
from pathlib import Path

import numba as nb
import numpy as np

from problems.influence.cascades import Groups, SeedSets, propagated
from problems.influence.reading import read_graph
from problems.influence.worlds import Pool, independent, thresholds, weighted

GRAPHS = ("email_di", "facebook_combined_un", "CA-HepTh_un")


@nb.njit
def cascades(first, heads, chance, seeds, limit, count, rng):
    """Spread of each simulation of IC or WC."""
    spread = np.zeros(count)
    n = len(first) - 1
    for i in range(count):
        active = np.zeros(n, np.bool_)
        active[seeds] = True
        last, steps = list(seeds), 0
        while len(last) and steps < limit:
            found = [0]
            found.clear()
            before = active.copy()
            for node in last:
                for arc in range(first[node], first[node + 1]):
                    head = heads[arc]
                    if not before[head] and rng.random() < chance[arc] and not active[head]:
                        active[head] = True
                        found.append(head)
            last, steps = found, steps + 1
        spread[i] = active.sum()
    return spread


@nb.njit
def persuasions(first, tails, degree, seeds, low, high, limit, count, rng):
    """Spread of each simulation of LT; arcs are sorted by head here."""
    spread = np.zeros(count)
    n = len(first) - 1
    for i in range(count):
        least = rng.uniform(low, high, n)
        active = np.zeros(n, np.bool_)
        active[seeds] = True
        steps, going = 0, True
        while going and steps < limit:
            going, before = False, active.copy()
            for node in range(n):
                if not before[node] and degree[node]:
                    near = 0
                    for arc in range(first[node], first[node + 1]):
                        near += before[tails[arc]]
                    if near / degree[node] > least[node]:
                        active[node] = going = True
            steps += 1
        spread[i] = active.sum()
    return spread


def rows(keys: np.ndarray, n: int) -> np.ndarray:
    return np.append(0, np.cumsum(np.bincount(keys, minlength=n)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--simulations", type=int, default=100_000)
    parser.add_argument("--worlds", type=int, default=20_000)
    parser.add_argument("--graphs", nargs="*", default=list(GRAPHS))
    parser.add_argument("--models", nargs="*", default=["ic", "wc", "lt", "lt01"])
    given = parser.parse_args()
    data, worst = os.environ.get("EVO_DATA"), 0.0
    if not data:
        parser.error("set EVO_DATA to a folder with graphs/edges")
    for name in given.graphs:
        file = next((Path(data) / "graphs/edges").glob(f"{name}.txt*"))
        graph = read_graph(file, directed=name.endswith("_di"))
        rng, degree = np.random.default_rng(1), graph.out_degree + 1e-9
        seeds = np.sort(rng.choice(graph.n, 20, replace=False, p=degree / degree.sum()))
        together = Groups(np.zeros(graph.n, dtype=np.int32))
        sets = SeedSets(seeds[None].astype(np.int32), graph.n)
        by_tail = np.argsort(graph.sources, kind="stable")
        for kind in given.models:
            low, high = (0.0, 1.0) if kind == "lt01" else (0.3, 0.6)
            model = {"ic": lambda g: independent(g, 0.05), "wc": weighted}.get(
                kind, lambda g, low=low, high=high: thresholds(g, low, high)
            )(graph)
            for limit in (5, None):
                most, draw = limit or 1 << 30, np.random.default_rng(7)
                if kind.startswith("lt"):
                    theirs = persuasions(
                        rows(graph.targets, graph.n), graph.sources, graph.counted_in, seeds,
                        low, high, most, given.simulations, draw,
                    )  # fmt: skip
                else:
                    theirs = cascades(
                        rows(graph.sources, graph.n), graph.targets[by_tail],
                        model.probability[by_tail], seeds, most, given.simulations, draw,
                    )  # fmt: skip
                pool = Pool(model, 3, "agreement", given.worlds)
                ours = propagated(sets, model, pool, together, limit).active[0].sum(axis=1)
                away = np.hypot(
                    ours.std(ddof=1) / np.sqrt(len(ours)), theirs.std(ddof=1) / np.sqrt(len(theirs))
                )
                gap = float((ours.mean() - theirs.mean()) / away) if away else 0.0
                assert away or ours.mean() == theirs.mean()
                worst = max(worst, abs(gap))
                means = {"ours": round(ours.mean(), 3), "plain": round(theirs.mean(), 3)}
                told = {"graph": name, "model": kind, "limit": limit} | means
                print(json.dumps(told | {"standard errors": round(gap, 2)}), flush=True)
    if worst > 3:
        raise SystemExit(f"a gap of {worst:.2f} standard errors")


if __name__ == "__main__":
    main()
