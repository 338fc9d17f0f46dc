"""Workers: the run they leave is that of one process, whatever happens to them."""

from __future__ import annotations

import importlib.util
import json
import multiprocessing
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from families import checkpoint
from test_resume import contents

from evo.cli import main
from evo.config import RunConfig
from evo.errors import ConfigError, DataError, WorkerError
from evo.evaluate.crew import devices_for
from evo.problem import Context
from evo.registry import build_problem
from evo.run import Run
from evo.store import read_run

NO_RAY = importlib.util.find_spec("ray") is None


def mortal(workers: int, chunk: int = 4, ray: str = "", **settings: Any) -> RunConfig:
    return RunConfig.from_mapping(
        {
            "problem": {"id": "mortal:Mortal", **settings},
            "algorithm": {"id": "nsga2", "population": 16},
            "stop": {"generations": 4},
            "evaluator": {"chunk": chunk, "workers": workers, "ray": ray},
        }
    )


def ran(config: RunConfig, folder: Path) -> dict[str, list[tuple]]:
    """What a whole run has written, but for its configuration."""
    with Run.create(config, folder) as run:
        list(run)
        run.finish()
    return written(folder)


def written(folder: Path) -> dict[str, list[tuple]]:
    found = contents(folder)
    found["meta"] = [row for row in found["meta"] if row[0] not in ("config", "fingerprint")]
    return found


def in_a_process(code: str, config: RunConfig, folder: Path) -> Any:
    """What became of code that is given a configuration and a folder."""
    head = (
        "import json, os, signal, sys\n"
        "from evo.config import RunConfig; from evo.run import Run\n"
        f"sys.path.insert(0, {str(Path(__file__).parent)!r})\n"
        "config, folder = RunConfig.from_mapping(json.loads(sys.argv[1])), sys.argv[2]\n"
    )
    return subprocess.run(
        [sys.executable, "-c", head + code, config.to_json(), str(folder)], check=False,
        stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def sums_of_the_first(folder: Path) -> list[int]:
    """Sums of the first generation, in the order in which they are judged."""
    seen = read_run(folder).candidates
    return [int(v) for v in seen.values[seen.generation == 0, 0]]


def without_status(found: dict[str, list[tuple]]) -> list[tuple]:
    return [row[:7] for row in found["candidates"]]


@pytest.mark.parametrize("workers", [1, 2, 4])
def test_any_number_of_workers_leaves_the_same_run(tmp_path: Path, workers: int) -> None:
    alone = ran(mortal(0, sick=40), tmp_path / "alone")
    seen = tmp_path / "seen"
    seen.mkdir()

    together = ran(mortal(workers, sick=40, seen=str(seen), slow=0.01), tmp_path / "together")

    assert together == alone
    processes = {int(path.name) for path in seen.iterdir()}
    assert len(processes) == workers
    assert os.getpid() not in processes
    assert any("cannot stand 40" in str(row) for row in together["candidates"])
    assert not multiprocessing.active_children()


def test_work_of_all_workers_is_counted(tmp_path: Path) -> None:
    ran(mortal(2), tmp_path / "run")

    view = read_run(tmp_path / "run")
    judged = sum(counts.get("judged", 0) for counts in view.work.values())
    assert judged == sum(row.evaluated for row in view.generations) == 64


def test_a_worker_killed_at_work_costs_nothing_but_time(tmp_path: Path) -> None:
    alone = ran(mortal(0), tmp_path / "alone")
    victim = sums_of_the_first(tmp_path / "alone")[5]
    mark = tmp_path / "mark"

    together = ran(mortal(2, deadly=victim, once=str(mark)), tmp_path / "together")

    assert mark.exists()
    assert together == alone
    told = [e.text for e in read_run(tmp_path / "together").events if e.kind == "worker"]
    assert len(told) == 1
    assert "died with a chunk of 4; it is judged anew" in told[0]


def test_who_always_kills_fails_alone(tmp_path: Path) -> None:
    ran(mortal(0), tmp_path / "alone")
    sums = sums_of_the_first(tmp_path / "alone")
    victim = next(s for s, times in Counter(sums).items() if times == 1)
    config = mortal(2, deadly=victim).override("stop.generations", 1)

    ran(config, tmp_path / "together")

    first = read_run(tmp_path / "together").candidates
    assert first.ok.sum() == len(sums) - 1
    (lost,) = np.flatnonzero(~first.ok)
    assert sums[lost] == victim
    deaths = [e for e in read_run(tmp_path / "together").events if e.kind == "worker"]
    assert len(deaths) == 2 + 1 + 1  # of four together, of two, of one
    assert first.reason[lost] == "its worker died 2 times while judging it"
    assert [int(v) for v in first.values[first.ok, 0]] == [s for s in sums if s != victim]


def test_workers_know_whom_their_candidates_race_against(tmp_path: Path) -> None:
    alone, together = (
        RunConfig.from_mapping(
            {
                "problem": {"id": "test_racing:Noisy"},
                "algorithm": {"id": "nsga2", "population": 16}, "stop": {"generations": 5},
                "evaluator": {"racing": 0.95, "chunk": 6, "workers": workers},
            }
        )
        for workers in (0, 2)
    )  # fmt: skip

    assert ran(together, tmp_path / "together") == ran(alone, tmp_path / "alone")

    shares = [read_run(tmp_path / name).candidates.share for name in ("together", "alone")]
    assert (shares[0] < 1).sum() > 20
    assert np.array_equal(*shares)


def test_chunks_that_do_not_fit_are_halved_by_workers_too(tmp_path: Path) -> None:
    alone = ran(mortal(0, chunk=16), tmp_path / "alone")

    together = ran(mortal(2, chunk=16, fits=3), tmp_path / "together")

    view = read_run(tmp_path / "together")
    assert view.meta["chunk"] == 2
    assert [e.text for e in view.events if e.kind == "memory"] == [
        f"memory ran out; chunks have {chunk} candidates from now on" for chunk in (4, 2)
    ]
    assert together["candidates"] == alone["candidates"]


def test_what_is_wrong_for_all_is_raised_here(tmp_path: Path) -> None:
    ran(mortal(0), tmp_path / "alone")
    victim = sums_of_the_first(tmp_path / "alone")[3]

    with (
        Run.create(mortal(2, hopeless=victim), tmp_path / "run") as run,
        pytest.raises(DataError, match="the text is gone") as caught,
    ):
        list(run)

    assert caught.value.hint == "bring it back"
    assert not multiprocessing.active_children()


def test_a_worker_that_stands_on_something_else_is_refused(tmp_path: Path) -> None:
    with (
        Run.create(mortal(1, stands_on="process"), tmp_path / "run") as run,
        pytest.raises(WorkerError, match="found another ground than the run stands on"),
    ):
        list(run)


def test_a_run_goes_on_with_another_number_of_workers(tmp_path: Path) -> None:
    alone = ran(mortal(0), tmp_path / "alone")
    with Run.create(mortal(0), tmp_path / "run") as run:
        next(iter(run))
        next(iter(run))

    code = main(["resume", str(tmp_path / "run"), "--workers", "2"])

    assert code == 0
    assert written(tmp_path / "run") == alone
    again = ["run", "mortal:Mortal", "--population", "16", "--generations", "5", "--chunk", "4"]
    code = main([*again, "--out", str(tmp_path / "run"), "--resume", "--workers", "1"])
    assert code == 0


def test_a_killed_run_takes_its_workers_with_it(tmp_path: Path) -> None:
    seen = tmp_path / "seen"
    seen.mkdir()
    config = mortal(2, slow=0.05, seen=str(seen))
    code = (
        "run = Run.create(config, folder)\nnext(iter(run)); os.kill(os.getpid(), signal.SIGKILL)\n"
    )

    done = in_a_process(code, config, tmp_path / "run")

    assert done.returncode == -9, done.stderr
    assert done.stderr == ""
    processes = [int(path.name) for path in seen.iterdir()]
    assert len(processes) == 2
    assert not [p for p in processes if Path(f"/proc/{p}/exe").exists()]  # pipe closed: all ended
    alone = ran(mortal(0), tmp_path / "alone")
    with Run.resume(tmp_path / "run") as run:
        list(run)
        run.finish()
    found = written(tmp_path / "run")
    assert found["candidates"] == alone["candidates"]


@pytest.mark.parametrize(
    ("name", "value", "told"),
    [
        ("workers", -1, "evaluator.workers must be a whole number of at least 0, got -1"),
        ("workers", 1.5, "evaluator.workers must be a whole number of at least 0, got 1.5"),
        ("ray", 3, "evaluator.ray must be 'local' or the address of a cluster, got 3"),
    ],
)
def test_settings_that_make_no_sense_are_refused(name: str, value: Any, told: str) -> None:
    with pytest.raises(ConfigError) as caught:
        RunConfig.from_mapping({"evaluator": {name: value}})

    assert caught.value.message == told


def test_without_workers_a_configuration_is_what_it_was() -> None:
    assert json.loads(RunConfig().to_json())["evaluator"] == {"chunk": "auto", "device": "auto"}
    assert RunConfig().fingerprint() == RunConfig.from_mapping({"evaluator": {}}).fingerprint()


def test_ray_that_is_not_installed_is_named(
    tmp_path: Path, capsys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *a: None if name == "ray" else real(name, *a)
    )

    code = main(["run", "synthetic/zdt1", "--set", "evaluator.ray=local"])

    assert code == 2
    assert "evaluator.ray needs Ray, which is not installed" in capsys.readouterr().err


def test_gpus_are_given_out_in_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    cuda = SimpleNamespace(device_count=lambda: 2)
    monkeypatch.setitem(sys.modules, "torch", SimpleNamespace(cuda=cuda))

    assert devices_for(3, "cuda:0") == ["cuda:0", "cuda:1", "cuda:0"]
    assert devices_for(2, "cuda:1") == ["cuda:1", "cuda:1"]
    assert devices_for(2, "cpu") == ["cpu", "cpu"]


# -- pruned models ---------------------------------------------------------------------------------


def pruning(folder: Path, workers: int, **more: Any) -> RunConfig:
    sizes = {"calibration": 4, "search": 8, "validation": 4}
    problem = {
        "id": "prune/mixed", "model": str(folder), "variants": ["removal", "width@0.5"],
        "length": 16, "sizes": sizes, "cache": "off", **more.pop("problem", {}),
    }  # fmt: skip
    return RunConfig.from_mapping(
        {
            "problem": problem,
            "objectives": ["kl", "params"],
            "algorithm": {"id": "nsga2", "population": 12},
            "stop": {"generations": 3},
            "evaluator": {"workers": workers, "device": "cpu", **more.pop("evaluator", {})},
            **more,
        }
    )


@pytest.mark.slow
def test_workers_race_pruned_models_alike(tmp_path: Path) -> None:
    model = checkpoint("llama", tmp_path / "model")
    racing = {"evaluator": {"racing": 0.9, "chunk": 6}, "metrics": ["perplexity"]}
    alone = ran(pruning(model, 0, **racing), tmp_path / "alone")

    assert ran(pruning(model, 2, **racing), tmp_path / "together") == alone


@pytest.mark.slow
def test_workers_know_what_was_measured(tmp_path: Path) -> None:
    model = checkpoint("llama", tmp_path / "model")
    timed = pruning(model, 2, objectives=["kl", "latency"], stop={"generations": 1})
    ran(timed, tmp_path / "timed")
    view = read_run(tmp_path / "timed")
    problem: Any = build_problem(timed)
    problem.restore(view.meta["measurements"])
    batch = problem.batch(view.candidates.genomes, Context())
    np.testing.assert_allclose(view.candidates.values[:, 1], problem.latency_of(batch), atol=1e-3)


@pytest.mark.slow
def test_no_way_of_judging_changes_what_is_recorded(tmp_path: Path) -> None:
    model = checkpoint("llama", tmp_path / "model")
    usual = ran(pruning(model, 0), tmp_path / "usual")
    ways: list[dict[str, Any]] = [
        {"evaluator": {"chunk": chunk, "workers": workers}}
        for chunk, workers in [(1, 0), (5, 0), (3, 2), (12, 3)]
    ]
    ways += [
        {"problem": {"traversal": order}, "evaluator": {"chunk": 7}}
        for order in ("depth", "breadth", "layer")
    ]
    ways += [{"problem": {"states_memory": states}} for states in (0.0, 0.001)]

    for i, way in enumerate(ways):
        workers = way.get("evaluator", {}).pop("workers", 0)
        found = ran(pruning(model, workers, **way), tmp_path / f"way{i}")
        assert found["candidates"] == usual["candidates"], way
        assert found["judged"] == usual["judged"], way


@pytest.mark.slow
@pytest.mark.skipif(NO_RAY, reason="ray is not installed (extra ray)")
@pytest.mark.parametrize("workers", [2, 4])
def test_workers_of_ray_leave_the_same_run(tmp_path: Path, workers: int) -> None:
    alone = ran(mortal(0, sick=40), tmp_path / "alone")
    victim = sums_of_the_first(tmp_path / "alone")[5]
    mark = tmp_path / "mark"
    config = mortal(workers, sick=40, ray="local", deadly=victim, once=str(mark))
    code = "with Run.create(config, folder) as run: list(run); run.finish()\n"

    done = in_a_process(code, config, tmp_path / "ray")

    assert done.returncode == 0, done.stderr
    assert mark.exists()
    assert written(tmp_path / "ray") == alone
    told = [e.text for e in read_run(tmp_path / "ray").events if e.kind == "worker"]
    assert len(told) == 1
