"""Influence maximisation: against enumeration, plain simulations, SciPy, and published archives."""

from __future__ import annotations

import csv
import gzip
import itertools
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import networkx as nx
import numpy as np
import pytest
from local_data import data
from scipy.sparse import csr_array
from scipy.sparse.csgraph import connected_components
from scipy.spatial.distance import jensenshannon

from evo.cli import main
from evo.errors import ConfigError, DataError
from evo.genomes import Genomes
from evo.problem import Context
from evo.view import read_run
from problems.influence.cascades import Groups, SeedSets, propagated
from problems.influence.communities import find_communities, read_communities
from problems.influence.graphs import Graph, from_networkx
from problems.influence.objectives import uneven, uneven_beyond
from problems.influence.problem import Influence
from problems.influence.reading import read_graph
from problems.influence.worlds import (
    LiveArcs,
    Pool,
    Threshold,
    Thresholds,
    Triggering,
    independent,
    stretches,
    thresholds,
    weighted,
)  # fmt: skip


def padded(sets: Iterable[Iterable[int]], most: int) -> np.ndarray:
    rows = [sorted(s) for s in sets]
    return np.array([[*row, *[-1] * (most - len(row))] for row in rows], dtype=np.int32)


def drawn(rng: np.random.Generator, n: int, count: int, most: int) -> np.ndarray:
    sizes = rng.integers(1, most + 1, count)
    return padded((rng.choice(n, size, replace=False).tolist() for size in sizes), most)


def over_arcs(seeds: set[int], arcs: Iterable[tuple[int, int]], limit: int | None) -> Any:
    """Nodes active in the end and steps, by the definition."""
    active, fresh, steps = set(seeds), set(seeds), 0
    while fresh and (limit is None or steps < limit):
        fresh = {v for u, v in arcs if u in fresh} - active
        steps += bool(fresh)
        active |= fresh
    return active, steps


def over_thresholds(
    seeds: set[int], graph: Graph, least: np.ndarray, limit: int | None
) -> tuple[set[int], int]:
    near: list[set[int]] = [set() for _ in range(graph.n)]
    for u, v in zip(graph.sources.tolist(), graph.targets.tolist(), strict=True):
        near[v].add(u)
    active, steps = set(seeds), 0
    while limit is None or steps < limit:
        fresh = {
            v
            for v in set(range(graph.n)) - active
            if near[v] and len(near[v] & active) / int(graph.counted_in[v]) > least[v] + 1e-12
        }
        if not fresh:
            break
        active, steps = active | fresh, steps + 1
    return active, steps


def random_graph(n: int, m: int, directed: bool, seed: int) -> Graph:
    return from_networkx(nx.gnm_random_graph(n, m, seed=seed, directed=directed))


# -- propagation -----------------------------------------------------------------------------------


@pytest.fixture(params=["numpy", "numba", "torch"])
def backend(request: pytest.FixtureRequest) -> str:
    if request.param == "numba":
        pytest.importorskip("numba")
    return request.param


@pytest.mark.parametrize("limit", [None, 1, 3])
@pytest.mark.parametrize("kind", ["ic", "wc", "lt"])
@pytest.mark.parametrize("directed", [False, True])
def test_populations_spread_as_one_set_at_a_time(
    directed: bool, kind: str, limit: Any, backend: str
) -> None:
    graph = random_graph(40, 120, directed, 1)
    models = {"ic": lambda: independent(graph, 0.2), "wc": lambda: weighted(graph),
              "lt": lambda: thresholds(graph, 0.1, 0.5)}  # fmt: skip
    model = models[kind]()
    rng = np.random.default_rng(0)
    rows = drawn(rng, 40, 130, 5)  # three words of bits
    groups = Groups(rng.integers(-1, 3, 40).astype(np.int32))
    worlds = list(Pool(model, 3, "search", 6))

    found = propagated(SeedSets(rows, 40), model, worlds, groups, limit, backend=backend)

    for w, world in enumerate(worlds):
        for p, row in enumerate(rows):
            seeds = set(row[row >= 0].tolist())
            if isinstance(world, LiveArcs):
                arcs = list(zip(world.sources.tolist(), world.targets.tolist(), strict=True))
                active, steps = over_arcs(seeds, arcs, limit)
            else:
                assert isinstance(world, Thresholds)
                active, steps = over_thresholds(seeds, graph, world.least, limit)
            expected = np.bincount(groups.of[list(active)], minlength=groups.count)
            assert found.active[p, w].tolist() == expected.tolist()
            assert found.steps[p, w] == steps
    assert found.steps.max() > 1 or limit == 1


@pytest.mark.parametrize(
    ("arcs", "seeds"), [(60_000, 200), (9_000, 200), (9_000, 3)], ids=["dense", "both", "few"]
)
@pytest.mark.parametrize("kind", ["ic", "wc", "lt"])
def test_compiled_code_counts_as_numpy(arcs: int, seeds: int, kind: str) -> None:
    pytest.importorskip("numba")
    graph = random_graph(4000, arcs, True, 1)
    model = {"ic": independent(graph, 0.15), "wc": weighted(graph),
             "lt": thresholds(graph, 0.05, 0.4)}[kind]  # fmt: skip
    rng = np.random.default_rng(0)
    sets = SeedSets(drawn(rng, 4000, 70, seeds), 4000)
    groups = Groups(rng.integers(-1, 3, 4000).astype(np.int32))
    worlds = list(Pool(model, 3, "search", 5))
    for limit in (None, 1, 4):
        slow = propagated(sets, model, worlds, groups, limit, backend="numpy")
        assert slow.steps is not None
        for _ in range(2):
            fast = propagated(sets, model, worlds, groups, limit, backend="numba")
            assert np.array_equal(fast.active, slow.active)
            assert np.array_equal(fast.steps, slow.steps)
            short = propagated(sets, model, worlds, groups, limit, steps=False, backend="numba")
            assert np.array_equal(short.active, slow.active)
            assert short.steps is None
    if kind != "lt":
        assert all(("components", groups) in world.forms for world in worlds)


@pytest.mark.parametrize("threads", ["1", "3"])
def test_threads_count_alike(threads: str, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("numba")
    monkeypatch.setenv("OMP_NUM_THREADS", threads)
    graph = random_graph(300, 900, False, 1)
    model, groups = weighted(graph), Groups(np.zeros(300, dtype=np.int32))
    sets = SeedSets(drawn(np.random.default_rng(0), 300, 20, 9), 300)
    pool = Pool(model, 3, "search", 50)
    fast = propagated(sets, model, pool, groups, None, backend="numba")
    slow = propagated(sets, model, pool, groups, None, backend="numpy")
    assert np.array_equal(fast.active, slow.active)
    assert np.array_equal(fast.steps, slow.steps)


def test_compiled_code_finds_the_same_live_arcs() -> None:
    condensation = pytest.importorskip("problems.influence.condensation")
    rng = np.random.default_rng(0)
    for _ in range(20):
        certain = rng.random(300) < 0.1
        hazard = np.cumsum(np.where(certain, 0.0, rng.exponential(0.4, 300)))
        hits = np.sort(rng.random(100)) * hazard[-1]
        found = stretches(hazard, certain, hits)
        assert np.array_equal(found, condensation.stretches(hazard, certain, hits))
        owner = [int((hazard <= hit).sum()) for hit in hits]
        assert sorted({*owner, *np.flatnonzero(certain).tolist()}) == found.tolist()


@pytest.mark.parametrize("limit", [None, 2])
def test_one_heeded_neighbour_stands_for_thresholds_from_0_to_1(limit: int | None) -> None:
    arcs = nx.gnm_random_graph(9, 30, seed=3, directed=True)
    arcs.add_edge(4, 4)  # counts in a degree
    graph = from_networkx(arcs)
    model = thresholds(graph, 0, 1)
    assert isinstance(model, Triggering)
    rng = np.random.default_rng(0)
    sets, together = SeedSets(drawn(rng, 9, 12, 3), 9), Groups(np.zeros(9, dtype=np.int32))
    found = [
        propagated(sets, each, Pool(each, 5, name, 10_000), together, limit)
        for each, name in ((model, "one"), (Threshold(graph, 0.0, 1.0), "two"))
    ]
    for count in (lambda o: o.active.sum(axis=2), lambda o: o.steps):
        one, two = map(count, found)
        away = np.sqrt((one.var(axis=1) + two.var(axis=1)) / 10_000)
        assert (np.abs(one.mean(axis=1) - two.mean(axis=1)) <= 4 * away + 1e-9).all()
        assert one.std(axis=1).max() > 0.5


def test_strong_components_are_those_of_scipy() -> None:
    condensation = pytest.importorskip("problems.influence.condensation")
    rng = np.random.default_rng(0)
    for m in (50, 150, 400):
        graph = random_graph(120, m, True, m)
        place = rng.permutation(120).astype(np.uint32)
        starts, tails, heads = condensation.by_source(graph.sources, graph.targets, place, 120)
        arcs = csr_array((np.ones(graph.m), (place[graph.sources], place[graph.targets])))
        arcs.resize(120, 120)
        assert np.array_equal(starts, csr_array(arcs).indptr)
        count, label = connected_components(arcs, directed=True, connection="strong")
        found, number = condensation.components(starts, heads)
        assert number == count == len(set(zip(found.tolist(), label.tolist(), strict=True)))
        one, two = condensation.between(tails, heads, found, number)
        assert (found[tails] >= found[heads]).all()
        assert (np.diff(one.astype(int)) <= 0).all()
        expected = [(a, b) for a, b in zip(found[tails], found[heads], strict=True) if a != b]
        assert sorted(zip(one.tolist(), two.tolist(), strict=True)) == sorted(expected)


def exact(graph: Graph, p: np.ndarray, seeds: set[int], limit: int | None) -> tuple[float, float]:
    """Expected spread and steps, by all outcomes of all arcs."""
    arcs = list(zip(graph.sources.tolist(), graph.targets.tolist(), strict=True))
    spread = steps = 0.0
    for live in itertools.product([False, True], repeat=len(arcs)):
        chance = float(np.prod(np.where(live, p, 1 - p)))
        active, took = over_arcs(seeds, [a for a, on in zip(arcs, live, strict=True) if on], limit)
        spread, steps = spread + chance * len(active), steps + chance * took
    return spread, steps


@pytest.mark.parametrize("limit", [0, 2])
@pytest.mark.parametrize("model", ["ic", "wc"])
def test_means_are_those_of_all_outcomes(model: str, limit: int) -> None:
    given = nx.DiGraph([(0, 1), (0, 2), (1, 3), (2, 3), (3, 4), (4, 0), (4, 5), (5, 6), (6, 3)])
    problem = Influence(given, model=model, probability=0.4, most=2, limit=limit, worlds=(6_000, 1))
    sets = [{0}, {4, 6}, {2}]

    batch = problem.batch(Genomes({"seeds": padded(sets, 2)}), Context())

    for p, seeds in enumerate(sets):
        probability = problem.model.probability  # type: ignore[union-attr]
        spread, steps = exact(problem.graph, probability, seeds, limit or None)
        for name, truth, samples in (
            ("spread", spread, batch.spread),
            ("time", steps, batch.steps),
        ):
            offered = {o.name: o for o in problem.objectives}
            deviation = float(offered[f"{name}_error"](batch)[p])
            assert deviation < 0.04
            assert deviation == pytest.approx(samples[p].std(ddof=1) / 6_000**0.5, abs=1e-6)
            assert abs(float(offered[name](batch)[p]) - truth) < 4 * deviation + 1e-6


def test_arcs_are_live_as_often_as_they_should_be() -> None:
    graph = random_graph(60, 400, True, 2)
    even, own = independent(graph, 0.05), weighted(graph)
    rng = np.random.default_rng(1)
    for model in (even, own):
        counts = np.zeros(graph.m)
        place = {(u, v): i for i, (u, v) in enumerate(zip(
            graph.sources.tolist(), graph.targets.tolist(), strict=True))}  # fmt: skip
        for _ in range(4000):
            world = model.draw(rng)
            arcs = zip(world.sources.tolist(), world.targets.tolist(), strict=True)
            rows = [place[arc] for arc in arcs]
            assert len(set(rows)) == len(rows)
            counts[rows] += 1
        p = model.probability
        off = (counts / 4000 - p) / np.sqrt(np.maximum(p * (1 - p), 1e-9) / 4000)
        assert np.abs(off).max() < 4.5
        assert 0.8 < np.sqrt((off**2)[p < 1].mean()) < 1.2


def test_worlds_of_a_split_are_the_same_whenever_asked_for() -> None:
    graph = random_graph(30, 90, False, 3)
    model = weighted(graph)
    pool = Pool(model, 0, "search", 5)
    first, again = list(pool), list(pool)
    alone = [*Pool(model, 0, "search", 2)]

    assert all(np.array_equal(a.sources, b.sources) for a, b in zip(first, again, strict=True))  # type: ignore[union-attr]
    assert all(np.array_equal(a.sources, b.sources) for a, b in zip(first, alone, strict=False))  # type: ignore[union-attr]
    other = next(iter(Pool(model, 0, "validation", 2)))
    assert not np.array_equal(first[0].sources, other.sources)  # type: ignore[union-attr]


# -- objectives ------------------------------------------------------------------------------------


def test_unevenness_beyond_seeds_is_that_of_their_difference(backend: str) -> None:
    rng = np.random.default_rng(0)
    sizes = np.array([30, 4, 12, 9, 1])
    own = rng.integers(0, 2, (33, 5))
    own[1] = 0
    active = rng.integers(0, sizes + 1, (33, 7, 5)).astype(np.int32)
    active = np.maximum(active, own[:, None]).astype(np.int32)
    active[0], active[1] = own[0], [30, 4, 12, 9, 1]
    for natural in (False, True):
        found = uneven_beyond(active, own, sizes, natural=natural, backend=backend)
        expected = uneven(active - own[:, None], sizes, natural=natural)
        np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-12)
        assert (found[0] == 1).all()
        assert (found[1] == 0).all()


def test_unevenness_is_the_distance_of_scipy() -> None:
    rng = np.random.default_rng(0)
    counts = rng.integers(0, 9, (50, 4))
    counts[0] = 0
    counts[1] = [3, 0, 0, 0]
    sizes = np.array([10, 20, 15, 9])

    clean, paper = uneven(counts, sizes), uneven(counts, sizes, natural=True)

    most = jensenshannon([1, 0, 0, 0], [0.25] * 4, base=2)
    for row, one, two in zip(counts[1:], clean[1:], paper[1:], strict=True):
        rates = row / sizes
        assert one == pytest.approx(jensenshannon(rates, [0.25] * 4, base=2) / most, abs=1e-12)
        assert two == pytest.approx(jensenshannon(rates, [0.25] * 4) / most, abs=1e-12)
    assert clean[0] == paper[0] == 1
    assert clean[1] == pytest.approx(1)
    assert paper[1] == pytest.approx(np.sqrt(np.log(2)))


def test_objectives_by_hand() -> None:
    problem = Influence(nx.path_graph(4), model="ic", probability=1.0, most=2, limit=2,
                        worlds=(3, 1))  # fmt: skip
    batch = problem.batch(Genomes({"seeds": padded([{0}, {1, 2}], 2)}), Context())
    offered = {o.name: o(batch).tolist() for o in problem.objectives}
    paper = Influence(nx.path_graph(4), model="ic", probability=1.0, most=2, limit=2,
                      worlds=(3, 1), mode="paper")  # fmt: skip
    batch = paper.batch(Genomes({"seeds": padded([{0}, {1, 2}], 2)}), Context())
    published = {o.name: o(batch).tolist() for o in paper.objectives}

    assert offered["spread"] == [3, 4]
    assert offered["size"] == [1, 2]
    assert offered["budget"] == [1, 4]
    assert offered["time"] == [2, 1]
    assert published["spread"] == [0.75, 1]
    assert published["size"] == [1, 0.5]
    assert published["budget"] == [0.75, 0]
    assert published["time"] == [0, 0.5]


def test_communities_are_judged_by_whom_seeds_reach_beyond_themselves(tmp_path: Path) -> None:
    (tmp_path / "c.csv").write_text("node,comm\n0,1\n1,1\n2,2\n3,2\n")
    problem = Influence(nx.path_graph(4), model="ic", probability=1.0, most=2, limit=2,
                        worlds=(2, 1), communities=str(tmp_path / "c.csv"))  # fmt: skip
    batch = problem.batch(Genomes({"seeds": padded([{0}, {0, 1}, {0, 2}, {1}], 2)}), Context())
    offered = {o.name: o(batch) for o in problem.objectives}

    # beyond the seeds: one and one; two of the second; one and one; 0 against 2 and 3
    third = jensenshannon([1 / 3, 2 / 3], [0.5, 0.5]) / jensenshannon([1, 0], [0.5, 0.5])
    np.testing.assert_allclose(offered["communities"], [0, 1, 0, third], atol=1e-9)
    np.testing.assert_allclose(offered["fairness"], [1, 1, 0, 1], atol=1e-9)


def archive(graph: str, model: str) -> tuple[list[list[int]], dict[str, np.ndarray]]:
    file = data("moeim-results", "archives", f"{graph}-{model}-all-run1-normalized.csv.gz")
    with gzip.open(file, "rt") as handle:
        rows = list(csv.DictReader(handle))
    names = [name for name in rows[0] if name != "seed_set"]
    return (
        [json.loads(row["seed_set"]) for row in rows],
        {name: np.array([float(row[name]) for row in rows]) for name in names},
    )


@pytest.mark.parametrize(
    ("graph", "model", "budget"), [("CA-HepTh_un", "WC", "out"), ("email_di", "IC", "total")]
)
def test_published_seed_sets_have_their_published_values(
    graph: str, model: str, budget: str
) -> None:
    folder = data("graphs")
    (file,) = folder.glob(f"edges/{graph}.txt*")
    sets, published = archive(graph, model)
    problem = Influence(
        str(file), model=model.lower(), most=100, limit=5, worlds=(2000, 1), mode="paper",
        communities=str(folder / "communities" / f"{graph}.csv"), budget=budget,
        directed=graph.endswith("_di"),
    )  # fmt: skip
    some = [i for i in range(len(sets)) if len(sets[i]) <= 100][:: max(1, len(sets) // 60)]
    seeds = padded((sets[i] for i in some), 100)

    batch = problem.batch(Genomes({"seeds": seeds}), Context())
    found = {o.name: o(batch) for o in problem.objectives}

    assert [str(i) for i in range(problem.graph.n)] == list(problem.graph.names)
    for ours, theirs in (("size", "seed"), ("fairness", "fairness"), ("budget", "budget")):
        np.testing.assert_allclose(found[ours], published[theirs][some], atol=1e-9)
    deviation = batch.spread.std(1, ddof=1) / problem.graph.n / 10  # of their 100 simulations
    off = (published["spread"][some] - found["spread"]) / np.maximum(deviation, 1e-4)
    assert -0.3 < np.median(off) < 1.5  # they keep the largest of several noisy values
    assert np.percentile(np.abs(off), 90) < 4
    # evenness is a mean of a concave thing, judged on as few simulations; times are cut to whole
    assert np.abs(published["communities"][some] - found["communities"]).mean() < 0.03
    assert (np.abs(published["time"][some] - found["time"]) < 0.21).mean() > 0.95


# -- graphs ----------------------------------------------------------------------------------------


def test_edge_lists_are_read_and_cleaned(tmp_path: Path) -> None:
    file = tmp_path / "graph.txt"
    file.write_text("# Undirected graph\n1 2\n2\t1\n2,3\n3 3\n10 11\n")

    graph = read_graph(file)

    assert list(graph.names) == ["1", "2", "3", "10", "11"]
    assert not graph.directed
    assert sorted(zip(graph.sources.tolist(), graph.targets.tolist(), strict=True)) == [
        (0, 1), (1, 0), (1, 2), (2, 1), (3, 4), (4, 3),
    ]  # fmt: skip
    assert graph.loops.tolist() == [0, 0, 1, 0, 0]
    assert graph.in_degree.tolist() == [1, 2, 1, 1, 1]
    assert graph.counted_in.tolist() == [1, 2, 3, 1, 1]
    assert graph.notes == (
        "1 loops left out of the arcs; they count in degrees", "1 repeated edges left out",
    )  # fmt: skip
    largest = read_graph(file, component="largest")
    assert list(largest.names) == ["1", "2", "3"]
    assert largest.notes[-1] == "2 nodes outside the largest component left out"


def test_degrees_are_those_of_networkx(tmp_path: Path) -> None:
    given = nx.gnm_random_graph(30, 100, seed=1, directed=True)
    given.add_edges_from([(3, 3), (4, 4)])
    graph = from_networkx(given)
    assert graph.counted_in.tolist() == [d for _, d in given.in_degree()]
    assert graph.counted_out.tolist() == [d for _, d in given.out_degree()]
    plain = given.to_undirected()
    assert from_networkx(plain).counted_in.tolist() == [d for _, d in plain.degree()]
    nx.write_graphml(given, tmp_path / "g.graphml")
    again = read_graph(tmp_path / "g.graphml")
    assert (again.sources == graph.sources).all()
    assert (again.targets == graph.targets).all()
    with gzip.open(tmp_path / "g.txt.gz", "wt") as handle:
        handle.writelines(f"{u} {v} 0.25\n" for u, v in given.edges)
    zipped = read_graph(tmp_path / "g.txt.gz", directed=True)
    assert (zipped.targets == graph.targets).all()
    assert zipped.weights is not None
    assert (independent(zipped, 0.9).probability == 0.25).all()


@pytest.mark.parametrize(
    ("text", "settings", "told"),
    [
        ("1 2\n3\n", {}, "line 2 of graph.txt is no pair of nodes: '3'"),
        ("", {}, "graph.txt holds no pair of nodes"),
        ("1 1\n", {}, "the graph has no arcs between different nodes"),
        ("1 2 1.5\n", {}, "probabilities of arcs must lie between 0 and 1, got 1.5"),
        ("1 2 -0.5\n", {}, "probabilities of arcs must lie between 0 and 1, got -0.5"),
        ("1 2 x\n", {}, "the third column of graph.txt must hold probabilities"),
        ("1 2 .5\n2 3\n", {}, "1 of 2 lines of graph.txt have a third column"),
        ("% asym\n1 2\n", {"directed": False}, "graph.txt says that it is directed, but"),
        ("1 2\n", {"most": 3}, "problem.most is 3, but the graph has 2 nodes"),
        ("1 2\n", {"model": "sir"}, "problem.model must be one of ic, wc, lt, got 'sir'"),
        ("1 2\n", {"probability": 1.5}, "problem.probability must lie in (0, 1], got 1.5"),
        ("1 2\n", {"worlds": [0, 1]}, "problem.worlds must be a whole number of at least 1"),
        ("1 2\n", {"component": "big"}, "component must be one of all, largest, got 'big'"),
    ],
)
def test_bad_input_is_one_sentence(
    tmp_path: Path, text: str, settings: dict[str, Any], told: str
) -> None:
    (tmp_path / "graph.txt").write_text(text)

    with pytest.raises((DataError, ConfigError)) as caught:
        Influence(str(tmp_path / "graph.txt"), **settings)

    assert told in caught.value.message


def test_communities_must_fit_their_graph(tmp_path: Path) -> None:
    graph = from_networkx(nx.path_graph(3))
    file = tmp_path / "communities.csv"
    file.write_text("node,comm\n0,7\n2,9\n")
    assert read_communities(file, graph).tolist() == [0, -1, 1]
    for text, told in (
        ("node,comm\n0,1\n5,1\n", "does not fit the graph: the graph has no node '5'"),
        ("node,comm\n0,1\n0,2\n", "names node '0' twice"),
        ("a,b\n0,1\n", "needs the columns node and comm"),
    ):
        file.write_text(text)
        with pytest.raises(DataError, match=told):
            read_communities(file, graph)
    with pytest.raises(DataError, match="cannot be read"):
        read_communities(tmp_path / "none.csv", graph)


@pytest.mark.parametrize("directed", [False, True])
@pytest.mark.parametrize("method", ["louvain", "leiden"])
def test_communities_are_found(method: str, directed: bool) -> None:
    if method == "leiden":
        pytest.importorskip("igraph")
    planted = nx.planted_partition_graph(3, 12, 0.9, 0.02, seed=1, directed=directed)
    graph = from_networkx(planted)

    found = find_communities(graph, 0, method)

    assert [len(set(found[i : i + 12].tolist())) for i in (0, 12, 24)] == [1, 1, 1]
    assert len(set(found.tolist())) == 3


def test_communities_are_found_when_they_are_asked_for() -> None:
    late, early = Influence(most=3), Influence(most=3, communities="louvain")
    early.groups  # noqa: B018
    rows = Genomes({"seeds": drawn(np.random.default_rng(0), 34, 20, 3)})
    for name in ("spread", "time", "communities", "fairness", "communities_error"):
        values = [
            next(o for o in problem.objectives if o.name == name)(problem.batch(rows, Context()))
            for problem in (late, early)
        ]
        assert np.array_equal(*values)
        assert ("groups" in vars(late)) == (name not in ("spread", "time"))


def test_a_list_of_numbers_is_read_like_any_other(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    pairs = rng.integers(0, 5000, (3000, 2)).tolist()
    lines = [f"{u}\t{v}" if u % 2 else f"{u}  {v} " for u, v in pairs]
    (tmp_path / "fast.txt").write_text("# Directed graph\n" + "\n".join(lines))
    (tmp_path / "slow.txt").write_text("# Directed graph\n" + "\n".join([*lines, "# end"]))

    fast, slow = read_graph(tmp_path / "fast.txt"), read_graph(tmp_path / "slow.txt")

    assert fast.fingerprint == slow.fingerprint
    assert (fast.directed, fast.notes) == (slow.directed, slow.notes) == (True, slow.notes)
    arcs = {(u, v) for u, v in pairs if u != v}
    names = fast.names
    found = zip(fast.sources.tolist(), fast.targets.tolist(), strict=True)
    assert {(int(names[u]), int(names[v])) for u, v in found} == arcs


@pytest.mark.parametrize("wrong", ["1 2\n3\n4 5 6\n", "1 2\n3 4 5\n", "1 2\n-3 4\n"])
def test_numbers_that_are_no_pairs_are_not_taken_for_pairs(tmp_path: Path, wrong: str) -> None:
    (tmp_path / "g.txt").write_text(wrong)
    if "-" in wrong:
        assert set(read_graph(tmp_path / "g.txt").names) == {"1", "2", "-3", "4"}
        return
    with pytest.raises(DataError, match=r"no pair|third column"):
        read_graph(tmp_path / "g.txt")


# -- runs ------------------------------------------------------------------------------------------


def test_a_search_finds_the_best_sets_of_a_small_graph(tmp_path: Path) -> None:
    code = main(
        ["run", "influence/wc", "--set", "problem.most=3", "--set", "problem.worlds=[64, 256]",
         "--population", "60", "--generations", "15", "--objective", "spread",
         "--objective", "size", "--metric", "spread_error", "--out", str(tmp_path / "run")]
    )  # fmt: skip

    assert code == 0
    view = read_run(tmp_path / "run")
    problem: Any = Influence(model="wc", most=3, worlds=(64, 256))
    pairs = padded(itertools.combinations(range(34), 2), 3)
    spread = problem.batch(Genomes({"seeds": pairs}), Context()).spread.mean(1)
    front = view.candidates.values[view.front_rows()]
    assert front[front[:, 1] == 2, 0].max() == pytest.approx(spread.max(), abs=1e-6)
    assert view.meta["describe"]["nodes"] == 34
    assert np.isfinite(view.candidates.validation[view.front_rows(), 0]).all()
    again = [str(tmp_path / "seeds"), str(tmp_path / "run")]
    assert main(["export", again[1], "best:spread", "--to", again[0]]) == 0
    listed = (tmp_path / "seeds" / "seeds.csv").read_text().split()
    told = json.loads((tmp_path / "seeds" / "seeds.json").read_text())
    best = problem.batch(
        Genomes({"seeds": padded([[int(name) for name in listed[1:]]], 3)}), Context()
    )
    assert listed[0] == "node"
    assert told["seeds"] == listed[1:]
    assert told["spread"] == pytest.approx(float(best.spread.mean()), abs=1e-6)
    assert main(["report", str(tmp_path / "run")]) == 0
