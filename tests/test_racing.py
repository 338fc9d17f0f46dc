"""Races: bounds, who is beaten, estimates, and runs that race."""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import pytest
from families import checkpoint

from evo import Context, Genomes
from evo.config import RunConfig
from evo.errors import ConfigError
from evo.evaluate import Judges, Race, Rivals
from evo.evaluate.racing import _looks, _lower_bound
from evo.indicators import nondominated
from evo.problem import Objective
from evo.run import Run
from evo.schema import FILE
from evo.space import Choice, SearchSpace
from evo.store import RunFile, read_run
from problems.pruning.searches import Mixed

SAMPLES, PIECES = 32, 8


@dataclass
class Table:
    """A batch whose samples are given; it counts what is judged."""

    given: np.ndarray  # (n, b)
    size: np.ndarray  # (n,)
    counts: np.ndarray | None = None
    known: np.ndarray = field(init=False)

    def __post_init__(self) -> None:
        self.known = np.full(self.given.shape, np.nan)
        self.counts = np.zeros(len(self), int) if self.counts is None else self.counts

    def __len__(self) -> int:
        return len(self.given)

    @cached_property
    def pieces(self) -> list[np.ndarray]:
        return [np.arange(k, self.given.shape[1], PIECES) for k in range(PIECES)]

    def judge(self, rows: np.ndarray, piece: int) -> None:
        assert np.isnan(self.known[np.ix_(rows, self.pieces[piece])]).all(), "judged twice"
        self.known[np.ix_(rows, self.pieces[piece])] = self.given[np.ix_(rows, self.pieces[piece])]
        self.counts[rows] += len(self.pieces[piece])

    @property
    def whole(self) -> np.ndarray:
        for piece, samples in enumerate(self.pieces):
            self.judge(np.flatnonzero(np.isnan(self.known[:, samples[0]])), piece)
        return self.known

    def taken(self, rows: np.ndarray) -> Table:
        other = Table(self.given[rows], self.size[rows])
        other.known = self.known[rows]
        return other


def loss(goal: str = "min", **more: Any) -> Objective:
    return Objective(
        "loss", goal, lambda b: b.whole.mean(1), resolution=1e-6, samples=lambda b: b.known, **more
    )  # type: ignore[arg-type]


SIZE = Objective("size", "min", lambda b: b.size)


def race(*objectives: Objective, confidence: float = 0.95) -> Race:
    return Race(Judges(objectives or (loss(), SIZE), len(objectives) or 2), confidence)


def rivals(samples: list[np.ndarray], sizes: list[float], mean: Any = np.mean) -> Rivals:
    values = [[mean(s), size] for s, size in zip(samples, sizes, strict=True)]
    return Rivals(np.array(values), np.array(samples)[:, None])


def test_the_bound_is_student_s_for_a_finite_population():
    # mean 2.5, deviation 1.29099; t of 3 degrees at 1 % is 4.5407 (tables); half is drawn
    expected = 2.5 - 4.5407 * 1.29099 / 2 * np.sqrt(0.5)

    found = _lower_bound(np.array([[1.0, 2.0, 3.0, 4.0]]), 8, 0.01)

    assert found[0] == pytest.approx(expected, abs=1e-4)
    assert _lower_bound(np.array([[1.0, 2.0, 3.0, 4.0]]), 4, 0.01)[0] == 2.5  # nothing is left


def test_candidates_are_compared_when_samples_have_doubled():
    assert _looks([np.arange(4)] * 8) == [0, 1, 3]  # after 4, 8, 16 of 32, never at the end
    assert _looks([np.arange(1)] * 12) == [3, 7]
    assert _looks([np.arange(32)]) == []


def test_without_rivals_everything_is_judged():
    rng = np.random.default_rng(0)
    batch = Table(rng.random((5, SAMPLES)), np.arange(5.0))

    found = race()(batch, rivals([], []))

    assert np.allclose(found.values[:, 0], batch.given.mean(1), atol=1e-6)
    assert found.values[:, 1].tolist() == [0, 1, 2, 3, 4]
    assert found.shares.tolist() == [1] * 5
    assert np.array_equal(found.samples, batch.given[:, None])


def test_who_is_clearly_worse_is_judged_on_the_first_samples_only():
    rng = np.random.default_rng(1)
    noise = rng.normal(size=SAMPLES)
    rival = noise + 1
    worse = noise + 2 + 0.1 * rng.normal(size=SAMPLES)  # paired, the difference hardly varies
    smaller = worse.copy()  # as bad, but nothing as small is known
    batch = Table(np.stack([worse, smaller, rival - 1]), np.array([3.0, 1.0, 3.0]))

    found = race()(batch, rivals([rival], [2.0]))

    assert batch.counts.tolist() == [4, SAMPLES, SAMPLES]
    assert found.shares.tolist() == [4 / SAMPLES, 1, 1]
    first = batch.pieces[0]
    estimate = rival.mean() + (worse[first] - rival[first]).mean()
    assert found.values[0, 0] == pytest.approx(estimate, abs=1e-6)
    assert found.values[:, 1].tolist() == [3, 1, 3]
    assert np.isnan(found.samples[0, 0]).sum() == SAMPLES - 4


def test_common_noise_does_not_save_a_candidate_and_own_noise_does():
    rng = np.random.default_rng(2)
    rival = 10 * rng.normal(size=SAMPLES)
    paired, apart = rival + 1, 10 * rng.permuted(rival / 10) + 1
    batch = Table(np.stack([paired, apart]), np.array([1.0, 1.0]))

    found = race()(batch, rivals([rival], [1.0]))

    assert found.shares.tolist() == [4 / SAMPLES, 1]


def test_more_is_better_where_the_goal_says_so():
    rng = np.random.default_rng(3)
    rival = rng.normal(size=SAMPLES)
    noise = 0.1 * rng.normal(size=(2, SAMPLES))
    batch = Table(np.stack([rival - 1, rival + 1]) + noise, np.array([1.0, 1.0]))

    found = race(loss("max"), SIZE)(batch, rivals([rival], [1.0]))

    assert found.shares[0] < 1
    assert found.shares[1] == 1


def test_values_may_be_a_rising_function_of_the_mean():
    exponential = Objective(
        "loss", "min", lambda b: np.exp(b.whole.mean(1)), resolution=1e-6,
        samples=lambda b: b.known, of_mean=np.exp,
    )  # fmt: skip
    rng = np.random.default_rng(4)
    rival = rng.normal(size=SAMPLES)
    worse = rival + 1 + 0.1 * rng.normal(size=SAMPLES)
    batch = Table(worse[None], np.array([1.0]))

    found = race(exponential, SIZE)(batch, rivals([rival], [1.0], lambda s: np.exp(s.mean())))

    first = batch.pieces[0]
    estimate = np.exp(rival.mean() + (worse[first] - rival[first]).mean())
    assert found.shares[0] < 1
    assert found.values[0, 0] == pytest.approx(estimate, abs=1e-6)


def test_all_sampled_objectives_must_be_worse():
    second = Objective("other", "min", lambda b: -b.whole.mean(1), samples=lambda b: -b.known)
    rng = np.random.default_rng(5)
    rival = rng.normal(size=SAMPLES)
    batch = Table((rival + 1 + 0.1 * rng.normal(size=SAMPLES))[None], np.array([1.0]))
    known = Rivals(np.array([[rival.mean(), -rival.mean()]]), np.stack([rival, -rival])[None])

    assert race(loss(), second)(batch, known).shares.tolist() == [1]


def test_who_is_not_dominated_is_seldom_beaten():
    rng, lost = np.random.default_rng(6), 0
    for _ in range(1500):
        rival = rng.normal(size=SAMPLES)
        difference = rng.normal(size=SAMPLES)
        better = rival + difference - difference.mean() - 1e-9  # barely better on all samples
        found = race()(Table(better[None], np.array([1.0])), rivals([rival], [1.0]))
        lost += found.shares[0] < 1

    assert lost / 1500 < 0.05  # three looks at a confidence of 95 % together


def test_of_many_rivals_the_best_that_is_no_larger_counts():
    rng = np.random.default_rng(7)
    base = rng.normal(size=SAMPLES)
    noise = 0.1 * rng.normal(size=SAMPLES)
    many = rivals([base, base + 2, base - 5], [1.0, 1.0, 9.0])
    batch = Table((base + 1 + noise)[None], np.array([2.0]))

    found = race()(batch, many)

    first = batch.pieces[0]
    estimate = base.mean() + 1 + noise[first].mean()
    assert found.values[0, 0] == pytest.approx(estimate, abs=1e-6)


def test_a_race_without_samples_or_pieces_is_one_sentence():
    with pytest.raises(ConfigError, match="needs an objective that is a mean over samples"):
        race(SIZE)

    class Plain:
        def __len__(self) -> int:
            return 1

    with pytest.raises(ConfigError, match="judged piece by piece, and Plain cannot"):
        race()(Plain(), rivals([], []))


@pytest.mark.parametrize("value", [1, -0.1, True, "high"])
def test_a_confidence_is_a_share_below_one(value):
    with pytest.raises(ConfigError, match=r"evaluator\.racing must be a confidence below 1"):
        RunConfig.from_mapping({"evaluator": {"racing": value}})


# ------------------------------------------------------------------------------------------ runs


class Noisy:
    """Ten genes of three levels; the loss of a level varies from sample to sample."""

    def __init__(self) -> None:
        rng = np.random.default_rng(0)
        self.base = rng.normal(size=SAMPLES)
        self.cost = rng.random(10)[:, None] * (1 + 0.2 * rng.normal(size=(10, SAMPLES)))
        self.space = SearchSpace((Choice("choices", (3,) * 10),))
        self.objectives = (loss(), SIZE)
        self.constraints = ()

    def batch(self, genomes: Genomes, context: Context) -> Table:
        levels = genomes["choices"]
        return Table(self.base + levels**2 @ self.cost, 30.0 - levels.sum(1))


def config(racing: float, chunk: int = 64, **more: Any) -> RunConfig:
    return RunConfig.from_mapping(
        {
            "problem": {"id": f"{__name__}:Noisy"}, "baseline": False,
            "algorithm": {"id": "nsga2", "population": 24}, "stop": {"generations": 8},
            "evaluator": {"racing": racing, "chunk": chunk}, **more,
        }
    )  # fmt: skip


def finished(given: RunConfig, folder: Any) -> Any:
    with Run.create(given, folder) as run:
        list(run)
        run.finish()
    return read_run(folder)


@pytest.fixture(scope="module")
def raced(tmp_path_factory: Any) -> Any:
    return finished(config(0.95), tmp_path_factory.mktemp("runs") / "raced")


def test_the_front_of_a_race_is_judged_whole(raced):
    c, noisy = raced.candidates, Noisy()
    batch = noisy.batch(c.genomes, Context())
    batch.known = batch.given
    truth = np.column_stack([o(batch) for o in noisy.objectives])

    assert (c.share < 1).sum() > 20
    assert (c.share[c.on_front] == 1).all()
    assert np.array_equal(c.values[c.share == 1], truth[c.share == 1])
    assert np.array_equal(c.on_front, nondominated(truth))


@pytest.mark.parametrize("chunk", [1, 7])
def test_chunks_change_nothing(raced, tmp_path, chunk):
    other = finished(config(0.95, chunk), tmp_path / "run").candidates

    assert np.array_equal(other.values, raced.candidates.values)
    assert np.array_equal(other.share, raced.candidates.share)


def test_a_run_that_was_cut_short_ends_alike(raced, tmp_path):
    class Cut(Exception):
        pass

    run, chunks = Run.create(config(0.95, 5), tmp_path / "run"), []

    def append(*arguments: Any, **named: Any) -> Any:
        if len(chunks) == 13:
            raise Cut
        chunks.append(1)
        return RunFile.append(run.file, *arguments, **named)

    run.file.append = append  # type: ignore[method-assign]
    with pytest.raises(Cut):
        list(run)
    run.close()
    with Run.resume(tmp_path / "run") as again:
        list(again)
        again.finish()

    other = read_run(tmp_path / "run").candidates
    assert np.array_equal(other.values, raced.candidates.values)
    assert np.array_equal(other.share, raced.candidates.share)


def test_files_of_the_first_format_are_read_and_go_on(tmp_path):
    finished(config(0), tmp_path / "run")
    with sqlite3.connect(tmp_path / "run" / FILE) as connection:
        places = "SELECT genome FROM candidate WHERE origin = ? AND generation = ? ORDER BY slot"
        for place in connection.execute("SELECT origin, number FROM generation").fetchall():
            asked = b"".join(row[0] for row in connection.execute(places, place))
            connection.execute(
                "UPDATE generation SET asked = ? WHERE origin = ? AND number = ?", (asked, *place)
            )
        connection.executescript(
            "ALTER TABLE candidate DROP COLUMN judged_share; DROP TABLE sample; DROP TABLE work; "
            "ALTER TABLE generation DROP COLUMN keys; PRAGMA user_version = 1;"
        )
    connection.close()

    assert (read_run(tmp_path / "run").candidates.share == 1).all()
    with Run.resume(tmp_path / "run", more_generations=1) as run:
        list(run)
        run.finish()
    assert (read_run(tmp_path / "run").candidates.share == 1).all()


# --------------------------------------------------------------------------------- pruned models


@pytest.mark.parametrize("family", ["llama", "bert"])
def test_pieces_of_a_pruned_batch_add_up_to_the_whole(tmp_path, family):
    folder = checkpoint(family, tmp_path / family)
    sizes = {"calibration": 4, "search": 24, "validation": 2}
    problem = Mixed(
        model=str(folder), variants=["removal"], length=16, sizes=sizes, cache="off",
        tokens_at_once=48,
    )  # fmt: skip
    rng = np.random.default_rng(0)
    rows = np.stack([rng.integers(0, problem.table.sizes) for _ in range(5)]).astype(np.int16)
    genomes = Genomes({"choices": rows})
    whole, batch = (problem.batch(genomes, Context()) for _ in range(2))
    expected = np.array(whole.readings)

    assert len(batch.pieces) > 2
    assert sorted(np.concatenate(batch.pieces)) == list(range(expected.shape[1]))
    batch.judge(np.array([1, 3]), 2)
    part = batch.read
    assert np.array_equal(part[[1, 3]][:, batch.pieces[2]], expected[[1, 3]][:, batch.pieces[2]])
    assert np.isfinite(part).sum() == 2 * len(batch.pieces[2]) * expected.shape[2]
    some = batch.taken(np.array([3, 4]))
    assert np.allclose(some.readings, expected[[3, 4]], rtol=1e-6, atol=0)
    before = problem.sweep().tally.heads
    assert np.allclose(some.readings, expected[[3, 4]], rtol=1e-6, atol=0)
    assert problem.sweep().tally.heads == before  # what is judged is not judged again
