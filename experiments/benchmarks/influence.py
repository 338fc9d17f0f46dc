"""Seed sets × simulations per second: ours, MOEIM's way, CyNetDiff and NDlib.

    pip install cynetdiff ndlib six
    EVO_DATA=FOLDER python experiments/benchmarks/influence.py [--graphs NAME …] [--rounds 5]

Populations of 100 seed sets of 10 to 50 nodes, half drawn by degree, half uniformly, on graphs of
``EVO_DATA/graphs`` under IC (0.05) and WC. Two quantities are delivered:

- ``all``: spread, steps and active nodes per community with the divergence of every simulation,
  within 5 steps; against ``moeim``, its algorithm in plain Python on networkx, one simulation after
  another (four of the sets);
- ``spread``: spread alone, without a limit; against CyNetDiff (four sets) and NDlib (one set).

Ours is measured on a pool of 128 worlds that is kept, as a search does, and with all of them drawn
anew each time (``fresh``), by NumPy alone and compiled. Before anything is timed, single worlds
are replayed node by node in plain Python and must give our counts and steps exactly, and means of
all contenders must agree within four standard errors. Rates are per second of process time on one
thread, medians of rounds taken in turns; ``second core`` is the ratio of wall-clock rates on two
threads and on one.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import networkx as nx
import numpy as np
from numpy.typing import NDArray
from scipy.spatial.distance import jensenshannon

from problems.influence.cascades import Groups, SeedSets, propagated
from problems.influence.communities import read_communities
from problems.influence.graphs import Graph
from problems.influence.objectives import uneven_beyond
from problems.influence.reading import read_graph
from problems.influence.worlds import LiveArcs, Model, Pool, independent, weighted

GRAPHS = ("CA-HepTh_un", "wiki-vote_di", "facebook_combined_un", "lastfm_un")
MODELS = ("ic", "wc")
PROBABILITY, LIMIT, WORLDS, SETS = 0.05, 5, 128, 100
SLOW = (10, 35, 60, 90)  # percentiles of sizes, for contenders that take sets one by one


@dataclass
class Case:
    graph: Graph
    groups: Groups
    model: Model
    plain: nx.Graph
    rows: NDArray[np.int32]

    @property
    def few(self) -> NDArray[np.int32]:
        order = np.argsort((self.rows >= 0).sum(axis=1), kind="stable")
        return self.rows[order[[len(order) * share // 100 for share in SLOW]]]


def case(folder: Path, name: str, model: str) -> Case:
    file = next(folder.glob(f"edges/{name}.txt*"))
    graph = read_graph(file, directed=name.endswith("_di"))
    plain = (nx.DiGraph if graph.directed else nx.Graph)()
    plain.add_nodes_from(range(graph.n))
    plain.add_edges_from(zip(graph.sources.tolist(), graph.targets.tolist(), strict=True))
    plain.add_edges_from((node, node) for node in np.flatnonzero(graph.loops).tolist())
    rng, degree = np.random.default_rng(0), graph.out_degree + 1e-9
    rows = np.full((SETS, 50), -1, dtype=np.int32)
    for i, row in enumerate(rows):
        size = rng.integers(10, 51)
        weight = degree / degree.sum() if i % 2 else None
        row[:size] = np.sort(rng.choice(graph.n, size, replace=False, p=weight))
    groups = Groups(read_communities(folder / "communities" / f"{name}.csv", graph))
    made = independent(graph, PROBABILITY) if model == "ic" else weighted(graph)
    return Case(graph, groups, made, plain, rows)


# -- contenders ------------------------------------------------------------------------------------


def ours(case: Case, backend: str, *, whole: bool, kept: bool) -> Callable[[], Any]:
    """All sets on 128 worlds; returns the work of one round."""
    sets = SeedSets(case.rows, case.graph.n)
    together = Groups(np.zeros(case.graph.n, dtype=np.int32))
    groups, limit = (case.groups, LIMIT) if whole else (together, None)
    pool = Pool(case.model, 0, "kept", WORLDS)
    drawn = 0

    def work() -> Any:
        nonlocal drawn
        drawn += 1
        worlds = pool if kept else Pool(case.model, drawn, "fresh", WORLDS)
        found = propagated(sets, case.model, worlds, groups, limit, steps=whole, backend=backend)
        if whole:
            active, own = found.active[:, :, :-1], sets.counts(groups)[:, :-1]
            return found, uneven_beyond(active, own, groups.sizes[:-1], backend=backend)
        return found, found.active.sum(axis=2)

    return work


def moeim(
    case: Case, seeds: list[int], count: int, limit: int | None, rng: random.Random
) -> list[tuple[int, int, float]]:
    """Spread, steps and unevenness of each simulation, as its evaluation goes about it."""
    graph = case.plain
    degree: Any = graph.in_degree if graph.is_directed() else graph.degree
    even = isinstance(case.model.probability, np.ndarray) and len(set(case.model.probability)) == 1  # type: ignore[union-attr]
    members = [
        set(np.flatnonzero(case.groups.of == g).tolist()) for g in range(case.groups.count - 1)
    ]
    equal = [1 / len(members)] * len(members)
    most = float(jensenshannon([1.0] + [0.0] * (len(members) - 1), equal, base=2))
    results = []
    for _ in range(count):
        active, last, steps = set(seeds), set(seeds), 0
        while last and (limit is None or steps < limit):
            found = set()
            for node in last:
                for head in set(graph.neighbors(node)) - active:
                    p = PROBABILITY if even else 1.0 / degree(head)
                    if rng.random() < p:
                        found.add(head)
            last = found
            active |= found
            steps += bool(found)
        beyond = active - set(seeds)
        rates = [len(community & beyond) / len(community) for community in members]
        total = sum(rates)
        away = (
            float(jensenshannon([r / total for r in rates], equal, base=2)) / most if total else 1.0
        )
        results.append((len(active), steps, away))
    return results


def cynetdiff(case: Case) -> Callable[[list[int], int], list[int]]:
    """Spread of each simulation, by CyNetDiff."""
    from cynetdiff.utils import networkx_to_ic_model

    arcs = nx.DiGraph()
    arcs.add_nodes_from(range(case.graph.n))
    arcs.add_weighted_edges_from(
        zip(
            case.graph.sources.tolist(), case.graph.targets.tolist(),
            case.model.probability.tolist(),  # type: ignore[union-attr]
            strict=True,
        ),
        weight="activation_prob",
    )  # fmt: skip
    model, number = networkx_to_ic_model(arcs, rng=np.random.default_rng(0))

    def simulate(seeds: list[int], count: int) -> list[int]:
        model.set_seeds([number[node] for node in seeds])
        found = []
        for _ in range(count):
            model.reset_model()
            model.advance_until_completion()
            found.append(model.get_num_activated_nodes())
        return found

    return simulate


def ndlib(case: Case) -> Callable[[list[int], int], list[int]]:
    """Spread of each simulation, by NDlib, set up once."""
    import ndlib.models.epidemics as epidemics
    import ndlib.models.ModelConfig as settings

    arcs = nx.DiGraph(case.plain)
    arcs.remove_edges_from(list(nx.selfloop_edges(arcs)))
    config = settings.Configuration()
    threshold = zip(
        case.graph.sources.tolist(), case.graph.targets.tolist(),
        case.model.probability.tolist(),  # type: ignore[union-attr]
        strict=True,
    )  # fmt: skip
    for tail, head, p in threshold:
        config.add_edge_configuration("threshold", (tail, head), p)
    model = epidemics.IndependentCascadesModel(arcs)

    def simulate(seeds: list[int], count: int) -> list[int]:
        config.add_model_initial_configuration("Infected", seeds)
        model.set_initial_status(config)
        found = []
        for _ in range(count):
            model.reset(seeds)
            counts: dict[int, int] = {1: 1}
            while counts[1]:
                counts = model.iteration(node_status=False)["node_count"]
            found.append(counts[2])
        return found

    return simulate


# -- correctness first -----------------------------------------------------------------------------


def replayed(world: LiveArcs, seeds: set[int], limit: int | None) -> tuple[set[int], int]:
    """Active nodes and steps in one world, by its definition."""
    after: dict[int, list[int]] = {}
    for tail, head in zip(world.sources.tolist(), world.targets.tolist(), strict=True):
        after.setdefault(tail, []).append(head)
    active, last, steps = set(seeds), set(seeds), 0
    while last and (limit is None or steps < limit):
        last = {head for node in last for head in after.get(node, ())} - active
        active |= last
        steps += bool(last)
    return active, steps


def agree(case: Case, simulations: int) -> None:
    """Assert that worlds are replayed exactly, and that contenders agree on means."""
    few = SeedSets(case.few, case.graph.n)
    worlds = list(Pool(case.model, 0, "kept", 8))
    for backend in ("numpy", "numba", "numba"):
        for limit in (LIMIT, None):
            for steps in (True, False):
                found = propagated(
                    few, case.model, worlds, case.groups, limit, steps=steps, backend=backend
                )
                for p, row in enumerate(case.few):
                    for w, world in enumerate(worlds):
                        active, took = replayed(world, set(row[row >= 0].tolist()), limit)
                        count = np.bincount(
                            case.groups.of[list(active)], minlength=case.groups.count
                        )
                        assert (found.active[p, w] == count).all()
                        assert found.steps is None or found.steps[p, w] == took
    rng, diffuse, infect = random.Random(0), cynetdiff(case), ndlib(case)
    own = few.counts(case.groups)[:, :-1]
    for limit in (LIMIT, None):
        pool = Pool(case.model, 1, "means", 2048)
        found = propagated(few, case.model, pool, case.groups, limit)
        assert found.steps is not None
        away = uneven_beyond(found.active[:, :, :-1], own, case.groups.sizes[:-1])
        mine = [found.active.sum(axis=2).astype(float), found.steps.astype(float), away]
        for p, row in enumerate(case.few):
            seeds = row[row >= 0].tolist()
            theirs = np.array(moeim(case, seeds, simulations, limit, rng)).T
            told = list(zip(("spread", "steps", "unevenness"), theirs, mine, strict=True))
            if limit is None:
                told.append(("CyNetDiff", np.array(diffuse(seeds, 2000)), mine[0]))
                if p == 0:
                    told.append(("NDlib", np.array(infect(seeds, 20)), mine[0]))
            for name, values, ours_ in told:
                # one distribution if both are right: ours, drawn far more often, tells its width
                away = np.sqrt(1 / values.size + 1 / ours_[p].size) * ours_[p].std()
                within = 4 * float(away) + 1e-9
                gap = abs(ours_[p].mean() - values.mean())
                assert gap <= within, f"{name} of set {p}: {gap:g} apart, {within:g} allowed"


# -- rates -----------------------------------------------------------------------------------------


def rate(work: Callable[[], Any], judged: int, clock: Callable[[], float]) -> float:
    begin = clock()
    work()
    return judged / (clock() - begin)


def measured(case: Case, rounds: int, simulations: int, dense: bool) -> dict[str, float]:
    """Median rates of all contenders, taken in turns."""
    rng, diffuse, infect = random.Random(1), cynetdiff(case), ndlib(case)
    few = [row[row >= 0].tolist() for row in case.few]
    cascades = 40 if dense else 400
    everyone: dict[str, tuple[Callable[[], Any], int]] = {
        "moeim all": (
            lambda: [moeim(case, seeds, simulations, LIMIT, rng) for seeds in few],
            4 * simulations,
        ),
        "cynetdiff spread": (lambda: [diffuse(s, cascades) for s in few], 4 * cascades),
        "ndlib spread": (lambda: infect(few[1], 2), 2),
    }  # fmt: skip
    for what, whole in (("all", True), ("spread", False)):
        for backend in ("numpy", "numba"):
            for age, kept in (("kept", True), ("fresh", False)):
                work = ours(case, backend, whole=whole, kept=kept)
                work(), work()  # compiled, drawn, condensed
                everyone[f"{backend} {what} {age}"] = work, SETS * WORLDS
    found: dict[str, list[float]] = {name: [] for name in everyone}
    for _ in range(rounds):
        for name, (work, judged) in everyone.items():
            found[name].append(rate(work, judged, time.process_time))
    return {name: statistics.median(rates) for name, rates in found.items()}


def second_core(case: Case, rounds: int) -> float:
    """Wall-clock rate on two threads over that on one."""
    work = ours(case, "numba", whole=True, kept=True)
    found: dict[str, list[float]] = {"1": [], "2": []}
    before = os.environ.get("OMP_NUM_THREADS")
    for _ in range(rounds + 1):
        for threads, rates in found.items():
            os.environ["OMP_NUM_THREADS"] = threads
            rates.append(rate(work, SETS * WORLDS, time.perf_counter))
    os.environ["OMP_NUM_THREADS"] = before or "1"
    return statistics.median(found["2"][1:]) / statistics.median(found["1"][1:])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--graphs", nargs="*", default=list(GRAPHS))
    parser.add_argument("--models", nargs="*", default=list(MODELS))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", action="store_true", help="also measure a second core")
    given = parser.parse_args()
    data = os.environ.get("EVO_DATA")
    if not data:
        parser.error("set EVO_DATA to a folder with graphs/edges and graphs/communities")
    os.environ["OMP_NUM_THREADS"] = "1"
    times: dict[str, list[float]] = {"moeim": [], "cynetdiff": [], "ndlib": []}
    for name in given.graphs:
        for model in given.models:
            one = case(Path(data) / "graphs", name, model)
            dense = name.startswith(("facebook", "wiki"))
            agree(one, 25 if dense and model == "ic" else 200)
            rates = measured(one, given.rounds, 2 if dense else 20, dense)
            line: dict[str, Any] = {"graph": name, "model": model}
            line |= {k: float(f"{v:.3g}") for k, v in rates.items()}
            for age in ("kept", "fresh"):
                over = {
                    "moeim": rates[f"numba all {age}"] / rates["moeim all"],
                    "cynetdiff": rates[f"numba spread {age}"] / rates["cynetdiff spread"],
                    "ndlib": rates[f"numba spread {age}"] / rates["ndlib spread"],
                }
                line[f"times, {age}"] = {k: float(f"{v:.3g}") for k, v in over.items()}
                if age == "kept":
                    for k, v in over.items():
                        times[k].append(v)
            if given.threads:
                line["second core"] = round(second_core(one, given.rounds), 2)
            print(json.dumps(line), flush=True)
    for name, found in times.items():
        told = {"least": min(found), "geometric mean": statistics.geometric_mean(found)}
        print(json.dumps({"times": name} | {k: float(f"{v:.3g}") for k, v in told.items()}))


if __name__ == "__main__":
    main()
