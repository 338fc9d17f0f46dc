"""What a run counts of its work: against counts by hand, other traversals, and the clock."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from families import checkpoint

from evo.cli import main
from evo.config import RunConfig
from evo.profiling import Spent, measured_peak, spent
from evo.run import Run
from evo.schema import FILE
from evo.store import read_run
from problems.pruning.searches import Mixed
from problems.pruning.sweep import Sweep
from problems.pruning.tally import Tally, head_macs

LENGTH, SEQUENCES = 16, 4


@pytest.fixture(scope="module", params=["llama", "bert"])
def problem(request: Any, tmp_path_factory: Any) -> Mixed:
    folder = checkpoint(request.param, tmp_path_factory.mktemp("models") / request.param)
    return Mixed(
        model=str(folder), variants=["removal", "width@0.5", "wanda@0.5"], length=LENGTH,
        sizes={"calibration": 4, "search": SEQUENCES, "validation": 2}, cache="off",
        tokens_at_once=LENGTH * SEQUENCES,
    )  # fmt: skip


def tallied(problem: Mixed, rows: list[list[int]], order: str = "depth") -> Tally:
    """Of one sweep; quality of the dense model is known before."""
    reader = problem.reader("search")
    sweep = Sweep(problem.pretrained, problem.table, order=order)
    sweep(np.array(rows), problem.data.batches("search"), reader)
    return sweep.tally


def named(problem: Mixed, site: int, name: str) -> int:
    return [v.name for v in problem.table.sites[site].variants].index(name)


def tokens(problem: Mixed) -> int:
    return sum(batch.ids.numel() for batch in problem.data.batches("search"))


def dense(problem: Mixed) -> list[int]:
    return [0] * len(problem.table)


@pytest.mark.parametrize("order", ["depth", "breadth"])
def test_one_candidate_costs_its_multiply_accumulates(problem: Mixed, order: str) -> None:
    for site in range(len(problem.table)):
        for variant, choice in enumerate(problem.table.sites[site].variants):
            row = dense(problem)
            row[site] = 0 if choice.kind == "wanda" else variant  # zeros are multiplied, too
            expected = problem.table.base.macs + problem.table.costs("macs", np.array([row])).sum()
            row[site] = variant

            found = tallied(problem, [row], order)

            assert found.macs == pytest.approx(tokens(problem) * expected, rel=1e-12)
            assert found.tokens == tokens(problem)


@pytest.mark.parametrize("order", ["depth", "breadth"])
def test_what_candidates_share_is_counted_once(problem: Mixed, order: str) -> None:
    last, half = len(problem.table) - 1, dense(problem)
    half[last] = named(problem, last, "width-0.5")
    gone = dense(problem)
    gone[last] = problem.table.sizes[last] - 1  # removed
    table = problem.table

    found = tallied(problem, [dense(problem), half, gone, half], order)

    feed_forward = table.sites[last].variants[0].cost.macs
    narrow = table.sites[last].variants[half[last]].cost.macs
    once = table.costs("macs", np.array([dense(problem)])).sum() - feed_forward
    head = head_macs(problem.pretrained)
    per_token = once + feed_forward + narrow + (table.base.macs - head) + 3 * head
    expected = tokens(problem) * per_token
    assert found.macs == pytest.approx(expected, rel=1e-12)
    assert found.tokens == 4 * tokens(problem)
    blocks = len(problem.pretrained.blocks)
    assert found.blocks == blocks - 1 + 3
    assert found.shared == (blocks - 1) * 2
    assert found.heads == 3


def test_parts_are_timed_without_what_is_inside_them(monkeypatch: Any) -> None:
    now = iter([0.0, 1.0, 4.0, 6.0, 10.0, 11.0])  # outer 0 … 10 with an inner part 1 … 4
    monkeypatch.setattr("problems.pruning.tally.time.perf_counter", lambda: next(now))
    tally = Tally()

    with tally.timing("blocks"), tally.timing("build"):
        pass
    assert tally.seconds["build"] == 3.0
    assert tally.seconds["blocks"] == 3.0  # 6 in all


def configured(folder: Path) -> RunConfig:
    return RunConfig.from_mapping(
        {
            "problem": {
                "id": "prune/mixed", "model": str(folder), "variants": ["removal", "width@0.5"],
                "length": LENGTH, "sizes": {"calibration": 2, "search": 2, "validation": 2},
                "cache": "off",
            },
            "objectives": ["kl", "params"],
            "algorithm": {"id": "nsga2", "population": 6},
            "stop": {"generations": 3},
            "evaluator": {"chunk": 4, "device": "cpu"}, "baseline": True,
        }
    )  # fmt: skip


class Cut(Exception):
    """The process ends here."""


def test_a_run_keeps_all_its_work_once(tmp_path: Path) -> None:
    folder = checkpoint("llama", tmp_path / "llama")
    run = Run.create(configured(folder), tmp_path / "run")
    steps = iter(run)
    next(steps)
    first = dict(run.problem.work())  # type: ignore[attr-defined]
    run.close()
    with Run.resume(tmp_path / "run") as again:
        list(again)
        again.finish()
        second = dict(again.problem.work())  # type: ignore[attr-defined]

    phases = {p.origin: p for p in spent(read_run(tmp_path / "run"))}

    assert set(phases) == {
        "search", "baseline:uniform", "baseline:random", "baseline:greedy", "validation",
        "confirm",
    }  # fmt: skip
    view = read_run(tmp_path / "run")
    judged = len(view.candidates) - int((view.candidates.seconds == 0).sum())
    for name in ("tokens", "macs", "blocks", "heads"):
        recorded = sum(p.counts.get(name, 0.0) for p in phases.values())
        assert recorded == pytest.approx(first[name] + second[name], rel=1e-9), name
    assert phases["search"].counts["tokens"] > 0
    assert judged > 0
    search = phases["search"]
    assert search.total == pytest.approx(sum(search.parts.values()), rel=1e-6)
    assert search.total >= sum(g.seconds for g in view.generations)
    assert search.parts["blocks"] > 0


def test_rates_are_work_by_busy_seconds() -> None:
    phase = Spent(
        "search", 10.0, {"blocks": 3.0, "heads": 1.0, "rest": 6.0},
        {"macs": 8e9, "bytes": 4e9, "blocks": 10.0, "shared": 15.0, "recalled": 5.0},
    )  # fmt: skip

    assert phase.products == 4e9
    assert phase.moved == 1e9
    assert phase.spared == 3.0
    assert Spent("confirm", 1.0, {}, {}).products is None


def test_a_machine_is_measured_by_a_product_it_really_does(monkeypatch: Any) -> None:
    monkeypatch.setattr("evo.profiling.SIDE", 64)
    monkeypatch.setattr("evo.profiling.COPIED", 1 << 12)
    now = iter(np.arange(0.0, 100.0, 0.5))
    monkeypatch.setattr("evo.profiling.time.perf_counter", lambda: float(next(now)))

    peak = measured_peak("cpu")

    assert peak.products == 2 * 64**3 / 0.5
    assert peak.copy == 2 * (1 << 12) / 0.5  # read and written
    assert peak.threads == torch.get_num_threads()


def test_profile_tells_where_the_time_went(tmp_path: Path, capsys: Any, monkeypatch: Any) -> None:
    monkeypatch.setattr("evo.profiling.SIDE", 64)
    folder = checkpoint("bert", tmp_path / "bert")
    config = configured(folder).override("objectives", ["drift", "params"])
    with Run.create(config, tmp_path / "run") as run:
        list(run)
        run.finish()

    assert main(["profile", str(tmp_path / "run"), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert main(["profile", str(tmp_path / "run"), "--no-peak"]) == 0
    shown = capsys.readouterr().out

    search = told["phases"][0]
    assert search["origin"] == "search"
    assert search["flops"] == pytest.approx(
        2 * search["counts"]["macs"] / (search["parts"]["blocks"] + search["parts"]["heads"])
    )
    assert told["peak"]["products"] > 0
    assert "baseline:greedy" in shown
    assert told["predictions"]["agreement"]
    agreed = sorted(told["predictions"]["agreement"])
    assert f"{agreed[0]:.2f}" in shown.split("rank agreement")[1]
    assert not any(name.startswith("algorithm") for name in search["counts"])
    assert f"{search['spared']:.2f}x" in shown
    assert "matrix product" not in shown


def test_a_type_left_to_the_model_is_compared_in_single_precision(
    tmp_path: Path, capsys: Any, monkeypatch: Any
) -> None:
    monkeypatch.setattr("evo.profiling.SIDE", 64)
    folder = checkpoint("llama", tmp_path / "llama")
    config = configured(folder).override("problem.dtype", "stored")
    with Run.create(config, tmp_path / "run") as run:
        next(iter(run))

    assert main(["profile", str(tmp_path / "run"), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["peak"]["dtype"] == "float32"


def test_a_run_of_an_older_format_has_no_account(tmp_path: Path, capsys: Any) -> None:
    folder = checkpoint("llama", tmp_path / "llama")
    with Run.create(configured(folder), tmp_path / "run") as run:
        next(iter(run))
    with sqlite3.connect(tmp_path / "run" / FILE) as connection:
        connection.executescript(
            "DROP TABLE work; ALTER TABLE generation DROP COLUMN keys; PRAGMA user_version = 2;"
        )
    connection.close()

    assert spent(read_run(tmp_path / "run")) == []
    assert main(["profile", str(tmp_path / "run")]) == 2
    assert "no account of its work" in capsys.readouterr().err
    with Run.resume(tmp_path / "run") as again:
        list(again)
    assert spent(read_run(tmp_path / "run"))[0].counts["tokens"] > 0
