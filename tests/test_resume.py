"""A run that was killed and resumed ends bit for bit like one that was left alone."""

import json
import os
import random
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from families import checkpoint

from evo.algorithms import CATALOGUE, SINGLE
from evo.algorithms.guided import Guided
from evo.config import RunConfig
from evo.run import Run
from evo.store import RunFile, read_run
from problems.synthetic import Layers

SEARCHES = [name for name in CATALOGUE if name != "greedy"]
SOME = ("nsga2", "cma-es", "evopress", "moead", "deap-nsga2")  # one of each kind


class Slow(Layers):
    """Layers that take a moment to judge, so that there is something to interrupt."""

    pause = 0.002

    def batch(self, genomes, context):
        time.sleep(self.pause)
        return super().batch(genomes, context)


def config(algorithm="nsga2", problem=f"{__name__}:Slow", surrogate=False, **more) -> RunConfig:
    return RunConfig.from_mapping(
        {
            "problem": {"id": problem, "layers": 8, "levels": 4}
            if isinstance(problem, str)
            else problem,
            "objectives": ["loss", "params", "removed"],
            "metrics": ["sparsity"],
            "algorithm": {"id": algorithm, "population": 12, "surrogate": surrogate},
            "stop": {"generations": 6},
            "evaluator": {"chunk": 5},
            "seed": 3,
            **more,
        }
    )


def go(given: RunConfig, folder: Path, begun: Callable[[], Any] = lambda: None) -> None:
    """Begin the run, or go on with it, to its end; tell when it is about to search."""
    exists = (folder / "run.sqlite").exists()
    run = Run.resume(folder) if exists else Run.create(given, folder)
    begun()
    with run:
        for _ in run:
            pass
        run.finish()


def contents(folder: Path) -> dict[str, list[tuple]]:
    """All that must be equal: everything but clocks and events."""
    names = ", ".join(f'"{c.name}"' for c in read_run(folder).columns)
    connection = sqlite3.connect(folder / "run.sqlite")
    found = {
        "candidates": connection.execute(
            "SELECT id, origin, generation, slot, key, genome, on_front, status, reason, "
            f"violation, violations, copied, {names} FROM candidate ORDER BY id"
        ).fetchall(),
        "generations": connection.execute(
            "SELECT origin, number, evaluated, cached, hypervolume, plan, complete, asked "
            "FROM generation ORDER BY origin, number"
        ).fetchall(),
        "judged": connection.execute("SELECT * FROM judged ORDER BY 1, 2, 3").fetchall(),
        "meta": connection.execute(
            "SELECT key, value FROM meta WHERE key IN "
            "('config', 'fingerprint', 'box', 'scales', 'status', 'reason', 'chunk', 'stop')"
        ).fetchall(),
    }
    connection.close()
    return {name: sorted(rows) if name == "meta" else rows for name, rows in found.items()}


class Cut(BaseException):
    """Ends a run like a power cut: nothing between here and the test catches it."""


def cut_at(monkeypatch, countdown: int, after: bool) -> None:
    """Let the writing methods of the run file fail for good at the given call."""
    calls = {"left": countdown}

    def guard(real):
        def method(*args, **kwargs):
            calls["left"] -= 1
            if calls["left"] < 0 and not after:
                raise Cut
            result = real(*args, **kwargs)
            if calls["left"] < 0:
                raise Cut
            return result

        return method

    for name in ("begin", "append", "complete", "judge", "set_meta"):
        monkeypatch.setattr(RunFile, name, guard(getattr(RunFile, name)))


def interrupt(given: RunConfig, folder: Path, draw: random.Random, monkeypatch) -> bool:
    """Go on with the run until it is cut at a random write; whether it was."""
    with monkeypatch.context() as patch:
        cut_at(patch, draw.randrange(14), draw.random() < 0.5)
        try:
            go(given, folder)
        except Cut:
            return True
    return False


@pytest.mark.parametrize(
    "algorithm",
    [
        *(s if s in SOME else pytest.param(s, marks=pytest.mark.slow) for s in SEARCHES),
        "nsga2, guided",
    ],
)
def test_interrupted_at_random_writes_every_algorithm_ends_alike(tmp_path, monkeypatch, algorithm):
    name, _, guided = algorithm.partition(", ")
    stop = {"generations": 3 if guided else 6}
    more = {"objectives": ["loss"]} if name in SINGLE else {}
    given = config(
        name, "synthetic/layers", bool(guided), baseline=algorithm == "nsga2", stop=stop, **more
    )
    go(given, tmp_path / "straight")

    draw, cuts = random.Random(algorithm), 0
    while interrupt(given, tmp_path / "cut", draw, monkeypatch):
        cuts += 1

    assert cuts >= 3
    assert contents(tmp_path / "cut") == contents(tmp_path / "straight")


@pytest.mark.parametrize("algorithm", ["nsga2", "nsga3", "random"])
def test_constrained_runs_with_failures_end_alike(tmp_path, monkeypatch, algorithm):
    given = config(
        algorithm, f"{__name__}:Patchy", constraints=["params < 6k"], objectives=["loss", "odd"]
    )
    go(given, tmp_path / "straight")

    draw, cuts = random.Random(algorithm), 0
    while interrupt(given, tmp_path / "cut", draw, monkeypatch):
        cuts += 1

    assert cuts >= 3
    straight = contents(tmp_path / "straight")
    assert contents(tmp_path / "cut") == straight
    assert {row[7] for row in straight["candidates"]} == {"ok", "failed"}


class Patchy(Layers):
    """Some candidates fail, and chunks above four candidates do not fit into memory."""

    def __init__(self, layers=8, levels=4) -> None:
        super().__init__(layers, levels)
        from evo.problem import Objective

        self.objectives = (*self.objectives, Objective("odd", "min", self._odd))

    def _odd(self, batch):
        if len(batch) > 4:
            raise MemoryError
        if (batch.choices[:, 1] == 2).any():
            raise ValueError("level 2 at the second layer")
        return batch.choices.sum(axis=1) % 7


def test_no_evaluation_is_ever_paid_twice(tmp_path, monkeypatch):
    judged: list[bytes] = []
    real = Layers.batch

    def counting(self, genomes, context):
        if context.split == "search":
            judged.extend(genomes.rows())
        return real(self, genomes, context)

    monkeypatch.setattr(Layers, "batch", counting)
    given, draw = config(problem="synthetic/layers"), random.Random(1)
    run = Run.create(given, tmp_path / "run")
    generations = iter(run)
    next(generations)
    with monkeypatch.context() as patch:  # the second chunk of generation 1 is the one in flight
        patch.setattr(RunFile, "append", cut_append(RunFile.append, draw))
        with run, pytest.raises(Cut):
            next(generations)

    before = list(judged)
    go(given, tmp_path / "run")

    in_flight = before[17:22]  # 12 of generation 0, 5 recorded ones, 5 lost ones
    again = [row for row in judged[len(before) :] if row in set(before)]
    assert len(before) == 22
    assert again == in_flight


def cut_append(real, draw):
    calls = {"left": 1}

    def method(*args, **kwargs):
        calls["left"] -= 1
        if calls["left"] < 0:
            raise Cut
        return real(*args, **kwargs)

    return method


def test_ctrl_c_leaves_a_readable_run_that_goes_on(tmp_path):
    go(config(), tmp_path / "straight")
    code = (
        "import sys, signal; from pathlib import Path\n"
        f"sys.path.insert(0, {str(Path(__file__).parent)!r})\n"
        "import test_resume as t\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"  # ignored in the background
        "calls, batch = [], t.Slow.batch\n"
        "def interrupted(self, genomes, context):\n"
        "    calls.append(1)\n"
        "    if len(calls) == 8: signal.raise_signal(signal.SIGINT)\n"
        "    return batch(self, genomes, context)\n"
        "t.Slow.batch = interrupted\n"
        "run = t.Run.create(t.config(problem='test_resume:Slow'), Path(sys.argv[1]))\n"
        "with run:\n"
        "    list(run)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "run")], capture_output=True, text=True,
        check=False,
    )  # fmt: skip

    view = read_run(tmp_path / "run")
    assert done.stderr.rstrip().endswith("KeyboardInterrupt"), done.stderr
    assert not view.complete
    assert len(view.candidates) == 29  # two generations of three chunks, and one chunk
    assert [e.text for e in view.events] == ["in generation 2"]
    assert not list((tmp_path / "run").glob("run.sqlite-*"))  # the log was folded in
    tell_config(tmp_path / "run")
    go(config(), tmp_path / "run")
    assert contents(tmp_path / "run") == contents(tmp_path / "straight")


def test_a_guided_search_is_recalled_not_worked_out_again(tmp_path, monkeypatch):
    go(
        config(problem="synthetic/layers", surrogate=True, stop={"generations": 3}),
        tmp_path / "run",
    )
    before = contents(tmp_path / "run")["candidates"]

    def again(self):
        raise AssertionError("asked again")

    monkeypatch.setattr(Guided, "ask", again)
    with Run.resume(tmp_path / "run") as run:
        assert [g.replayed for g in run] == [True, True, True]
    assert contents(tmp_path / "run")["candidates"] == before


def tell_config(folder: Path) -> None:
    """Let a run of another process name this module as this process knows it."""
    given = config()
    (folder / "config.toml").write_text(given.to_toml())
    with sqlite3.connect(folder / "run.sqlite") as connection:
        connection.execute(
            "UPDATE meta SET value = ? WHERE key = 'config'",
            (json.dumps(given.to_mapping(), sort_keys=True),),
        )
        connection.execute(
            "UPDATE meta SET value = ? WHERE key = 'fingerprint'", (f'"{given.fingerprint()}"',)
        )
    connection.close()


# -- real kills: a driver process forks the run, kills it, and forks it again ----------------------


def drive(home: Path, given: RunConfig, kills: int, seed: int, within: float) -> None:
    """Kill runs at random moments until the given number of kills is reached; all runs end.

    Most kills come within so many seconds after a search has begun or gone on.
    """
    draw, killed, number = random.Random(seed), 0, 0
    while killed < kills:
        folder, done = home / f"run{number}", False
        while not done:
            reading, writing = os.pipe()
            child = os.fork()
            if child == 0:
                go(given, folder, lambda out=writing: os.write(out, b"."))
                os._exit(0)
            os.close(writing)
            if killed < kills:
                if draw.random() < 0.8:  # else it may still be reading or making its file
                    os.read(reading, 1)
                time.sleep(draw.uniform(0, within))
                os.kill(child, signal.SIGKILL)
            _, status = os.waitpid(child, 0)
            os.close(reading)
            done = os.WIFEXITED(status)
            assert done or os.WTERMSIG(status) == signal.SIGKILL
            assert not done or os.WEXITSTATUS(status) == 0
            killed += not done
        number += 1


def kill_and_compare(
    tmp_path: Path, algorithm: str, kills: int, within: float = 0.12, **more
) -> None:
    given = config(algorithm, **{"problem": "test_resume:Slow", **more})
    code = (
        "import sys, json; from pathlib import Path\n"
        f"sys.path.insert(0, {str(Path(__file__).parent)!r})\n"
        "import test_resume as t\n"
        "given = t.RunConfig.from_mapping(json.loads(sys.argv[2]))\n"
        "t.go(given, Path(sys.argv[1]) / 'straight')\n"
        f"t.drive(Path(sys.argv[1]), given, {kills}, {len(algorithm)}, {within})\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path), given.to_json()], capture_output=True,
        text=True, check=False, env={**os.environ, "PYTHONHASHSEED": "7", "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr

    straight = contents(tmp_path / "straight")
    folders = sorted(tmp_path.glob("run*"))
    assert folders
    for folder in folders:
        assert contents(folder) == straight
    resumed = [e for f in folders for e in read_run(f).events if e.kind == "resumed"]
    assert len(resumed) >= kills // 2  # some kills come before there is a run to resume


@pytest.mark.slow
def test_killed_five_times_a_run_ends_alike(tmp_path):
    kill_and_compare(tmp_path, "nsga2", 5)


@pytest.mark.slow
@pytest.mark.parametrize("algorithm", ["nsga2", "nsga3", "sms-emoa", "moead", "deap-nsga2"])
def test_killed_twenty_times_a_run_ends_alike(tmp_path, algorithm):
    kill_and_compare(tmp_path, algorithm, 20, baseline=True, stop={"generations": 12})


@pytest.mark.slow
@pytest.mark.parametrize("algorithm", ["nsga2", "nsga3", "sms-emoa", "moead", "deap-nsga2"])
def test_killed_twenty_times_a_search_of_pruned_models_ends_alike(tmp_path, algorithm):
    model = checkpoint("llama", tmp_path / "model")
    problem = {
        "id": "prune/mixed", "model": str(model), "length": 24, "cache": "off",
        "sizes": {"calibration": 4, "search": 8, "validation": 4},
        "variants": ["removal", "heads", "width@0.5", "wanda@0.5"],
    }  # fmt: skip
    kill_and_compare(
        tmp_path, algorithm, 20, within=2.0, surrogate=True, problem=problem, baseline=True,
        objectives=["kl", "params", "kv_bytes"], metrics=["perplexity"], stop={"generations": 5},
    )  # fmt: skip
