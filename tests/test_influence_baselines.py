"""Baselines of influence: against networkx, enumeration, slow greedy, and published figures."""

from __future__ import annotations

import csv
import itertools
from pathlib import Path
from typing import Any

import networkx as nx
import numpy as np
import pytest
from local_data import data

from evo.check import check_problem
from evo.config import RunConfig
from evo.errors import ConfigError
from evo.indicators import hypervolume
from evo.problem import Baseline, Context
from evo.report import write_report
from evo.report.figures import baseline_style
from evo.run import Run
from evo.streams import stream
from evo.view import read_run
from problems.influence import sketches
from problems.influence.baselines import prefixes
from problems.influence.celf import celf
from problems.influence.graphs import Graph, from_networkx
from problems.influence.heuristics import (
    Board,
    degree,
    generalised_discount,
    pagerank,
    single_discount,
)
from problems.influence.problem import Influence
from problems.influence.sketches import Sampler, covering, estimated, opim_c
from problems.influence.worlds import (
    Cascade,
    LiveArcs,
    Model,
    Pool,
    independent,
    thresholds,
    weighted,
)

MODELS = {
    "ic": lambda graph: independent(graph, 0.2),
    "wc": weighted,
    "lt": lambda graph: thresholds(graph, 0.0, 1.0),
}


def random_graph(n: int, m: int, directed: bool, seed: int) -> nx.Graph:
    return nx.gnm_random_graph(n, m, seed=seed, directed=directed)


def arcs_of(graph: Graph) -> list[tuple[int, int]]:
    return list(zip(graph.sources.tolist(), graph.targets.tolist(), strict=True))


def reach(seeds: set[int], arcs: list[tuple[int, int]], limit: int | None) -> set[int]:
    active, fresh, steps = set(seeds), set(seeds), 0
    while fresh and (limit is None or steps < limit):
        fresh = {v for u, v in arcs if u in fresh} - active
        active |= fresh
        steps += 1
    return active


# -- rankings --------------------------------------------------------------------------------------


def test_a_board_leads_with_the_best_that_is_left() -> None:
    rng = np.random.default_rng(0)
    scores = rng.integers(0, 40, 1300).astype(float)
    board, expected = Board(scores), scores.copy()

    for _ in range(300):
        taken = board.take()
        assert taken == int(expected.argmax())
        expected[taken] = -np.inf
        some = rng.integers(0, 1300, 7)
        new = rng.integers(0, 45, 1300).astype(float)
        board.put(some, new[some])
        left = some[expected[some] >= 0]
        expected[left] = new[left]


@pytest.mark.parametrize("directed", [False, True])
def test_degrees_are_discounted_for_seeds_one_at_a_time(directed: bool) -> None:
    given = random_graph(60, 240, directed, 3)
    graph = from_networkx(given)
    chosen: list[int] = []
    for _ in range(25):
        left = [v for v in given if v not in chosen]
        chosen.append(max(left, key=lambda v: (len(set(given[v]) - set(chosen)), -v)))

    assert single_discount(graph, 25).tolist() == chosen
    by_degree = sorted(given, key=lambda v: (-len(given[v]), v))
    assert degree(graph, 25).tolist() == by_degree[:25]
    assert chosen != by_degree[:25]


def discounted(given: Any, k: int, form: str, p: float, *, paper: bool) -> list[int]:
    """GDD by its definition, everything counted anew before each choice."""
    after = {v: set(given.successors(v) if given.is_directed() else given[v]) for v in given}
    before = {v: set(given.predecessors(v) if given.is_directed() else given[v]) for v in given}
    into = {v: given.in_degree(v) if given.is_directed() else given.degree(v) for v in given}
    near, heard_from = (before, after) if paper else (after, before)
    chosen: list[int] = []
    score = {
        v: float(given.out_degree(v) if given.is_directed() else given.degree(v)) for v in given
    }
    d = dict(score)
    for _ in range(k):
        u = max((v for v in given if v not in chosen), key=lambda v: (score[v], -v))
        chosen.append(u)
        seeds = set(chosen)
        heard = {v: len(heard_from[v] & seeds) for v in given}
        stale = before[u] | {w for v in near[u] for w in before[v]} | near[u]
        for v in stale:
            t, s = heard[v], len(after[v] & seeds)
            r = sum(heard[w] for w in near[v] - seeds)
            q = p if form == "ic" else 1 / max(into[v], 1)
            found = {
                "ic": d[v] - s - t - (d[v] - s) * t * q + t * (t - 1) / 2 * q - r * q,
                "wc": d[v] - (q * (d[v] - s) + q * t * (t - 1) / 2),
                "lt": d[v] - q * r,
            }[form]
            score[v] = round(max(found, 0.0), 9)
    return chosen


@pytest.mark.parametrize("paper", [False, True])
@pytest.mark.parametrize("form", ["ic", "wc", "lt"])
@pytest.mark.parametrize("directed", [False, True])
def test_generalised_discount_is_its_definition(directed: bool, form: str, paper: bool) -> None:
    given = random_graph(80, 400, directed, 5)
    graph = from_networkx(given)
    model = independent(graph, 0.05) if form == "ic" else MODELS[form](graph)

    found = generalised_discount(model, 40, form, paper=paper)

    assert found.tolist() == discounted(given, 40, form, 0.05, paper=paper)
    if directed:
        assert found.tolist() != generalised_discount(model, 40, form, paper=not paper).tolist()
    else:
        assert found.tolist() == generalised_discount(model, 40, form, paper=not paper).tolist()


def test_pagerank_is_that_of_the_reversed_graph() -> None:
    given = random_graph(50, 200, True, 2)
    rng = np.random.default_rng(0)
    for u, v in given.edges:
        given[u][v]["probability"] = float(rng.uniform(0.1, 1))
    given.remove_edges_from(list(given.in_edges([3, 9])))  # nobody activates them
    theirs = nx.pagerank(given.reverse(), weight="probability", tol=1e-12, max_iter=500)

    found = pagerank(independent(from_networkx(given), 0.1), 50)

    assert found.tolist() == sorted(theirs, key=lambda v: -theirs[v])
    star = nx.DiGraph([(0, i) for i in range(1, 9)])
    assert pagerank(weighted(from_networkx(star)), 1).tolist() == [0]


@pytest.mark.parametrize(
    ("name", "model"), [("CA-HepTh_un", "IC"), ("wiki-vote_di", "IC"), ("gnutella_di", "WC")]
)
def test_generalised_discount_has_its_published_hypervolume(name: str, model: str) -> None:
    folder = data("graphs")
    (file,) = folder.glob(f"edges/{name}.txt*")
    with data("moeim-results", "table1_published.csv").open() as handle:
        (row,) = (
            r for r in csv.DictReader(handle)
            if (r["graph"], r["model"], r["algorithm"]) == (name, model, "GDD")
        )  # fmt: skip
    problem = Influence(
        str(file), model=model.lower(), most=100, limit=5, worlds=(1024, 1), mode="paper",
        communities=str(folder / "communities" / f"{name}.csv"), directed=name.endswith("_di"),
        baselines=["gdd"],
    )  # fmt: skip

    found = problem.baselines()["gdd"](lambda done, total: None).genomes

    batch = problem.batch(found, Context())
    value = {o.name: o(batch) for o in problem.objectives}
    for third in (None, "fairness", "budget"):
        axes = ["spread", "size", *([third] if third else [])]
        volume = hypervolume(-np.stack([value[a] for a in axes], axis=1), np.zeros(len(axes)))
        published = float(row["hv_is" + (third[0] if third else "")])
        assert volume == pytest.approx(published, rel=0.012)  # chance of 1,024 worlds, printing


# -- lazy greedy -----------------------------------------------------------------------------------


def live(world: Any) -> list[tuple[int, int]]:
    assert isinstance(world, LiveArcs)
    return list(zip(world.sources.tolist(), world.targets.tolist(), strict=True))


@pytest.mark.parametrize("limit", [None, 1, 2])
@pytest.mark.parametrize("name", MODELS)
def test_lazy_greedy_is_plain_greedy_on_the_same_worlds(name: str, limit: int | None) -> None:
    graph = from_networkx(random_graph(90, 200, True, 7))
    pool = Pool(MODELS[name](graph), 0, "search", 12)
    worlds = [live(world) for world in pool]
    single = [[reach({v}, arcs, limit) for v in range(graph.n)] for arcs in worlds]
    chosen: list[int] = []
    reached: list[set[int]] = [set() for _ in worlds]
    spread = []
    for _ in range(30):
        totals = [
            sum(len(had | own[v]) for had, own in zip(reached, single, strict=True))
            for v in range(graph.n)
        ]
        best = max((v for v in range(graph.n) if v not in chosen), key=lambda v: (totals[v], -v))
        chosen.append(best)
        reached = [had | own[best] for had, own in zip(reached, single, strict=True)]
        spread.append(totals[best] / len(worlds))
    told = []

    found = celf(pool, 30, limit, lambda *said: told.append(said))

    assert found.nodes.tolist() == chosen
    assert found.spread.tolist() == spread
    assert found.judged < 30 * graph.n
    assert told[0] == (0, 30)
    assert told[-1] == (30, 30)


def test_lazy_greedy_takes_every_node_when_asked() -> None:
    graph = from_networkx(nx.path_graph(5))

    found = celf(Pool(independent(graph, 0.5), 0, "search", 4), 5)

    assert sorted(found.nodes.tolist()) == list(range(5))
    assert found.spread[-1] == 5


# -- sketches --------------------------------------------------------------------------------------

SMALL = nx.DiGraph([(0, 1), (0, 2), (1, 3), (2, 3), (3, 4), (4, 0), (4, 5), (5, 6), (6, 3)])


def exact(model: Model, sets: list[set[int]], limit: int | None) -> list[float]:
    """Expected spread by all outcomes of all arcs, or of all choices of whom to heed."""
    graph, arcs = model.graph, arcs_of(model.graph)
    totals = [0.0] * len(sets)
    if isinstance(model, Cascade):
        outcomes = [
            (float(np.prod(np.where(on, model.probability, 1 - model.probability))),
             list(itertools.compress(arcs, on)))
            for on in itertools.product([False, True], repeat=len(arcs))
        ]  # fmt: skip
    else:
        heeded = [[(u, v) for u, v in arcs if v == w] or [None] for w in range(graph.n)]
        chance = 1 / float(np.prod([len(some) for some in heeded]))
        outcomes = [(chance, [arc for arc in some if arc]) for some in itertools.product(*heeded)]
    for weight, on in outcomes:
        for i, seeds in enumerate(sets):
            totals[i] += weight * len(reach(seeds, on, limit))
    return totals


def model_of(name: str) -> Model:
    """Of the small graph; uneven has probabilities of its own."""
    if name != "uneven":
        return MODELS[name](from_networkx(SMALL))
    given, rng = SMALL.copy(), np.random.default_rng(4)
    for u, v in given.edges:
        given[u][v]["probability"] = float(rng.uniform(0.1, 0.9))
    return independent(from_networkx(given), 0.1)


@pytest.mark.parametrize("limit", [None, 1, 2])
@pytest.mark.parametrize("name", [*MODELS, "uneven"])
def test_sketches_estimate_the_spread_of_all_outcomes(name: str, limit: int | None) -> None:
    model = model_of(name)
    sets = [{0}, {4, 6}, {2}, {1, 3, 5}]
    rows = np.array([[*sorted(s), *[-1] * (3 - len(s))] for s in sets])

    drawn = Sampler(model, limit, stream(1, "test", name, str(limit))).draw(40_000)
    found, deviation = estimated(drawn, model.graph.n, rows)

    truth = exact(model, sets, limit)
    np.testing.assert_array_less(np.abs(found - truth), 3 * deviation + 1e-9)
    assert deviation.max() < 0.03
    ends = drawn.ends
    assert all((np.diff(drawn.near[a:b]) > 0).all() for a, b in itertools.pairwise(ends[:500]))
    if limit == 1:  # nobody is further away than one arc
        arcs = set(arcs_of(model.graph))
        for a, b in itertools.pairwise(ends[:500].tolist()):
            members = drawn.near[a:b].tolist()
            assert any(all(u == v or (u, v) in arcs for u in members) for v in members)


def test_sketches_are_the_same_in_small_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    """As many and as large on average, that is; and repeated from the same stream."""
    graph = from_networkx(random_graph(100, 500, True, 1))
    model = independent(graph, 0.15)
    whole = Sampler(model, None, stream(0, "a")).draw(20_000)
    again = Sampler(model, None, stream(0, "a")).draw(20_000)
    monkeypatch.setattr(sketches, "CELLS", 1)
    parts = Sampler(model, None, stream(0, "b")).draw(20_000)

    assert np.array_equal(whole.near, again.near)
    assert len(parts.ends) == len(whole.ends) == 20_001
    sizes = [np.diff(some.ends) for some in (whole, parts)]
    error = np.hypot(*(s.std() / len(s) ** 0.5 for s in sizes))
    assert abs(sizes[0].mean() - sizes[1].mean()) < 4 * error


def test_covering_is_greedy_and_its_bound_holds() -> None:
    rng = np.random.default_rng(0)
    lists = [sorted(rng.choice(12, rng.integers(1, 4), replace=False).tolist()) for _ in range(60)]
    flat = np.array([v for some in lists for v in some], dtype=np.int32)
    drawn = sketches.Rows(sketches.ends_of([len(some) for some in lists]), flat)

    def met(nodes: Any) -> int:
        return sum(bool(set(nodes) & set(some)) for some in lists)

    for k in (1, 3, 12):
        chosen: list[int] = []
        for _ in range(k):
            left = [v for v in range(12) if v not in chosen]
            chosen.append(max(left, key=lambda v: (met([*chosen, v]), -v)))
        nodes, bound = covering(drawn, 12, k)
        assert nodes.tolist() == chosen
        best = max(met(some) for some in itertools.combinations(range(12), k))
        assert best <= bound <= met(chosen) / (1 - 1 / np.e)
        sums = [
            met(chosen[:i])
            + sum(sorted(met([*chosen[:i], v]) - met(chosen[:i]) for v in range(12))[-k:])
            for i in range(k + 1)
        ]
        assert bound == min(sums)


@pytest.mark.parametrize("limit", [None, 2])
@pytest.mark.parametrize("name", [*MODELS, "uneven"])
def test_bounds_hold_and_seeds_keep_their_promise(name: str, limit: int | None) -> None:
    model = model_of(name)
    for k in (1, 2, 3):
        every = [set(some) for some in itertools.combinations(range(7), k)]
        spread = dict(zip(map(frozenset, every), exact(model, every, limit), strict=True))
        best = max(spread.values())
        for seed in range(3):
            found = opim_c(model, k, limit, epsilon=0.1, delta=0.01, seed=seed)

            own = spread[frozenset(found.nodes.tolist())]
            assert k <= found.lower <= own <= best <= found.upper <= 7
            assert found.share >= found.promised == pytest.approx(1 - 1 / np.e - 0.1)
            assert own >= found.share * best
            assert found.lower < own or own == k  # chance keeps them apart


def test_bounds_tighten_until_the_promise_is_kept() -> None:
    graph = from_networkx(random_graph(400, 1200, True, 1))
    model = independent(graph, 0.1)

    loose, tight = (opim_c(model, 10, epsilon=e, seed=1) for e in (0.3, 0.02))

    assert loose.sketches < tight.sketches
    assert loose.lower >= loose.promised * loose.upper
    assert tight.lower / tight.upper > 1 - 1 / np.e - 0.02
    pool = Pool(model, 5, "validation", 2000)
    other = celf(pool, 10).spread[-1]
    assert tight.lower < other < tight.upper


def test_the_bounds_are_those_of_the_paper(monkeypatch: pytest.MonkeyPatch) -> None:
    """Equations of Tang et al. (2018) by hand for counts that are given."""
    model = independent(from_networkx(nx.complete_graph(50)), 0.01)
    monkeypatch.setattr(sketches, "covering", lambda s, n, k: (np.arange(k, dtype=np.int32), 900.0))
    monkeypatch.setattr(sketches, "_met", lambda s, n, nodes: 700)

    found = opim_c(model, 2, delta=0.1, epsilon=0.5)

    log6 = np.log(60)
    part = (1 - 1 / np.e) * np.sqrt(log6)
    ways = np.log(50 * 49 / 2)
    most = 2 * 50 * (part + np.sqrt((1 - 1 / np.e) * (ways + log6))) ** 2 / (0.25 * 2)
    first = int(np.ceil(most * 0.25 * 2 / 50))
    rounds = 1 + int(np.ceil(np.log2(most / first)))
    a = np.log(3 * rounds / 0.1)
    lower = ((np.sqrt(700 + 2 * a / 9) - np.sqrt(a / 2)) ** 2 - a / 18) * 50 / first
    upper = (np.sqrt(900 + a / 2) + np.sqrt(a / 2)) ** 2 * 50 / first
    assert found.lower == pytest.approx(lower)
    assert found.upper == pytest.approx(min(upper, 50))
    assert found.sketches == 2 * first


def test_what_does_not_apply_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    graph = from_networkx(nx.karate_club_graph())
    bounded = thresholds(graph, 0.3, 0.6)
    told = "needs live arcs, which stand for thresholds from 0 to 1 only; these lie between 0.3"

    with pytest.raises(ConfigError, match=f"^reverse reachability {told}"):
        opim_c(bounded, 2)
    with pytest.raises(ConfigError, match=f"^lazy greedy {told}"):
        celf(Pool(bounded, 0, "search", 3), 2)
    for name in ("celf", "opim-c"):
        with pytest.raises(ConfigError, match=f"^baseline {name} {told}"):
            Influence(model="lt", baselines=[name])
    with pytest.raises(ConfigError, match=r"must be among degree, single-discount, gdd, .* 'imm'"):
        Influence(baselines=["imm"])
    monkeypatch.setattr(sketches, "MOST", 1000)
    with pytest.raises(ConfigError, match="nodes each hold more than the 1,000 nodes that fit"):
        opim_c(independent(graph, 0.5), 2)


# -- runs ------------------------------------------------------------------------------------------


def test_prefixes_are_seed_sets_of_every_size() -> None:
    rows = prefixes(np.array([5, 2, 9], dtype=np.int32), 4)["seeds"]
    assert rows.tolist() == [[5, -1, -1, -1], [2, 5, -1, -1], [2, 5, 9, -1]]
    many = prefixes(np.arange(6000, dtype=np.int32), 6000)["seeds"]
    sizes = (many >= 0).sum(axis=1)
    assert many.size <= 1 << 24
    assert (sizes[0], sizes[-1]) == (1, 6000)
    assert np.ptp(np.diff(sizes)) <= 1


def names(**settings: Any) -> list[str]:
    return list(Influence(**settings).baselines())


def test_cheap_baselines_are_the_default_and_lazy_greedy_where_it_is_cheap() -> None:
    cheap = ["degree", "single-discount", "gdd", "pagerank"]
    assert names() == [*cheap, "celf"]
    assert names(worlds=(100_000, 1)) == cheap
    assert names(model="lt") == cheap
    assert names(model="lt", thresholds=(0, 1)) == [*cheap, "celf"]
    assert names(baselines=["opim-c", "gdd"]) == ["opim-c", "gdd"]
    assert names(baselines=[]) == []


def test_paper_mode_discounts_as_published() -> None:
    given = random_graph(80, 400, True, 5)
    found = {
        mode: Influence(given, mode=mode, most=20).baselines()["gdd"](lambda *_: None).genomes
        for mode in ("clean", "paper")
    }
    model = independent(from_networkx(given), 0.05)
    for mode, genomes in found.items():
        ranking = generalised_discount(model, 20, "ic", paper=mode == "paper")
        assert genomes["seeds"][-1].tolist() == sorted(ranking.tolist())
    assert found["clean"].rows() != found["paper"].rows()


CONFIG = {
    "problem": {
        "id": "influence/ic", "most": 6, "worlds": [32, 8],
        "baselines": ["degree", "single-discount", "gdd", "pagerank", "celf", "opim-c"],
    },
    "metrics": ["budget"],
    "algorithm": {"id": "nsga2", "population": 4},
    "stop": {"generations": 1}, "baseline": True,
}  # fmt: skip
OWN = [f"baseline:{name}" for name in CONFIG["problem"]["baselines"]]


def test_a_run_judges_and_shows_the_baselines_of_its_problem(tmp_path: Path) -> None:
    told: list[tuple[str, int, int]] = []
    with Run.create(RunConfig.from_mapping(CONFIG), tmp_path / "run") as run:
        list(run)
        result = run.finish(lambda *said: told.append(said))

    view = read_run(tmp_path / "run")
    c, problem = view.candidates, Influence(most=6, worlds=(32, 8))
    for origin in OWN:
        mine = c.origin == origin
        assert mine.sum() == 6, "all of them, though the search judged but four"
        assert origin in result.comparison
        batch = problem.batch(c.genomes.take(mine), Context())
        np.testing.assert_allclose(c.values[mine, 0], batch.spread.mean(1), atol=1e-6)
        np.testing.assert_allclose(c.values[mine, 2], batch.cost)
        assert (origin, 6, 6) in told
        assert not c.on_front[mine].any()
    rows = c.genomes["seeds"][c.origin == "baseline:celf"]
    greedy = celf(problem.pool(Context()), 6)
    assert rows[-1].tolist() == sorted(greedy.nodes.tolist())
    np.testing.assert_allclose(c.values[c.origin == "baseline:celf", 0], greedy.spread, atol=1e-6)
    said = [event.text for event in view.events if event.kind == "baseline"]
    assert any(text.startswith("opim-c: its 6 seeds activate at least ") for text in said)

    page = write_report([tmp_path / "run"], None).read_text(encoding="utf-8")
    table = page[page.index('id="baseline-table"') :]
    for origin in OWN:
        assert f">{origin.removeprefix('baseline:')}<" in table
    assert "Opim-c: its 6 seeds activate at least" in page


def test_resumed_runs_do_not_repeat_baselines(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Cut(Exception):
        """The process ends here."""

    def cut(what: str, done: int, total: int) -> None:
        if what == "baseline:opim-c":
            raise Cut

    with Run.create(RunConfig.from_mapping(CONFIG), tmp_path / "run") as run:
        list(run)
        with pytest.raises(Cut):
            run.finish(cut)
    calls: list[int] = []
    plain = celf
    monkeypatch.setattr(
        "problems.influence.baselines.celf", lambda *a, **b: calls.append(1) or plain(*a, **b)
    )
    with Run.resume(tmp_path / "run", more_generations=1) as run:
        list(run)
        run.finish()

    view = read_run(tmp_path / "run")
    assert calls == []
    assert {o: int((view.candidates.origin == o).sum()) for o in OWN} == dict.fromkeys(OWN, 6)
    with Run.create(RunConfig.from_mapping(CONFIG), tmp_path / "straight") as run:
        list(run)
        run.finish()
    assert calls == [1]
    straight = read_run(tmp_path / "straight").candidates
    for origin in OWN:
        one, two = (c.values[c.origin == origin] for c in (view.candidates, straight))
        assert np.array_equal(one, two)


def test_baselines_of_a_problem_look_different() -> None:
    origins = ["search", "baseline:random", *OWN]

    styles = {origin: baseline_style(origin, origins) for origin in origins[1:]}

    assert [name for name, *_ in styles.values()] == [o.split(":")[1] for o in origins[1:]]
    assert len({tuple(rest) for _, *rest in styles.values()}) == len(styles)
    assert len({symbol for _, symbol, *_ in styles.values()}) == len(styles)


def test_conformance_tries_the_baselines_of_a_problem() -> None:
    class Fickle(Influence):
        def baselines(self) -> Any:
            draw = np.random.default_rng(0)
            ranking = Influence.baselines(self)["degree"]

            def fickle(tell: Any) -> Baseline:
                return Baseline(ranking(tell).genomes.take(draw.permutation(self.most)))

            return {"steady": ranking, "fickle": fickle}

    found = {f.item: f.ok for f in check_problem(Fickle(worlds=(4, 4)), n=4)}

    assert found["baseline steady repeats"]
    assert not found["baseline fickle differs for the same stream"]


class Taken(Influence):
    def baselines(self) -> Any:
        def fail(tell: Any) -> Any:
            raise ConfigError("it finds nothing here")

        return {"random": fail, "futile": fail}


def test_a_baseline_that_finds_nothing_is_told(tmp_path: Path) -> None:
    config = {**CONFIG, "problem": {"id": f"{__name__}:Taken", "most": 2, "worlds": [4, 4]}}
    with Run.create(RunConfig.from_mapping(config), tmp_path / "run") as run:
        list(run)
        result = run.finish()

    assert "baseline:futile" not in result.comparison
    told = [event.text for event in read_run(tmp_path / "run").events if event.kind == "baseline"]
    assert "no futile baseline: it finds nothing here" in told
    assert "no random baseline: the name is that of a baseline of every problem" in told
