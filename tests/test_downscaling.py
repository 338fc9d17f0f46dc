"""Network downscaling: counts of blocks, degrees, ranks by hand, networkx, and whole runs."""

from __future__ import annotations

import itertools
import json
import statistics
from collections import Counter
from pathlib import Path
from typing import Any

import networkx as nx
import numpy as np
import pytest
from scipy.stats import spearmanr

from evo.cli import main
from evo.errors import ConfigError
from evo.problem import Context
from evo.view import read_run
from problems.influence import centrality as measures
from problems.influence.centrality import MEASURES, centrality
from problems.influence.downscaled import Downscaled
from problems.influence.downscaling import Ranked, _drawn, _joined, shrunk, upscaled
from problems.influence.graphs import Graph, from_networkx
from problems.influence.problem import Influence

SIZES = (45, 30, 7, 3)  # the last is too small for a factor of 4


def communal(directed: bool = False, seed: int = 1) -> tuple[Graph, np.ndarray]:
    """Four communities of uneven degrees, and two nodes in none."""
    rng = np.random.default_rng(seed)
    community = np.repeat([0, 1, 2, 3, -1], [*SIZES, 2]).astype(np.int32)
    pull = rng.pareto(2.0, len(community)) + 1
    built: Any = nx.DiGraph() if directed else nx.Graph()
    built.add_nodes_from(range(len(community)))
    pairs = itertools.permutations(range(len(community)), 2)
    for u, v in pairs if directed else itertools.combinations(range(len(community)), 2):
        near = community[u] == community[v]
        if rng.random() < min(1.0, (0.05 if near else 0.004) * pull[u] * pull[v]):
            built.add_edge(u, v)
    return from_networkx(built), community


def blocks(graph: Graph, community: np.ndarray, directed: bool) -> Counter[tuple[int, ...]]:
    """Arcs between every two communities, or edges; one at a time."""
    arcs = zip(graph.sources.tolist(), graph.targets.tolist(), strict=True)
    pairs = set(arcs) if directed else {(min(pair), max(pair)) for pair in arcs}
    found: Counter[tuple[int, ...]] = Counter()
    for u, v in pairs:
        pair = int(community[u]), int(community[v])
        if min(pair) >= 0:
            found[pair if directed else tuple(sorted(pair))] += 1
    return found


# -- shrinking -------------------------------------------------------------------------------------


@pytest.mark.parametrize("factor", [2, 4])
@pytest.mark.parametrize(("directed", "paper"), [(False, False), (True, False), (True, True)])
def test_communities_and_blocks_shrink_to_exact_counts(
    directed: bool, paper: bool, factor: int
) -> None:
    graph, community = communal(directed)
    kept = directed and not paper  # published: arcs become edges

    found = shrunk(graph, community, factor, np.random.default_rng(0), paper=paper)

    assert np.bincount(found.community, minlength=4).tolist() == [n // factor for n in SIZES]
    assert found.graph.n == sum(n // factor for n in SIZES)
    assert found.graph.directed == kept
    expected, misfits = {}, 0
    for (i, j), edges in blocks(graph, community, kept).items():
        a, b = SIZES[i] // factor, SIZES[j] // factor
        room = a * b if i != j else a * (a - 1) if kept else a * (a - 1) // 2
        wanted = (edges // factor if i == j else max(edges // factor, 1)) if a and b else 0
        expected[i, j] = min(wanted, room)
        misfits += max(wanted - room, 0)
    small = blocks(found.graph, found.community, kept)
    assert small == {pair: edges for pair, edges in expected.items() if edges}
    assert found.graph.m == small.total() * (1 if kept else 2)
    lost = 2 + (SIZES[3] if factor == 4 else 0)
    told = [f"{lost} nodes lie in no community of {factor} nodes or more"]
    told += [f"{misfits} edges do not fit between as few nodes"] if misfits else []
    assert list(found.graph.notes) == told


def test_a_block_that_is_too_dense_gets_all_of_its_pairs() -> None:
    graph = from_networkx(nx.complete_graph(12))

    found = shrunk(graph, np.zeros(12, dtype=np.int32), 3, np.random.default_rng(0)).graph

    assert found.m == 4 * 3
    assert found.notes == ("16 edges do not fit between as few nodes",)  # 66 // 3 into 6 pairs


def test_pairs_are_drawn_one_after_the_other_by_the_product_of_degrees() -> None:
    tails, heads = np.array([1, 4, 2]), np.array([3, 1, 2])
    weight = {(u, v): int(tails[u] * heads[v]) for u in range(3) for v in range(3) if u != v}
    total = sum(weight.values())
    chance: Counter[frozenset[tuple[int, int]]] = Counter()
    for one, two in itertools.permutations(weight, 2):
        part = weight[one] / total * weight[two] / (total - weight[one])
        chance[frozenset([one, two])] += part  # type: ignore[assignment]

    seen, rng, draws = Counter(), np.random.default_rng(2), 20_000
    for _ in range(draws):
        pairs = _joined(tails, heads, 2, True, True, rng)
        seen[frozenset(map(tuple, pairs.T.tolist()))] += 1

    assert sum(chance.values()) == pytest.approx(1)
    for drawn, part in chance.items():
        assert abs(seen[drawn] / draws - part) < 4.5 * (part / draws) ** 0.5, drawn


def test_the_likest_of_a_hundred_draws_is_kept_and_the_least_like_as_published() -> None:
    degrees = np.random.default_rng(1).pareto(1.5, (2, 60)).astype(np.int64) + 1

    kept = {paper: _drawn(degrees, 9, np.random.default_rng(5), paper) for paper in (False, True)}

    def off(some: np.ndarray) -> float:
        """Of mean and deviation of out- and in-degrees."""
        gaps = [
            f(row.tolist()) - f(whole.tolist())
            for row, whole in zip(some, degrees, strict=True)
            for f in (statistics.fmean, statistics.pstdev)
        ]
        return sum(gap**2 for gap in gaps)

    rng = np.random.default_rng(5)
    every = [off(degrees[:, nodes]) for nodes in rng.integers(60, size=(100, 9))]
    assert off(kept[False]) == pytest.approx(min(every))
    assert off(kept[True]) == pytest.approx(max(every))


def test_degrees_keep_their_distribution_and_out_degrees_their_in_degrees() -> None:
    rng = np.random.default_rng(0)
    outward, n = np.repeat([True, False], 300), 600  # the first half sends, the others receive
    pull = np.stack([np.where(outward, 20, 2), np.where(outward, 2, 20)]) * (rng.pareto(3, n) + 1)
    arcs = rng.random((n, n)) < pull[0][:, None] * pull[1] / (40 * n)
    np.fill_diagonal(arcs, False)
    graph = from_networkx(nx.from_numpy_array(arcs, create_using=nx.DiGraph))

    small = shrunk(graph, np.zeros(n, dtype=np.int32), 4, rng).graph

    for name in ("out_degree", "in_degree"):
        degrees, others = getattr(graph, name), getattr(small, name)
        assert others.mean() == pytest.approx(degrees.mean(), rel=0.01)
        assert others.std() == pytest.approx(degrees.std(), rel=0.2)
        quantiles = np.linspace(0.05, 0.95, 19)
        assert np.corrcoef(*(np.quantile(d, quantiles) for d in (degrees, others)))[0, 1] > 0.97
    assert spearmanr(graph.out_degree, graph.in_degree).statistic < -0.5
    assert spearmanr(small.out_degree, small.in_degree).statistic < -0.5


def test_the_same_stream_gives_the_same_graph() -> None:
    graph, community = communal()

    prints = [
        shrunk(graph, community, 2, np.random.default_rng(seed)).graph.fingerprint
        for seed in (3, 3, 4)
    ]

    assert prints[0] == prints[1] != prints[2]


# -- upscaling -------------------------------------------------------------------------------------

SMALL = Ranked(np.array([5.0, 1, 3, 2, 4]), np.array([0, 0, 0, 1, 1], dtype=np.int32))
LARGE = Ranked(
    np.array([0.1, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2, 0.15, 0.25, 0.35, 0.45, 0.55]),
    np.array([0] * 7 + [1] * 5, dtype=np.int32),
)  # ranked 1 2 3 4 5 6 0 and 11 10 9 8 7


@pytest.mark.parametrize(
    ("seeds", "paper", "found"),
    [
        ([1], False, [2, 3]),  # third of its community: the third, then the second
        ([1], True, [1, 2]),  # every measure is nearer to 3, the larger it is
        ([3], False, [10, 11]),  # second of its community
        # first 0 takes 1 and 2, then 2 the next two beside 2, then 3; 0 one more for 7.2 nodes
        ([0, 2, 3], False, [1, 2, 3, 4, 5, 10, 11]),
        ([0, 2, 3], True, [1, 2, 3, 4, 5, 10, 11]),
    ],
)
def test_seeds_become_the_nodes_of_nearest_rank(
    seeds: list[int], paper: bool, found: list[int]
) -> None:
    rows = np.array([[*seeds, *[-1] * (3 - len(seeds))]], dtype=np.int32)

    chosen = upscaled(rows, SMALL, LARGE, paper=paper)

    assert chosen.shape == (1, 7)
    assert chosen[chosen >= 0].tolist() == found


def test_published_upscaling_compares_counts_with_ranks() -> None:
    counts = Ranked(np.array([1.0, 7, 6, 5, 4, 3, 2, 1, 1, 1, 1, 1]), LARGE.community)

    chosen = upscaled(np.array([[1]], dtype=np.int32), SMALL, counts, paper=True)

    assert chosen.tolist() == [[4, 5]]  # the third: 3, then 4 before 2


def test_upscaled_sets_have_their_size_and_stay_in_their_communities() -> None:
    rng = np.random.default_rng(0)
    small = Ranked(rng.random(30), rng.integers(0, 4, 30).astype(np.int32))
    large = Ranked(rng.random(137), rng.integers(0, 4, 137).astype(np.int32))
    rows = np.full((40, 30), -1, dtype=np.int32)
    for i, row in enumerate(rows):
        size = min(i, 30)
        row[:size] = np.sort(rng.choice(30, size, replace=False))

    chosen = upscaled(rows, small, large)

    room = np.bincount(large.community, minlength=4)
    for row, mine in zip(rows, chosen, strict=True):
        seeds, nodes = row[row >= 0], mine[mine >= 0]
        assert len(set(nodes.tolist())) == len(nodes) == int(len(seeds) * 137 / 30)
        assert nodes.tolist() == sorted(nodes.tolist())
        wanted = np.bincount(small.community[seeds], minlength=4)
        got = np.bincount(large.community[nodes], minlength=4)
        if (wanted * 5 <= room).all():
            assert (wanted * 4 <= got).all()
            assert (got <= wanted * 5).all()


# -- measures --------------------------------------------------------------------------------------


def reference(given: Any) -> dict[str, dict[int, float]]:
    """By networkx, along the arcs."""
    seen = given.reverse() if given.is_directed() else given
    largest = max(np.abs(np.linalg.eigvals(nx.to_numpy_array(given))))
    return {
        "betweenness": nx.betweenness_centrality(seen),
        "closeness": nx.closeness_centrality(seen),
        "core": nx.core_number(nx.Graph(given)),
        "degree": nx.out_degree_centrality(given) if given.is_directed()
        else nx.degree_centrality(given),
        "eigenvector": nx.eigenvector_centrality(seen, max_iter=5000, tol=1e-10),
        "katz": nx.katz_centrality_numpy(seen, alpha=0.85 / largest),
        "pagerank": nx.pagerank(seen, tol=1e-10, max_iter=999),
        "two-hop": {
            u: given.degree(u) + sum(given.degree(v) for v in given[u]) for u in given
        } if not given.is_directed()
        else {u: given.out_degree(u) + sum(given.out_degree(v) for v in given[u]) for u in given},
    }  # fmt: skip


@pytest.mark.parametrize(
    "given",
    [
        nx.gnm_random_graph(150, 400, seed=1),  # more nodes than are searched from at once
        nx.gnm_random_graph(50, 160, seed=2, directed=True),
        nx.gnm_random_graph(40, 36, seed=3),  # in pieces
        nx.star_graph(6),
    ],
)
def test_measures_are_those_of_networkx(given: Any) -> None:
    graph = from_networkx(given)
    expected = reference(given)

    assert set(expected) == set(MEASURES)
    for name, values in expected.items():
        found = centrality(graph, name, np.random.default_rng(0))
        np.testing.assert_allclose(found, [values[v] for v in given], atol=1e-6, err_msg=name)


def test_pivots_stand_for_all_nodes(monkeypatch: pytest.MonkeyPatch) -> None:
    graph = from_networkx(nx.barabasi_albert_graph(300, 2, seed=1))
    whole = {
        name: centrality(graph, name, np.random.default_rng(0))
        for name in ("betweenness", "closeness")
    }
    monkeypatch.setattr(measures, "PIVOTS", 120)

    for name, values in whole.items():
        part = centrality(graph, name, np.random.default_rng(0))
        assert spearmanr(part, values).statistic > 0.85
        assert part.sum() == pytest.approx(values.sum(), rel=0.1)
        assert not np.array_equal(part, values)
        assert np.array_equal(part, centrality(graph, name, np.random.default_rng(0)))


# -- the problem -----------------------------------------------------------------------------------


def planted(**more: Any) -> dict[str, Any]:
    given = nx.planted_partition_graph(4, 30, 0.2, 0.01, seed=1)
    known = {"communities": np.repeat(np.arange(4, dtype=np.int32), 30), "worlds": (32, 64)}
    return {"graph": given, "model": "wc", "most": 20, **known, **more}


def test_the_search_sees_the_small_graph_and_validation_the_large_one() -> None:
    problem = Downscaled(downscale=4, **planted())
    whole = Influence(**planted())
    small = Influence(
        **planted(graph=problem.small.graph, communities=problem.small.groups.community, most=4)
    )
    genomes = problem.space.sample(9, np.random.default_rng(0))
    chosen = problem.upscaled(genomes)

    searched, judged = (problem.batch(genomes, Context(split=s)) for s in ("search", "validation"))

    assert problem.small.graph.n == 28
    assert problem.ratio == 120 / 28
    assert problem.space.parts[0].shape == (4,)  # ⌊20 / 4.28⌋
    whole.space.check(chosen)
    for offered, plain in zip(problem.objectives, small.objectives, strict=True):
        own = plain(small.batch(genomes, Context()))
        if offered.name in ("spread", "budget", "spread_error"):
            own = own * 120 / 28
        if offered.name == "size":
            own = np.floor(own * 120 / 28)
        np.testing.assert_allclose(offered(searched), own, atol=1e-5, err_msg=offered.name)
        truth = plain(whole.batch(chosen, Context(split="validation")))
        np.testing.assert_array_equal(offered(judged), truth)


@pytest.mark.parametrize("initial", ["degree", "ranked", "smart"])
def test_starts_and_moves_are_those_of_the_small_graph(initial: str) -> None:
    problem = Downscaled(downscale=4, initial=initial, operators="graph", **planted())

    problem.space.check(problem.starts(6, np.random.default_rng(0)))
    assert problem.variation["mutation"].graph is problem.small.graph


def test_published_objectives_are_shares_and_stay_as_they_are() -> None:
    problem = Downscaled(downscale=4, mode="paper", **planted())
    genomes = problem.space.sample(5, np.random.default_rng(0))

    for offered, plain in zip(problem.objectives, problem.small.objectives, strict=True):
        batch = problem.batch(genomes, Context())
        np.testing.assert_array_equal(offered(batch), plain(batch))


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"downscale": 0}, "problem.downscale must be a whole number of at least 1, got 0"),
        ({"downscale": 40}, "a graph of 120 nodes has no edges left when it is 40 times smaller"),
        ({"upscale": "fame"}, "problem.upscale must be one of betweenness, closeness, core,"),
        ({"most": 4}, "problem.most is 4, but each seed of a graph 4.29 times smaller stands for"),
        ({"pool": "POOL"}, "problem.pool names nodes of the graph itself, but the search starts"),
        ({"graph": nx.path_graph(40)}, None),
    ],
)
def test_bad_settings_are_one_sentence(
    tmp_path: Path, settings: dict[str, Any], told: str | None
) -> None:
    if told is None:
        settings["graph"].add_edge(0, 1, probability=0.5)
        for edge in settings["graph"].edges:
            settings["graph"].edges[edge]["probability"] = 0.5
        told = "a graph whose arcs have probabilities of their own cannot be downscaled"

    if "pool" in settings:
        settings["pool"] = str(tmp_path / "pool.txt")
        (tmp_path / "pool.txt").write_text("1\n2\n")

    with pytest.raises(ConfigError) as caught:
        Downscaled(**planted(**{"downscale": 4, **settings}))

    assert told in caught.value.message


def test_a_run_is_judged_and_exported_on_the_graph_itself(tmp_path: Path) -> None:
    edges = tmp_path / "graph.txt"
    nx.write_edgelist(planted()["graph"], edges, data=False)
    known = "".join(f"{node},{node // 30}\n" for node in range(120))
    (tmp_path / "known.csv").write_text(f"node,comm\n{known}")
    settings: dict[str, Any] = {
        "graph": str(edges), "communities": str(tmp_path / "known.csv"), "model": "wc",
        "downscale": 4, "upscale": "degree", "most": 20, "worlds": [32, 64],
    }  # fmt: skip
    flags = [f"--set=problem.{k}={json.dumps(v)}" for k, v in settings.items()]

    run = ["run", "influence/downscaled", *flags, "--population", "12", "--generations", "3"]
    assert main([*run, "--out", str(tmp_path / "run")]) == 0

    view = read_run(tmp_path / "run")
    problem = Downscaled(**settings)
    rows = view.front_rows()
    batch = problem.large.batch(
        problem.upscaled(view.candidates.genomes.take(rows)), Context(split="validation")
    )
    np.testing.assert_allclose(view.candidates.validation[rows, 0], batch.spread.mean(1), atol=1e-6)
    np.testing.assert_array_equal(view.candidates.validation[rows, 1], batch.size)
    np.testing.assert_array_equal(view.candidates.values[rows, 1], batch.size)
    assert view.meta["describe"]["facts"]["searched on"].startswith("28 nodes, ")
    exported = ["export", str(tmp_path / "run"), "best:spread", "--to", str(tmp_path / "seeds")]
    assert main(exported) == 0
    told = json.loads((tmp_path / "seeds" / "seeds.json").read_text())
    place = int(view.candidates.values[rows, 0].argmax())
    nodes = batch.seeds[place]
    assert told["seeds"] == [problem.large.graph.names[i] for i in nodes[nodes >= 0]]
    assert told["spread"] == pytest.approx(float(batch.spread[place].mean()), abs=1e-6)
