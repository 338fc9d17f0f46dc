from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

HEAVY = (
    "torch", "transformers", "networkx", "pymoo", "deap", "moocore", "datasets", "plotly", "scipy",
    "safetensors", "pandas", "matplotlib",
)  # fmt: skip
ROOT = Path(__file__).resolve().parent.parent


def loaded_after(code):
    """Top-level modules that a fresh interpreter has loaded after the code."""
    report = "import json, sys; print(); print(json.dumps([m.split('.')[0] for m in sys.modules]))"
    done = subprocess.run(
        [sys.executable, "-c", f"{code}\n{report}"], capture_output=True, text=True, check=True,
        cwd=ROOT, env={**os.environ, "EVO_RUNS": "does-not-exist"},
    )  # fmt: skip
    return set(json.loads(done.stdout.splitlines()[-1]))


def command(*words):
    return f"from evo.cli import main; assert main({list(words)!r}) == 0"


@pytest.mark.parametrize(
    "code",
    [
        "import evo",
        "import evo.run, evo.store, evo.live, evo.check, evo.doctor",
        "import problems",
        "import operators",
        command("list"),
        command("list", "operators", "--json"),
        command("show", "level-step"),
        command("show", "synthetic/zdt1"),
        command("--help"),
        command("--version"),
    ],
)
def test_nothing_heavy_is_loaded(code):
    assert loaded_after(code).isdisjoint(HEAVY)


def test_importing_evo_loads_numpy_and_the_standard_library_only():
    bare = loaded_after("import numpy, numpy.random")
    allowed = set(sys.stdlib_module_names) | {"evo", "operators", "numpy"}

    extra = loaded_after("import evo") - bare - allowed

    assert not {name for name in extra if not name.startswith("_")}


@pytest.mark.slow
def test_the_doctor_asks_for_devices_without_loading_torch():
    code = "from evo.doctor import examine; assert any(i.topic == 'devices' for i in examine())"

    assert "torch" not in loaded_after(code)


def test_operators_know_neither_evo_nor_problems():
    assert loaded_after("import operators").isdisjoint({"evo", "problems"})


def test_evo_does_not_load_problems():
    assert "problems" not in loaded_after("import evo, evo.run, evo.check, evo.cli")


def test_import_contracts_hold():
    linter = Path(sys.executable).with_name("lint-imports")
    if not linter.exists() and shutil.which("lint-imports") is None:
        pytest.skip("import-linter is not installed")

    done = subprocess.run(
        [str(linter) if linter.exists() else "lint-imports", "--no-cache"],
        capture_output=True, text=True, cwd=ROOT, check=False,
    )  # fmt: skip

    assert done.returncode == 0, done.stdout
