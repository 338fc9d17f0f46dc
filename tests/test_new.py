"""What evo new writes passes evo check and its own tests as it is, and is found once installed."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import sysconfig
import tomllib
from pathlib import Path
from typing import Any, get_args

import pytest
from installing import leave_metadata

from evo import registry
from evo.cli import main
from evo.skeletons import Kind, skeleton
from evo.studies import load_study

ROOT = Path(__file__).parent.parent
PLUGINS = [kind for kind in get_args(Kind) if kind != "study"]
REFS = {
    "problem": "its_problem:ItsProblem",
    "objective": "its_objective:its_objective",
    "operator": "its_operator:ItsOperator",
    "algorithm": "its_algorithm:ItsAlgorithm",
}


def python(code: list[str], folder: Path, *path: Path) -> str:
    """Output of the interpreter in a folder, with our packages and others on its path."""
    found = os.pathsep.join(map(str, (*path, ROOT)))
    done = subprocess.run(
        [sys.executable, *code], cwd=folder, env={**os.environ, "PYTHONPATH": found},
        capture_output=True, text=True, timeout=600,
    )  # fmt: skip
    assert done.returncode == 0, f"{code}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def write(folder: Path, *words: str) -> None:
    assert main(["new", *words, "--to", str(folder)]) == 0


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One of each kind, beside each other."""
    folder = tmp_path_factory.mktemp("written")
    for kind in PLUGINS:
        write(folder, kind, f"its-{kind}")
    write(folder, "study", "its-study")
    return folder


def test_every_skeleton_passes_its_own_tests(written: Path) -> None:
    told = python(["-m", "pytest", "-q", "-p", "no:cacheprovider", "-W", "error"], written)

    names = {line.name for line in written.glob("test_*.py")}
    assert names == {f"test_its_{kind}.py" for kind in PLUGINS}
    assert "10 passed" in told


@pytest.mark.parametrize("kind", PLUGINS)
def test_every_skeleton_passes_evo_check(
    kind: str, written: Path, monkeypatch: Any, capsys: Any
) -> None:
    monkeypatch.chdir(written)
    monkeypatch.syspath_prepend(written)
    on = ["--problem", "synthetic/layers"] if kind == "objective" else []

    assert main(["check", REFS[kind], *on, "--json"]) == 0

    told = json.loads(capsys.readouterr().out)
    assert told["kind"] == kind
    assert len(told["findings"]) > 7
    assert all(finding["ok"] for finding in told["findings"])


@pytest.mark.parametrize("kind", PLUGINS)
def test_the_search_it_suggests_runs_and_uses_it(
    kind: str, written: Path, monkeypatch: Any, tmp_path: Path
) -> None:
    monkeypatch.chdir(written)
    monkeypatch.syspath_prepend(written)
    command = next(c for c in skeleton(kind, f"its-{kind}").commands if c.startswith("evo run"))  # type: ignore[arg-type]

    words = [*command.split()[1:], "--out", str(tmp_path / "run")]
    assert main(words) == 0

    assert REFS[kind] in (tmp_path / "run" / "config.toml").read_text()


def test_the_study_is_small_and_complete(written: Path) -> None:
    study = load_study(written / "its_study.toml")

    assert study.name == "its_study"
    assert len(study.cells) == 12
    assert {cell.config.stop.evaluations for cell in study.cells} == {400}
    assert {cell.label for cell in study.cells} == {"nsga2", "chance"}


@pytest.mark.slow
def test_the_study_runs(written: Path, tmp_path: Path) -> None:
    assert main(["study", str(written / "its_study.toml"), "--out", str(tmp_path / "s")]) == 0
    assert main(["compare", str(tmp_path / "s"), "--json"]) == 0


# Packages


@pytest.fixture(scope="module")
def packages(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """A package of each kind, and below it the metadata that installing it would leave."""
    folders = []
    for kind in PLUGINS:
        folder = tmp_path_factory.mktemp(kind)
        write(folder, kind, f"pack-{kind}", "--package")
        leave_metadata(folder)
        folders.append(folder)
    return folders


def test_packages_are_found_by_their_ids(
    packages: list[Path], monkeypatch: Any, capsys: Any
) -> None:
    for folder in packages:
        monkeypatch.syspath_prepend(folder)
    registry._table.cache_clear()
    refs = {kind: f"pack-{kind}" for kind in PLUGINS} | {"problem": "mine/pack-problem"}
    try:
        for kind, ref in refs.items():
            assert main(["list", f"{kind}s", "--json"]) == 0
            rows = {row["id"]: row for row in json.loads(capsys.readouterr().out)[f"{kind}s"]}
            assert rows[ref]["owner"] == f"pack-{kind} (pack_{kind}:CATALOGUE)"
            assert not any(module.startswith(f"pack_{kind}.") for module in sys.modules)
            on = ["--problem", "synthetic/layers"] if kind == "objective" else []
            assert main(["check", ref, *on]) == 0
            assert f"{kind} {ref}: " in capsys.readouterr().out
    finally:
        registry._table.cache_clear()


def test_a_package_passes_its_own_tests(packages: list[Path]) -> None:
    folder = packages[0]

    told = python(["-m", "pytest", "-q", "-p", "no:cacheprovider", "test_pack_problem.py"], folder)

    assert "3 passed" in told


@pytest.mark.slow
def test_an_editable_installation_is_found(tmp_path: Path) -> None:
    """In an environment of its own that sees the libraries of this one."""
    write(tmp_path / "plug", "problem", "its-own", "--package")
    python(["-m", "venv", "--without-pip", "env"], tmp_path)
    interpreter = tmp_path / "env" / "bin" / "python"
    site = next((tmp_path / "env").glob("lib/python*/site-packages"))
    (site / "outer.pth").write_text(f"{sysconfig.get_path('purelib')}\n{ROOT}\n")

    for words in (
        ["pip", "install", "--no-index", "--no-build-isolation", "--no-deps", "-e", "plug"],
        ["evo", "check", "mine/its-own"],
    ):
        done = subprocess.run(
            [interpreter, "-m", *words], cwd=tmp_path, capture_output=True, text=True, timeout=600
        )
        assert done.returncode == 0, done.stdout + done.stderr

    assert "problem mine/its-own: " in done.stdout


@pytest.mark.slow
def test_a_wheel_of_ours_has_the_templates(tmp_path: Path) -> None:
    source = shutil.copytree(
        ROOT, tmp_path / "source", ignore=shutil.ignore_patterns(".git", "tests", "experiments")
    )
    words = ["wheel", "--quiet", "--no-index", "--no-build-isolation", "--no-deps", "-w", ".."]
    python(["-m", "pip", *words, "."], source)
    wheel = next(tmp_path.glob("*.whl"))
    shutil.unpack_archive(wheel, tmp_path / "home", "zip")

    for kind in get_args(Kind):
        code = ["-c", f"import sys, evo.cli; sys.exit(evo.cli.main(['new', {kind!r}, 'its-own']))"]
        (tmp_path / kind).mkdir()
        environment = {**os.environ, "PYTHONPATH": str(tmp_path / "home")}
        done = subprocess.run([sys.executable, *code], cwd=tmp_path / kind, env=environment)
        assert done.returncode == 0
    assert len(list(tmp_path.glob("*/*its_own*"))) == 9


# What it says and refuses


def test_it_prints_what_was_written_and_what_to_type_next(
    tmp_path: Path, monkeypatch: Any, capsys: Any
) -> None:
    monkeypatch.chdir(tmp_path)

    assert main(["new", "problem", "my-depots"]) == 0

    assert capsys.readouterr().out == (
        "wrote my_depots.py, test_my_depots.py\n"
        "  evo check my_depots:MyDepots\n"
        "  evo run my_depots:MyDepots --population 20 --generations 10\n"
        "  pytest test_my_depots.py\n"
    )
    assert sorted(p.name for p in tmp_path.iterdir()) == ["my_depots.py", "test_my_depots.py"]


def test_it_writes_json(tmp_path: Path, monkeypatch: Any, capsys: Any) -> None:
    monkeypatch.chdir(tmp_path)

    assert main(["new", "operator", "steps", "--package", "--to", "my plug", "--json"]) == 0

    told = json.loads(capsys.readouterr().out)
    assert told["kind"] == "operator"
    assert told["commands"][:3] == ["cd 'my plug'", "pip install -e .", "evo check steps"]
    assert all((tmp_path / file).is_file() for file in told["files"])
    project = tomllib.loads((tmp_path / "my plug" / "pyproject.toml").read_text())
    assert project["project"]["entry-points"]["evo.plugins"] == {"steps": "steps:CATALOGUE"}


@pytest.mark.parametrize("kind", get_args(Kind))
def test_no_word_of_the_templates_is_left(kind: Any) -> None:
    for package in (False, True) if kind != "study" else (False,):
        made = skeleton(kind, "tidy-word", package=package)
        for text in (*made.files, *made.files.values()):
            for word in (f"New{kind.title()}", f"new_{kind}", f"new-{kind}", "skeletons", "new_p"):
                assert word not in text


@pytest.mark.parametrize("taken", ["depots.py", "test_depots.py"])
def test_nothing_is_overwritten(taken: str, tmp_path: Path, monkeypatch: Any, capsys: Any) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / taken).write_text("mine")

    assert main(["new", "problem", "depots"]) == 2

    assert capsys.readouterr().err.splitlines()[0] == (
        f"evo: {taken!r} exists already and is not overwritten"
    )
    assert [p.name for p in tmp_path.iterdir()] == [taken]
    assert (tmp_path / taken).read_text() == "mine"


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["problem", "3d"], "'3d' cannot be the name of a module"),
        (["problem", "../up"], "'../up' cannot be the name of a module"),
        (["operator", "My"], "'My' cannot be the name of a module"),
        (["operator", "class"], "'class' cannot be the name of a module"),
        (["study", "a/b"], "'a/b' cannot be the name of a module"),
        (["problem", "random"], "there is a module called 'random' already"),
        (["objective", "np"], "'np' means something else inside the skeleton"),
        (["problem", "none"], "'None' means something else inside the skeleton"),
        (["study", "mine", "--package"], "a study is one file"),
        (["problm", "mine"], 'did you mean "problem"?'),
    ],
)
def test_names_that_cannot_be_are_refused(
    words: list[str], sentence: str, tmp_path: Path, monkeypatch: Any, capsys: Any
) -> None:
    monkeypatch.chdir(tmp_path)

    assert main(["new", *words]) == 2

    assert sentence in capsys.readouterr().err.splitlines()[0]
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_is_told(tmp_path: Path, capsys: Any) -> None:
    (tmp_path / "file").write_text("")

    assert main(["new", "study", "mine", "--to", str(tmp_path / "file" / "below")]) == 2

    assert "cannot be written: Not a directory" in capsys.readouterr().err
