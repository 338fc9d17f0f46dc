import json
import sqlite3
from dataclasses import replace
from typing import ClassVar

import numpy as np
import pytest

from evo.archive import Box, Front, compare_origins, spread_order
from evo.config import RunConfig, load_config
from evo.errors import (
    ConfigError,
    ObjectiveError,
    RegistryError,
    ReplayError,
    SpaceError,
    StoreError,
)
from evo.indicators import hypervolume, nondominated
from evo.problem import Objective
from evo.replay import NEEDED
from evo.run import Run
from evo.store import read_run
from evo.streams import stream
from problems.synthetic import Layers


def config(problem="synthetic/layers", population=12, **more) -> RunConfig:
    settings = {"id": problem} if isinstance(problem, str) else problem
    algorithm = {"id": "nsga2", "population": population, **more.pop("algorithm", {})}
    return RunConfig.from_mapping(
        {"problem": settings, "algorithm": algorithm, "stop": {"generations": 4}, **more}
    )


def run_all(given, folder, **options):
    run = Run.create(given, folder, **options)
    generations = list(run)
    return generations, run.finish(), read_run(folder)


def test_a_run_is_recorded_as_it_is_shown(tmp_path):
    generations, result, view = run_all(config(metrics=["sparsity"]), tmp_path / "run")

    assert [g.number for g in generations] == [0, 1, 2, 3]
    assert result.reason == "after 4 generations"
    assert view.complete
    assert result.evaluations == len(view.candidates) == sum(g.evaluated for g in view.generations)
    assert [g.hypervolume for g in view.generations] == [g.hypervolume for g in generations]
    assert [c.name for c in view.columns] == ["loss", "params", "sparsity"]
    assert load_config(tmp_path / "run" / "config.toml") == config(metrics=["sparsity"])
    for g in generations:
        recorded = view.candidates.generation == g.number
        assert view.candidates.genomes.take(recorded).rows() == g.genomes.rows()
        assert np.array_equal(view.candidates.values[recorded], g.evaluation.values)
        assert not g.replayed


def test_meta_tells_where_the_run_comes_from(tmp_path):
    _, _, view = run_all(config(seed=3), tmp_path / "run", command=["evo", "run", "x"])

    assert view.meta["config"]["seed"] == 3
    assert view.meta["fingerprint"] == config(seed=3).fingerprint()
    assert view.meta["problem"] == dict(Layers().fingerprint())
    assert view.meta["describe"]["title"] == "12 layers with 5 levels"
    assert view.meta["versions"]["numpy"] == np.__version__
    assert view.meta["command"] == ["evo", "run", "x"]
    assert view.meta["device"] == "cpu"


def test_the_front_is_that_of_everything_ever_judged(tmp_path):
    generations, result, view = run_all(config(population=20), tmp_path / "run")

    front = view.candidates.on_front

    assert np.array_equal(front, nondominated(view.fitness))
    assert generations[-1].front_size == result.front_size == front.sum()
    assert generations[-1].best == {
        "loss": view.candidates.values[:, 0].min(), "params": view.candidates.values[:, 1].min(),
    }  # fmt: skip


def test_hypervolume_is_measured_in_one_box_and_never_falls(tmp_path):
    generations, _, view = run_all(config(population=20), tmp_path / "run")

    ideal, nadir = (np.array(view.meta["box"][k]) for k in ("ideal", "nadir"))
    scaled = (view.fitness[view.candidates.on_front] - ideal) / (nadir - ideal)
    expected = hypervolume(np.maximum(scaled, 0), 1.1) / 1.1**2

    curve = [g.hypervolume for g in generations]
    assert curve[-1] == pytest.approx(expected, rel=1e-12)
    assert (np.diff(curve) >= 0).all()
    assert 0 < curve[0] < curve[-1] <= 1


def test_maximised_objectives_are_maximised(tmp_path):
    generations, _, view = run_all(
        config(objectives=["sparsity", "loss"], population=20), tmp_path / "run"
    )

    assert generations[-1].best["sparsity"] == view.candidates.values[:, 0].max() == 1.0
    assert np.array_equal(view.fitness[:, 0], -view.candidates.values[:, 0])


def test_the_search_comes_close_to_the_exact_front(tmp_path):
    problem = Layers(layers=6, levels=3)
    given = config({"id": "synthetic/layers", "layers": 6, "levels": 3}, population=40)
    given = replace(given, stop=replace(given.stop, generations=12))

    _, _, view = run_all(given, tmp_path / "run")

    front, exact = view.fitness[view.candidates.on_front], problem.front()
    box = Box.spanning(exact)
    assert box.hypervolume(front) > 0.995 * box.hypervolume(exact)
    assert not any(((f <= exact).all(1) & (f < exact).any(1)).any() for f in front)


def test_starts_of_the_problem_join_the_first_generation_unless_turned_off(tmp_path):
    with_starts, _, _ = run_all(config(), tmp_path / "a")
    without, _, _ = run_all(config(starts=False), tmp_path / "b")

    rungs = Layers().ladder().rows()
    assert with_starts[0].genomes.rows()[:5] == rungs
    assert without[0].genomes.rows()[:5] != rungs


def test_the_same_seed_gives_the_same_run_and_another_seed_another(tmp_path):
    views = [run_all(config(seed=s), tmp_path / n)[2] for s, n in ((0, "a"), (0, "b"), (1, "c"))]

    rows = [v.candidates.genomes.rows() for v in views]
    assert rows[0] == rows[1] != rows[2]


@pytest.mark.parametrize(
    ("stop", "generations", "reason"),
    [
        ({"generations": 2}, 2, "after 2 generations"),
        ({"evaluations": 30}, 3, "after 36 evaluations"),
        ({"minutes": 1e-9}, 1, "active minutes"),
        ({"generations": 1, "evaluations": 1000}, 1, "after 1 generations"),
    ],
)
def test_the_first_limit_reached_ends_the_search(tmp_path, stop, generations, reason):
    found, result, _ = run_all(config(stop=stop), tmp_path / "run")

    assert len(found) == generations
    assert reason in result.reason


def test_a_stalled_hypervolume_ends_the_search(tmp_path):
    small = {"id": "synthetic/layers", "layers": 3, "levels": 3}

    found, result, _ = run_all(config(small, population=6, stop={"stall": 2}), tmp_path / "run")

    curve = [g.hypervolume for g in found]
    if result.reason != "the search space is exhausted":
        assert result.reason == "the hypervolume has not grown for 2 generations"
        assert curve[-1] == curve[-3]
        assert len(curve) == 3 or curve[-4] < curve[-3]


def test_an_exhausted_space_ends_the_search_with_everything_judged_once(tmp_path):
    tiny = {"id": "synthetic/layers", "layers": 2, "levels": 3}

    _, result, view = run_all(config(tiny, stop={"generations": 500}), tmp_path / "run")

    assert result.reason == "the search space is exhausted"
    assert sorted(set(view.candidates.genomes.rows())) == sorted(view.candidates.genomes.rows())
    assert len(view.candidates) == 9
    exact = np.unique(Layers(2, 3).front(), axis=0)
    assert np.array_equal(np.unique(view.fitness[view.candidates.on_front], axis=0), exact)


def test_constraints_keep_infeasible_candidates_off_the_front(tmp_path):
    given = config("synthetic/layers", 20, constraints=["params < 12k", "removed <= 4"])

    _, _, view = run_all(given, tmp_path / "run")

    names = [c.name for c in view.columns]
    params, removed = (view.candidates.values[:, names.index(n)] for n in ("params", "removed"))
    assert names == ["loss", "params", "removed"]
    feasible = (params < 12_000) & (removed <= 4)
    assert np.array_equal(view.candidates.violation == 0, feasible)
    assert 0 < view.candidates.on_front.sum() <= feasible.sum()
    assert feasible[view.candidates.on_front].all()
    beyond = np.maximum(params - 12_000, 0) / 12_000 + np.maximum(removed - 4, 0) / 4
    assert np.allclose(view.candidates.violation, beyond)


def test_constraints_of_the_problem_hold_on_the_front(tmp_path):
    _, _, view = run_all(config("synthetic/knapsack", 30), tmp_path / "run")

    problem_weights = __import__("problems.synthetic", fromlist=["x"]).Knapsack().weights
    packed = view.candidates.genomes["packed"][view.candidates.on_front]
    assert len(packed)
    assert (packed @ problem_weights <= problem_weights.sum() // 2).all()


def test_without_a_feasible_candidate_the_front_is_empty(tmp_path):
    found, result, view = run_all(config(constraints=["params < -5"]), tmp_path / "run")

    assert result.front_size == 0
    assert result.hypervolume == 0
    assert np.isnan(found[-1].best["loss"])
    assert compare_origins(view) == {"search": 0.0}


class Patchy(Layers):
    """Fails for some candidates, in several ways."""

    def __init__(self) -> None:
        super().__init__()
        self.objectives = (
            *self.objectives[:2],
            Objective("patchy", "min", self._patchy),
            Objective("broken", "min", self._broken),
            Objective("wide", "min", lambda b: b.params),
            Objective("lost", "min", lambda b: np.full(len(b), np.nan)),
        )
        self.calls = 0

    def _patchy(self, batch):
        first = batch.choices[:, 0]
        if (first == 3).any():
            raise ValueError("level 3 at the first layer")
        return np.where(first == 1, np.nan, first)

    def _broken(self, batch):
        raise RuntimeError("out of order")


def test_failed_candidates_are_recorded_with_their_reason_and_never_on_the_front(tmp_path):
    given = config(f"{__name__}:Patchy", 30, objectives=["loss", "params", "patchy"])

    _, result, view = run_all(given, tmp_path / "run")

    first, c = view.candidates.genomes["choices"][:, 0], view.candidates
    assert np.array_equal(c.ok, (first != 1) & (first != 3))
    assert result.failed == (~c.ok).sum() > 0
    assert not c.on_front[~c.ok].any()
    reasons = {int(k): c.reason[i] for i, k in enumerate(first)}
    assert reasons[3] == "objective 'patchy' raised ValueError: level 3 at the first layer"
    assert reasons[1] == "objective 'patchy' returned nan"
    told = [e.text for e in view.events if e.kind == "failed"]
    assert len(told) == len({int(g) for g in c.generation[~c.ok]})
    assert "candidates failed, the first: objective 'patchy'" in told[0]


def test_a_candidate_failed_by_its_constraint_is_not_kept_although_its_objectives_are_fine(
    tmp_path,
):
    given = config(f"{__name__}:Patchy", 30, objectives=["loss"], constraints=["patchy < 99"])

    found, _, view = run_all(given, tmp_path / "run")

    c = view.candidates
    failed = set(c.genomes.take(~c.ok).rows())
    assert np.isfinite(c.values[~c.ok, 0]).any()
    assert failed
    for generation in found:
        assert not failed & set(generation.population.genomes.rows())


@pytest.mark.parametrize(
    ("objective", "message"),
    [
        ("broken", "every candidate of the first generation failed: objective 'broken' raised"),
        ("lost", "every candidate of the first generation failed: objective 'lost' returned nan"),
        ("wide", r"objective 'wide' returned shape \(12, 12\); it must return one value"),
    ],
)
def test_an_unusable_objective_stops_the_run_in_its_first_generation(tmp_path, objective, message):
    given = config(f"{__name__}:Patchy", objectives=["loss", objective])
    run = Run.create(given, tmp_path / "run")

    with run, pytest.raises(ObjectiveError, match=message):
        list(run)

    assert len(read_run(tmp_path / "run").generations) == 1


class Crowded(Layers):
    """Has memory for three candidates at a time."""

    validation = False
    sizes_tried: ClassVar[list[int]] = []

    def batch(self, genomes, context):
        self.sizes_tried.append(len(genomes))
        if len(genomes) > 3:
            raise MemoryError
        return super().batch(genomes, context)


def test_a_chunk_that_fits_is_remembered_and_used_when_the_run_goes_on(tmp_path):
    _, _, view = run_all(config(f"{__name__}:Crowded"), tmp_path / "run")
    Crowded.sizes_tried.clear()

    run = Run.resume(tmp_path / "run", more_generations=1)
    list(run)
    run.finish()

    assert view.meta["chunk"] == 3
    assert [e.text for e in view.events if e.kind == "memory"] == [
        "memory ran out; chunks have 6 candidates from now on",
        "memory ran out; chunks have 3 candidates from now on",
    ]
    assert max(Crowded.sizes_tried) == 3


def test_validation_judges_the_front_on_unseen_data(tmp_path):
    _, _, view = run_all(config(), tmp_path / "run")
    _, _, without = run_all(config(validate=False), tmp_path / "other")

    c, front = view.candidates, view.candidates.on_front
    levels = c.genomes["choices"]
    expected = np.take_along_axis(Layers().unseen, levels.T.astype(int), axis=1).T.sum(axis=1)
    assert np.array_equal(c.validation[front, 0], expected[front])
    assert np.isnan(c.validation[~front]).all()
    assert np.isnan(without.candidates.validation).all()


class Confirmed(Layers):
    """Measures params of the front more truly, one tenth larger."""

    validation = False

    def confirm(self, genomes, values):
        assert sorted(values) == ["loss", "params"]
        return {"params": values["params"] * 1.1, "unasked": values["params"]}


def test_the_problem_confirms_values_of_the_front(tmp_path):
    _, _, view = run_all(config(f"{__name__}:Confirmed"), tmp_path / "run")

    c, front = view.candidates, view.candidates.on_front
    assert np.array_equal(c.confirmed[front, 1], c.values[front, 1] * 1.1)
    assert np.isnan(c.confirmed[:, 0]).all()
    assert np.isnan(c.confirmed[~front]).all()


def test_baselines_spend_as_many_evaluations_as_the_search(tmp_path):
    told = []
    run = Run.create(config(population=15, baseline=True), tmp_path / "run")
    list(run)
    result = run.finish(lambda *said: told.append(said))
    view = read_run(tmp_path / "run")

    counts = {o: int((view.candidates.origin == o).sum()) for o in set(view.candidates.origin)}
    assert counts["search"] == counts["baseline:random"] == counts["baseline:greedy"]
    assert counts["baseline:uniform"] == 5
    assert next(iter(result.comparison)) == "search"
    assert sorted(result.comparison) == sorted(counts)
    assert told[-1][1] == told[-1][2]
    assert not view.candidates.on_front[view.candidates.origin != "search"].any()
    assert {g.origin for rows in view.baselines.values() for g in rows} == set(counts) - {"search"}


def test_origins_are_compared_in_one_box(tmp_path):
    _, _, view = run_all(config(population=15, baseline=True), tmp_path / "run")
    c = view.candidates
    fronts = {}
    for origin in set(c.origin):
        rows = view.fitness[c.origin == origin]
        fronts[origin] = rows[nondominated(rows)]
    every = np.concatenate(list(fronts.values()))
    low, high = every.min(axis=0), every.max(axis=0)

    found = compare_origins(view)

    for origin, rows in fronts.items():
        expected = hypervolume((rows - low) / (high - low), 1.1) / 1.21
        assert found[origin] == pytest.approx(expected, rel=1e-12)


def test_what_the_search_judged_costs_a_baseline_nothing(tmp_path):
    run_all(config(population=15, baseline=True), tmp_path / "run")

    connection = sqlite3.connect(tmp_path / "run" / "run.sqlite")
    copied = connection.execute("SELECT origin FROM candidate WHERE copied").fetchall()
    connection.close()
    assert [o for (o,) in copied].count("baseline:uniform") == 5  # the starts of the search


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        ({"problem": "synthetic/layer"}, RegistryError, "did you mean 'synthetic/layers'"),
        ({"objectives": ["los"]}, ConfigError, "did you mean 'loss'"),
        ({"constraints": ["prams < 3"]}, ConfigError, "did you mean 'params'"),
        ({"algorithm": {"id": "nsga4"}}, RegistryError, "no algorithm called 'nsga4'"),
        ({"algorithm": {"id": "nsga2", "eta": 3}}, ConfigError, "eta"),
        ({"algorithm": {"id": "nsga2", "mutation": "nudje"}}, RegistryError, "no operator"),
        ({"evaluator": {"device": "cuda:9"}}, Exception, "there is no device"),
    ],
)
def test_a_run_that_cannot_begin_leaves_no_folder(tmp_path, settings, error, message):
    data = {"problem": "synthetic/layers", **settings}

    with pytest.raises(error, match=message):
        Run.create(RunConfig.from_mapping(data), tmp_path / "run")

    assert not (tmp_path / "run").exists()


class BadStarts(Layers):
    """Offers an illegal warm start."""

    def starts(self, n, rng):
        rungs = super().starts(n, rng)["choices"].copy()
        rungs[0, 0] = 99
        return type(super().ladder())({"choices": rungs})


def test_illegal_starts_are_refused(tmp_path):
    with pytest.raises(SpaceError, match="row 0 of part 'choices'"):
        Run.create(config(f"{__name__}:BadStarts"), tmp_path / "run")


def test_operators_of_the_configuration_are_used(tmp_path):
    plain, _, _ = run_all(config(), tmp_path / "a")
    other = config(algorithm={"crossover": "one-point"})

    crossed, _, _ = run_all(other, tmp_path / "b")

    assert plain[0].genomes.rows() == crossed[0].genomes.rows()
    assert plain[1].genomes.rows() != crossed[1].genomes.rows()


def test_a_run_folder_is_named_by_problem_and_seed(tmp_path, monkeypatch):
    monkeypatch.setenv("EVO_RUNS", str(tmp_path))

    with Run.create(config(seed=7)) as run:
        assert run.folder.parent == tmp_path
        assert run.folder.name.endswith("-synthetic-layers-s7")


def test_the_estimate_counts_down_to_the_first_limit(tmp_path):
    found, _, _ = run_all(config(), tmp_path / "run")

    last = [g.eta_seconds for g in found]
    assert last[-1] == 0.0
    assert all(e is not None and e > 0 for e in last[:-1])


def test_an_extended_run_goes_on_as_if_planned_longer(tmp_path):
    run_all(config(), tmp_path / "a")
    longer = replace(config(), stop=replace(config().stop, generations=7))
    run_all(longer, tmp_path / "b")

    run = Run.resume(tmp_path / "a", more_generations=3)
    shown = list(run)
    result = run.finish()

    a, b = read_run(tmp_path / "a"), read_run(tmp_path / "b")
    assert [g.replayed for g in shown] == [True] * 4 + [False] * 3
    assert result.generations == 7
    assert a.candidates.genomes.rows() == b.candidates.genomes.rows()
    assert [g.hypervolume for g in a.generations] == [g.hypervolume for g in b.generations]
    assert ("extended", "by 3 generations") in [(e.kind, e.text) for e in a.events]


def test_extending_lifts_the_limits_that_were_reached(tmp_path):
    run_all(config(stop={"evaluations": 20, "generations": 50}), tmp_path / "run")

    run = Run.resume(tmp_path / "run", more_generations=2)
    list(run)

    assert run.finish().generations == 4


class Flat(Layers):
    """Nothing ever gets better."""

    validation = False

    def __init__(self) -> None:
        super().__init__()
        self.objectives = (Objective("a", "min", lambda b: np.ones(len(b))),)


def test_extending_a_stalled_run_counts_anew(tmp_path):
    given = config(f"{__name__}:Flat", stop={"stall": 3}, objectives=["a"])
    _, result, _ = run_all(given, tmp_path / "run")

    run = Run.resume(tmp_path / "run", more_generations=2)
    list(run)
    again = run.finish()

    assert (result.generations, again.generations) == (4, 6)
    assert again.reason == "after 6 generations"


def test_the_front_is_validated_once(tmp_path, monkeypatch):
    run_all(config(), tmp_path / "run")
    splits, real = [], Layers.batch

    def told(self, genomes, context):
        splits.append(context.split)
        return real(self, genomes, context)

    monkeypatch.setattr(Layers, "batch", told)
    run = Run.resume(tmp_path / "run")
    list(run)
    run.finish()

    assert splits == []


def test_extending_adds_to_an_unfinished_plan(tmp_path):
    run = Run.create(config(), tmp_path / "run")
    next(iter(run))
    run.close()

    run = Run.resume(tmp_path / "run", more_generations=2)

    assert len(list(run)) == 6
    run.close()


def test_baselines_follow_an_extended_search(tmp_path):
    run_all(config(population=15, baseline=True), tmp_path / "run")

    run = Run.resume(tmp_path / "run", more_generations=2)
    list(run)
    run.finish()

    view = read_run(tmp_path / "run")
    counts = [(view.candidates.origin == o).sum() for o in ("search", "baseline:random")]
    assert counts[0] == counts[1] > 60
    front = view.candidates.on_front
    assert np.isfinite(view.candidates.validation[front]).all()


def test_a_finished_run_can_be_resumed_and_says_the_same(tmp_path):
    _, result, before = run_all(config(baseline=True), tmp_path / "run")

    run = Run.resume(tmp_path / "run")
    shown = list(run)

    assert all(g.replayed for g in shown)
    assert run.finish() == result
    after = read_run(tmp_path / "run")
    assert after.candidates.genomes.rows() == before.candidates.genomes.rows()


class Drifting(Layers):
    """Its fingerprint depends on a file, as that of a model folder would."""

    def fingerprint(self):
        from pathlib import Path

        text = Path("text.txt").read_text()
        return {**super().fingerprint(), "text": text} | ({"more": "x"} if text == "3" else {})


def test_another_text_or_model_is_refused_and_nothing_is_lost(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "text.txt").write_text("one")
    run_all(config(f"{__name__}:Drifting"), tmp_path / "run")
    before = dump(tmp_path / "run")
    (tmp_path / "text.txt").write_text("two")

    with pytest.raises(ReplayError, match="not the one recorded: text one → two") as caught:
        Run.resume(tmp_path / "run")
    (tmp_path / "text.txt").write_text("3")
    with pytest.raises(ReplayError, match="text one → 3; more nothing → x"):
        Run.resume(tmp_path / "run")

    assert "--warm-start" in (caught.value.hint or "")
    assert dump(tmp_path / "run") == before


def test_an_edited_configuration_is_refused_by_name(tmp_path):
    run_all(config(), tmp_path / "run")
    path = tmp_path / "run" / "config.toml"
    path.write_text(path.read_text().replace("population = 12", "population = 16"))

    with pytest.raises(ReplayError, match=r"edited .*algorithm.population was 12, is 16"):
        Run.resume(tmp_path / "run")


def dump(folder):
    connection = sqlite3.connect(folder / "run.sqlite")
    lines = list(connection.iterdump())
    connection.close()
    return lines


def tamper(folder, sql):
    connection = sqlite3.connect(folder / "run.sqlite")
    with connection:
        connection.execute(sql)
    connection.close()


def test_a_log_that_is_not_repeated_names_what_changed(tmp_path):
    run_all(config(), tmp_path / "run")
    view = read_run(tmp_path / "run")
    versions = json.dumps({**view.meta["versions"], "pymoo": "0.1"})
    tamper(tmp_path / "run", f"UPDATE meta SET value = '{versions}' WHERE key = 'versions'")
    swap = "(SELECT keys FROM generation WHERE number = 0)"
    tamper(tmp_path / "run", f"UPDATE generation SET keys = {swap} WHERE number = 2")
    run = Run.resume(tmp_path / "run")

    message = r"generation 2 of search asks for other candidates .* changed: pymoo 0.1 → "
    with run, pytest.raises(ReplayError, match=message) as caught:
        list(run)

    assert "--warm-start" in (caught.value.hint or "")
    assert len(read_run(tmp_path / "run").candidates) == len(view.candidates)


@pytest.mark.parametrize("name", NEEDED)
def test_a_run_without_its_settings_is_damaged(tmp_path, name):
    Run.create(config(), tmp_path / "run").close()
    tamper(tmp_path / "run", f"DELETE FROM meta WHERE key = '{name}'")

    with pytest.raises(StoreError, match=f"damaged: its settings lack {name}"):
        Run.resume(tmp_path / "run")


def test_another_meaning_of_an_objective_is_refused(tmp_path):
    run_all(config(), tmp_path / "run")
    tamper(tmp_path / "run", "UPDATE objective SET goal = 'max' WHERE name = 'loss'")

    with pytest.raises(ReplayError, match="objective 'loss' was "):
        Run.resume(tmp_path / "run")


def test_a_warm_start_begins_beside_the_old_run_from_its_front(tmp_path):
    _, _, old = run_all(config(), tmp_path / "run")
    path = tmp_path / "run" / "config.toml"
    path.write_text(path.read_text().replace("population = 12", "population = 40"))

    run = Run.resume(tmp_path / "run", warm_start=True)
    first = next(iter(run))
    run.close()
    again = Run.resume(run.folder)  # a warm-started run is resumed like any other
    generations = list(again)
    again.finish()

    new = read_run(run.folder)
    front = old.candidates.genomes.take(old.front_rows()).rows()
    assert run.folder == tmp_path / "run-warm1"
    assert set(front) <= set(first.genomes.rows())
    assert new.meta["warm_start"] == str(tmp_path / "run")
    assert new.meta["config"]["algorithm"]["population"] == 40
    assert len(generations) == 4
    assert len(read_run(tmp_path / "run").candidates) == len(old.candidates)


def test_a_small_warm_start_takes_the_ends_and_the_middle_of_the_front(tmp_path):
    _, _, old = run_all(config(population=40), tmp_path / "run")
    path = tmp_path / "run" / "config.toml"
    path.write_text(path.read_text().replace("population = 40", "population = 4"))

    with Run.resume(tmp_path / "run", warm_start=True) as run:
        asked = next(iter(run)).genomes.rows()

    rows = old.candidates.genomes.rows()
    ends = [rows[k] for k in old.front_rows()[[0, -1]]]
    assert set(ends) <= set(asked) <= {rows[k] for k in old.front_rows()}


def test_spread_order_takes_the_loneliest_next():
    line = np.array([[0.0, 100.0], [1.0, 90.0], [5.0, 50.0], [9.0, 10.0], [10.0, 0.0]])

    assert spread_order(line).tolist() == [0, 4, 2, 1, 3]
    assert sorted(spread_order(np.ones((3, 2))).tolist()) == [0, 1, 2]
    assert spread_order(np.zeros((0, 2))).tolist() == []


def test_a_warm_start_needs_a_front(tmp_path):
    Run.create(config(), tmp_path / "run").close()

    with pytest.raises(StoreError, match="no front to start from"):
        Run.resume(tmp_path / "run", warm_start=True)


class Measured(Layers):
    """Times something once and judges by it, as a latency table would be."""

    made = 0

    def __init__(self) -> None:
        super().__init__()
        self._speed = None
        self.objectives = (*self.objectives[:1], Objective("time", "min", self._time))

    def _time(self, batch):
        if self._speed is None:
            Measured.made += 1
            self._speed = Measured.made * 1.5
        return self._speed * batch.params.sum(axis=1)

    default_objectives = ("loss", "time")

    def measurements(self):
        return {"speed": self._speed} if self._speed else {}

    def restore(self, measurements):
        self._speed = measurements["speed"]


def test_measurements_are_kept_and_used_again(tmp_path):
    run = Run.create(config(f"{__name__}:Measured"), tmp_path / "run")
    next(iter(run))
    run.close()
    made = Measured.made

    run = Run.resume(tmp_path / "run")
    list(run)
    run.finish()

    assert Measured.made == made
    assert read_run(tmp_path / "run").meta["measurements"] == {"speed": made * 1.5}


@pytest.mark.parametrize("seed", range(5))
def test_the_front_kept_step_by_step_is_that_of_all_at_once(seed):
    draw = stream(seed)
    fitness = draw.integers(0, 6, (60, 3)).astype(float)
    feasible = draw.random(60) < 0.8
    front, inside = Front(3), set()

    for rows in np.array_split(np.arange(60), 7):
        entered, left = front.add((rows + 100).tolist(), fitness[rows], feasible[rows])
        inside = inside - set(left) | set(entered)

    good = np.flatnonzero(feasible)
    expected = set((good[nondominated(fitness[good])] + 100).tolist())
    assert inside == set(front.ids.tolist()) == expected


def test_the_box_leaves_room_for_progress_and_stops_at_zero():
    box = Box.around(np.array([[4.0, -1.0, 5.0], [6.0, 1.0, 5.0]]), np.array([[3.0, 0.0, 5.0]]))

    assert box.ideal == (0.0, -3.0, 0.0)
    assert box.nadir == (6.0, 1.0, 5.0)
    assert Box.from_json(json.loads(json.dumps(box.to_json()))) == box


def test_the_box_of_a_single_point_has_an_extent():
    box = Box.around(np.array([[0.0, -2.0]]), np.zeros((0, 2)))

    assert all(n > i for i, n in zip(box.ideal, box.nadir, strict=True))
    assert 0 < box.hypervolume(np.array([[0.0, -2.0]])) <= 1
