import sys

import numpy as np
import pytest

from evo.config import EvaluatorConfig, RunConfig
from evo.errors import (
    ConfigError,
    DataError,
    DeviceError,
    ModelError,
    ObjectiveError,
    RegistryError,
    ShapeError,
    StoreError,
)
from evo.evaluate import Evaluator, Judges, Planner, offer, pick_device
from evo.evaluate import memory as memory_module
from evo.genomes import Genomes
from evo.problem import Constraint, Context, Objective, objective
from evo.space import Integer, SearchSpace


class Numbers:
    """One whole number per candidate; remembers which chunks it was asked to decode."""

    def __init__(self, *objectives, constraints=(), fits=None):
        self.space = SearchSpace((Integer("x", 0, 99),))
        self.objectives = objectives or (Objective("value", "min", lambda b: b.x * 1.0),)
        self.constraints = constraints
        self.fits = fits
        self.chunks = []

    def batch(self, genomes, context):
        self.chunks.append(genomes["x"].ravel().tolist())
        if self.fits is not None and len(genomes) > self.fits:
            raise MemoryError
        return NumberBatch(genomes["x"][:, 0])


class NumberBatch:
    def __init__(self, x):
        self.x = x

    def __len__(self):
        return len(self.x)


def rows(*numbers) -> Genomes:
    return Genomes({"x": np.array(numbers, dtype=np.int64)[:, None]})


def evaluator(problem, chunk=4, on_change=None, config=None, known=None):
    judges = Judges.of(problem, config or RunConfig())
    return Evaluator(problem, judges, Context(), Planner(chunk, on_change), known)


def test_results_come_in_the_order_asked_for_and_nothing_is_judged_twice():
    problem = Numbers()
    judge = evaluator(problem)
    heard = []

    first = judge(rows(5, 3, 5, 9, 1, 7), lambda i, e: heard.append(i.tolist()))
    second = judge(rows(7, 8))

    assert first.values.ravel().tolist() == [5, 3, 5, 9, 1, 7]
    assert second.values.ravel().tolist() == [7, 8]
    assert problem.chunks == [[5, 3, 9, 1], [7], [8]]
    assert heard == [[0, 1, 3, 4], [5]]
    assert first.ok.all()
    assert first.reasons == ("",) * 6


def test_no_genomes_give_an_empty_evaluation():
    found = evaluator(Numbers())(rows())

    assert found.values.shape == (0, 1)
    assert found.violations.shape == (0, 0)


def test_objectives_are_called_once_per_chunk():
    calls = []
    problem = Numbers(Objective("value", "min", lambda b: calls.append(len(b)) or b.x))

    evaluator(problem, 3)(rows(*range(7)))

    assert calls == [3, 3, 1]


@pytest.mark.parametrize("chunk", [1, 2, 3, 7, 100])
def test_all_chunk_sizes_agree(chunk):
    values = evaluator(Numbers(), chunk)(rows(*range(9))).values

    assert values.ravel().tolist() == list(range(9))


def test_chunks_are_halved_when_memory_runs_out_and_the_size_is_remembered():
    problem = Numbers(fits=3)
    told = []
    judge = evaluator(problem, 16, told.append)
    heard = []

    found = judge(rows(*range(10)), lambda i, e: heard.append(len(i)))
    judge(rows(*range(20, 25)))

    assert found.values.ravel().tolist() == list(range(10))
    assert [len(c) for c in problem.chunks] == [10, 5, 2, 2, 2, 2, 2, 2, 2, 1]
    assert heard == [2] * 5
    assert told == [5, 2]
    assert judge.planner.chunk == 2


@pytest.mark.parametrize(
    "words", ["CUDA error: out of memory", "CUBLAS_STATUS_ALLOC_FAILED when calling x"]
)
def test_memory_errors_of_devices_are_known_by_their_words(words):
    def crowded(batch):
        if len(batch) > 2:
            raise RuntimeError(words)
        return batch.x

    found = evaluator(Numbers(Objective("value", "min", crowded)), 8)(rows(*range(6)))

    assert found.ok.all()


def test_one_candidate_that_does_not_fit_alone_fails_and_the_others_do_not():
    def hungry(batch):
        if (batch.x == 6).any():
            raise MemoryError
        return batch.x

    found = evaluator(Numbers(Objective("value", "min", hungry)), 8)(rows(1, 6, 2))

    assert found.ok.tolist() == [True, False, True]
    assert found.reasons[1] == "memory ran out for this candidate alone"


def test_only_the_culprits_of_a_chunk_fail():
    def picky(batch):
        if (batch.x % 5 == 3).any():
            raise ValueError("x is 3 modulo 5")
        return batch.x

    heard = []
    found = evaluator(Numbers(Objective("value", "min", picky)), 4)(
        rows(*range(10)), lambda i, e: heard.append(i.tolist())
    )

    assert found.ok.tolist() == [x % 5 != 3 for x in range(10)]
    assert found.reasons[8] == "objective 'value' raised ValueError: x is 3 modulo 5"
    assert np.isnan(found.values[[3, 8]]).all()
    assert found.values[found.ok].ravel().tolist() == [0, 1, 2, 4, 5, 6, 7, 9]
    assert heard == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]


def test_a_batch_that_cannot_be_decoded_fails_its_culprit_only():
    class Fragile(Numbers):
        def batch(self, genomes, context):
            if (genomes["x"] == 2).any():
                raise KeyError("two")
            return super().batch(genomes, context)

    found = evaluator(Fragile())(rows(1, 2, 3))

    assert found.reasons == ("", "KeyError: 'two'", "")


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_values_that_are_not_finite_fail_their_candidate(bad):
    some = Objective("value", "min", lambda b: np.where(b.x == 2, bad, b.x))

    found = evaluator(Numbers(some))(rows(1, 2, 3))

    assert found.ok.tolist() == [True, False, True]
    assert found.reasons[1] == f"objective 'value' returned {bad}"


def test_a_metric_that_is_not_finite_does_no_harm_but_a_constraint_does():
    odd = Objective("odd", "min", lambda b: np.where(b.x == 2, np.nan, b.x))
    value = Objective("value", "min", lambda b: b.x)
    plain = RunConfig.from_mapping({"objectives": ["value"], "metrics": ["odd"]})
    limited = RunConfig.from_mapping({"objectives": ["value"], "constraints": ["odd < 9"]})

    assert evaluator(Numbers(value, odd), config=plain)(rows(1, 2)).ok.tolist() == [True, True]
    assert evaluator(Numbers(value, odd), config=limited)(rows(1, 2)).reasons[1] == (
        "a constraint has the value nan"
    )


@pytest.mark.parametrize(
    ("fn", "message"),
    [
        (lambda b: np.zeros((len(b), 2)), r"returned shape \(3, 2\); .* shape \(3,\)"),
        (lambda b: 1.0, r"returned shape \(\)"),
        (lambda b: np.array(["a"] * len(b)), "must return numbers"),
        (lambda b: b.x + 1j, "complex"),
    ],
)
def test_wrong_shapes_stop_at_once(fn, message):
    with pytest.raises(ObjectiveError, match=message):
        evaluator(Numbers(Objective("value", "min", fn)))(rows(1, 2, 3))


def test_a_batch_of_the_wrong_length_stops_at_once():
    class Short(Numbers):
        def batch(self, genomes, context):
            return NumberBatch(genomes["x"][1:, 0])

    with pytest.raises(ShapeError, match="a batch of 2 candidates from 3 genomes"):
        evaluator(Short())(rows(1, 2, 3))


@pytest.mark.parametrize("kind", [DeviceError, ModelError, DataError, ConfigError])
def test_what_is_no_candidates_fault_stops_at_once(kind):
    def broken(batch):
        raise kind("the set-up is broken")

    with pytest.raises(kind, match="the set-up is broken"):
        evaluator(Numbers(Objective("value", "min", broken)))(rows(1, 2))


def test_a_broken_set_up_that_shows_only_alone_stops_as_well():
    def broken(batch):
        raise ValueError("many") if len(batch) > 1 else DeviceError("the device is gone")

    with pytest.raises(DeviceError, match="the device is gone"):
        evaluator(Numbers(Objective("value", "min", broken)))(rows(1, 2))


def test_an_objective_that_writes_into_its_batch_cannot_change_the_genomes():
    def rude(batch):
        batch.x[:] = 0
        return batch.x

    genomes = rows(3, 4)
    judge = evaluator(Numbers(Objective("value", "min", rude)))
    judge(genomes)

    assert genomes["x"].ravel().tolist() == [3, 4]
    assert set(judge.known) == set(rows(3, 4).keys())


def test_known_verdicts_are_used_and_shared():
    known = {}
    evaluator(Numbers(), known=known)(rows(1, 2))
    problem = Numbers()

    found = evaluator(problem, known=known)(rows(2, 1))

    assert problem.chunks == []
    assert found.values.ravel().tolist() == [2, 1]


def many():
    return Numbers(
        Objective("a", "min", lambda b: b.x),
        Objective("b", "max", lambda b: -b.x),
        Objective("c", "min", lambda b: b.x**2, resolution=0.5),
        constraints=(
            Constraint("even", lambda b: b.x % 2),
            Constraint("small", lambda b: b.x, limit=10),
        ),
    )


def test_judges_take_objectives_then_metrics_then_what_limits_need():
    config = RunConfig.from_mapping(
        {"objectives": ["b"], "metrics": ["a"], "constraints": ["c <= 4", "c > 1", "b < 0"]}
    )

    judges = Judges.of(many(), config)

    assert [(c.name, c.searched) for c in judges.columns] == [
        ("b", True), ("a", False), ("c", False),
    ]  # fmt: skip
    values, violations = judges(NumberBatch(np.array([0, 1, 2, 12])))
    assert values.tolist() == [[0, 0, 0], [-1, 1, 1], [-2, 2, 4], [-12, 12, 144]]
    assert violations.tolist() == [  # even, small, c <= 4, c > 1, b < 0
        [0, 0, 0, 1, 1e-9], [1, 0, 0, 0.5, 0], [0, 0, 0, 0, 0], [0, 2, 140, 0, 0],
    ]  # fmt: skip
    assert judges.fitness(values).ravel().tolist() == [0, 1, 2, 12]


def test_only_what_is_free_is_asked_for_without_judging():
    def judged(batch):
        raise AssertionError("judged")

    problem = Numbers(
        Objective("loss", "min", judged),
        Objective("size", "max", lambda b: b.x / 3, resolution=0.5, free=True),
        constraints=(
            Constraint("slow", judged, limit=1), Constraint("small", lambda b: b.x, 10, free=True),
        ),
    )  # fmt: skip
    config = RunConfig.from_mapping({"constraints": ["size >= 2", "loss < 1"]})
    judges = Judges.of(problem, config)

    values, violations = judges.free(NumberBatch(np.array([1, 13])))

    nan = np.nan
    assert np.array_equal(values, [[nan, 0.5], [nan, 4.5]], equal_nan=True)
    assert np.array_equal(violations, [[nan, 0, 1.5, nan], [nan, 3, 0, nan]], equal_nan=True)
    assert judges.any_free
    assert not Judges.of(many(), RunConfig()).any_free


def test_violations_are_scaled_by_their_limit_or_by_the_first_generation():
    judges = Judges.of(many(), RunConfig.from_mapping({"constraints": ["c <= 400", "b < 0"]}))
    first = np.array([[1.0, 2.0, 100.0, 0.0], [4.0, 0.0, 0.0, 0.0], [np.inf, 0.0, 0.0, 0.0]])

    assert judges.scales(first).tolist() == [4.0, 10.0, 400.0, 1.0]


def test_default_objectives_of_the_problem_are_searched():
    problem = many()
    problem.default_objectives = ("c", "a")

    assert [c.name for c in Judges.of(problem, RunConfig()).columns] == ["c", "a"]
    assert Judges.of(many(), RunConfig()).n_searched == 3


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        ({"objectives": ["aa"]}, ConfigError, "offers no objective called 'aa'; did you mean"),
        ({"constraints": ["cc < 2"]}, ConfigError, "no objective called 'cc'"),
        ({"objectives": ["a"], "metrics": ["a"]}, ConfigError, "'a' is named twice"),
        ({"objectives": [{"id": "a", "k": 1}]}, ConfigError, "takes no settings, got k"),
        ({"objectives": ["os:sep"]}, RegistryError, "'os:sep' is no objective: it is the str"),
    ],
)
def test_names_that_cannot_be_judged_by_are_explained(settings, error, message):
    with pytest.raises(error, match=message):
        Judges.of(many(), RunConfig.from_mapping(settings))


def test_an_objective_named_like_a_fixed_column_is_refused():
    with pytest.raises(StoreError, match="'genome'"):
        Judges.of(Numbers(Objective("genome", "min", lambda b: b.x)), RunConfig())


def test_an_objective_of_the_current_folder_is_used(tmp_path, monkeypatch):
    (tmp_path / "my_twice.py").write_text(
        "import evo\n\n@evo.objective('twice', goal='max', unit='x')\n"
        "def twice(batch):\n    return 2 * batch.x\n"
    )
    monkeypatch.chdir(tmp_path)
    config = RunConfig.from_mapping({"objectives": ["a", "my_twice:twice"]})

    judges = Judges.of(many(), config)

    assert judges(NumberBatch(np.array([3])))[0].tolist() == [[3, 6]]
    assert judges.columns[1].goal == "max"


def test_settings_reach_configure():
    problem = many()
    problem.configure = lambda name, power: objective(f"{name}{power}")(lambda b: b.x**power)
    config = RunConfig.from_mapping({"objectives": [{"id": "a", "power": 3}]})

    assert Judges.of(problem, config)(NumberBatch(np.array([2])))[0].tolist() == [[8]]
    with pytest.raises(ConfigError, match="does not take these settings"):
        Judges.of(problem, config.override("objectives", [{"id": "a", "pwr": 3}]))


def test_the_first_chunk_fills_half_of_the_free_memory(monkeypatch):
    monkeypatch.setattr(memory_module, "free_bytes", lambda device: 1000)

    assert memory_module.first_chunk("auto", 10, "cpu") == 50
    assert memory_module.first_chunk("auto", 10_000, "cpu") == 1
    assert memory_module.first_chunk("auto", None, "cpu") == memory_module.LARGEST
    assert memory_module.first_chunk(7, 10_000, "cpu") == 7


@pytest.mark.parametrize(
    ("threads", "settings", "told"),
    [
        (None, {}, [500]),
        ("1", {}, [125]),  # of four cores
        ("8", {}, [500]),
        ("2", {"workers": 4}, [125]),
        (None, {"memory": 1.0}, []),
    ],
)
def test_a_process_may_keep_its_part_of_half_the_free_memory(monkeypatch, threads, settings, told):
    monkeypatch.setattr(memory_module, "free_bytes", lambda device: 1000)
    monkeypatch.setattr(memory_module.os, "cpu_count", lambda: 4)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    if threads:
        monkeypatch.setenv("OMP_NUM_THREADS", threads)
    problem = Numbers()
    heard = []

    offer(problem, EvaluatorConfig(**settings), "cpu")  # does not listen
    problem.spare = heard.append
    offer(problem, EvaluatorConfig(**settings), "cpu")

    assert heard == told


def test_free_memory_of_this_machine_is_between_a_megabyte_and_a_petabyte():
    free = memory_module.free_bytes("cpu")

    assert free is not None
    assert 2**20 < free < 2**50


def test_missing_devices_are_named(monkeypatch):
    monkeypatch.delitem(sys.modules, "torch", raising=False)

    assert pick_device("auto") == "cpu"
    for name in ("cuda:0", "gpu", "cuda:x"):
        with pytest.raises(DeviceError, match=f"there is no device '{name}'"):
            pick_device(name)
