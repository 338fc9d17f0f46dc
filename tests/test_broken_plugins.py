"""Deliberately broken plug-ins, one mistake each: evo check must name it, and nothing else."""

from __future__ import annotations

import sys
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import evo
from evo.algorithms.baselines import RandomSearch
from evo.check import (
    check_algorithm,
    check_elsewhere,
    check_objective,
    check_operator,
    check_problem,
    failed,
)
from evo.cli import main
from evo.streams import stream


def items(findings: list[Any]) -> list[str]:
    return [finding.item for finding in failed(findings)]


# Problems and objectives


@dataclass
class Batch:
    x: np.ndarray

    def __len__(self) -> int:
        return len(self.x)

    @cached_property
    def squares(self) -> np.ndarray:
        return self.x**2


def total(batch: Batch) -> np.ndarray:
    return batch.x.sum(axis=1)


def power(batch: Batch) -> np.ndarray:
    return batch.squares.sum(axis=1)


def problem_of(*objectives: Any, genes: int = 3, scale: float = 1.0) -> Any:
    @dataclass
    class Problem:
        space: evo.SearchSpace = field(
            default_factory=lambda: evo.SearchSpace((evo.Real("x", [1.0] * genes, [2.0] * genes),))
        )
        objectives: Any = ()
        constraints: Any = ()

        def batch(self, genomes: evo.Genomes, context: evo.Context) -> Batch:
            self.space.check(genomes)
            return Batch(genomes["x"] * scale)

    return Problem(objectives=objectives or (POWER, TOTAL))


TOTAL = evo.Objective("total", "min", total)
POWER = evo.Objective("power", "max", power)


def test_the_sound_ones_pass() -> None:
    sound = problem_of()

    assert items(check_problem(sound, rebuild=problem_of)) == []
    assert items(check_objective(POWER, sound)) == []


@pytest.mark.parametrize("objectives", [(total, power), TOTAL, {"total": TOTAL}])
def test_functions_in_place_of_objectives_are_named(objectives: Any) -> None:
    broken = replace(problem_of(), objectives=objectives)

    assert items(check_problem(broken)) == ["objectives not made of evo.Objective"]


def test_an_objective_that_remembers_is_named() -> None:
    worst = [0.0]

    def relative(batch: Batch) -> np.ndarray:
        worst[0] = max(worst[0], float(total(batch).max()))
        return total(batch) / worst[0]

    found = check_objective(evo.Objective("relative", "min", relative), problem_of())

    assert items(found) == ["objective 'relative' depends on what was judged before"]


def test_a_value_that_changes_with_its_company_is_named() -> None:
    def ranked(batch: Batch) -> np.ndarray:
        return total(batch).argsort().argsort()

    found = check_objective(evo.Objective("ranked", "min", ranked), problem_of())

    assert items(found) == ["objective 'ranked' depends on the chunk"]


def test_a_resolution_that_leaves_no_difference_is_named() -> None:
    coarse = evo.Objective("share", "min", lambda b: total(b) / 100.0, resolution=1.0)
    constant = evo.Objective("count", "min", lambda b: np.full(len(b), 3), resolution=1.0)

    assert items(check_objective(coarse, problem_of())) == [
        "objective 'share' rounds all differences away"
    ]
    assert items(check_objective(constant, problem_of())) == []


def test_a_value_that_is_infinite_at_first_only_is_named() -> None:
    calls = iter(range(100))

    def cold(batch: Batch) -> np.ndarray:
        return total(batch) * (np.inf if next(calls) == 0 else 1.0)

    found = check_objective(evo.Objective("cold", "min", cold), problem_of())

    assert items(found) == ["objective 'cold' depends on what was judged before"]


@pytest.mark.parametrize(
    "values", [lambda b: b.x, lambda b: total(b)[:, None], lambda b: total(b)[:1], lambda b: "1"]
)
def test_a_wrong_number_of_values_is_named(values: Any) -> None:
    found = failed(check_objective(evo.Objective("wrong", "min", values), problem_of()))

    assert [f.item for f in found] == ["objective 'wrong' raised"]
    assert "it must return" in found[0].detail


def test_not_a_number_is_named_with_its_rows() -> None:
    genomes = problem_of().space.sample(8, stream(0, "check"))
    bad = np.flatnonzero(genomes["x"].sum(axis=1) > 4.5).tolist()
    assert 0 < len(bad) < 8

    def root(batch: Batch) -> np.ndarray:
        with np.errstate(invalid="ignore"):
            return np.sqrt(4.5 - total(batch))

    found = failed(check_objective(evo.Objective("root", "min", root), problem_of()))

    assert [(f.item, f.detail) for f in found] == [
        ("objective 'root' is not finite", f"rows {bad}")
    ]


def test_an_objective_that_spoils_the_batch_of_others_is_named() -> None:
    def spoil(batch: Batch) -> np.ndarray:
        values = batch.squares.sum(axis=1)
        batch.squares[:] = 0.0
        return values

    found = check_objective(evo.Objective("spoil", "min", spoil), problem_of())

    assert items(found) == ["objectives change the batch they share"]


def test_chance_of_pytorch_is_watched() -> None:
    torch = pytest.importorskip("torch")

    def draws(batch: Batch) -> np.ndarray:
        torch.rand(1)
        return total(batch)

    found = failed(check_objective(evo.Objective("draws", "min", draws), problem_of()))

    assert [(f.item, f.detail) for f in found] == [("uses the global generators", "of torch")]


def test_problems_that_differ_when_built_again_are_named() -> None:
    draws = iter([1.0, 2.0, 3.0])
    sizes = iter([3, 4])

    def scaled() -> Any:
        return problem_of(TOTAL, scale=next(draws))

    def sized() -> Any:
        return problem_of(TOTAL, genes=next(sizes))

    assert items(check_problem(scaled(), rebuild=scaled)) == ["judges differently when built again"]
    assert items(check_problem(sized(), rebuild=sized)) == ["is built differently each time"]


def test_a_mistake_of_an_objective_is_named_once_where_others_follow_it() -> None:
    def fails(batch: Batch) -> np.ndarray:
        raise KeyError("gone")

    raising = problem_of(evo.Objective("fails", "min", fails), TOTAL)
    empty = problem_of(evo.Objective("empty", "min", lambda b: total(b) * np.nan), TOTAL)
    endless = problem_of(evo.Objective("endless", "min", lambda b: total(b) * np.inf), TOTAL)

    assert items(check_problem(raising, rebuild=problem_of)) == [
        "objective 'fails' raised", "judging on one batch raised", "judging on one batch raised",
    ]  # fmt: skip
    assert items(check_problem(empty, rebuild=problem_of)) == ["objective 'empty' is not finite"]
    assert items(check_problem(endless, rebuild=problem_of)) == [
        "objective 'endless' is not finite"
    ]


def test_fingerprints_and_measurements_of_another_build_count() -> None:
    numbers = iter(range(100))

    def marked() -> Any:
        problem, mark = problem_of(), str(next(numbers))
        problem.fingerprint = lambda: {"data": mark}
        return problem

    def measured() -> Any:
        speed = [1.0 + next(numbers)]
        timed = evo.Objective("timed", "min", lambda b: total(b) / speed[0])
        problem = problem_of(timed)
        problem.measurements = lambda: {"speed": speed[0]}
        problem.restore = lambda told: speed.__setitem__(0, told["speed"])
        return problem

    found = failed(check_problem(marked(), rebuild=marked))
    assert [f.item for f in found] == ["judges differently when built again"]
    assert found[0].detail.startswith("fingerprint data;")
    assert items(check_problem(measured(), rebuild=measured)) == []


def test_a_build_with_other_objectives_or_one_that_fails_is_named() -> None:
    def spoiled() -> Any:
        broken = problem_of()
        broken.batch = None
        return broken

    def gone() -> Any:
        raise FileNotFoundError("data.csv")

    def found(rebuild: Any) -> list[str]:
        return items(check_problem(problem_of(), rebuild=rebuild))

    assert found(lambda: problem_of(TOTAL)) == ["is built differently each time"]
    assert found(spoiled) == ["judging with another build raised"]
    assert found(gone) == ["building it again raised"]


# Operators


class Move:
    kinds = frozenset({"real"})


class Unclipped(Move):
    """Leaves the bounds only from very near to them."""

    def __call__(self, genomes: Any, bounds: Any, rng: Any) -> Any:
        return genomes + 1e-9 * rng.normal(size=genomes.shape)


class Sorts(Move):
    """Changes parents in the first call only: the second finds them sorted."""

    def __call__(self, genomes: Any, bounds: Any, rng: Any) -> Any:
        genomes.sort(axis=0)
        return np.clip(genomes.copy(), bounds.low, bounds.high)


class SpoilsSecond(Move):
    def __call__(self, first: Any, second: Any, bounds: Any, rng: Any) -> Any:
        second[:] = first
        return first.copy(), second.copy()


class Same(Move):
    def __call__(self, genomes: Any, bounds: Any, rng: Any) -> Any:
        return genomes


class OneChild(Move):
    def __call__(self, first: Any, second: Any, bounds: Any, rng: Any) -> Any:
        return ((first + second) / 2.0,)


class NoPair(Move):
    """One array of children in place of two."""

    def __call__(self, first: Any, second: Any, bounds: Any, rng: Any) -> Any:
        return (first + second) / 2.0


class NotANumber(Move):
    def __call__(self, genomes: Any, bounds: Any, rng: Any) -> Any:
        return np.full_like(genomes, np.nan)


class Halves(Move):
    def __call__(self, genomes: Any, bounds: Any, rng: Any) -> Any:
        return genomes.astype(np.float32)


LAYOUT = [f"wrong shape or dtype: real genes, n = {n}" for n in (16, 1, 0)]


@pytest.mark.parametrize(
    ("operator", "expected"),
    [
        (Unclipped(), ["leaves the bounds: real genes, n = 16"]),
        (Sorts(), ["changes the real genes it is given"]),
        (SpoilsSecond(), ["changes the real genes it is given"]),
        (Same(), ["returns the real genes it is given"]),
        (OneChild(), LAYOUT),
        (NoPair(), LAYOUT),
        (NotANumber(), [f"leaves the bounds: real genes, n = {n}" for n in (16, 1)]),
        (Halves(), LAYOUT),
    ],
    ids=lambda v: type(v).__name__,
)
def test_a_mistake_of_an_operator_is_named(operator: Any, expected: list[str]) -> None:
    assert [i for i in items(check_operator(operator)) if not i.startswith("differs")] == expected


@pytest.mark.parametrize("kinds", [frozenset({"reals"}), frozenset(), "real"])
def test_kinds_that_do_not_exist_are_named(kinds: Any) -> None:
    class Named(Same):
        pass

    Named.kinds = kinds
    found = failed(check_operator(Named()))

    assert found[0].item == "kinds must be a set of kinds of genes"
    assert found[0].detail == f"got {kinds!r}; there are real, integer, choice, mask, subset"


# Algorithms


class Chance(RandomSearch):
    """Random search, to be broken in one place."""

    def __init__(self, nursery: Any, **settings: Any) -> None:
        super().__init__(nursery, **settings)
        self.asked = 0


class Doubles(Chance):
    def __init__(self, nursery: Any, *, settings: Any, **others: Any) -> None:
        wide = replace(settings, population=2 * settings.population)
        super().__init__(nursery, settings=wide, **others)


class Stops(Chance):
    def ask(self) -> evo.Genomes:
        self.asked += 1
        return super().ask() if self.asked < 3 else self._nursery.nothing()


class Silent(Chance):
    def ask(self) -> evo.Genomes:
        return self._nursery.nothing()


class OnlyTwo(Chance):
    def tell(self, genomes: Any, fitness: Any, violation: Any) -> None:
        first, second = fitness.T
        super().tell(genomes, np.stack([first, second], axis=1), violation)


class Misaligned(Chance):
    def tell(self, genomes: Any, fitness: Any, violation: Any) -> None:
        super().tell(genomes, fitness[::-1], violation[::-1])


@pytest.mark.parametrize(
    ("algorithm", "expected"),
    [
        (Chance, []),
        (Doubles, ["asks for more or less than a population"]),
        (Stops, ["stops asking in a space that is not used up", "stops when some fail"]),
        (OnlyTwo, ["searching three objectives raised"]),
        (Misaligned, ["keeps other values than it was told"]),
    ],
)
def test_a_mistake_of_an_algorithm_is_named(algorithm: Any, expected: list[str]) -> None:
    assert items(check_algorithm(algorithm)) == expected


def test_an_algorithm_that_asks_for_nothing_is_named() -> None:
    assert items(check_algorithm(Silent))[0] == "asks for nothing at first"


HASHED = """
from evo.algorithms.baselines import RandomSearch

class Steady(RandomSearch):
    pass

class Hashed(RandomSearch):
    def ask(self):
        asked = super().ask()
        return asked.take(sorted(range(len(asked)), key=lambda i: hash(asked.rows()[i])))

class Fails(RandomSearch):
    def ask(self):
        import os
        if os.environ["PYTHONHASHSEED"] in ("1", "2"):
            raise KeyError("gone")
        return super().ask()
"""


def test_an_order_that_another_process_does_not_repeat_is_named(
    tmp_path: Path, monkeypatch: Any
) -> None:
    (tmp_path / "hashed_orders.py").write_text(HASHED)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("PYTHONHASHSEED", "0")

    assert items(check_elsewhere("hashed_orders:Steady")) == []
    assert items(check_elsewhere("hashed_orders:Hashed")) == ["differs in another process"]
    found = failed(check_elsewhere("hashed_orders:Fails"))
    assert [f.item for f in found] == ["searching in another process raised"]
    assert "KeyError: 'gone'" in found[0].detail
    sys.modules.pop("hashed_orders")


def test_the_file_in_place_of_its_module_is_told(
    tmp_path: Path, monkeypatch: Any, capsys: Any
) -> None:
    (tmp_path / "own_moves.py").write_text("")
    monkeypatch.chdir(tmp_path)

    assert main(["check", "own_moves.py:Nudge"]) == 2
    assert capsys.readouterr().err == (
        "evo: problem 'own_moves.py:Nudge' names a file, expected a module\n"
        "     hint: in the folder of the file: own_moves:Nudge\n"
    )
