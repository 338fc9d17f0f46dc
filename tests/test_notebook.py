"""Searches from a notebook: the same run as the command's, as frame, figure and files."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

import evo
from evo.cli import main
from evo.errors import ConfigError
from evo.view import read_run


@evo.objective("extremes", goal="max", unit="layers")
def extremes(batch):
    """How many layers are untouched or gone."""
    return ((batch.choices == 0) | (batch.choices == batch.choices.max(initial=1))).sum(axis=1)


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    return evo.search(
        {"id": "synthetic/layers", "layers": 6}, objectives=["loss", "params"],
        metrics=["removed"], population=8, generations=3, seed=2, progress=False,
        out=tmp_path_factory.mktemp("note") / "run",
    )  # fmt: skip


def test_a_search_is_the_run_of_the_command(found, tmp_path):
    words = ["--set", "problem.layers=6", "--objective", "loss", "--objective", "params"]
    words += ["--metric", "removed", "--population", "8", "--generations", "3", "--seed", "2"]
    assert main(["run", "synthetic/layers", *words, "--out", str(tmp_path / "run")]) == 0

    same = read_run(tmp_path / "run")
    assert np.array_equal(found.view.candidates.values, same.candidates.values)
    assert found.view.meta["fingerprint"] == same.meta["fingerprint"]
    assert found.result.evaluations == len(same.candidates)


def test_the_front_is_a_frame_by_id_with_validation(found):
    frame = found.front

    rows = found.view.front_rows()
    assert list(frame.columns[:3]) == ["loss", "params", "removed"]
    assert frame.index.name == "id"
    assert frame.index.tolist() == found.view.candidates.id[rows].tolist()
    assert frame["loss"].is_monotonic_increasing
    assert np.array_equal(frame[["loss", "params", "removed"]], found.view.candidates.values[rows])
    assert (frame["loss_validation"] >= frame["loss"]).all()
    assert len(found.frame()) == len(found.view.candidates)


def test_a_missing_pandas_is_told_in_one_sentence(found, monkeypatch):
    monkeypatch.setitem(sys.modules, "pandas", None)

    with pytest.raises(ConfigError, match="needs the package 'pandas'") as told:
        _ = found.front
    assert "pip install pandas" in (told.value.hint or "")


@pytest.mark.parametrize("kind", ["front", "parallel", "growth"])
def test_figures_hold_the_front(found, kind):
    figure = found.plot(kind)

    if kind == "front":
        (drawn,) = [trace for trace in figure.data if trace.name == "front"]
        values = found.front.loc[found.front["params"] > 0, "params"]  # 0 has no place on log axes
        assert set(values) <= set(drawn.y)
        assert len(drawn.y) == len(found.front)
    elif kind == "parallel":
        assert len(figure.data[0].dimensions[0]["values"]) == len(found.front)
    else:
        assert figure.data[0].y[-1] == pytest.approx(found.result.hypervolume)


def test_unknown_figures_and_exports_are_refused(found, tmp_path):
    with pytest.raises(ConfigError, match="no figure called 'pie'"):
        found.plot("pie")
    with pytest.raises(ConfigError, match="builds nothing"):
        found.export("knee", tmp_path / "x")
    with pytest.raises(ConfigError, match="no candidate called 'best'"):
        found.export("best", tmp_path / "x")
    assert found.report(tmp_path / "page.html").stat().st_size > 1e6


def test_an_export_is_what_the_problem_builds(tmp_path):
    club = evo.search(
        "influence/wc", objectives=["spread", "size"], population=8, generations=2,
        settings={"problem.most": 3, "problem.worlds": [50, 50]}, out=tmp_path / "run",
        progress=False,
    )  # fmt: skip

    built = club.export("best:spread", tmp_path / "club")

    assert (tmp_path / "club" / "seeds.csv").is_file()
    assert built


def test_the_same_call_goes_on_and_another_one_is_refused(tmp_path):
    given = {"population": 8, "out": tmp_path / "run", "progress": False}
    first = evo.search("synthetic/zdt1", generations=2, **given)

    again = evo.search("synthetic/zdt1", generations=2, **given)

    assert np.array_equal(first.view.candidates.values, again.view.candidates.values)
    with pytest.raises(ConfigError, match=r"stop.generations was 2, is 3"):
        evo.search("synthetic/zdt1", generations=3, **given)


def test_objects_are_named_by_their_module(tmp_path):
    found = evo.search(
        "synthetic/layers", objectives=["loss", extremes], population=8, generations=2,
        algorithm={"id": "nsga2", "mutation": "reset"}, out=tmp_path / "run", progress=False,
    )  # fmt: skip

    assert [c.name for c in found.view.columns] == ["loss", "extremes"]
    assert found.view.meta["config"]["objectives"][1] == f"{__name__}:extremes"
    inner = evo.Objective("inner", "min", lambda batch: np.zeros(len(batch)))
    with pytest.raises(ConfigError, match="no module has the objective 'inner' under its own name"):
        evo.search("synthetic/layers", objectives=["loss", inner])


NOTEBOOK = """
import numpy as np
import evo

class Line:
    space = evo.SearchSpace((evo.Real("x", [0.0], [1.0]),))
    objectives = (
        evo.Objective("up", "min", lambda b: b["x"][:, 0]),
        evo.Objective("down", "max", lambda b: b["x"][:, 0] ** 2),
    )
    constraints = ()
    def batch(self, genomes, context):
        return genomes

found = evo.search(Line, population=8, generations=2, out="run")
print(len(found.front), found.view.meta["config"]["problem"]["id"])
"""


def test_a_problem_may_be_defined_in_the_notebook_itself(tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", NOTEBOOK], cwd=tmp_path, capture_output=True, text=True
    )

    assert done.returncode == 0, done.stderr
    assert done.stdout.split()[1] == "__main__:Line"
    assert done.stderr.startswith("__main__:Line")
