"""How seed sets are searched: moves against exact distributions, starts, pools, MOEIM's NSGA-II."""

from __future__ import annotations

import csv
import itertools
import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from fractions import Fraction
from pathlib import Path
from typing import Any

import networkx as nx
import numpy as np
import pytest
from local_data import data
from scipy.stats import chi2

from evo import Integer, Real, SearchSpace
from evo.algorithms import Settings, create
from evo.algorithms.moeim import beaten, winners
from evo.algorithms.survival import by_rank_and_crowding, unscaled_crowding
from evo.config import RunConfig
from evo.errors import ConfigError, DataError
from evo.genomes import Genomes
from evo.indicators import nondominated
from evo.problem import Context
from evo.run import Run
from evo.streams import stream
from evo.view import read_run
from operators import Bounds
from operators.subset import SubsetCut, SubsetEdit
from problems.influence.cascades import SeedSets, propagated
from problems.influence.graphs import from_networkx
from problems.influence.pools import far, least_pool, many_neighbours, promising, read_pool
from problems.influence.problem import Influence
from problems.influence.shares import BLOCK
from problems.influence.starts import ranked, smart
from problems.influence.variation import GraphMove, UnsharedCut
from problems.influence.worlds import independent, thresholds, weighted

Sets = frozenset[int]
Chances = dict[Any, Fraction]


def padded(sets: Iterable[Iterable[int]], most: int) -> np.ndarray:
    rows = [sorted(s) for s in sets]
    return np.array([[*row, *[-1] * (most - len(row))] for row in rows], dtype=np.int32)


def box(universe: int, most: int) -> Bounds:
    low, high = np.full(most, -1, np.int32), np.full(most, universe - 1, np.int32)
    return Bounds(low, high, np.zeros(most, bool))


def members(row: np.ndarray) -> Sets:
    size = int((row >= 0).sum())
    assert (np.diff(row[:size]) > 0).all()
    assert (row[size:] == -1).all()
    assert row.dtype == np.int32
    return frozenset(row[:size].tolist())


def sets_of(rows: np.ndarray) -> Counter[Sets]:
    """How often each set occurs."""
    found, counts = np.unique(rows, axis=0, return_counts=True)
    return Counter(dict(zip(map(members, found), counts.tolist(), strict=True)))


def agrees(drawn: Counter[Any], chances: Chances) -> None:
    """Counts come from these chances: nothing impossible, and chi-square at one in ten thousand."""
    assert sum(chances.values()) == 1
    assert set(drawn) <= {outcome for outcome, chance in chances.items() if chance}
    expected = {k: float(p) * drawn.total() for k, p in chances.items() if p}
    assert min(expected.values()) > 5
    off = sum((drawn[k] - e) ** 2 / e for k, e in expected.items())
    assert off < chi2.ppf(0.9999, max(1, len(expected) - 1))


def added(outcomes: Iterable[tuple[Any, Fraction]]) -> Chances:
    found: Chances = {}
    for outcome, chance in outcomes:
        found[outcome] = found.get(outcome, Fraction(0)) + chance
    return found


# -- moves -----------------------------------------------------------------------------------------


def crossed(a: Sets, b: Sets) -> Chances:
    """MOEIM's crossover of two sets that differ enough, all orders and cuts."""
    mine, others, common = sorted(a - b), sorted(b - a), a & b
    orders = list(itertools.product(*map(itertools.permutations, (mine, others))))
    each = Fraction(1, len(orders) * (len(mine) - 1))
    return added(
        ((frozenset(common | {*x[:cut], *y[cut:]}), frozenset(common | {*y[:cut], *x[cut:]})), each)
        for x, y in orders
        for cut in range(1, len(mine))
    )


@pytest.mark.parametrize(
    ("a", "b"), [({0, 1, 2, 5}, {1, 3}), ({1, 3, 6}, {0, 1, 2, 5}), ({0, 1}, {2})]
)
def test_crossover_swaps_the_tails_of_what_parents_do_not_share(a: set[int], b: set[int]) -> None:
    first, second = (np.tile(padded([s], 4), (20_000, 1)) for s in (a, b))

    one, two = UnsharedCut()(first, second, box(7, 4), np.random.default_rng(0))

    drawn = Counter((members(x), members(y)) for x, y in zip(one, two, strict=True))
    agrees(drawn, crossed(frozenset(a), frozenset(b)))


def replacements(s: Sets, universe: int) -> Chances:
    """One member for an outsider; sets of one node stay."""
    if len(s) < 2:
        return {s: Fraction(1)}
    outside = set(range(universe)) - s
    each = Fraction(1, len(s) * len(outside))
    return added((s - {old} | {new}, each) for old in s for new in outside)


def alike(a: Sets, b: Sets, universe: int) -> Chances:
    """The whole crossover, replacements of parents that are too alike first."""
    states: Chances = {(a, b): Fraction(1)}
    done: list[tuple[Any, Fraction]] = []
    for _ in range(5):
        following: list[tuple[Any, Fraction]] = []
        for (x, y), chance in states.items():
            own = len(x - y)
            if own >= 2:
                done += [(pair, chance * p) for pair, p in crossed(x, y).items()]
                continue
            pairs: Chances = {(x, y): Fraction(1)}
            for _ in range(2 if own == 0 else 1):
                pairs = added(
                    ((v, w), chance * p * q)
                    for (s, t), chance in pairs.items()
                    for v, p in replacements(s, universe).items()
                    for w, q in replacements(t, universe).items()
                )
            following += [(pair, chance * p) for pair, p in pairs.items()]
        states = added(following)
    return added([*done, *(((y, x), chance) for (x, y), chance in states.items())])


@pytest.mark.parametrize(
    ("a", "b"), [({0, 1}, {0, 1}), ({0, 2}, {0, 1, 2}), ({0, 1}, {0, 2}), ({1}, {0, 1})]
)
def test_parents_that_are_too_alike_are_changed_first(a: set[int], b: set[int]) -> None:
    first, second = (np.tile(padded([s], 3), (10_000, 1)) for s in (a, b))

    one, two = UnsharedCut()(first, second, box(4, 3), np.random.default_rng(1))

    drawn = Counter((members(x), members(y)) for x, y in zip(one, two, strict=True))
    agrees(drawn, alike(frozenset(a), frozenset(b), 4))


def test_crossover_of_many_pairs_keeps_every_promise() -> None:
    rng = np.random.default_rng(2)
    rows = padded(
        (rng.choice(30, rng.integers(1, 13), replace=False).tolist() for _ in range(400)), 12
    )

    one, two = UnsharedCut()(rows[::2], rows[1::2], box(30, 12), rng)

    for a, b, c, d in zip(rows[::2], rows[1::2], one, two, strict=True):
        x, y, v, w = map(members, (a, b, c, d))
        if len(x - y) >= 2:
            assert v & w == x & y
            assert v | w == x | y
            assert v - y
            assert {len(v), len(w)} == {len(x), len(y)} or len(y - x) < len(x - y)
        assert 1 <= len(v) <= 12
        assert 1 <= len(w) <= 12


def arrows() -> nx.DiGraph:
    graph = nx.DiGraph([(0, 1), (0, 2), (0, 3), (1, 2), (2, 3), (2, 4), (3, 0), (4, 1), (4, 4)])
    graph.add_edges_from([(5, 0), (5, 1), (3, 6)])
    graph.add_nodes_from(range(7))
    return graph


def moves(graph: nx.Graph, s: Sets, most: int) -> tuple[Chances, ...]:
    """MOEIM's five mutations; one node alone always grows."""
    n = graph.number_of_nodes()
    outside = set(range(n)) - s
    grown: Chances = (
        {s | {v}: Fraction(1, len(outside)) for v in outside} if len(s) < most else {s: Fraction(1)}
    )
    if len(s) == 1:
        return (grown,) * 5
    any_swap = replacements(s, n)
    arcs = {v: set(graph.successors(v) if graph.is_directed() else graph[v]) - {v} for v in graph}

    def along(weight: Callable[[int, int], int]) -> Chances:
        found: list[tuple[Any, Fraction]] = []
        for g in s:
            near = arcs[g] - s
            if not near:
                found += [(t, p / len(s)) for t, p in any_swap.items()]
                continue
            total = sum(weight(w, len(near)) for w in near)
            found += [(s - {g} | {w}, Fraction(weight(w, len(near)), total * len(s))) for w in near]
        return added(found)

    degree = {v: graph.degree(v) for v in s}
    lowly = {g: Fraction(max(degree.values()) - degree[g]) for g in s}
    if not sum(lowly.values()):
        lowly = dict.fromkeys(s, Fraction(1))
    total = sum(lowly.values())
    return (
        grown,
        {s - {g}: Fraction(1, len(s)) for g in s},
        along(lambda w, c: 1),
        along(lambda w, c: c + sum(len(arcs[x]) for x in arcs[w])),
        {s - {g} | {v}: lowly[g] / total / len(outside) for g in s for v in outside},
    )


@pytest.mark.parametrize("directed", [True, False])
@pytest.mark.parametrize("s", [{0, 2}, {3}, {1, 5, 6}, {0, 1, 2, 3}, {4, 6}, {3, 5}])
def test_moves_along_arcs_have_the_published_chances(s: set[int], directed: bool) -> None:
    given = arrows() if directed else arrows().to_undirected()
    graph = from_networkx(given)
    rows = np.tile(padded([s], 4), (2_000, 1))
    each = moves(given, frozenset(s), 4)
    every = added((t, p / 5) for chances in each for t, p in chances.items())

    for kind, chances in enumerate(each):
        shares = tuple(float(kind == other) for other in range(5))
        out = GraphMove(graph, shares)(rows, box(7, 4), np.random.default_rng(3))
        agrees(sets_of(out), chances)
    out = GraphMove(graph)(rows, box(7, 4), np.random.default_rng(4))
    agrees(sets_of(out), every)


def test_moves_treat_each_row_on_its_own() -> None:
    given = nx.gnm_random_graph(40, 90, seed=4, directed=True)
    graph, rng = from_networkx(given), np.random.default_rng(5)
    rows = padded((rng.choice(40, k, replace=False).tolist() for k in [1, 7, 3, 8, 2] * 40), 8)

    out = GraphMove(graph)(rows, box(40, 8), rng)

    for a, b in zip(map(members, rows), map(members, out), strict=True):
        assert len(a - b) <= 1
        assert len(b - a) <= 1
        assert a != b or len(a) == 8
        assert 1 <= len(b) <= 8
        if len(a) == 1:
            assert a < b
    whole = np.tile(padded([range(3)], 3), (50, 1))
    small = from_networkx(nx.path_graph(3))
    for row in GraphMove(small)(whole, box(3, 3), rng):
        assert members(row) <= {0, 1, 2}
    nothing = np.empty((0, 3), np.int32)
    assert GraphMove(small)(nothing, box(3, 3), rng).shape == (0, 3)
    assert UnsharedCut()(nothing, nothing, box(3, 3), rng)[0].shape == (0, 3)


def test_cuts_of_their_own_have_the_published_chances() -> None:
    a, b = (0, 2, 3), (2, 4)
    first, second = (np.tile(padded([s], 4), (20_000, 1)) for s in (a, b))

    one, two = SubsetCut()(first, second, box(6, 4), np.random.default_rng(6))

    drawn = Counter((members(x), members(y)) for x, y in zip(one, two, strict=True))
    agrees(drawn, added(
        ((frozenset({*a[:i], *b[i:]}), frozenset({*b[:j], *a[j:]})), Fraction(1, 6))
        for i in range(3) for j in range(2)
    ))  # fmt: skip


@pytest.mark.parametrize("s", [{1, 3}, {2}, {0, 1, 4}])
def test_edits_have_the_published_chances(s: set[int]) -> None:
    rows = np.tile(padded([s], 3), (20_000, 1))
    start, outside = frozenset(s), set(range(5)) - s

    out = SubsetEdit()(rows, box(5, 3), np.random.default_rng(7))

    third = Fraction(1, 3)
    full, alone = len(s) == 3, len(s) == 1
    each = third / len(outside)
    agrees(sets_of(out), added([
        *([(start, 2 * third)] if full else [(start | {v}, each) for v in outside]),
        *([] if full else [(start - {g} | {v}, each / len(s)) for g in s for v in outside]),
        *([(start, third)] if alone else [(start - {g}, third / len(s)) for g in s]),
    ]))  # fmt: skip


# -- starts ----------------------------------------------------------------------------------------


def test_smart_sets_come_from_the_pool_by_degree() -> None:
    graph = from_networkx(nx.star_graph(5))  # degrees 5 and 1
    pool = np.array([0, 2, 5])

    rows = smart(graph, 1, pool, 10_000, np.random.default_rng(0))

    agrees(sets_of(rows), {
        frozenset({v}): Fraction(d, 7) for v, d in ((0, 5), (2, 1), (5, 1))
    })  # fmt: skip
    assert len(rows) == 3_300
    rows = smart(graph, 4, pool, 10_000, np.random.default_rng(1))
    sizes = Counter(len(members(row)) for row in rows)
    agrees(sizes, {1: Fraction(1, 4), 2: Fraction(1, 4), 3: Fraction(1, 2)})


def test_ranked_starts_begin_with_what_covers_most() -> None:
    given = nx.DiGraph((hub, 100 * hub + i) for hub in range(1, 6) for i in range(10 - hub))
    graph = from_networkx(given)
    hubs = graph.numbers([str(hub) for hub in range(1, 6)])

    for model in (independent(graph, 0.9), weighted(graph)):
        rows = ranked(model, "ic", 5, None, 12, np.random.default_rng(0))

        assert rows.shape == (5, 5)
        for k, row in enumerate(rows, 1):
            assert members(row) == frozenset(hubs[:k].tolist())  # the largest first
    rows = ranked(thresholds(graph, 0.3, 0.6), "lt", 3, None, 3, np.random.default_rng(0))
    assert members(rows[0]) <= set(hubs.tolist())
    problem = Influence(initial="ranked", most=4)
    found = problem.starts(21, np.random.default_rng(0))
    problem.space.check(found)
    assert [len(members(row)) for row in found["seeds"]] == [1, 2, 3, 4]


def test_pools_are_as_large_as_the_sets_they_must_allow() -> None:
    assert least_pool(100, 10**9) == 106
    assert least_pool(100, 10**11) == 108
    m = least_pool(7, 12_345)
    assert math.comb(m - 1, 7) < 12_345 <= math.comb(m, 7)


def test_filters_keep_nodes_that_spread_far_and_have_many_neighbours() -> None:
    given = nx.DiGraph()
    for hub in range(36):  # 34 of them reach 16 nodes on average, two 1.5, leaves themselves
        given.add_edges_from((hub, 1000 * hub + 100 + i) for i in range(30 if hub < 34 else 1))
    graph = from_networkx(given)
    far_ones = set(graph.numbers([str(hub) for hub in range(34)]).tolist())
    model = independent(graph, 0.5)

    left = far(graph, model, 28, 0)

    assert least_pool(28, 10**9) == 39
    assert far_ones <= set(left.tolist())
    assert len(left) == 39  # leaves fill up
    degrees = [d for _, d in given.out_degree()]
    least = int(2 * given.number_of_edges() / given.number_of_nodes()) + 1
    assert many_neighbours(graph).tolist() == [d >= least for d in degrees]
    found = promising(graph, model, 28, 0)
    assert far_ones <= set(found.tolist()) < set(left.tolist())
    assert all(degrees[node] >= least for node in found)


def test_filters_keep_whom_long_simulations_put_first() -> None:
    graph = from_networkx(nx.powerlaw_cluster_graph(150, 3, 0.2, seed=3))
    problem = Influence(graph, probability=0.1, limit=3, most=12, worlds=(1000, 1))
    alone = padded(([i] for i in range(150)), 12)
    spread = problem.batch(Genomes({"seeds": alone}), Context()).spread.mean(axis=1)

    left = far(graph, independent(graph, 0.1), 12, 5)

    wanted = least_pool(12, 10**9)
    assert set(np.argsort(-spread)[: wanted // 2].tolist()) <= set(left.tolist())
    assert wanted <= len(left) < 3 * wanted


def test_pools_are_read(tmp_path: Path) -> None:
    graph = from_networkx(nx.path_graph(12))
    file = tmp_path / "pool.csv"
    for text, row in (
        ("node\n3\n11\n0\n", ""),
        ("3\n11\n0\n3\n", ""),
        (",0,1,2\na-IC,1,2\nb-WC,11,3.0,0,,\n", "b-WC"),
    ):
        file.write_text(text)
        assert read_pool(file, graph, row).tolist() == [0, 3, 11]
    for text, told in (
        ("a-IC,1,2\n", "pool.csv has no row 'b-WC'"),
        ("3\n99\n", "pool.csv does not fit the graph: the graph has no node '99'"),
        ("node\n", "pool.csv names no node"),
    ):
        file.write_text(text)
        with pytest.raises(DataError) as caught:
            read_pool(file, graph, "b-WC")
        assert caught.value.message == told
    with pytest.raises(DataError, match="cannot be read"):
        read_pool(tmp_path / "none.csv", graph, "")


def test_published_pools_are_read() -> None:
    folder = data("graphs")
    for name, model, size in (
        ("email_di", "ic", 125),
        ("email_di", "wc", 136),
        ("jazz_un", "lt", 64),
    ):
        (file,) = folder.glob(f"edges/{name}.txt*")
        problem = Influence(
            str(file), model, directed=name.endswith("_di"), initial="smart", most=20,
            pool=str(folder / "smart_init.csv"),
        )  # fmt: skip
        starts = problem.starts(100, np.random.default_rng(0))["seeds"]
        with (folder / "smart_init.csv").open() as handle:
            rows = {row[0]: row[1:] for row in csv.reader(handle)}
        listed = {int(float(v)) for v in rows[f"{name}-{model.upper()}"] if v}
        assert len(starts) == 33
        assert len(listed) == size
        assert set().union(*map(members, starts)) <= listed


def test_first_generations_follow_the_setting() -> None:
    rng = np.random.default_rng(0)
    assert len(Influence(initial="random").starts(50, rng)) == 0
    assert len(Influence(initial="smart").starts(50, rng)) == 16
    assert len(Influence(initial="degree").starts(50, rng)) == 50
    assert len(Influence(initial="ranked", most=34).starts(50, rng)) == 25
    for setting in ("initial", "operators"):
        with pytest.raises(ConfigError, match=f"problem.{setting} must be one of"):
            Influence(**{setting: "best"})
    with pytest.raises(ConfigError, match="stock must be a whole number of at least 1"):
        Influence(stock=0)


# -- worlds of one's own ---------------------------------------------------------------------------


def test_worlds_of_ones_own_follow_from_the_seeds_alone() -> None:
    problem = Influence(model="wc", most=3, worlds=(50, 1), stock=10)
    rng = np.random.default_rng(0)
    rows = padded(
        (rng.choice(34, rng.integers(1, 4), replace=False).tolist() for _ in range(30)), 3
    )

    together = problem.batch(Genomes({"seeds": rows}), Context())

    assert together.spread.shape == together.steps.shape == (30, 50)
    worlds = list(problem.pool(Context()))
    assert len(worlds) == 500
    chosen: list[set[int]] = []
    for i, row in enumerate(rows):
        alone = problem.batch(Genomes({"seeds": rows[i : i + 1]}), Context())
        assert (alone.spread[0] == together.spread[i]).all()
        assert (alone.steps[0] == together.steps[i]).all()
        blocks = stream(0, "share", row[row >= 0].tobytes()).permutation(20)[:2].tolist()
        mine = [worlds[b * BLOCK + j] for b in blocks for j in range(BLOCK)]
        found = propagated(SeedSets(row[None], 34), problem.model, mine, problem.groups, None)
        assert (found.active[0].sum(axis=1) == together.spread[i]).all()
        chosen.append(set(blocks))
    assert len(set().union(*chosen)) > 15
    assert np.mean([len(a & b) for a, b in itertools.combinations(chosen, 2)]) < 0.4
    known = problem.batch(Genomes({"seeds": rows}), Context(split="validation"))
    assert known.spread.shape == (30, 1)


# -- MOEIM's NSGA-II -------------------------------------------------------------------------------


class Individual:
    """Compared as inspyred compares: larger when it dominates."""

    def __init__(self, number: int, fitness: np.ndarray) -> None:
        self.number, self.fitness = number, fitness

    def __gt__(self, other: Individual) -> bool:
        a, b = self.fitness, other.fitness
        return bool((a <= b).all() and (a < b).any())


def test_winners_are_those_of_pythons_max() -> None:
    fitness = np.random.default_rng(0).integers(0, 4, (30, 2)).astype(float)
    wins = beaten(fitness, np.zeros(30))
    people = [Individual(i, row) for i, row in enumerate(fitness)]

    found = winners(wins, 500, 5, np.random.default_rng(1))

    keys = np.random.default_rng(1).random((500, 30))
    met = np.argsort(keys, axis=1, kind="stable")[:, :5]
    assert found.tolist() == [max(people[i] for i in row).number for row in met.tolist()]


def test_less_violation_wins_before_dominance() -> None:
    fitness = np.array([[5.0, 5.0], [1.0, 1.0], [0.0, 0.0], [0.0, 9.0]])

    wins = beaten(fitness, np.array([0.0, 0.0, 2.0, 1.0]))

    assert wins.astype(int).tolist() == [[0, 0, 1, 1], [1, 0, 1, 1], [0, 0, 0, 0], [0, 0, 1, 0]]


def slow_crowding(fitness: np.ndarray) -> list[float]:
    """inspyred's: one list, sorted again by each objective."""
    people = list(range(len(fitness)))
    total = [0.0] * len(people)
    for column in fitness.T:
        people.sort(key=lambda i: column[i])
        total[people[0]] = total[people[-1]] = math.inf
        for before, i, after in zip(people, people[1:], people[2:], strict=False):
            total[i] += column[after] - column[before]
    return total


def test_unscaled_crowding_is_that_of_inspyred() -> None:
    rng = np.random.default_rng(0)
    for shape in ((1, 2), (2, 3), (40, 2), (40, 6)):
        fitness = np.round(rng.random(shape) * [1.0, 100.0, 3.0, 1.0, 1.0, 1.0][: shape[1]], 1)
        np.testing.assert_allclose(unscaled_crowding(fitness), slow_crowding(fitness))
    assert unscaled_crowding(np.zeros((0, 2))).shape == (0,)


def slow_survivors(fitness: np.ndarray, n: int) -> list[int]:
    """Front by front, the last by distance."""
    left, kept = list(range(len(fitness))), list[int]()
    while len(kept) < n:
        people = [Individual(i, fitness[i]) for i in left]
        front = [p.number for p in people if not any(q > p for q in people)]
        if len(kept) + len(front) > n:
            far = slow_crowding(fitness[front])
            front = [front[i] for i in sorted(range(len(front)), key=lambda i: -far[i])]
        kept += front[: n - len(kept)]
        left = [i for i in left if i not in front]
    return kept


class Noted:
    """A crossover that notes its pairs and changes nothing, or a mutation that adds a half."""

    kinds = frozenset({"real"})

    def __init__(self) -> None:
        self.pairs: list[tuple[float, float]] = []
        self.rows = 0


class Pairs(Noted):
    def __call__(self, first: Any, second: Any, bounds: Bounds, rng: Any) -> Any:
        self.pairs += zip(first[:, 0].tolist(), second[:, 0].tolist(), strict=True)
        return first, second


class Halves(Noted):
    def __call__(self, genomes: Any, bounds: Bounds, rng: Any) -> Any:
        self.rows += len(genomes)
        return genomes + rng.random(genomes.shape)


def test_a_generation_of_moeim_is_that_of_a_plain_restatement() -> None:
    space = SearchSpace((Real("x", np.zeros(3), np.full(3, 1e6)),))
    pairs, halves = Pairs(), Halves()
    algorithm = create(
        "moeim", space, n_objectives=3, constrained=False,
        settings=Settings(20, 4, crossover=pairs, mutation=halves),
    )  # fmt: skip
    judge = lambda g: np.round(np.sin(g["x"]) * [1.0, 50.0, 0.1], 2)  # noqa: E731
    draws = stream(4, "tournaments")
    genomes = algorithm.ask()
    fitness = judge(genomes)
    algorithm.tell(genomes, fitness, np.zeros(20))
    parents = genomes["x"][by_rank_and_crowding(fitness, 20, unscaled_crowding)[0]]
    for _ in range(4):
        fitness = judge(Genomes({"x": parents}))
        met = np.argsort(draws.random((20, 20)), axis=1, kind="stable")[:, :5]
        people = [Individual(i, row) for i, row in enumerate(fitness)]
        won = [max(people[i] for i in row).number for row in met.tolist()]
        wanted = [(parents[a, 0], parents[b, 0]) for a, b in zip(won[::2], won[1::2], strict=True)]
        pairs.pairs.clear()
        halves.rows = 0

        children = algorithm.ask()

        assert pairs.pairs == wanted
        assert halves.rows == len(children) == 20
        assert (children["x"] != parents[won]).all()
        algorithm.tell(children, judge(children), np.zeros(20))
        everyone = np.concatenate([parents, children["x"]])
        survivors = slow_survivors(judge(Genomes({"x": everyone})), 20)
        kept = algorithm.population.genomes["x"]
        assert {row.tobytes() for row in kept} == {everyone[i].tobytes() for i in survivors}
        parents = kept


def test_crossover_rate_and_tournament_are_settings() -> None:
    space = SearchSpace((Integer("x", [0] * 8, [9] * 8),))
    make = lambda rate=None, **extra: create(  # noqa: E731
        "moeim", space, n_objectives=2, constrained=False,
        settings=Settings(40, 0, crossover_rate=rate, extra=extra),
    )  # fmt: skip

    for extra, told in (
        ({"tournament": 0}, "tournament must be at least 1, got 0"),
        ({"rate": 1.5}, r"crossover_rate must be a number in \[0, 1\], got 1.5"),
        ({"tournamnt": 3}, "did you mean 'tournament'"),
    ):
        with pytest.raises(ConfigError, match=told):
            make(**extra)
    judge = lambda g: np.stack([g["x"].sum(1), (9 - g["x"]).max(1)], 1).astype(float)  # noqa: E731
    asked = {}
    for size in (1, 40):
        algorithm = make(0.0, tournament=size)
        for _ in range(2):
            genomes = algorithm.ask()
            algorithm.tell(genomes, judge(genomes), np.zeros(40))
        kept, children = algorithm.population, genomes["x"]
        assert len(kept) == 40
        asked[size] = judge(Genomes({"x": children})).mean(axis=0)
    assert (asked[40] < asked[1]).all()  # the best of all have better children than anybody


@pytest.mark.parametrize(("rate", "share"), [(None, 1.0), (0.5, 0.5)])
def test_every_pair_is_crossed_unless_told_otherwise(rate: float | None, share: float) -> None:
    def marked(first: Any, second: Any, bounds: Any, rng: Any) -> tuple[Any, Any]:
        one, two = (np.column_stack([np.full(len(x), 9), x[:, 1]]) for x in (first, second))
        return one, two

    def moved(x: Any, bounds: Any, rng: Any) -> Any:
        return np.column_stack([x[:, 0], rng.integers(0, 10**6, len(x))])

    space = SearchSpace((Integer("x", [0, 0], [9, 10**6]),))
    drawn = lambda n, bounds, rng: rng.integers(0, [9, 10**6], (n, 2))  # noqa: E731
    settings = Settings(
        200, 0, crossover=marked, mutation=moved, sampling=drawn, crossover_rate=rate
    )
    algorithm = create("moeim", space, n_objectives=2, constrained=False, settings=settings)
    algorithm.tell(algorithm.ask(), np.random.default_rng(0).random((200, 2)), np.zeros(200))

    children = algorithm.ask()["x"]

    assert (children[:, 0] == 9).mean() == pytest.approx(share, abs=0.12 * (share < 1))


# -- runs ------------------------------------------------------------------------------------------


def config(**more: Any) -> RunConfig:
    given: Mapping[str, Any] = {
        "problem": {"id": "influence/wc", "most": 6, "worlds": [20, 64], "stock": 5, "limit": 3,
                    "operators": "graph", "initial": "smart", "mode": "paper"},
        "objectives": ["spread", "size", "fairness", "budget"], "metrics": ["communities", "time"],
        "algorithm": {"id": "moeim", "population": 24}, "stop": {"generations": 8}, "seed": 3,
    }  # fmt: skip
    return RunConfig.from_mapping({**given, **more})


def finished(run: Run) -> Any:
    with run:
        for _ in run:
            pass
        run.finish()
    return read_run(run.folder)


def test_a_run_resumed_is_the_run_that_went_straight_on(tmp_path: Path) -> None:
    straight = finished(Run.create(config(), tmp_path / "a"))
    finished(Run.create(config(stop={"generations": 4}), tmp_path / "b"))

    resumed = finished(Run.resume(tmp_path / "b", more_generations=4))

    one, two = straight.candidates, resumed.candidates
    assert one.genomes.rows() == two.genomes.rows()
    assert (one.values == two.values).all()
    assert len(one.genomes) == 8 * 24


def test_the_front_of_a_run_is_that_of_everything_judged(tmp_path: Path) -> None:
    view = finished(Run.create(config(), tmp_path / "run"))

    best = nondominated(-view.candidates.values[:, :4])  # of all judged, in the order of ids

    assert sorted(view.front_rows().tolist()) == np.flatnonzero(best).tolist()
    assert 0 < best.sum() < len(best)


@pytest.mark.parametrize("kind", ["plain", "graph", "base"])
def test_operators_of_a_problem_are_used_and_can_be_replaced(kind: str, tmp_path: Path) -> None:
    problem = Influence(operators=kind)
    names = {role: type(operator).__name__ for role, operator in problem.variation.items()}
    used = {
        "plain": {}, "graph": {"crossover": "UnsharedCut", "mutation": "GraphMove"},
        "base": {"crossover": "SubsetCut", "mutation": "SubsetEdit"},
    }  # fmt: skip
    assert names == used[kind]
    settings = config().problem.settings | {"operators": kind, "id": "influence/wc"}
    own = {"id": "moeim", "population": 24, "mutation": "subset-move"}

    with Run.create(config(problem=settings), tmp_path / "a") as run:
        nursery: Any = run.search.algorithm._inner._nursery  # type: ignore[attr-defined]
        mutation = type(nursery.variation.mutation["seeds"]).__name__
    with Run.create(config(problem=settings, algorithm=own), tmp_path / "b") as run:
        nursery = run.search.algorithm._inner._nursery  # type: ignore[attr-defined]
        replaced = type(nursery.variation.mutation["seeds"]).__name__

    assert mutation == used[kind].get("mutation", "SubsetMove")
    assert replaced == "SubsetMove"
