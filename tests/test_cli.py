from __future__ import annotations

import csv
import io
import json
import os
import re
import signal
import subprocess
import sys
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from evo import Choice, Objective, SearchSpace
from evo.cli import COMMANDS, build_app, building, main, searching
from evo.cli.choosing import pick, within
from evo.cli.describing import argument_docs, offered
from evo.config import EMBEDDED, RunConfig, StopConfig
from evo.errors import ConfigError, StoreError
from evo.run import Run
from evo.view import read_run

SMALL = ("--population", "8", "--generations", "3")


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A finished run over twelve layers, with a recorded metric."""
    folder = tmp_path_factory.mktemp("runs") / "layers"
    words = ["run", "synthetic/layers", *SMALL, "--metric", "removed", "--out", str(folder)]
    assert main(words) == 0
    return folder


@pytest.fixture
def elsewhere(tmp_path, monkeypatch):
    """An unrelated current folder, no folder of runs named."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("EVO_RUNS", raising=False)
    monkeypatch.setattr(sys, "path", list(sys.path))  # own modules are found from here
    return tmp_path


def evo_lines(text):
    return [line for line in text.splitlines() if line.startswith("evo:")]


# ---- run


def test_run_tells_commentary_and_ends_with_what_to_type(elsewhere, capsys):
    code = main(["run", "synthetic/zdt1", *SMALL, "--seed", "5", "--out", "here"])

    out, err = capsys.readouterr()
    assert code == 0
    assert err.splitlines()[0].startswith("synthetic/zdt1 · ZDT1 · f1 ↓  f2 ↓ · nsga2")
    assert err.splitlines()[1] == "run here"
    assert [line.split()[0] for line in err.splitlines()[3:]] == ["gen", "0", "1", "2"]
    assert re.match(r"\d+ candidates? on the front · hypervolume 0\.\d+ · ", out.splitlines()[1])
    assert out.splitlines()[-2:] == ["  evo front  here --sort f1", "  evo report here"]
    assert "\x1b" not in out + err


def test_run_keeps_its_lines_in_the_log(elsewhere, capsys):
    main(["run", "synthetic/zdt1", *SMALL, "--out", "here"])

    err = capsys.readouterr().err.splitlines()
    log = (elsewhere / "here" / "log.txt").read_text(encoding="utf-8").splitlines()
    assert log[1:3] == err[:2]
    assert len(log) == 1 + len(err)


def test_run_with_json_writes_one_object_per_line_and_nothing_else(elsewhere, capsys):
    assert main(["run", "synthetic/zdt1", *SMALL, "--out", "here", "--json", "--report"]) == 0

    *generations, result = map(json.loads, capsys.readouterr().out.splitlines())
    assert [g["number"] for g in generations] == [0, 1, 2]
    assert generations[-1]["evaluations"] == result["evaluations"] == 24
    assert generations[-1]["hypervolume"] == result["hypervolume"]
    assert (result["type"], result["run"], result["failed"]) == ("result", "here", 0)
    assert Path(result["report"]).is_file()


def test_run_names_its_folder_by_problem_and_seed(elsewhere, monkeypatch, capsys):
    monkeypatch.setenv("EVO_RUNS", str(elsewhere / "all"))

    main(["run", "synthetic/zdt1", *SMALL, "--seed", "4"])

    (folder,) = (elsewhere / "all").iterdir()
    assert re.fullmatch(r"\d{4}-synthetic-zdt1-s4", folder.name)
    assert f"  evo report {folder}" in capsys.readouterr().out


def config_of(folder):
    return RunConfig.from_mapping(read_run(folder).meta["config"])


def test_flags_win_over_set_over_file(elsewhere):
    (elsewhere / "my.toml").write_text(
        'seed = 7\n[problem]\nid = "synthetic/layers"\nlayers = 5\n'
        "[algorithm]\npopulation = 6\n[stop]\ngenerations = 2\n"
    )
    words = ["run", "my.toml", "--population", "8"]
    words += ["--set", "algorithm.population=9", "--set", "problem.layers=4"]

    assert main([*words, "--out", "x"]) == 0

    config = config_of("x")
    assert (config.seed, config.algorithm.population, config.stop.generations) == (7, 8, 2)
    assert config.problem.settings == {"layers": 4}


def test_every_flag_reaches_the_configuration(elsewhere):
    words = (
        "run synthetic/layers --objective loss --objective removed --metric params "
        "--constraint params<15000 --algorithm random --population 6 --generations 2 "
        "--evaluations 100 --minutes 2.5 --stall 9 --seed 3 --device cpu --chunk 4 --no-starts "
        "--no-baseline --out x"
    )

    assert main(words.split()) == 0

    config = config_of("x")
    assert [ref.id for ref in config.objectives] == ["loss", "removed"]
    assert [ref.id for ref in config.metrics] == ["params"]
    assert config.constraints == ("params<15000",)
    assert (config.algorithm.id, config.algorithm.population) == ("random", 6)
    assert (config.stop.generations, config.stop.evaluations) == (2, 100)
    assert (config.stop.minutes, config.stop.stall) == (2.5, 9)
    assert (config.seed, config.starts, config.baseline) == (3, False, False)
    assert (config.evaluator.device, config.evaluator.chunk) == ("cpu", 4)
    assert [c.name for c in read_run("x").columns] == ["loss", "removed", "params"]


def test_without_a_target_the_embedded_default_is_searched_and_reported(monkeypatch, tmp_path):
    seen = {}

    def create(config, folder):
        seen["config"] = config
        return "run"

    monkeypatch.setattr(Run, "create", staticmethod(create))
    monkeypatch.setattr(
        searching, "watch", lambda run, *, page, as_json: seen.update(page=page, run=run)
    )

    assert main(["run", "--out", str(tmp_path / "x")]) == 0
    assert (seen["run"], seen["page"]) == ("run", True)
    assert seen["config"] == RunConfig.from_mapping(EMBEDDED)
    assert seen["config"].baseline

    main(["run", "--evaluations", "100", "--out", str(tmp_path / "x")])
    assert seen["config"].stop == StopConfig(evaluations=100)

    main(["run", "--no-report", "--out", str(tmp_path / "x")])
    assert seen["page"] is False


OWN = """
import numpy as np
import evo

@evo.objective("evenness", goal="max", unit="nats")
def evenness(batch):
    share = (batch.params + 1) / (batch.params + 1).sum(axis=1, keepdims=True)
    return -(share * np.log(share)).sum(axis=1)

@evo.objective("wide")
def wide(batch):
    return batch.params

@evo.objective("broken")
def broken(batch):
    raise KeyError("nothing here")

@evo.objective("nothing")
def nothing(batch):
    return np.full(len(batch), np.nan)

plain = 3
"""


def test_objective_of_a_users_own_module_in_an_unrelated_folder(elsewhere, capsys):
    (elsewhere / "own_objectives_a.py").write_text(OWN)
    words = "run synthetic/layers --objective loss --objective own_objectives_a:evenness --out x"

    assert main([*words.split(), *SMALL]) == 0

    view = read_run("x")
    column = [(c.name, c.goal, c.unit) for c in view.columns][1]
    assert column == ("evenness", "max", "nats")
    assert np.isfinite(view.candidates.values[:, 1]).all()
    assert "evenness ↑" in capsys.readouterr().err


def test_a_users_file_never_hides_an_installed_package(elsewhere):
    (elsewhere / "numpy.py").write_text("raise RuntimeError('hidden')")
    (elsewhere / "own_objectives_b.py").write_text(OWN)

    assert main(["run", "synthetic/layers", "--objective", "own_objectives_b:evenness",
                 "--objective", "loss", *SMALL, "--out", "x"]) == 0  # fmt: skip


# ---- wrong usage: exit code 2 and exactly one sentence

BAD = [
    (["run", "synthetic/zdtl1"], "no problem called 'synthetic/zdtl1'; did you mean 'synthetic/"),
    (["run", "missing_module:Thing"], "there is no module called 'missing_module'"),
    (["run", "none.toml"], "there is no configuration file 'none.toml'"),
    (["run", "synthetic/zdt1", "--objective", "f3"], "no objective called 'f3'"),
    (["run", "synthetic/zdt1", "--algorithm", "nsgaii"], "no algorithm called 'nsgaii'; did you"),
    (["run", "synthetic/zdt1", "--set", "algorithm.populatoin=5"], "no setting 'populatoin'"),
    (["run", "synthetic/zdt1", "--set", "seeds=5"], "did you mean 'seed'"),
    (["run", "synthetic/zdt1", "--set", "problem.n_variable=5"], "did you mean 'n_variables'"),
    (["run", "synthetic/zdt1", "--set", "nonsense"], "--set needs NAME=VALUE, got 'nonsense'"),
    (["run", "synthetic/zdt1", "--population", "1"], "needs a population of at least 2, got 1"),
    (["run", "synthetic/zdt1", "--generations", "0"], "stop.generations must be"),
    (["run", "synthetic/zdt1", "--constraint", "f1 < 1", "--constraint", "f1 > 2"], "contradict"),
    (["run", "synthetic/zdt1", "--constraint", "f1 = 1"], "cannot read the constraint 'f1 = 1'"),
    (["run", "synthetic/zdt1", "--device", "cuda:77"], "device"),
    (["run", "synthetic/zdt1", "--popultion", "3"], "did you mean --population?"),
    (["run", "synthetic/zdt1", "--population", "x"], 'unable to convert "x"'),
    (["run", "synthetic/zdt1", "--resume"], "--resume and --warm-start need --out"),
    (["run", "a", "b"], "takes no further argument, got 'b'"),
    (["run", "synthetic/layers", "--objective", "own_objectives_c:wide"], "shape (8, 12)"),
    (["run", "synthetic/layers", "--objective", "own_objectives_c:broken"], "KeyError"),
    (
        ["run", "synthetic/layers", "--objective", "own_objectives_c:nothing"],
        "'nothing' returned nan",
    ),
    (["run", "synthetic/layers", "--objective", "own_objectives_c:plain"], "is no objective"),
    (["run", "synthetic/layers", "--objective", "own_objectives_c:evennes"], "did you mean"),
    (["rnu"], "no command called 'rnu'; did you mean 'run'?"),
    (["front"], "requires an argument"),
    (["front", "runs/none"], "no run called 'runs/none'"),
    (["resume", "runs/none"], "no run called 'runs/none'"),
    (["report"], "at least one run"),
    (["report", "nowhere"], "no run called 'nowhere'"),
    (["compare"], "at least one run"),
    (["export", "nowhere", "knee", "--to", "x"], "no run called 'nowhere'"),
    (["list", "problms"], "no kind 'problms'; did you mean 'problems'?"),
    (["show", "synthetic/knapsak"], "nothing is called 'synthetic/knapsak'; did you mean"),
    (["check", "synthetic/zdtt1"], "nothing is called 'synthetic/zdtt1'; did you mean"),
    (["check", "synthetic/zdt1", "--kind", "thing"], "--kind"),
    (["check", "synthetic/zdt1", "--n", "2"], "--n must be at least 3, got 2"),
]


@pytest.mark.parametrize(("words", "told"), BAD, ids=[" ".join(words) for words, _ in BAD])
def test_wrong_usage_is_one_sentence_and_code_2(words, told, elsewhere, capsys):
    (elsewhere / "own_objectives_c.py").write_text(OWN)
    small = ["--generations", "2"] if words[0] == "run" and "--generations" not in words else []
    small += ["--population", "8"] if small and "--population" not in words else []

    code = main([*words, *small])

    out, err = capsys.readouterr()
    assert (code, len(evo_lines(err))) == (2, 1)
    assert told in evo_lines(err)[0]
    assert "Traceback" not in out + err


def test_a_used_folder_is_refused_with_how_to_resume(finished, capsys):
    code = main(["run", "synthetic/zdt1", *SMALL, "--out", str(finished)])

    err = capsys.readouterr().err
    assert code == 2
    assert evo_lines(err) == [f"evo: run folder {str(finished)!r} holds a run already"]
    assert f"     hint: evo resume {finished}" in err


def test_debug_shows_where_an_error_comes_from(elsewhere, capsys):
    code = main(["run", "synthetic/nothing", "--debug"])

    err = capsys.readouterr().err
    assert code == 2
    assert "Traceback" in err
    assert "registry.py" in err


# ---- unexpected errors, interruption


def crashing(monkeypatch, error):
    from evo.live import Lines

    def hear(self, generation):
        if generation.number == 1:
            raise error

    monkeypatch.setattr(Lines, "hear", hear)


def test_unexpected_error_is_one_sentence_with_the_traceback_in_the_log(
    elsewhere, monkeypatch, capsys
):
    crashing(monkeypatch, ZeroDivisionError("oh\nno"))

    code = main(["run", "synthetic/zdt1", *SMALL, "--out", "x"])

    err = capsys.readouterr().err
    assert code == 1
    assert evo_lines(err) == ["evo: unexpected ZeroDivisionError: oh no"]
    assert f"hint: the traceback is in {Path('x/log.txt')}" in err
    assert "Traceback" not in err
    assert "ZeroDivisionError" in (elsewhere / "x" / "log.txt").read_text()


def test_unexpected_error_with_debug_shows_the_traceback(monkeypatch, capsys):
    monkeypatch.setattr("evo.doctor.examine", lambda: 1 / 0)

    assert main(["doctor"]) == 1
    told = capsys.readouterr().err
    assert main(["doctor", "--debug"]) == 1

    assert evo_lines(told) == ["evo: unexpected ZeroDivisionError: division by zero"]
    assert "Traceback" not in told
    assert "Traceback" in capsys.readouterr().err


def test_interruption_tells_how_to_resume_and_the_run_goes_on(elsewhere, monkeypatch, capsys):
    with monkeypatch.context() as patch:
        crashing(patch, KeyboardInterrupt())
        code = main(["run", "synthetic/zdt1", *SMALL, "--out", "x"])
    err = capsys.readouterr().err
    assert code == 130
    assert evo_lines(err) == ["evo: interrupted"]
    assert "go on with: evo resume x" in err

    assert main(["resume", "x"]) == 0
    straight = ["run", "synthetic/zdt1", *SMALL, "--out", "y"]
    assert main(straight) == 0

    first, second = read_run("x"), read_run("y")
    assert first.complete
    assert np.array_equal(first.candidates.values, second.candidates.values)


def test_a_reader_that_leaves_is_no_error(finished):
    reader, writer = os.pipe()
    os.close(reader)

    words = [sys.executable, "-m", "evo", "front", str(finished)]
    done = subprocess.run(words, stdout=writer, stderr=subprocess.PIPE, text=True, check=False)

    os.close(writer)
    assert (done.returncode, done.stderr) == (0, "")


# ---- resume


def test_resume_extends_by_or_to_a_number(elsewhere, capsys):
    main(["run", "synthetic/zdt1", *SMALL, "--out", "x"])

    assert main(["resume", "x", "--generations", "+2"]) == 0
    assert len(read_run("x").generations) == 5
    assert main(["resume", "x", "--generations", "6"]) == 0
    assert len(read_run("x").generations) == 6

    capsys.readouterr()
    assert main(["resume", "x", "--generations", "6"]) == 2
    assert main(["resume", "x", "--generations", "few"]) == 2
    told = evo_lines(capsys.readouterr().err)
    assert told == [
        "evo: --generations must be more than the 6 it has, got 6",
        "evo: --generations needs a number such as 100 or +100, got 'few'",
    ]


def test_resume_by_minutes_lifts_the_limits_it_has_reached(elsewhere, capsys):
    main(["run", "synthetic/zdt1", *SMALL, "--out", "x"])

    assert main(["resume", "x", "--minutes", "0.002"]) == 0
    assert len(read_run("x").generations) > 3
    assert "active minutes" in capsys.readouterr().out
    assert main(["resume", "x", "--minutes", "-1"]) == 2


def test_run_with_resume_continues_only_the_same_configuration(elsewhere, capsys):
    begin = ["run", "synthetic/zdt1", *SMALL, "--out", "x", "--resume"]
    assert main(begin) == 0
    assert main(begin) == 0
    assert len(read_run("x").generations) == 3

    assert main([*begin, "--seed", "9"]) == 2
    assert "another configuration: seed was 0, is 9" in capsys.readouterr().err


def test_warm_start_begins_a_new_run_from_the_front(elsewhere, capsys):
    main(["run", "synthetic/layers", *SMALL, "--out", "x"])

    assert main(["resume", "x", "--warm-start"]) == 0

    assert "run x-warm1" in capsys.readouterr().err
    old, new = read_run("x"), read_run("x-warm1")
    front = set(old.candidates.genomes.take(old.front_rows()).rows())
    first = new.candidates.genomes.take(new.candidates.generation == 0).rows()
    assert len(front & set(first)) == min(len(front), 8)


# ---- list, show


def test_list_tells_every_kind(capsys, elsewhere):
    assert main(["list"]) == 0

    out = capsys.readouterr().out
    for word in ("problems", "synthetic/knapsack", "nsga2", "level-step", "evo show PROBLEM"):
        assert word in out


def test_list_with_json_holds_targets_and_settings(capsys):
    assert main(["list", "problem", "--json"]) == 0

    rows = {row["id"]: row for row in json.loads(capsys.readouterr().out)["problems"]}
    assert rows["synthetic/zdt4"]["settings"] == {"number": 4}
    assert rows["synthetic/zdt4"]["target"] == "problems.synthetic:ZDT"


def test_list_runs_tells_their_state_and_warns_of_damage(finished, monkeypatch, capsys, tmp_path):
    monkeypatch.setenv("EVO_RUNS", str(finished.parent))
    bad = finished.parent / "damaged"
    bad.mkdir(exist_ok=True)
    (bad / "run.sqlite").write_text("no")

    assert main(["list", "runs"]) == 0

    out, err = capsys.readouterr()
    (row,) = (line.split() for line in out.splitlines() if str(finished) in line)
    assert row[1:7] == ["synthetic/layers", "nsga2", "0", "finished", "3", "24"]
    assert "warning" in err
    assert "damaged" in err


def test_show_problem_tells_settings_sites_objectives_and_the_batch(capsys):
    assert main(["show", "synthetic/layers", "--set", "problem.layers=3", "--json"]) == 0

    told = json.loads(capsys.readouterr().out)
    assert [s["name"] for s in told["settings"]] == ["layers", "levels", "instance"]
    assert told["settings"][1]["doc"].startswith("Choices per layer")
    assert len(told["describe"]["sites"]) == 3
    assert {o["name"] for o in told["objectives"]} >= {"loss", "params"}
    batch = {b["name"]: b["doc"] for b in told["batch"]}
    assert "choices" in batch
    assert batch["params"].startswith("Kept parameters per layer")
    assert told["varies"][0]["candidates"] == 5**3


def test_show_problem_in_words(capsys):
    assert main(["show", "synthetic/zdt2"]) == 0

    out = capsys.readouterr().out
    assert out.startswith("synthetic/zdt2 · problem · problems.synthetic:ZDT\n")
    assert re.search(r"number +2 +1, 2, 3, 4 or 6", out)
    assert re.search(r"f1 ↓ .*searched by default", out)


def test_show_problem_that_cannot_be_built_says_why(elsewhere, capsys):
    (elsewhere / "own_problem_d.py").write_text(
        "import evo\n"
        "from evo.errors import ModelError\n"
        "class Big:\n"
        "    '''A big thing.'''\n"
        "    batch = None\n"
        "    def __init__(self, size=3):\n"
        "        raise ModelError('the model is missing')\n"
    )

    assert main(["show", "own_problem_d:Big"]) == 0

    out = capsys.readouterr().out
    assert "A big thing." in out
    assert re.search(r"size +3", out)
    assert "cannot be built here: the model is missing" in out


def test_show_operator_algorithm_and_objective(elsewhere, capsys):
    (elsewhere / "own_objectives_e.py").write_text(OWN)

    assert main(["show", "level-step"]) == 0
    assert "for choice, integer, mask genes" in capsys.readouterr().out
    assert main(["show", "nsga2"]) == 0
    assert re.search(r"population +100 ", capsys.readouterr().out)
    assert main(["show", "own_objectives_e:evenness"]) == 0
    assert "evenness ↑" in capsys.readouterr().out


def test_show_run_tells_configuration_and_progress(finished, capsys):
    assert main(["show", str(finished)]) == 0
    out = capsys.readouterr().out
    assert main(["show", str(finished), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)

    assert "3 generations · 24 evaluations · 0 failed" in out
    assert 'id = "synthetic/layers"' in out
    assert re.search(r"versions +.*numpy \d", out)
    assert told["meta"]["config"]["metrics"] == ["removed"]
    assert (told["state"], told["generations"], told["evaluations"]) == ("finished", 3, 24)


# ---- front


def front(finished, capsys, *words):
    assert main(["front", str(finished), *words, "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def test_front_as_json_has_the_recorded_values(finished, capsys):
    told, view = front(finished, capsys), read_run(finished)

    assert told["run"] == str(finished)
    assert told["objectives"] == [
        {"name": "loss", "goal": "min", "unit": "nats"},
        {"name": "params", "goal": "min", "unit": ""},
    ]
    assert [e["id"] for e in told["front"]] == view.candidates.id[view.front_rows()].tolist()
    entry, row = told["front"][0], view.front_rows()[0]
    assert list(entry["values"].values()) == view.candidates.values[row].tolist()
    assert entry["genome"]["choices"] == view.candidates.genomes["choices"][row].tolist()
    assert entry["validation"]["params"] == entry["values"]["params"]
    assert entry["confirmed"] is None


def test_front_names_the_choice_at_each_site(finished, capsys):
    told = front(finished, capsys)
    sites = read_run(finished).meta["describe"]["sites"]

    assert told["sites"] == [site["name"] for site in sites]
    for entry in told["front"]:
        named = [
            s["variants"][k]["name"] for s, k in zip(sites, entry["genome"]["choices"], strict=True)
        ]
        assert entry["choices"] == named


def test_front_is_sorted_limited_and_filtered(finished, capsys):
    every = [e["values"] for e in front(finished, capsys)["front"]]
    removed = [
        e["values"]["removed"] for e in front(finished, capsys, "--sort", "removed")["front"]
    ]
    limit = sorted(v["params"] for v in every)[len(every) // 2]
    kept = front(finished, capsys, "--where", f"params <= {limit}", "--where", "loss > 0")["front"]

    assert [v["loss"] for v in every] == sorted(v["loss"] for v in every)
    assert removed == sorted(removed, reverse=True)
    assert 0 < len(kept) < len(every)
    assert len(kept) == sum(v["params"] <= limit and v["loss"] > 0 for v in every)
    assert len(front(finished, capsys, "--limit", "2")["front"]) == 2


def test_front_as_csv_reads_back(finished, capsys):
    assert main(["front", str(finished), "--csv"]) == 0

    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    entries = front(finished, capsys)["front"]
    assert [int(r["id"]) for r in rows] == [e["id"] for e in entries]
    assert [float(r["loss"]) for r in rows] == [e["values"]["loss"] for e in entries]
    assert [float(r["loss_validation"]) for r in rows] == [e["validation"]["loss"] for e in entries]
    assert rows[0]["choices"].count(" ") >= 11


def test_front_as_table_has_arrows_units_and_the_knee(finished, capsys):
    assert main(["front", str(finished), "--sort", "params"]) == 0

    titles, *rows = capsys.readouterr().out.splitlines()
    assert titles.split("  ")[1:] != []
    for word in ("loss ↓", "params ↓", "removed ↑", "loss validation"):
        assert word in titles
    assert all(" nats " in row for row in rows)
    knee = front(finished, capsys)["knee"]
    assert [row.split()[0] for row in rows if row.endswith("knee")] == [str(knee)]


def test_front_with_nothing_to_show_says_so(finished, capsys):
    assert main(["front", str(finished), "--where", "loss < 0"]) == 0

    out, err = capsys.readouterr()
    assert out == ""
    assert "no candidate to show" in err


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--sort", "los"], "no objective or metric called 'los'; did you mean 'loss'?"),
        (["--where", "parms < 3"], "did you mean 'params'?"),
        (["--where", "loss"], "cannot read the constraint 'loss'"),
        (["--limit", "0"], "--limit must be at least 1, got 0"),
        (["--csv", "--json"], "exclude each other"),
    ],
)
def test_front_refuses(finished, words, told, capsys):
    assert main(["front", str(finished), *words]) == 2
    assert told in capsys.readouterr().err


# ---- report, compare


def test_report_is_written_where_asked(finished, tmp_path, capsys):
    assert main(["report", str(finished), "--out", str(tmp_path / "page.html"), "--json"]) == 0

    path = Path(json.loads(capsys.readouterr().out)["report"])
    assert path == tmp_path / "page.html"
    assert "synthetic/layers" in path.read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def several(tmp_path_factory):
    """Two seeds of one configuration with baselines, and another configuration."""
    home = tmp_path_factory.mktemp("several")
    for name, words in (
        ("a0", ["--seed", "0", "--baseline"]), ("a1", ["--seed", "1", "--baseline"]),
        ("b0", ["--algorithm", "random"]),
    ):  # fmt: skip
        assert main(["run", "synthetic/layers", *SMALL, *words, "--out", str(home / name)]) == 0
    return [str(home / name) for name in ("a0", "a1", "b0")]


def test_compare_groups_by_configuration_on_one_box(several, capsys):
    assert main(["compare", *several, "--json"]) == 0

    told = json.loads(capsys.readouterr().out)
    assert [len({row["run"] for row in g["runs"]}) for g in told["groups"]] == [2, 1]
    rows = [row for g in told["groups"] for row in g["runs"]]
    origins = {row["origin"] for row in rows if row["run"] == several[0]}
    assert origins == {"search", "baseline:uniform", "baseline:random", "baseline:greedy"}
    for row in rows:
        assert 0 <= row["hypervolume"] <= 1
        assert row["evaluations"] >= row["front_size"] > 0
        if row["origin"] == "search":
            assert row["front_size"] == read_run(row["run"]).candidates.on_front.sum()
    (search,) = (s for s in told["groups"][0]["summary"] if s["origin"] == "search")
    volumes = [row["hypervolume"] for row in told["groups"][0]["runs"] if row["origin"] == "search"]
    assert search["median"] == pytest.approx(np.mean(volumes))


def test_compare_hypervolume_against_a_sum_of_rectangles(several, capsys):
    main(["compare", *several, "--json"])
    told = json.loads(capsys.readouterr().out)

    ideal, nadir = (np.array(told["fitness_box"][k]) for k in ("ideal", "nadir"))
    for group in told["groups"]:
        for row in group["runs"]:
            view = read_run(row["run"])
            mine = (view.candidates.origin == row["origin"]) & view.candidates.ok
            points = (view.fitness[mine] - ideal) / (nadir - ideal)
            assert row["hypervolume"] == pytest.approx(rectangles(points) / 1.1**2)


def rectangles(points, corner=1.1):
    """Area that points of shape (n, 2) dominate below the corner, strip by strip."""
    area, low = 0.0, corner
    for x, y in sorted(points[(points < corner).all(axis=1)].tolist()):
        if y < low:
            area, low = area + (corner - x) * (low - y), y
    return area


def test_compare_in_words(several, capsys):
    assert main(["compare", *several]) == 0

    out = capsys.readouterr().out
    assert out.startswith("hypervolume on one common box · loss, params")
    assert re.search(r"search: median 0\.\d{4}, quartiles 0\.\d{4} to 0\.\d{4}, 2 runs", out)


def test_compare_refuses_different_objectives(several, elsewhere, capsys):
    main(["run", "synthetic/zdt1", *SMALL, "--out", "z"])
    capsys.readouterr()

    assert main(["compare", several[0], "z"]) == 2
    assert "same objectives" in capsys.readouterr().err


# ---- export, picking


class Exports:
    """A problem that writes what it is asked to build."""

    space = SearchSpace((Choice("choices", [5] * 12),))
    objectives = (Objective("loss", "min", len), Objective("params", "min", len))
    constraints = ()
    seen: dict = {}  # noqa: RUF012

    def batch(self, genomes, context):
        return genomes

    def fingerprint(self):
        return {"model": "another"}

    def export(self, genomes, folder, *, expected):
        folder.mkdir()
        (folder / "genome.json").write_text(json.dumps(genomes["choices"].tolist()))
        self.seen.update(n=len(genomes), expected=expected)
        return {"files": 1, "params": 1234.5}


def test_export_builds_the_chosen_candidate(finished, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(building, "build_problem", lambda config: Exports())
    target = tmp_path / "small"

    assert main(["export", str(finished), "best:params", "--to", str(target), "--json"]) == 0

    out, err = capsys.readouterr()
    told, view = json.loads(out), read_run(finished)
    best = min(view.front_rows(), key=lambda r: view.candidates.values[r, 1])
    assert told["id"] == view.candidates.id[best]
    genome = json.loads((target / "genome.json").read_text())
    assert genome == [view.candidates.genomes["choices"][best].tolist()]
    assert Exports.seen["expected"] == dict(
        zip(["loss", "params", "removed"], view.candidates.values[best], strict=True)
    )
    assert "model" in err
    assert "values may differ" in err


def test_export_refuses_a_used_folder_and_a_problem_without_export(finished, tmp_path, capsys):
    (tmp_path / "used").mkdir()
    (tmp_path / "used" / "file").touch()

    assert main(["export", str(finished), "knee", "--to", str(tmp_path / "used")]) == 2
    assert main(["export", str(finished), "knee", "--to", str(tmp_path / "new")]) == 2

    told = evo_lines(capsys.readouterr().err)
    assert "is not an empty folder" in told[0]
    assert "cannot export" in told[1]
    assert not (tmp_path / "new").exists()


def test_pick_by_id_knee_and_objective(finished):
    view = read_run(finished)
    rows = view.front_rows()
    values = view.candidates.values

    assert pick(view, str(view.candidates.id[3])) == 3
    assert pick(view, "loss") == pick(view, "best:loss") == rows[np.argmin(values[rows, 0])]
    assert pick(view, "removed") == rows[np.argmax(values[rows, 2])]
    assert pick(view, "knee") in rows


def test_pick_keeps_the_limits(finished):
    view = read_run(finished)
    rows = view.front_rows()
    middle = float(np.median(view.candidates.values[rows, 1]))

    row = pick(view, "loss", [f"params < {middle}"])

    small = [r for r in rows if view.candidates.values[r, 1] < middle]
    assert row == min(small, key=lambda r: view.candidates.values[r, 0])


def test_pick_tells_the_nearest_when_no_candidate_keeps_the_limits(finished):
    view = read_run(finished)
    rows = view.front_rows()
    nearest = rows[np.argmin(view.candidates.values[rows, 0])]

    with pytest.raises(
        ConfigError, match=f"the nearest is {view.candidates.id[nearest]} with loss"
    ):
        pick(view, "knee", ["loss < -5"])


def test_limits_tell_strict_from_touching(finished):
    view = read_run(finished)
    rows = view.front_rows()
    best = float(view.candidates.values[rows, 1].min())

    assert len(within(view, rows, [f"params <= {best!r}"])) >= 1
    assert len(within(view, rows, [f"params < {best!r}"])) == 0


@pytest.mark.parametrize(
    ("candidate", "told"),
    [("999999", "has no candidate 999999"), ("kne", "did you mean 'knee'"), ("best:x", "best:x")],
)
def test_pick_refuses(finished, candidate, told):
    with pytest.raises(ConfigError, match=told):
        pick(read_run(finished), candidate)


# ---- check, doctor, help


def test_check_reports_each_item_and_fails_by_code(elsewhere, capsys):
    (elsewhere / "own_objectives_f.py").write_text(OWN)
    ask = ["--problem", "synthetic/layers"]

    assert main(["check", "own_objectives_f:evenness", *ask]) == 0
    assert "FAIL" not in capsys.readouterr().out
    assert main(["check", "own_objectives_f:wide", *ask]) == 1
    assert "FAIL  objective 'wide' raised: ObjectiveError" in capsys.readouterr().out
    assert main(["check", "own_objectives_f:wide", *ask, "--json"]) == 1
    assert json.loads(capsys.readouterr().out)["ok"] is False
    assert main(["check", "loss", "--kind", "objective", *ask, "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["ok"] is True
    assert all(item["ok"] for item in told["findings"])


def test_check_finds_out_the_kind(elsewhere, capsys):
    (elsewhere / "own_move_g.py").write_text(
        "from dataclasses import dataclass\n"
        "@dataclass(frozen=True)\n"
        "class Half:\n"
        "    kinds = frozenset({'real'})\n"
        "    def __call__(self, genomes, bounds, rng):\n"
        "        return (genomes + bounds.low) / 2\n"
    )

    assert main(["check", "own_move_g:Half"]) == 0
    assert "operator own_move_g:Half" in capsys.readouterr().out
    assert main(["check", "random"]) == 0
    assert "algorithm random" in capsys.readouterr().out
    assert main(["check", "os:sep"]) == 2
    assert "cannot tell what 'os:sep' is" in capsys.readouterr().err


def test_help_of_every_command_has_a_sentence_and_examples(capsys):
    for command, examples in COMMANDS.items():
        name = command.__name__.rstrip("_")
        assert main([name, "--help"]) == 0
        out = capsys.readouterr().out
        assert out.startswith(f"Usage: evo {name}")
        assert all(f"evo {example}" in " ".join(out.split()) for example in examples)
        assert "  evo " in out


def test_every_flag_is_explained():
    for command in COMMANDS:
        app = build_app()[command.__name__.rstrip("_")]
        for argument in app.assemble_argument_collection(parse_docstring=True):
            assert argument.parameter.help, f"{command.__name__} {argument.name}"


def test_version(capsys):
    assert main(["--version"]) == 0
    assert re.fullmatch(r"evo \d+\.\d+\.\d+\n", capsys.readouterr().out)


def test_missing_run_suggests_the_nearest(finished, monkeypatch):
    from evo.cli.output import run_folder

    monkeypatch.setenv("EVO_RUNS", str(finished.parent))

    assert run_folder("layers") == finished
    with pytest.raises(StoreError, match="did you mean 'layers'"):
        run_folder("layer")


def test_words_survive_a_terminal_without_unicode(finished):
    env = {**os.environ, "PYTHONIOENCODING": "ascii", "LC_ALL": "C"}
    done = subprocess.run(
        [sys.executable, "-m", "evo", "front", str(finished)],
        capture_output=True,
        env=env,
        check=True,
    )

    assert b"loss ?" in done.stdout


def test_ctrl_c_in_a_real_process_exits_130_and_leaves_a_readable_run(elsewhere):
    words = ["run", "synthetic/zdt1", "--generations", "100000", "--out", "x", "--json"]
    process = subprocess.Popen(
        [sys.executable, "-m", "evo", *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=partial(signal.signal, signal.SIGINT, signal.default_int_handler),
    )  # tests that run in the background of a shell hand down that interrupts are ignored
    try:
        assert process.stdout is not None
        first = json.loads(process.stdout.readline())
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=120)
    finally:
        process.kill()
        process.wait()

    assert first["number"] == 0
    assert process.returncode == 130
    assert evo_lines(err) == ["evo: interrupted"]
    view = read_run("x")
    assert len(view.candidates) >= 100
    assert not view.complete


def test_argument_docs_join_lines_and_stop_at_the_next_section():
    class Thing:
        """A thing.

        Args:
            first: One line,
                and another.
            *rest: More: a colon.

        Raises:
            second: Never.
        """

    assert argument_docs(Thing) == {
        "first": "One line, and another.",
        "rest": "More: a colon.",
    }


def test_batch_offers_are_listed_without_computing_them():
    class Batch:
        """Decoded.

        Args:
            genomes: What it was made of.
        """

        def __init__(self):
            self.genomes = 1

        @property
        def costly(self):
            """Takes an hour."""
            raise AssertionError

        def method(self):
            """Not an offer."""

    assert offered(Batch()) == [
        {"name": "costly", "doc": "Takes an hour."},
        {"name": "genomes", "doc": "What it was made of."},
    ]
