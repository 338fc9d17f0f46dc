"""Lives of plastic networks, counted by hand and by plain loops."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from plastic import PLASTIC, Loops, problem, values

from evo.cli import main
from evo.config import RunConfig
from evo.errors import ShapeError
from evo.evaluate.chunk import ChunkJudge
from evo.evaluate.judges import Judges
from evo.problem import Context
from evo.view import read_run
from problems.hebbian.genes import Kept, Rule
from problems.hebbian.lives import Clock, Episodes, live
from problems.hebbian.threads import Threads
from problems.hebbian.worlds import make


@pytest.mark.parametrize("rule", [*PLASTIC, "static"])
@pytest.mark.parametrize("task", ["cart", "reach"])
def test_candidates_live_alike_whoever_lives_beside_them(rule: str, task: str) -> None:
    given = problem(task=task, rule=rule, steps=60, noise=0.01,
                    damage=["length@2" if task == "cart" else "turn@90"])  # fmt: skip
    genomes = given.starts(9, np.random.default_rng(3))
    together = values(given, genomes)

    order = np.array([4, 0, 8, 2])
    some = values(given, genomes.take(order))

    for name, found in together.items():
        assert np.array_equal(some[name], found[order]), name
    alone = values(given, genomes.take([7]))
    assert all(np.array_equal(alone[name], found[[7]]) for name, found in together.items())
    assert len(set(together[given.world.parts[0]].round(6))) > 4


@pytest.mark.parametrize("prune", ["neurons", "synapses"])
@pytest.mark.parametrize("rule", ["hl", "nchl", "static"])
def test_pruned_networks_stay_pruned_when_others_end(rule: str, prune: str) -> None:
    given = problem(task="cart", rule=rule, prune=prune, steps=60)
    genomes = given.starts(9, np.random.default_rng(3))
    together = values(given, genomes)

    for k in (4, 8):
        alone = values(given, genomes.take([k]))
        assert all(np.array_equal(alone[name], found[[k]]) for name, found in together.items())
    assert len(set(together["lived"])) > 2


@pytest.mark.parametrize("prune", ["none", "neurons"])
@pytest.mark.parametrize("rule", [*PLASTIC, "static"])
def test_lives_by_torch_are_those_by_numpy(rule: str, prune: str) -> None:
    settings = {"rule": rule, "prune": prune, "steps": 30, "dtype": "float64"}
    given = problem(**settings)
    genomes = given.starts(9, np.random.default_rng(3))

    found = values(problem(**settings, backend="torch"), genomes)

    for name, expected in values(given, genomes).items():
        np.testing.assert_allclose(found[name], expected, atol=1e-6, err_msg=name)


def test_what_computes_networks_follows_the_device() -> None:
    devices = [Context(), Context(device="cuda:0")]

    assert [problem().device(context) for context in devices] == [None, "cuda:0"]
    assert [problem(backend="torch").device(context) for context in devices] == ["cpu", "cuda:0"]
    assert [problem(backend="numpy").device(context) for context in devices] == [None, None]


def test_damaged_bodies_are_judged_by_their_mean_and_by_the_worst() -> None:
    kinds = ["turn@90", "gain@0.5", "turn@20"]
    both = problem(damage=kinds, unseen=["turn@120"])
    genomes = both.starts(6, np.random.default_rng(5))

    found = values(both, genomes)

    alone = [values(problem(damage=[kind]), genomes)["robustness"] for kind in kinds]
    np.testing.assert_allclose(found["robustness"], np.mean(alone, axis=0), atol=2e-6)
    np.testing.assert_allclose(found["worst"], np.min(alone, axis=0), atol=2e-6)
    other = values(problem(damage=["turn@120"]), genomes)["robustness"]
    assert np.array_equal(found["unseen"], other)
    assert (np.max(alone, axis=0) - np.min(alone, axis=0) > 1e-3).all()


class Script:
    """A world in which lane k ends after as many steps as its seed says; rewards count up."""

    inputs, outputs, steps, parts, hidden, threads = 2, 2, 6, ("reward",), (3,), Threads()

    def __init__(self, ends: list[int], width: int = 2) -> None:
        self.ends, self.width, self.stepped = ends, width, []

    def reset(self, seeds, bodies):
        self.own = np.array([self.ends[s % len(self.ends)] for s in seeds])
        self.t = 0
        return np.ones((len(seeds), self.width))

    def step(self, actions):
        self.t += 1
        self.stepped.append(len(actions))
        return np.ones((len(self.own), 2)), np.full((len(self.own), 1), self.t), self.t >= self.own

    def keep(self, rows):
        self.own = self.own[rows]

    def close(self):
        pass


def test_lives_end_when_they_end_and_are_counted_by_hand(monkeypatch) -> None:
    rule = Rule((2, 3, 2), "static")
    genomes = np.full((2, rule.genes), 0.5)
    world = Script([1, 2, 3, 99])
    monkeypatch.setattr(Episodes, "seeds", lambda self: [0, 1, 2, 3])

    clock = Clock()

    found = live(  # type: ignore[arg-type]
        rule, rule.decode(genomes), Kept(), world, [0], Episodes(0, "search", 4), clock=clock
    )

    assert found.rewards[0, 0, :, 0].tolist() == [1, 3, 6, 21]
    assert found.steps[1, 0].tolist() == [1, 2, 3, 6]
    middle = np.tanh(1.0)
    output = np.tanh(1.5 * middle)
    np.testing.assert_allclose(found.energy, output**2, rtol=1e-6)
    assert (found.largest == 0.5).all()
    assert (found.change == 0).all()
    assert world.stepped == [8, 6, 4, 2, 2, 2]  # nobody steps after the end
    assert clock.steps == sum(world.stepped)


def test_lives_that_end_early_are_plastic_too(monkeypatch) -> None:
    """Weights of a life that ended in the first tenth changed as those of one that went on."""
    rule = Rule((2, 3, 2), "nchl", dtype="float64", init="zero")
    genomes = np.random.default_rng(0).normal(0, 0.4, (1, rule.genes))
    monkeypatch.setattr(Episodes, "seeds", lambda self: [0, 1])
    world = Script([1, 99])
    world.steps = 20

    found = live(rule, rule.decode(genomes), Kept(), world, [0], Episodes(0, "search", 2))  # type: ignore[arg-type]

    assert found.steps[0, 0].tolist() == [1, 20]
    slow = Loops(rule, genomes[0], [np.zeros((b, a)) for a, b in rule.pairs])
    slow.step(np.ones(2))
    assert found.change[0, 0, 0] == pytest.approx(sum(map(abs, slow.w.values())))
    assert found.change[0, 0, 1] > 1.1 * found.change[0, 0, 0]


def test_worlds_that_lose_their_state_are_not_blamed_on_weights(monkeypatch) -> None:
    class Lost(Script):
        def step(self, actions):
            seen, rewards, ended = super().step(actions)
            seen[1:] = np.where(self.t == 3, np.nan, seen[1:])
            return seen, rewards, ended

    rule = Rule((2, 3, 2), "static")
    given = [rule.decode(np.full((2, rule.genes), 0.5)), Kept(), Lost([99]), [0]]

    found = live(rule, *given, Episodes(0, "search", 1))  # type: ignore[arg-type]

    assert found.reasons == {1: "the world lost its state at step 2 of episode 0 in body 0"}
    assert found.rewards[:, 0, 0, 0].tolist() == pytest.approx([21, np.nan], nan_ok=True)


class Backwards(Script):
    """Lane k turns back at the step its seed says, and forth again after five more."""

    steps = 240

    def step(self, actions):
        seen, _, ended = super().step(actions)
        back = (self.t > self.own) & (self.t <= self.own + 5)
        return seen, np.where(back, -1.0, 1.0)[:, None], np.zeros_like(ended)


def test_patience_ends_lives_that_lead_back(monkeypatch) -> None:
    rule = Rule((2, 3, 2), "static")
    genomes = np.full((1, rule.genes), 0.5)
    monkeypatch.setattr(Episodes, "seeds", lambda self: [0, 1, 2])

    def lived(patience: int | None) -> list[float]:
        world = Backwards([100, 210, 198])
        episodes = Episodes(0, "search", 3)
        return live(
            rule, rule.decode(genomes), Kept(), world, [0], episodes, patience=patience  # type: ignore[arg-type]
        ).steps[0, 0].tolist()  # fmt: skip

    assert lived(None) == [240, 240, 240]
    assert lived(5) == [240, 240, 240]
    assert lived(2) == [240, 213, 203]  # of the third, steps 199 and 200 do not count


@pytest.mark.parametrize(("every", "looks"), [(1, [10]), (2, [11]), (3, [2, 14]), (15, [14])])
def test_change_of_weights_is_that_of_loops(every: int, looks: list[int]) -> None:
    given = problem(rule="nchl", episodes=(1, 1), steps=20, hidden=[3], init="zero", every=every,
                    dtype="float64")  # fmt: skip
    genomes = given.starts(3, np.random.default_rng(1))
    found = values(given, genomes)

    rule, seed = given.rule, given.episodes(Context()).seeds()[0]
    for k in range(3):
        slow = Loops(rule, genomes["rules"][k], [np.zeros((b, a)) for a, b in rule.pairs])
        world = make("reach", ["intact"], steps=20)
        seen, moved, energy, total = world.reset([seed], np.zeros(1, dtype=np.intp)), [], [], 0.0
        for t in range(20):
            before = dict(slow.w)
            act = np.array([slow.step(seen[0])])
            if t in looks:
                change = sum(abs(slow.w[m] - before[m]) for m in before) / rule.synapses
                assert (change > 0) == (k > 0)  # the first learns nothing
                moved.append(change / every)
            seen, reward, _ = world.step(act)
            energy.append((act**2).mean())
            total += float(reward[0, 0])
        assert found["plasticity"][k] == pytest.approx(np.mean(moved), abs=1e-8)
        assert found["energy"][k] == pytest.approx(np.mean(energy), abs=1e-8)
        assert found["reward"][k] == pytest.approx(total, abs=1e-6)
        assert found["largest"][k] == pytest.approx(max(map(abs, slow.w.values())), abs=1e-6)


def test_splits_have_other_episodes_and_seeds_other_ones() -> None:
    given = problem()
    searched = given.episodes(Context()).seeds()

    assert searched == given.episodes(Context()).seeds()
    assert len(set(searched)) == 3
    assert not set(searched) & set(given.episodes(Context(split="validation")).seeds())
    assert not set(searched) & set(given.episodes(Context(seed=1)).seeds())


def test_weights_begin_as_published() -> None:
    streams = Episodes(0, "search", 400).streams("w")
    for init, bound, deviation in (
        ("uniform", 0.1, 0.1 / 3**0.5),
        ("linear", 0.5, 0.5 / 3**0.5),  # 1/√4
        ("normal", 0.2, 0.024),
        ("zero", 0.0, 0.0),
    ):
        drawn = Rule((4, 3), "hl", init=init).beginnings(streams)[0]
        assert drawn.shape == (400, 3, 4)
        assert np.abs(drawn).max() <= bound
        assert drawn.std() == pytest.approx(deviation, rel=0.05)
        assert len(np.unique(drawn[:, 0, 0])) == (1 if init == "zero" else 400)


def test_networks_that_come_apart_fail_with_a_reason(tmp_path: Path) -> None:
    given = problem(rule="hl", bound=1e25, steps=40)
    genomes = given.starts(4, np.random.default_rng(0))
    genomes["rules"][2] = 1e22  # learning rates times the others are beyond 3e38
    config = RunConfig.from_mapping({"objectives": ["reward"], "metrics": ["params"]})

    found = ChunkJudge(given, Judges.of(given, config))(genomes, Context())

    assert found is not None
    assert found.ok.tolist() == [True, True, False, True]
    assert "its weights left the range of float32 at step" in found.reasons[2]
    assert found.reasons[2].startswith("objective 'reward' returned nan")
    assert found.values[2, 1] == given.rule.genes
    alone = values(given, genomes.take([0, 1, 3]))
    assert np.array_equal(alone["reward"], found.values[[0, 1, 3], 0])

    run = tmp_path / "run"
    asked = ["run", "hebbian/reach", "--set=problem.rule=hl", "--set=problem.bound=1e20"]
    asked += ["--set=problem.spread=1e19", "--objective=reward", "--population=8"]
    assert main([*asked, "--generations=2", "--algorithm=cma-es", f"--out={run}"]) == 0
    told = read_run(run).candidates
    assert 0 < (~told.ok).sum() < len(told.ok)
    assert any("its weights left the range" in reason for reason in told.reason)


def test_lives_that_are_only_recorded_fail_nobody() -> None:
    given = problem(rule="hl", bound=1e25, steps=40)
    genomes = given.starts(2, np.random.default_rng(0))
    genomes["rules"][1] = 1e22
    config = RunConfig.from_mapping({"objectives": ["params"], "metrics": ["reward"]})

    found = ChunkJudge(given, Judges.of(given, config))(genomes, Context())

    assert found is not None
    assert found.ok.all()
    assert np.isnan(found.values[1, 1])


def test_observations_that_do_not_fit_are_refused() -> None:
    rule = Rule((2, 3, 2), "static")
    coefficients = rule.decode(np.zeros((1, rule.genes)))

    with pytest.raises(ShapeError, match=r"observations of shape \(2, 3\), but 2 networks have 2"):
        live(rule, coefficients, Kept(), Script([9], width=3), [0], Episodes(0, "search", 2))  # type: ignore[arg-type]
