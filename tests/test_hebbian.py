"""Searches of plasticity rules, exported programs, and what is told of bad input."""

from __future__ import annotations

import importlib.util
import json
import os
import random
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from plastic import PLASTIC, problem, values
from test_resume import contents, go, interrupt, kill_and_compare

from evo.check import check_problem, failed
from evo.cli import main
from evo.config import RunConfig
from evo.errors import ConfigError
from evo.problem import Context
from evo.run import Run
from evo.space import Real
from evo.view import read_run
from problems.hebbian import problem as searched
from problems.hebbian.genes import Kept
from problems.hebbian.lives import Episodes, live
from problems.hebbian.problem import Plastic
from problems.hebbian.worlds import make

# -- search ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("prune", ["none", "neurons", "synapses"])
def test_the_problem_keeps_its_promises(prune: str) -> None:
    found = check_problem(problem(prune=prune, damage=["gain@0.5"], unseen=["turn@30"], steps=5))

    assert failed(found) == []


def test_rules_that_balance_are_found_and_balance_elsewhere(tmp_path: Path, capsys) -> None:
    asked = ["run", "hebbian/cart", "--objective=reward", "--algorithm=cma-es", "--population=32"]
    asked += ["--metric=lived", "--generations=5", "--seed=3", f"--out={tmp_path / 'run'}"]

    assert main(asked) == 0

    view = read_run(tmp_path / "run")
    best = view.candidates.values[view.candidates.on_front]
    assert best[:, 0].max() > 400
    assert view.candidates.validation[view.candidates.on_front, 0].max() > 300
    work = view.work["search", 0]
    lived = view.candidates.values[:32, [c.name for c in view.columns].index("lived")]
    assert work["control_steps"] >= 4 * lived.sum()
    assert work["seconds.world"] > 0 < work["seconds.network"]
    assert main(["report", str(tmp_path / "run")]) == 0
    assert (tmp_path / "run" / "report.html").is_file()
    capsys.readouterr()
    assert main(["profile", str(tmp_path / "run")]) == 0
    told = capsys.readouterr().out
    assert all(name in told for name in ("world", "network", "control_steps"))
    assert "MACs" not in told


@pytest.mark.parametrize(("prune", "lengths"), [("neurons", [3, 2]), ("synapses", [6, 6, 4])])
def test_a_layer_keeps_something(prune: str, lengths: list[int]) -> None:
    space = problem(hidden=[3, 2], prune=prune).space
    nothing = space.sample(4, np.random.default_rng(0))
    nothing.parts["kept"][:] = False
    nothing.parts["kept"][1, -1] = True  # of the last layer

    kept = space.repair(nothing)["kept"]

    first = np.cumsum([0, *lengths[:-1]])
    assert [np.flatnonzero(row).tolist() for row in kept[[0, 2, 3]]] == [first.tolist()] * 3
    assert np.flatnonzero(kept[1]).tolist() == [*first[:-1], sum(lengths) - 1]


def test_plasticity_and_pruning_are_searched_together(tmp_path: Path) -> None:
    asked = ["run", "hebbian/reach", "--set=problem.prune=neurons", "--population=24"]
    assert main([*asked, "--generations=8", f"--out={tmp_path / 'run'}"]) == 0

    view = read_run(tmp_path / "run")
    assert [c.name for c in view.columns] == ["reward", "robustness", "params"]
    front = view.candidates.values[view.candidates.on_front]
    assert len(set(front[:, 2])) > 1
    kept = view.candidates.genomes["kept"][view.candidates.on_front]
    np.testing.assert_allclose(front[:, 2], 5 * (4 + kept.sum(axis=1)))


@pytest.mark.parametrize("algorithm", ["cma-es", "openai-es"])
def test_interrupted_at_random_a_search_of_rules_ends_alike(
    tmp_path: Path, monkeypatch, algorithm: str
) -> None:
    given = RunConfig.from_mapping(
        {
            "problem": {"id": "hebbian/reach", "steps": 8, "hidden": [3], "episodes": [2, 2]},
            "objectives": ["reward"], "metrics": ["robustness", "plasticity"], "seed": 3,
            "algorithm": {"id": algorithm, "population": 10}, "stop": {"generations": 6},
            "evaluator": {"chunk": 4},
        }
    )  # fmt: skip
    go(given, tmp_path / "straight")

    draw, cuts = random.Random(algorithm), 0
    while interrupt(given, tmp_path / "cut", draw, monkeypatch):
        cuts += 1

    assert cuts >= 3
    assert contents(tmp_path / "cut") == contents(tmp_path / "straight")


@pytest.mark.slow
@pytest.mark.parametrize("algorithm", ["cma-es", "snes"])
def test_killed_ten_times_a_search_of_rules_ends_alike(tmp_path: Path, algorithm: str) -> None:
    problem = {"id": "hebbian/reach", "steps": 20, "episodes": [2, 2]}
    kill_and_compare(
        tmp_path, algorithm, 10, within=0.4, problem=problem, objectives=["reward"],
        metrics=["robustness"], stop={"generations": 12},
    )  # fmt: skip


def test_workers_find_the_same(tmp_path: Path) -> None:
    asked = ["run", "hebbian/reach", "--population=10", "--generations=2", "--set=problem.steps=6"]
    assert main([*asked, f"--out={tmp_path / 'one'}"]) == 0
    assert main([*asked, "--workers=2", f"--out={tmp_path / 'two'}"]) == 0

    one, two = (read_run(tmp_path / name).candidates for name in ("one", "two"))
    assert np.array_equal(one.values, two.values)


def test_runs_keep_four_bytes_per_gene_and_read_those_that_kept_eight(
    tmp_path: Path, monkeypatch, capsys
) -> None:
    asked = ["run", "hebbian/reach", "--population=6", "--generations=2", "--set=problem.steps=4"]
    assert main([*asked, f"--out={tmp_path / 'new'}"]) == 0
    with monkeypatch.context() as patch:
        patch.setattr(searched, "Real", lambda name, low, high, _: Real(name, low, high))
        assert main([*asked, f"--out={tmp_path / 'old'}"]) == 0

    for name, size in (("new", 4), ("old", 8)):
        blobs = sqlite3.connect(tmp_path / name / "run.sqlite").execute(
            "SELECT genome FROM candidate"
        )
        assert {len(row[0]) for row in blobs} == {size * Plastic("reach").rule.genes}
    new, old = (read_run(tmp_path / name).candidates for name in ("new", "old"))
    first = slice(0, 6)  # later ones descend from rounded genes
    assert np.array_equal(new.values[first], old.values[first])
    rounded = old.genomes["rules"][first].astype(np.float32)
    assert np.array_equal(new.genomes["rules"][first], rounded)
    capsys.readouterr()
    assert main(["resume", str(tmp_path / "old"), "--generations=+1"]) == 2
    told = capsys.readouterr().err
    assert "(real, 50 × float64), those of the problem are rules (real, 50 × float32)" in told
    assert "--warm-start begins a new run from the recorded front" in told


# -- export ----------------------------------------------------------------------------------------


def played(folder: Path) -> Any:
    spec = importlib.util.spec_from_file_location("player", folder / "player.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("prune", ["none", "neurons", "synapses"])
@pytest.mark.parametrize("rule", [*PLASTIC, "static"])
def test_exported_rules_live_as_they_did_in_the_search(
    tmp_path: Path, rule: str, prune: str
) -> None:
    if (rule, prune) == ("wnchl", "synapses"):
        pytest.skip("weightless networks have no synapses to prune")
    norm = "max" if rule in ("hl", "nchl") else "none"
    given = problem(rule=rule, prune=prune, dtype="float64", norm=norm, window=4, episodes=(1, 1))
    genomes = given.starts(5, np.random.default_rng(2)).take([4])
    expected = float(values(given, genomes)["reward"][0])
    given.export(genomes, tmp_path / "out", expected={"reward": expected})
    player = played(tmp_path / "out")
    told = player.read(tmp_path / "out" / "rule.json")
    episodes = given.episodes(Context())
    begin = [w[0] for w in given.rule.beginnings(episodes.streams("weights"))]

    network, world, total = player.Network(told, begin), make("reach", ["intact"], steps=12), 0.0
    seen = world.reset(episodes.seeds(), np.zeros(1, dtype=np.intp))
    for _ in range(12):
        seen, reward, _ = world.step(network.act(seen[0])[None])
        total += float(reward[0, 0])

    assert total == pytest.approx(expected, abs=1e-6)
    assert told["values"] == {"reward": expected}
    with pytest.raises(ValueError, match=r"has 2 inputs, got an observation of shape \(3,\)"):
        network.act([1.0, 2.0, 3.0])


def test_an_exported_rule_plays_in_gymnasium_without_evo(tmp_path: Path) -> None:
    pytest.importorskip("gymnasium", reason="Gymnasium is not installed")
    run, out = tmp_path / "run", tmp_path / "out"
    asked = ["run", "hebbian/cart", "--population=24", "--generations=4", "--metric=lived"]
    assert main([*asked, "--set=problem.init=zero", f"--out={run}"]) == 0
    assert main(["export", str(run), "best:reward", "--to", str(out)]) == 0
    code = (
        "import sys, player; sys.modules['evo'] = None\n"
        "told = player.read(); print(*player.play(told, 4, 5))\n"
        "assert not any(m.startswith(('problems', 'torch', 'pymoo')) for m in sys.modules)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=out, capture_output=True, text=True, check=True,
        env={"PYTHONPATH": str(out)},
    )  # fmt: skip

    theirs = [float(word) for word in done.stdout.split()]
    told = json.loads((out / "rule.json").read_text())
    given = Plastic(init="zero", episodes=(4, 1), dtype="float64")
    flat = np.concatenate([told["genes"][name] for name in ("eta", "a", "b", "c", "d")])
    found = live(
        given.rule, given.rule.decode(flat[None]), Kept(), given.world, [0],
        Fixed(0, "search", 4),
    )  # fmt: skip
    assert found.rewards[0, 0, :, 0].tolist() == theirs
    main_ = subprocess.run([sys.executable, "player.py", "--episodes", "1"], cwd=out,
                           capture_output=True, text=True, check=True)  # fmt: skip
    assert main_.stdout.startswith("episode 0: ")


def test_a_life_is_drawn_where_opengl_is(tmp_path: Path) -> None:
    image = pytest.importorskip("PIL.Image", reason="Pillow is not installed")
    pytest.importorskip("imageio", reason="gymnasium[mujoco] is not installed")
    pytest.importorskip("mujoco", reason="MuJoCo is not installed")
    given = Plastic(task="ant", episodes=(1, 1))
    genomes = given.starts(3, np.random.default_rng(2)).take([2])
    given.export(genomes, tmp_path, expected={})
    asked = [sys.executable, "player.py", "--episodes=1", "--gif=life.gif"]

    done = subprocess.run(
        asked, cwd=tmp_path, capture_output=True, text=True,
        env={k: v for k, v in os.environ.items() if k != "DISPLAY"} | {"MUJOCO_GL": "egl"},
    )  # fmt: skip

    if done.returncode and "gl" in done.stderr.lower():
        pytest.skip("there is no OpenGL here")
    assert done.returncode == 0, done.stderr
    with image.open(tmp_path / "life.gif") as drawn:
        assert drawn.size == (240, 240)
        assert drawn.n_frames >= 1


class Fixed(Episodes):
    def seeds(self) -> list[int]:
        return [5, 6, 7, 8]


# -- bad input -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"task": "carp"}, "no task called 'carp'.*'cart'"),
        ({"rule": "abcd"}, "problem.rule must be one of hl, nchl, wnchl, static"),
        ({"rule": "wnchl", "norm": "max"}, "stores no weights, so problem.norm"),
        ({"rule": "wnchl", "prune": "synapses"}, "stores no weights; problem.prune"),
        ({"rule": "static", "eta": 0.1}, "learns nothing"),
        ({"rule": "hl", "packed": True}, "problem.packed is for the rules"),
        ({"init": "ones"}, "problem.init must be one of"),
        ({"scale": -1.0}, "problem.scale must be a number above 0"),
        ({"window": 0}, "problem.window must be a whole number of at least 1"),
        ({"every": 1.5}, "problem.every must be a whole number"),
        ({"hidden": [0]}, "problem.hidden must be a whole number of at least 1"),
        ({"hidden": [], "prune": "neurons"}, "no hidden ones"),
        ({"episodes": [4]}, "problem.episodes must be two numbers"),
        ({"episodes": [0, 1]}, "problem.episodes must be a whole number"),
        ({"steps": 0}, "problem.steps must be a whole number"),
        ({"damage": "length@2"}, "problem.damage must be a list of bodies"),
        ({"damage": ["intact"]}, "needs different damaged bodies"),
        ({"damage": ["leg@0"]}, "no body 'leg@0' here; there are intact, length@NUMBER"),
        ({"damage": ["length@long"]}, "needs a number of at least 0.001"),
        ({"score": "distance"}, "problem.score must be one of reward"),
        ({"noise": -1.0}, "problem.noise must be a number of at least 0"),
        ({"patience": -1}, "problem.patience must be a whole number of at least 0"),
        ({"friction": 0.5}, "task 'cart' knows no friction"),
        ({"bound": 0.0}, "problem.bound must be a number above 0"),
        ({"prune": "layers"}, "problem.prune must be one of none, neurons, synapses"),
        ({"backend": "jax"}, "problem.backend must be one of auto, numpy, torch"),
        ({"dtype": "float16"}, "problem.dtype must be one of float32, float64"),
    ],
    ids=str,
)
def test_wrong_settings_are_told_in_one_sentence(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Plastic(**settings)


def test_legs_and_joints_that_do_not_exist_are_told() -> None:
    pytest.importorskip("mujoco", reason="MuJoCo is not installed")
    with pytest.raises(ConfigError, match="'leg@4' does not exist: Ant-v5 has 4 legs"):
        Plastic(task="ant", damage=["leg@4"])
    with pytest.raises(ConfigError, match=r"'joint@0\.5' does not exist: HalfCheetah-v5 has 6 j"):
        Plastic(task="cheetah", damage=["joint@0.5"])


@pytest.mark.parametrize("package", ["mujoco", "gymnasium"])
def test_a_missing_simulator_is_named_with_the_way_to_get_it(
    package: str, monkeypatch, capsys
) -> None:
    pytest.importorskip("mujoco", reason="MuJoCo is not installed")
    monkeypatch.setitem(sys.modules, package, None)
    real = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *a: None if name == package else real(name, *a)
    )

    assert main(["run", "hebbian/ant", "--population=4"]) == 2

    told = capsys.readouterr().err
    assert f"task 'ant' needs the package '{package}', which is not installed" in told
    assert "evoprune[hebbian]" in told
    assert Plastic().world.inputs == 4  # the cart needs neither


def test_unknown_bodies_end_a_command_with_2(capsys) -> None:
    assert main(["run", "hebbian/cart", "--set=problem.damage=['wing@1']"]) == 2
    assert "there is no body 'wing@1' here" in capsys.readouterr().err
    asked = ["run", "hebbian/reach", "--set=problem.damage=[]", "--objective=robustness"]
    assert main(asked) == 2
    assert "no objective called 'robustness'" in capsys.readouterr().err


def test_the_middle_of_a_run_is_resumed_by_hand(tmp_path: Path) -> None:
    """A run stopped after three generations and extended is one that never stopped."""
    base = {
        "problem": {"id": "hebbian/reach", "steps": 6, "episodes": [2, 2]},
        "objectives": ["reward"], "algorithm": {"id": "sep-cma-es", "population": 8},
    }  # fmt: skip
    go(RunConfig.from_mapping({**base, "stop": {"generations": 6}}), tmp_path / "straight")
    go(RunConfig.from_mapping({**base, "stop": {"generations": 3}}), tmp_path / "short")
    with Run.resume(tmp_path / "short", more_generations=3) as run:
        list(run)

    straight, short = (read_run(tmp_path / n).candidates for n in ("straight", "short"))
    assert straight.genomes.rows() == short.genomes.rows()
    assert np.array_equal(straight.values, short.values)
