"""Grids of runs: what a study file means, what is refused, and that nothing is lost or repeated."""

from __future__ import annotations

import importlib.util
import json
import os
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from evo.cli import main
from evo.config import RunConfig
from evo.errors import StoreError
from evo.folders import take_lock
from evo.run import Run
from evo.studies import read_study, study_from
from evo.studies.attempt import Event
from evo.studies.folder import Failures, State, read_failures
from evo.studies.progress import Board
from evo.view import read_run

SMALL = """
problems = ["synthetic/layers", { name = "sphere", id = "synthetic/dtlz2", n_objectives = 2 }]
algorithms = ["nsga2", { id = "random", population = 6 }]
seeds = [0, 4]
[algorithm]
population = 8
[stop]
generations = 3
"""


def small(**more):
    return {"problems": ["synthetic/zdt1"], "algorithms": ["nsga2"], **more}


def lines(err):
    return [line for line in err.splitlines() if line.startswith("evo:")]


# ---- the file


def test_cells_are_the_product_seed_by_seed():
    study = study_from(
        small(
            problems=["synthetic/zdt1", "synthetic/zdt2"],
            algorithms=["nsga2", {"name": "lucky", "id": "random"}],
            settings={"a": {}, "b": {}},
            seeds=2,
        ),
        "grid",
    )

    names = [cell.name for cell in study.cells]
    assert len(names) == len(set(names)) == 16
    assert names[:5] == [
        "zdt1-nsga2-a-s0", "zdt1-nsga2-b-s0", "zdt1-lucky-a-s0", "zdt1-lucky-b-s0",
        "zdt2-nsga2-a-s0",
    ]  # fmt: skip
    assert [cell.seed for cell in study.cells] == [0] * 8 + [1] * 8
    assert study.cells[2].label == "lucky a"
    assert study.cells[2].config.algorithm.id == "random"


def test_settings_win_over_the_algorithm_and_that_over_what_is_common():
    (cell,) = study_from(
        small(
            problems=[{"id": "synthetic/zdt1", "n_variables": 7, "stop": {"evaluations": 99}}],
            algorithms=[{"id": "moead", "population": 20, "neighbours": 5, "mating": 0.8}],
            settings={"wide": {"algorithm": {"neighbours": 9}, "problem": {"n_variables": 8}}},
            algorithm={"population": 50, "mating": 0.1, "replacements": 3},
            stop={"generations": 4},
            metrics=["f1"],
            seeds=[7],
        ),
        "x",
    ).cells

    assert cell.config == RunConfig.from_mapping({
        "problem": {"id": "synthetic/zdt1", "n_variables": 8},
        "algorithm": {"id": "moead", "population": 20, "neighbours": 9, "mating": 0.8,
                      "replacements": 3},
        "stop": {"generations": 4, "evaluations": 99}, "metrics": ["f1"], "seed": 7,
    })  # fmt: skip


BAD = [
    ("problems = [", "is not valid TOML"),
    ('algorithms = ["nsga2"]', "needs a list of problems, got None"),
    ('problems = ["synthetic/zdt1"]\nalgorithms = []', "needs a list of algorithms"),
    ("problms = []", "a study has no 'problms'; did you mean 'problems'?"),
    ("{base}seed = 3", "a study has no 'seed'; did you mean 'seeds'?"),
    ("{base}seeds = 0", "seeds must be a number of at least 1"),
    ("{base}seeds = [1, 1]", "two seeds of the study are called '1'"),
    ("{base}seeds = [-1]", "whole number of at least 0, got -1"),
    ("{base}settings = 3", "named tables, got 3"),
    ("{base}settings.a.seed = 3", "settings 'a' hold a seed"),
    ("{base}settings.a.algorithm.population = 0", "zdt1 nsga2 a: algorithm.population"),
    ("{base}settings.a.algoritm.population = 9", "zdt1 nsga2 a: the configuration has no setting"),
    ("{base}algorithm = 'nsga2'", "names its algorithms in the list algorithms"),
    ("{base}name = 'a/b'", "the study cannot be called 'a/b'"),
    ("problems = ['synthetic/zdt1', 'synthetic/zdt1']\nalgorithms = ['nsga2']",
     "two problems of the study are called 'zdt1'"),
    ("problems = ['synthetic/zdt1']\nalgorithms = [{ population = 3 }]", "needs an id"),
    ("problems = ['synthetic/zdt1']\nalgorithms = ['nsga2', 'nsgaa3']",
     "zdt1 nsgaa3: no algorithm called 'nsgaa3'; did you mean"),
    ("problems = ['synthetic/zdt']\nalgorithms = ['nsga2']", "no problem called 'synthetic/zdt'"),
    ("problems = [{ id = 'synthetic/zdt1', d = 3 }]\nalgorithms = ['nsga2']",
     "zdt1 nsga2: problem 'synthetic/zdt1' has no setting called 'd'"),
    ("problems = [{ id = 'synthetic/zdt1', objectives = ['f9'] }]\nalgorithms = ['nsga2']", "'f9'"),
    ("problems = ['synthetic/knapsack']\nalgorithms = ['nsga2', 'moead']",
     "knapsack moead: algorithm 'moead' cannot handle constraints"),
    ("problems = ['synthetic/zdt1']\nalgorithms = ['rvea']\nstop.evaluations = 9",
     "zdt1 rvea: algorithm 'rvea' needs the planned number"),
    ("{base}evaluator.device = 'tpu'", "zdt1 nsga2: there is no device 'tpu'"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "told"), BAD, ids=[told for _, told in BAD])
def test_a_bad_study_is_one_sentence_before_anything_runs(text, told, tmp_path, capsys):
    base = 'problems = ["synthetic/zdt1"]\nalgorithms = ["nsga2"]\n'
    (tmp_path / "bad.toml").write_text(text.replace("{base}", base))

    code = main(["study", str(tmp_path / "bad.toml"), "--out", str(tmp_path / "out")])

    out, err = capsys.readouterr()
    assert (code, len(lines(err)), out) == (2, 1, "")
    assert told in lines(err)[0]
    assert not (tmp_path / "out").exists()


def test_a_missing_file_and_no_jobs_are_refused(tmp_path, capsys):
    (tmp_path / "s.toml").write_text(SMALL)

    assert main(["study", str(tmp_path / "no.toml")]) == 2
    assert "there is no configuration file" in capsys.readouterr().err
    assert main(["study", str(tmp_path / "s.toml"), "--jobs", "0"]) == 2
    assert "--jobs must be at least 1, got 0" in capsys.readouterr().err


# ---- running it


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    """A finished study of eight runs, and its file."""
    home = tmp_path_factory.mktemp("study")
    (home / "s.toml").write_text(SMALL)
    assert main(["study", str(home / "s.toml"), "--jobs", "2", "--out", str(home / "out")]) == 0
    return home


def same(a: Path, b: Path) -> None:
    """Two run files hold the same candidates, bit for bit."""
    one, other = read_run(a), read_run(b)
    assert one.complete
    assert other.complete
    assert np.array_equal(one.candidates.values, other.candidates.values)
    assert np.array_equal(one.candidates.on_front, other.candidates.on_front)
    assert one.candidates.genomes.keys() == other.candidates.genomes.keys()
    assert one.meta["fingerprint"] == other.meta["fingerprint"]


def test_every_cell_is_the_run_that_its_configuration_gives_alone(done, tmp_path):
    name, cells = read_study(done / "out")

    assert name == "s"
    assert len(cells) == 8
    for cell in (cells[0], cells[-1]):
        config = RunConfig.from_mapping(read_run(cell.folder).meta["config"])
        assert config.seed == cell.seed
        with Run.create(config, tmp_path / cell.folder.name) as run:
            for _ in run:
                pass
            run.finish()
        same(cell.folder, tmp_path / cell.folder.name)
        assert "nsga2" in (cell.folder / "log.txt").read_text() or cell.label == "random"


def test_finished_runs_are_not_repeated_and_new_ones_join(done, capsys):
    folder = done / "out"
    before = {f: f.stat().st_mtime_ns for f in folder.glob("*/run.sqlite")}
    (done / "more.toml").write_text(SMALL.replace("[0, 4]", "[0, 4, 9]"))

    code = main(["study", str(done / "more.toml"), "--out", str(folder), "--json"])

    told = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert code == 0
    assert {row["seed"] for row in told[:-1]} == {9}
    assert len(told) == 5
    assert told[-1] | {"seconds": 0} == {
        "type": "result", "study": str(folder), "runs": 12, "finished": 12, "failed": [],
        "seconds": 0,
    }  # fmt: skip
    assert all(f.stat().st_mtime_ns == t for f, t in before.items())
    assert len(read_study(folder)[1]) == 12


def test_a_changed_study_is_refused_before_anything_runs(done, capsys):
    (done / "changed.toml").write_text(SMALL.replace("generations = 3", "generations = 5"))

    code = main(["study", str(done / "changed.toml"), "--out", str(done / "out")])

    (line,) = lines(capsys.readouterr().err)
    assert code == 2
    assert "has another configuration: stop.generations was 3, is 5" in line


def test_one_process_at_a_time_runs_a_study(done, capsys):
    with take_lock(done / "out", "study"):
        code = main(["study", str(done / "s.toml"), "--out", str(done / "out")])

    (line,) = lines(capsys.readouterr().err)
    assert code == 2
    assert line.startswith(f"evo: study {str(done / 'out')!r} is being written by process")


def test_a_run_is_no_study_and_a_study_no_run(done, capsys):
    run = next((done / "out").glob("*-s0"))

    assert main(["study", str(done / "s.toml"), "--out", str(run)]) == 2
    assert "holds a run; a study needs a folder of its own" in capsys.readouterr().err
    with pytest.raises(StoreError, match="holds no study"):
        read_study(run)
    assert main(["study", str(done / "s.toml"), "--out", str(done)]) == 2
    assert "holds no study but" in capsys.readouterr().err


@pytest.mark.parametrize("run", ["../elsewhere", "/etc", "..", "", 3])
def test_a_record_that_leads_out_of_its_folder_is_refused(run, tmp_path):
    cells = [{"problem": "p", "label": "a", "seed": 0, "run": run}]
    (tmp_path / "study.json").write_text(json.dumps({"format": 1, "name": "x", "cells": cells}))

    with pytest.raises(StoreError, match="cannot be read"):
        read_study(tmp_path)


FAILING = """
problems = [
  { name = "well", id = "mortal:Mortal" },
  { name = "deadly", id = "mortal:Mortal", deadly = 45 },
  { name = "hopeless", id = "mortal:Mortal", hopeless = 45 },
]
algorithms = ["random"]
seeds = 2
[algorithm]
population = 200
[stop]
generations = 1
"""


def test_failed_cells_are_told_and_stop_no_other(tmp_path, capsys):
    (tmp_path / "f.toml").write_text(FAILING)
    words = ["study", str(tmp_path / "f.toml"), "--jobs", "1", "--out", str(tmp_path / "out")]

    code = main([*words, "--json"])

    told = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    why = {row["run"]: row["why"] for row in told[-1]["failed"]}
    assert code == 1
    assert told[-1]["finished"] == 2
    assert set(why) == {f"{p}-random-s{s}" for p in ("deadly", "hopeless") for s in (0, 1)}
    assert why["deadly-random-s0"] == "its process was killed by SIGKILL"
    assert "the text is gone" in why["hopeless-random-s1"]
    assert read_failures(tmp_path / "out") == why
    assert read_run(tmp_path / "out" / "well-random-s1").complete

    assert main(words) == 1
    out = capsys.readouterr().out
    assert "2 of 6 runs" in out
    assert "failed deadly-random-s0: its process was killed by SIGKILL" in out
    assert read_failures(tmp_path / "out") == why


def test_a_failure_is_forgotten_once_the_run_is_tried_again(tmp_path):
    cells = [SimpleNamespace(name=name) for name in ("one", "other")]
    failures = Failures(tmp_path)
    assert read_failures(tmp_path) == {}
    for cell in cells:
        failures.hear(Event("failed", cell, why=f"{cell.name} is sick"))

    again = Failures(tmp_path)  # by a later command
    again.hear(Event("step", cells[0]))
    assert read_failures(tmp_path) == {"other": "other is sick"}

    again.hear(Event("done", cells[1]))
    assert read_failures(tmp_path) == {}
    for broken in ("[1]", "{", ""):
        (tmp_path / "failures.json").write_text(broken)
        assert read_failures(tmp_path) == {}


# ---- on Ray


def test_a_study_on_a_ray_that_is_not_installed_is_refused(tmp_path, capsys, monkeypatch):
    real = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *a: None if name == "ray" else real(name, *a)
    )
    (tmp_path / "small.toml").write_text(SMALL)

    code = main(
        ["study", str(tmp_path / "small.toml"), "--ray", "local", "--out", str(tmp_path / "out")]
    )

    assert code == 2
    assert "evo study --ray needs Ray, which is not installed" in capsys.readouterr().err


NO_RAY = importlib.util.find_spec("ray") is None
needs_ray = pytest.mark.skipif(NO_RAY, reason="ray is not installed (extra ray)")


@pytest.mark.slow
@needs_ray
def test_a_study_on_ray_leaves_the_same_runs(done, tmp_path):
    words = ["study", str(done / "s.toml"), "--ray", "local", "--jobs", "2"]

    ended = subprocess.run([sys.executable, "-m", "evo", *words, "--out", str(tmp_path / "out")])

    assert ended.returncode == 0
    _, cells = read_study(tmp_path / "out")
    assert len(cells) == 8
    for cell in cells:
        same(cell.folder, done / "out" / cell.folder.name)


@pytest.mark.slow
@needs_ray
def test_cells_whose_task_dies_on_ray_stop_no_other(tmp_path):
    (tmp_path / "f.toml").write_text(FAILING)
    words = ["study", str(tmp_path / "f.toml"), "--ray", "local", "--jobs", "1", "--json"]

    ended = subprocess.run(
        [sys.executable, "-m", "evo", *words, "--out", str(tmp_path / "out")],
        capture_output=True, text=True, env=os.environ | {"PYTHONPATH": str(Path(__file__).parent)},
    )  # fmt: skip

    told = json.loads(ended.stdout.splitlines()[-1])
    why = {row["run"]: row["why"] for row in told["failed"]}
    assert (ended.returncode, told["finished"]) == (1, 2)
    assert set(why) == {f"{p}-random-s{s}" for p in ("deadly", "hopeless") for s in (0, 1)}
    assert why["deadly-random-s0"].startswith("its task died: ")
    assert "the text is gone" in why["hopeless-random-s1"]


# ---- how far it is


def test_the_time_to_go_is_that_of_finished_runs_shared_among_jobs():
    study = study_from(small(algorithms=["nsga2", "random"], seeds=3), "x")
    cells = study.cells  # nsga2 s0, random s0, nsga2 s1, ...
    states = [State("finished", 10, 4.0)] + [State("new")] * 5
    board = Board(cells, states, 2)

    # two of nsga2 at 4 s, three of random of which nothing is known but the mean, 4 s
    assert board.eta() == pytest.approx(5 * 4.0 / 2)
    board.hear(Event("begun", cells[1]))
    board.hear(Event("step", cells[1], 5, seconds=6.0, eta=2.0))
    # random takes 8 s: 2 to go for the running one, 16 for the others, 8 for those of nsga2
    assert board.eta() == pytest.approx((2 + 16 + 8) / 2)
    board.hear(Event("done", cells[1], 10, seconds=10.0))
    assert board.eta() == pytest.approx((20 + 8) / 2)
    board.hear(Event("begun", cells[3]))
    board.hear(Event("failed", cells[3], why="sick"))
    # one run of 10 s and two of 4 s: the one alone takes longer than half of all
    assert board.eta() == pytest.approx(10.0)
    assert (board.done, [g.failed for g in board.groups]) == (2, [0, 1])
    for cell in (cells[2], cells[4], cells[5]):
        board.hear(Event("begun", cell))
        board.hear(Event("done", cell, 10, 1.0))
    assert board.eta() == 0.0


def test_nothing_is_told_of_the_time_to_go_before_anything_is_known():
    study = study_from(small(), "x")

    assert Board(study.cells, [State("new")], 2).eta() is None


# ---- killed


KILLED = """
problems = ["synthetic/zdt1", "synthetic/zdt2", { id = "synthetic/dtlz2", n_objectives = 2 }]
algorithms = ["nsga2", "spea2", "moead", "random"]
seeds = 5
[algorithm]
population = 40
[stop]
evaluations = 1600
"""


@pytest.mark.slow
def test_a_study_killed_twice_ends_like_one_left_alone(tmp_path):
    (tmp_path / "k.toml").write_text(KILLED)
    words = [sys.executable, "-m", "evo", "study", "k.toml", "--jobs", "2", "--out"]
    settings = {**os.environ, "OMP_NUM_THREADS": "1", "EVO_RUNS": str(tmp_path)}
    finished: list[set[Path]] = []
    for _ in range(2):
        process = subprocess.Popen([*words, "broken"], cwd=tmp_path, env=settings)
        before = finished[-1] if finished else set()
        deadline = time.monotonic() + 120
        while len(complete(tmp_path / "broken")) < len(before) + 10:
            assert time.monotonic() < deadline
            assert process.poll() is None
            time.sleep(0.02)
        process.send_signal(signal.SIGKILL)
        process.wait()
        finished.append(complete(tmp_path / "broken"))
    assert len(finished[1]) < 60
    times = {f: f.stat().st_mtime_ns for f in finished[1]}

    subprocess.run([*words, "broken"], cwd=tmp_path, env=settings, check=True)
    subprocess.run([*words, "whole"], cwd=tmp_path, env=settings, check=True)

    _, cells = read_study(tmp_path / "whole")
    assert len(cells) == 60
    for cell in cells:
        same(cell.folder, tmp_path / "broken" / cell.folder.name)
    assert all(f.stat().st_mtime_ns == t for f, t in times.items())


SLOW = """
problems = [{ name = "slow", id = "mortal:Mortal", slow = 0.05 }]
algorithms = ["random"]
seeds = 2
algorithm.population = 20
stop.generations = 3
evaluator.chunk = 4
"""


def test_an_interrupted_study_ends_its_processes_and_goes_on(tmp_path):
    (tmp_path / "i.toml").write_text(SLOW)
    words = [sys.executable, "-m", "evo", "study", "i.toml", "--jobs", "2", "--out", "out"]
    tests = str(Path(__file__).parent)
    path = os.pathsep.join(filter(None, (os.environ.get("PYTHONPATH"), os.getcwd(), tests)))
    settings = {**os.environ, "PYTHONPATH": path}
    process = subprocess.Popen(
        words, cwd=tmp_path, env=settings, stderr=subprocess.PIPE, text=True,
        preexec_fn=partial(signal.signal, signal.SIGINT, signal.default_int_handler),
    )  # fmt: skip
    deadline = time.monotonic() + 60
    while len(list((tmp_path / "out").glob("*/run.sqlite"))) < 2:
        assert time.monotonic() < deadline
        assert process.poll() is None
        time.sleep(0.02)

    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=30)

    assert process.returncode == 130
    assert lines(err) == ["evo: interrupted"]
    assert "go on with: evo study i.toml" in err
    for cell in read_study(tmp_path / "out")[1]:
        take_lock(cell.folder).close()  # nobody writes any more
    subprocess.run(words, cwd=tmp_path, env=settings, check=True, capture_output=True)
    assert all(read_run(cell.folder).complete for cell in read_study(tmp_path / "out")[1])


def complete(folder: Path) -> set[Path]:
    """Run files of a study that are finished."""
    found = set()
    for file in folder.glob("*/run.sqlite"):
        if not (file.parent / "run.sqlite-wal").exists() and read_run(file.parent).complete:
            found.add(file)
    return found
