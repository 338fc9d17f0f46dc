"""A search on a part of the data before the search: what it tells, records, and survives."""

from __future__ import annotations

import random
from dataclasses import replace
from functools import cached_property
from typing import Any

import numpy as np
import pytest
from families import checkpoint
from test_racing import finished
from test_resume import contents, go, interrupt

from evo import Choice, Context, Genomes, SearchSpace, low_fidelity
from evo.algorithms import Settings, create, guided
from evo.algorithms.guided import Guided
from evo.algorithms.infill import corners, most_improving
from evo.algorithms.partial import Partial, on_scale
from evo.config import RunConfig
from evo.errors import ConfigError
from evo.indicators import nondominated, unit_hypervolume
from evo.problem import Objective
from evo.profiling import spent
from evo.report.facts import gather
from evo.run import Run
from evo.view import LOW, SEARCH, read_run, read_standing
from evo.watch.pages import _state
from problems.pruning.data import fair_parts
from problems.pruning.searches import Mixed

SITES, LEVELS, SAMPLES = 10, 4, 32


class Parts:
    """Losses that are means over samples, of which the first may stand for all."""

    def __init__(self) -> None:
        rng = np.random.default_rng(4)
        self.cost = rng.random((SITES, 1)) ** 2 * (1 + 0.2 * rng.normal(size=(SITES, SAMPLES)))
        self.space = SearchSpace((Choice("choices", (LEVELS,) * SITES),))
        self.objectives = (
            Objective("loss", "min", lambda b: b.samples.mean(1)),
            Objective("size", "min", lambda b: b.size),
        )
        self.constraints = ()
        self.judged = 0

    def batch(self, genomes: Genomes, context: Context) -> Any:
        return Losses(self, genomes["choices"].astype(float), context.fidelity)

    def low_fidelity(self, names: Any, asked: float) -> float:
        assert list(names) == ["loss", "size"]
        return asked or 1 / 16

    def work(self) -> dict[str, float]:
        return {"tokens": float(self.judged)}


class Losses:
    def __init__(self, problem: Parts, levels: np.ndarray, share: float) -> None:
        self.samples = np.exp(levels**2 @ problem.cost[:, : round(share * SAMPLES)] / 20) - 1
        self.size = 30.0 - levels.sum(1)
        problem.judged += self.samples.size

    def __len__(self) -> int:
        return len(self.size)


class Free(Parts):
    """Judges only what is asked for its loss."""

    def __init__(self) -> None:
        super().__init__()
        loss, size = self.objectives
        self.objectives = (loss, replace(size, free=True))

    def batch(self, genomes: Genomes, context: Context) -> Any:
        return Lazy(self, genomes["choices"].astype(float), context.fidelity)


class Lazy:
    def __init__(self, problem: Parts, levels: np.ndarray, share: float) -> None:
        self.problem, self.levels, self.share = problem, levels, share
        self.size = 30.0 - levels.sum(1)

    def __len__(self) -> int:
        return len(self.levels)

    @cached_property
    def samples(self) -> np.ndarray:
        return Losses(self.problem, self.levels, self.share).samples


class Whole(Parts):
    low_fidelity = None  # type: ignore[assignment]


def config(problem: str = "Parts", **own: Any) -> RunConfig:
    algorithm = {"id": "nsga2", "population": 8, "surrogate": True} | own
    return RunConfig.from_mapping(
        {
            "problem": {"id": f"{__name__}:{problem}"}, "baseline": False, "algorithm": algorithm,
            "stop": {"generations": 3}, "evaluator": {"chunk": 5}, "seed": 1,
        }
    )  # fmt: skip


def plain(**own: Any) -> RunConfig:
    """Without predictions, and begun on a part all the same."""
    return config(**({"surrogate": False, "low_fidelity": 1 / 16} | own))


@pytest.fixture(scope="module", autouse=True)
def quick() -> Any:
    """Fewer generations on predictions: quicker, and enough for so small a problem."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(guided, "ROUNDS", 15)
        patch.setattr(guided, "BREADTH", 40)
        yield


@pytest.fixture(scope="module")
def folder(tmp_path_factory: Any) -> Any:
    made = tmp_path_factory.mktemp("runs") / "low"
    finished(config(), made)
    return made


# -- what is told by a part ------------------------------------------------------------------------


def test_values_on_a_part_are_scaled_by_what_was_judged_on_both():
    part = np.array([[1.0, 5.0, 0.0], [2.0, 6.0, 0.0], [4.0, 9.0, 1.0]])
    whole = np.array([[1.5, 5.0, 1.0], [3.0, 6.0, 1.0], [8.0, 9.0, 3.0]])  # ratios 1.5, 1.5, 2
    values = np.array([[10.0, 7.0, 2.0]])

    assert on_scale(values, part, whole).tolist() == [[15.0, 7.0, 3.0]]
    assert on_scale(values, part[:2], whole[:2]) is values  # too few tell


def test_results_on_a_part_stand_scaled_beside_those_on_all_data():
    keys = [b"a", b"b", b"c", b"d", b"e"]
    part = Partial(keys, np.arange(5.0)[:, None], np.array([[k, 0.0] for k in (1, 2, 3, 4, 5)]))
    known = {b"b": 0, b"d": 1, b"e": 2, b"x": 3, b"c": 4}
    flat = np.array([[1.0], [3.0], [4.0], [9.0]])
    values = np.array([[4.0, 0.0], [8.0, 0.0], [0.0, 1e30], [7.0, 0.0]])  # e failed

    told = part.beside(known, flat, values)

    assert told.flat[:, 0].tolist() == [1.0, 3.0, 4.0, 9.0, 0.0, 1.0, 2.0, 3.0, 4.0]
    assert told.part.tolist() == [False] * 4 + [True] * 5
    assert told.again.tolist() == [False] * 5 + [True, False, True, True]  # c is not judged yet
    assert told.values[:4].tolist() == values.tolist()
    assert told.values[4:, 0].tolist() == [1, 2, 3, 4, 5]  # two on both are too few for a scale
    known[b"e"], values[2] = 2, (10.0, 0.0)
    assert part.beside(known, flat, values).values[4:, 0].tolist() == [2, 4, 6, 8, 10]


def test_corners_leave_the_box_of_a_front_free():
    front = np.array([[0.0, 4.0, 2.0], [1.0, 3.0, 1.0], [2.0, 2.0, 5.0], [3.0, 9.0, 9.0]])

    assert corners(front).tolist() == [[0.0, 4.0, 5.0], [2.0, 2.0, 5.0], [2.0, 4.0, 1.0]]


@pytest.mark.parametrize("n", [1, 2, 5, 8, 16, 33, 64, 100])
def test_parts_share_out_the_rows_evenly(n):
    parts = fair_parts(n)

    assert sorted(np.concatenate(parts)) == list(range(n))
    for count in range(1, len(parts) + 1):
        rows = np.sort(np.concatenate(parts[:count]))
        gaps = np.diff([-1, *rows, n])
        assert gaps.max() <= 2 * n / len(rows) + 1
    if n >= 32:
        assert np.allclose([len(p) / n for p in parts], [1 / 16, 1 / 16, 1 / 8, 1 / 4, 1 / 2],
                           atol=1 / n)  # fmt: skip


# -- runs ------------------------------------------------------------------------------------------


def test_a_run_searches_a_part_first_and_records_it_apart(folder):
    view, everything, truth = read_run(folder), read_run(folder, low=True).candidates, Parts()
    low = everything.origin == LOW
    values = truth.batch(everything.genomes.take(np.flatnonzero(low)), Context(fidelity=1 / 16))

    assert [g.number for g in view.low] == list(range(8))  # half of a generation's price
    assert low.sum() == 64
    assert (everything.share[low] == 1 / 16).all()
    assert np.allclose(everything.values[low, 0], values.samples.mean(1), atol=1e-9)
    assert set(view.candidates.origin) == {SEARCH}
    assert len(view.candidates) == 24
    assert (view.candidates.share == 1).all()
    assert read_standing(folder).evaluations == 24
    assert view.seconds == pytest.approx(sum(g.seconds for g in [*view.low, *view.generations]))
    then, first = spent(view)[:2]
    assert (first.origin, first.counts["tokens"]) == (LOW, 64 * 2)
    assert (then.origin, then.counts["tokens"]) == (SEARCH, 24 * SAMPLES)


def test_the_part_counts_even_where_more_is_judged_whole():
    truth, rng = Parts(), np.random.default_rng(0)
    rows = truth.space.sample(24 + 32, rng)
    part, whole = rows.take(slice(0, 24)), rows.take(slice(24, None))
    values = lambda g, share: np.column_stack(  # noqa: E731
        [truth.batch(g, Context(fidelity=share)).samples.mean(1), 30.0 - g["choices"].sum(1)]
    )
    asked = []
    for informed in (False, True):
        settings = Settings(population=8, seed=3, surrogate=True)
        algorithm: Any = create(
            "nsga2", truth.space, n_objectives=2, constrained=False, settings=settings
        )
        if informed:
            algorithm.inform(part, values(part, 1 / 16), np.zeros(24))
        for start in range(0, 32, 8):
            told = whole.take(slice(start, start + 8))
            algorithm.recall(told)
            algorithm.tell(told, values(told, 1), np.zeros(8))
        asked.append(algorithm.ask().rows())
    assert asked[0] != asked[1]


def test_a_limit_on_what_is_free_is_kept_without_judging(tmp_path):
    for problem in ("Free", "Parts"):
        own = replace(config(problem), constraints=("size >= 14.5",))
        finished(own, tmp_path / problem)
    free, learnt = read_run(tmp_path / "Free", low=True), read_run(tmp_path / "Parts", low=True)

    def kept(view: Any) -> np.ndarray:
        c = view.candidates
        predicted = (c.origin == SEARCH) | (c.generation > 0)
        return c.values[predicted, 1] >= 14.5

    assert kept(free).all()
    assert not kept(learnt).all()
    then, first = spent(free)[:2]
    assert (first.origin, first.counts["tokens"]) == (LOW, 64 * 2)
    assert (then.origin, then.counts["tokens"]) == (SEARCH, 24 * SAMPLES)


def test_the_first_generation_is_the_best_of_the_part(folder):
    everything, view = read_run(folder, low=True), read_run(folder)
    low = np.flatnonzero(everything.candidates.origin == LOW)
    fitness, keys = everything.fitness[low], everything.candidates.genomes.take(low).keys()
    front = fitness[nondominated(fitness)]
    best = unit_hypervolume(front, front.min(0), front.max(0))
    c = view.candidates
    first = c.genomes.take(np.flatnonzero(c.generation == 0)).keys()
    chosen = fitness[[keys.index(key) for key in first]]  # fails for what the part has not seen
    filled = unit_hypervolume(chosen, front.min(0), front.max(0))
    draws = np.random.default_rng(0)
    blind = [
        unit_hypervolume(front[draws.permutation(len(front))[:8]], front.min(0), front.max(0))
        for _ in range(50)
    ]

    assert filled > 0.8 * best
    assert filled > max(blind)


def test_a_part_pays(tmp_path):
    """Hypervolume of what was judged whole, at no more samples, three seeds."""
    won = []
    for seed in range(3):
        told = {}
        for name, share in (("low", 1 / 16), ("none", 0)):
            given = config(low_fidelity=share).override("seed", seed)
            told[name] = finished(given, tmp_path / f"{name}{seed}")
        fronts = np.concatenate([v.fitness for v in told.values()])
        low, high = fronts.min(0), fronts.max(0)

        def filled(view: Any, last: int, low: Any = low, high: Any = high) -> float:
            return unit_hypervolume(view.fitness[view.candidates.generation <= last], low, high)

        won.append(filled(told["low"], 0) - filled(told["none"], 1))  # 12 against 16 whole
    assert min(won) > 0


def test_curves_count_what_the_part_cost(folder):
    (curve,) = gather([read_run(folder)]).curves

    assert curve.evaluations.tolist() == [8 + 4, 16 + 4, 24 + 4]
    assert read_run(folder).low_worth == 4


def test_baselines_may_spend_what_the_part_cost(tmp_path):
    given = RunConfig.from_mapping(config().to_mapping() | {"baseline": True})
    view = finished(given, tmp_path / "run")

    spent_on = {k: sum(g.evaluated for g in v) for k, v in view.baselines.items()}
    assert spent_on["baseline:random"] == 24 + 64 / 16
    assert sum(g.evaluated for g in view.generations) == 24


@pytest.mark.parametrize("algorithm", ["nsga2", "deap-spea2", "moead", "random", "evopress"])
def test_without_predictions_the_best_of_the_part_are_judged_whole(tmp_path, algorithm):
    finished(plain(id=algorithm), tmp_path / "run")
    c = read_run(tmp_path / "run", low=True).candidates
    low, first = c.origin == LOW, (c.origin == SEARCH) & (c.generation == 0)
    keys, values = np.array(c.genomes.keys(), dtype=object), c.values[low]
    kept, front = np.isin(keys[low], keys[first]), nondominated(values)
    scaled = (values - values[front].min(0)) / np.ptp(values[front], axis=0)
    draws = np.random.default_rng(0)

    def farthest(rows: np.ndarray) -> float:
        """Of the front, from the nearest of some rows."""
        apart = np.linalg.norm(scaled[front][:, None] - scaled[rows], axis=2)
        return apart.min(axis=1).max()

    blind = [draws.permutation(np.flatnonzero(front))[:8] for _ in range(50)]
    assert kept.sum() == first.sum() == 8
    assert (c.share[first] == 1).all()
    assert front[kept].all() if front.sum() > 8 else kept[front].all()
    assert farthest(np.flatnonzero(kept)) <= min(map(farthest, blind))


def test_where_the_part_allows_nothing_those_closest_to_it_are_judged_whole(tmp_path):
    given = replace(plain(), constraints=("size < -1",))
    finished(given, tmp_path / "run")
    c = read_run(tmp_path / "run", low=True).candidates
    low, first = c.origin == LOW, (c.origin == SEARCH) & (c.generation == 0)

    assert c.violation[first].min() > 0
    assert sorted(c.violation[first]) == sorted(c.violation[low])[:8]


def test_without_predictions_a_part_pays(tmp_path):
    """Hypervolume after one generation judged whole, against that of twice what it cost."""
    for seed in range(3):
        both = {}
        for share in (0, 1 / 16):
            given = plain(low_fidelity=share, population=16).override("seed", seed)
            both[share] = finished(
                given.override("stop.generations", 4), tmp_path / f"{seed}{share}"
            )
        fronts = np.concatenate([view.fitness for view in both.values()])
        low, high = fronts.min(0), fronts.max(0)
        then = both[1 / 16].fitness[both[1 / 16].candidates.generation == 0]

        assert unit_hypervolume(then, low, high) > unit_hypervolume(both[0].fitness, low, high)


@pytest.mark.parametrize(
    ("share", "population", "generations"),
    [(1 / 16, 8, 16), (1 / 16, 200, 16), (0.3, 8, 3), (0.5, 8, 2)],
)
def test_without_predictions_the_part_is_left_at_a_generation_s_price(
    tmp_path, share, population, generations
):
    given = plain(low_fidelity=share, population=population).override("stop.generations", 1)

    assert len(finished(given, tmp_path / "run").low) == generations


def test_the_search_on_the_part_plans_its_own_generations(tmp_path, monkeypatch):
    planned = []
    real = low_fidelity.build_algorithm
    monkeypatch.setattr(
        low_fidelity, "build_algorithm",
        lambda given, *a, **b: (planned.append(given.stop.generations), real(given, *a, **b))[1],
    )  # fmt: skip
    finished(plain(id="rvea"), tmp_path / "run")

    assert planned == [16, 3]  # then the search proper


@pytest.mark.parametrize(
    ("share", "population", "generations"),
    [(1 / 16, 8, 8), (1 / 16, 16, 8), (1 / 16, 48, 3), (1 / 16, 200, 2), (0.5, 8, 1)],
)
def test_the_part_is_left_at_half_a_generation_s_price_or_with_enough(
    tmp_path, share, population, generations
):
    """0.5 / share generations, but no more than hold 128 candidates, of these two at least."""
    given = config(low_fidelity=share, population=population).override("stop.generations", 1)

    assert len(finished(given, tmp_path / "run").low) == generations


def test_zero_a_warm_start_and_a_plain_search_begin_on_all_data(tmp_path, folder):
    assert not finished(config(low_fidelity=0), tmp_path / "zero").low
    assert not finished(config(surrogate=False), tmp_path / "plain").low
    assert not finished(config("Whole"), tmp_path / "whole").low
    with Run.resume(folder, warm_start=True, more_generations=1) as run:
        list(run)
    assert not read_run(run.folder).low


def test_the_share_can_be_chosen(tmp_path):
    view = finished(config(low_fidelity=0.25), tmp_path / "run")

    assert len(view.low) == 2
    assert set(read_run(tmp_path / "run", low=True).candidates.share) == {0.25, 1.0}


@pytest.mark.parametrize(
    ("own", "problem", "said"),
    [
        ({"low_fidelity": 0.9}, "Parts", "must be a share of the data, at most 0.5"),
        ({"low_fidelity": True}, "Parts", "must be a share of the data"),
        ({"low_fidelity": "some"}, "Parts", "got 'some'"),
        ({"low_fidelity": 0.1}, "Whole", "Whole cannot"),
    ],
)
def test_shares_that_cannot_be_had_are_one_sentence(tmp_path, own, problem, said):
    with pytest.raises(ConfigError, match=said):
        Run.create(config(problem, **own), tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
@pytest.mark.parametrize("given", [config(), plain()], ids=["guided", "plain"])
def test_interrupted_anywhere_a_run_ends_alike(tmp_path, given, monkeypatch):
    finished(given, tmp_path / "whole")
    draw, wanted = random.Random(7), contents(tmp_path / "whole")
    for attempt in range(4):
        cut = tmp_path / f"run{attempt}"
        while interrupt(given, cut, draw, monkeypatch):
            pass
        go(given, cut)
        assert contents(cut) == wanted


@pytest.mark.slow
def test_workers_change_nothing(tmp_path, folder):
    given = config().override("evaluator.workers", 2)

    assert finished(given, tmp_path / "run").candidates.values.tolist() == (
        read_run(folder).candidates.values.tolist()
    )


def test_a_resumed_search_predicts_from_the_part(tmp_path, folder, monkeypatch):
    told = []
    real = Guided.inform
    monkeypatch.setattr(Guided, "inform", lambda self, *a: (told.append(len(a[0])), real(self, *a)))
    finished(config(), tmp_path / "run")
    with Run.resume(tmp_path / "run", more_generations=1) as run:
        assert [g.replayed for g in run] == [True] * 3 + [False]

    assert told == [64, 64]


def test_what_is_going_on_is_told_while_the_part_is_searched(tmp_path):
    told = []
    with Run.create(config(), tmp_path / "run") as run:
        run.on_low = lambda *a: told.append(a)
        next(iter(run))

    assert told[0] == ("a search on 6.2% of the data", 0, 64)
    assert [done for _, done, _ in told] == list(range(0, 64, 8))


@pytest.mark.parametrize("given", [config(), plain()], ids=["guided", "plain"])
def test_a_search_that_was_interrupted_on_the_part_goes_on_with_all_it_was_told(tmp_path, given):
    told: list[int] = []

    def stop(what: str, done: int, total: int) -> None:
        told.append(done)
        if len(told) == 3:
            raise KeyboardInterrupt

    with Run.create(given, tmp_path / "run") as run:
        run.on_low = stop
        with pytest.raises(KeyboardInterrupt):
            list(run)
        assert "generation 2 of those on a part" in _state(read_run(tmp_path / "run"), True)
        assert len(list(run)) == 3
        run.finish()
    with Run.create(given, tmp_path / "other") as run:
        list(run)
        run.finish()
    assert contents(tmp_path / "run") == contents(tmp_path / "other")


def test_a_limit_on_minutes_leaves_half_of_them_to_the_search(tmp_path):
    given = RunConfig.from_mapping(config().to_mapping() | {"stop": {"minutes": 1e-6}})
    view = finished(given, tmp_path / "run")

    assert len(view.low) == 1
    assert len(view.generations) == 1
    with Run.resume(tmp_path / "run", more_generations=1) as run:  # which lifts the limit
        assert len(list(run)) == 2
    assert len(read_run(tmp_path / "run").low) == 1


# -- pruned models ---------------------------------------------------------------------------------


@pytest.mark.parametrize("family", ["llama", "bert"])
def test_a_part_of_the_text_is_judged_as_it_is_in_the_whole(tmp_path, family):
    problem = Mixed(
        model=str(checkpoint(family, tmp_path / family)), variants=["removal"], length=16,
        sizes={"calibration": 4, "search": 32, "validation": 2}, cache="off", tokens_at_once=48,
    )  # fmt: skip
    quality = "kl" if problem.kind == "lm" else "drift"
    rows = np.eye(3, len(problem.table.sites), dtype=np.int16)
    genomes = Genomes({"choices": rows})
    judge = next(o for o in problem.objectives if o.name == quality)
    whole = problem.batch(genomes, Context())
    share = problem.low_fidelity([quality, "params"])
    part = problem.batch(genomes, Context(fidelity=share))

    assert share == 2 / 32
    column = 1 if problem.kind == "lm" else 0
    rows = fair_parts(32)[0]
    expected = whole.readings[:, rows, column].mean(1)
    assert np.allclose(judge(part), expected, atol=1e-5)
    assert part.readings.shape[1] == 2
    assert problem.low_fidelity(["spearman", "params"]) == 1.0
    assert problem.low_fidelity(["params"], 0.2) == 8 / 32  # the next that can be judged on
    longer = problem.batch(genomes, Context(fidelity=0.2)).readings
    assert longer.shape[1] == 8  # the fewest whole pieces that are enough


def test_too_little_text_is_searched_whole(tmp_path):
    problem = Mixed(
        model=str(checkpoint("llama", tmp_path / "llama")), variants=["removal"], length=16,
        sizes={"calibration": 4, "search": 8, "validation": 2}, cache="off",
    )  # fmt: skip

    assert problem.low_fidelity(["kl", "params"]) == 1.0
    given = {
        "problem": {"id": "prune/mixed", "model": str(tmp_path / "llama"), "length": 16,
                    "variants": ["removal"], "cache": "off",
                    "sizes": {"calibration": 4, "search": 8, "validation": 2}},
        "algorithm": {"id": "nsga2", "population": 4, "low_fidelity": 0.25},
        "objectives": ["kl", "params"],
    }  # fmt: skip
    with pytest.raises(
        ConfigError, match=r"low_fidelity is 0\.25, but the least part .* is 1 of it"
    ):
        Run.create(RunConfig.from_mapping(given), tmp_path / "run")


def test_nobody_is_judged_without_a_pass(tmp_path):
    problem = Mixed(
        model=str(checkpoint("llama", tmp_path / "llama")), variants=["removal"], length=16,
        sizes={"calibration": 4, "search": 8, "validation": 2}, cache="off",
    )  # fmt: skip
    nobody = Genomes({"choices": np.zeros((0, len(problem.table)), dtype=np.int16)})

    assert problem.batch(nobody, Context()).readings.shape == (0, 8, 2)


def test_most_improving_from_corners_prefers_the_middle_of_a_front():
    front = np.array([[0.0, 1.0], [0.3, 0.3], [1.0, 0.0], [0.5, 0.29]])
    chosen = most_improving(corners(front), front, 2, np.random.default_rng(0))

    assert chosen[0] == 1
