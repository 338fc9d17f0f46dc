from __future__ import annotations

import random
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import pytest

from evo import Choice, Constraint, Genomes, Objective, Real, SearchSpace
from evo.algorithms import CATALOGUE as ALGORITHMS
from evo.algorithms.baselines import RandomSearch
from evo.check import check_algorithm, check_objective, check_operator, check_problem, failed
from evo.check.operators import role_of
from evo.errors import ConfigError
from evo.registry import listing, load
from operators.discrete import Reset, UniformCrossover
from operators.sample import Uniform

SPACE = SearchSpace((Choice("choices", [3] * 6), Real("share", [0.0, -1.0], [1.0, 1.0])))


@dataclass
class Batch:
    genomes: Genomes

    def __len__(self):
        return len(self.genomes)

    @cached_property
    def params(self):
        return self.genomes["choices"].astype(float)


def params(batch):
    return batch.params.sum(axis=1)


def share(batch):
    return batch.genomes["share"].sum(axis=1)


@dataclass
class Problem:
    """A problem that keeps every promise."""

    objectives: tuple = (Objective("params", "min", params), Objective("share", "max", share))
    constraints: tuple = (Constraint("most", params, 9.0),)
    space: SearchSpace = SPACE
    checks: bool = True
    kind: type = Batch
    extra: dict = field(default_factory=dict)

    def batch(self, genomes, context):
        if self.checks:
            self.space.check(genomes)
        return self.kind(genomes)

    def starts(self, n, rng):
        return self.space.repair(self.space.unflat(np.zeros((1, self.space.length))))

    def describe(self):
        return {"title": "toy"}


def bad_items(problem, **settings):
    return [finding.item for finding in failed(check_problem(problem, **settings))]


def test_good_problem_passes_every_item():
    found = check_problem(Problem())

    assert failed(found) == []
    assert {f.item for f in found} >= {
        "sampling repeats", "repair makes genomes legal", "batch leaves its input alone",
        "objective 'params' agrees between chunks", "constraint 'most' repeats",
        "genomes of the wrong width are refused", "genomes beyond the bounds are refused",
        "starts repeats", "describe is JSON", "cost per candidate",
    }  # fmt: skip


def objective(fn, name="x", resolution=1e-9):
    return Problem(objectives=(Objective(name, "min", fn, resolution=resolution),))


def test_objective_that_depends_on_its_neighbours_is_named():
    relative = objective(lambda b: params(b) / params(b).mean())

    assert bad_items(relative) == ["objective 'x' depends on the chunk"]


def test_objective_that_depends_on_the_order_is_named():
    assert bad_items(objective(lambda b: params(b) + np.arange(len(b)))) == [
        "objective 'x' depends on the chunk", "objective 'x' depends on the order",
    ]  # fmt: skip


def test_objective_that_does_not_repeat_is_named():
    calls = iter(range(1000))

    assert "objective 'x' does not repeat" in bad_items(
        objective(lambda b: params(b) + 0.1 * next(calls))
    )


def test_noise_of_one_step_of_the_resolution_is_a_tie():
    calls = iter(range(1000))
    noisy = lambda b: params(b) + 0.4 * (next(calls) % 2)  # noqa: E731

    assert bad_items(objective(noisy, resolution=1.0)) == []
    assert bad_items(objective(noisy, resolution=0.01)) != []


def test_objective_that_changes_genomes_is_named():
    def spoil(batch):
        batch.genomes["choices"][:] = 0
        return share(batch)

    found = bad_items(objective(spoil))

    assert "objective 'x' changes the genomes" in found


def test_batch_that_changes_its_input_is_named():
    class Spoils(Problem):
        def batch(self, genomes, context):
            genomes["share"][:] *= 0.5
            return super().batch(genomes, context)

    assert "batch changes its input" in bad_items(Spoils())


def test_objectives_that_change_their_shared_batch_are_named():
    def spoil(batch):
        values = params(batch)
        batch.params[:] = 0
        return values

    both = (Objective("first", "min", spoil), Objective("second", "min", params))

    assert bad_items(Problem(objectives=both)) == ["objectives change the batch they share"]


@pytest.mark.parametrize(
    ("fn", "item"),
    [
        (lambda b: b.params, "objective 'x' raised"),
        (lambda b: 1 / 0, "objective 'x' raised"),
        (lambda b: params(b) * np.nan, "objective 'x' is not finite"),
    ],
)
def test_unusable_values_are_named(fn, item):
    found = failed(check_problem(objective(fn)))

    assert item in [f.item for f in found]
    assert next(f for f in found if f.item == item).detail


def test_illegal_genomes_must_be_refused():
    class Raises(Problem):
        def batch(self, genomes, context):
            if (genomes["choices"] > 2).any() or genomes["choices"].shape[1] != 6:
                raise ValueError("no")
            return Batch(genomes)

    assert bad_items(Problem(checks=False)) == [
        "genomes of the wrong width are accepted", "genomes beyond the bounds are accepted",
    ]  # fmt: skip
    assert bad_items(Raises()) == [
        "genomes of the wrong width raise the wrong error",
        "genomes beyond the bounds raise the wrong error",
    ]


def test_names_must_be_unique_and_free():
    twice = (Objective("a", "min", params), Objective("a", "max", share))
    taken = (Objective("generation", "min", params),)

    assert "names are used twice" in bad_items(Problem(objectives=twice))
    assert "names belong to the run file" in bad_items(Problem(objectives=taken))
    assert "offers no objective" in bad_items(Problem(objectives=()))


def test_global_generators_must_be_left_alone():
    def draws(batch):
        random.random()
        return params(batch)

    assert bad_items(objective(draws)) == ["uses the global generators"]


def test_offers_beyond_the_required_are_tried():
    class Offers(Problem):
        default_objectives = ("params", "speed")
        validation = True

        def starts(self, n, rng):
            return self.space.sample(n + 1, rng)

        def ladder(self):
            return Genomes(
                {k: v + 9 for k, v in self.space.sample(2, random_stream()).parts.items()}
            )

        def describe(self):
            return {"when": object()}

    assert bad_items(Offers()) == [
        "default objectives are not offered", "starts gives more than asked",
        "checking ladder raised", "describe raised",
    ]  # fmt: skip


def random_stream():
    return np.random.default_rng(0)


def test_a_problem_without_its_parts_is_told_which():
    found = check_problem(object())  # type: ignore[arg-type]

    assert [f.item for f in found] == ["lacks required parts"]
    assert "objectives" in found[0].detail


def test_single_objective_is_tried_on_a_problem():
    good = check_objective(Objective("own", "min", lambda b: b.params.max(axis=1)), Problem())
    bad = check_objective(Objective("own", "min", lambda b: b.params), Problem())

    assert failed(good) == []
    assert [f.item for f in failed(bad)] == ["objective 'own' raised"]


@pytest.mark.parametrize("entry", listing("operator"), ids=lambda e: e.ref)
def test_every_operator_of_the_catalogue_passes(entry):
    found = check_operator(load("operator", entry.ref)(**entry.settings))

    assert failed(found) == []
    assert len(found) > 5


class Careless:
    kinds = frozenset({"real"})

    def __call__(self, genomes, bounds, rng):
        genomes += 100.0
        return genomes


def test_careless_operator_is_named():
    items = [f.item for f in failed(check_operator(Careless()))]

    assert "changes the real genes it is given" in items
    assert "leaves the bounds: real genes, n = 16" in items


def test_operator_with_wrong_shape_dtype_or_chance_is_named():
    class Widens:
        kinds = frozenset({"choice"})

        def __call__(self, genomes, bounds, rng):
            return np.clip(genomes + np.random.random(genomes.shape), bounds.low, bounds.high)  # noqa: NPY002

    items = [f.item for f in failed(check_operator(Widens()))]

    assert "wrong shape or dtype: choice genes, n = 16" in items
    assert "differs on choice genes for the same stream" in items
    assert "uses the global generators" in items


def test_role_is_told_by_the_arguments():
    assert role_of(Uniform()) == "sampling"
    assert role_of(Reset()) == "mutation"
    assert role_of(UniformCrossover()) == "crossover"
    with pytest.raises(ConfigError, match="takes"):
        role_of(lambda a: a)


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_every_algorithm_of_the_catalogue_passes(algorithm):
    found = check_algorithm(algorithm, population=8, generations=4)

    assert failed(found) == []
    assert len(found) > 12


def test_algorithm_without_constraints_is_tried_without_them():
    found = check_algorithm("moead", population=8, generations=3)

    assert [f.detail for f in found if f.item == "constraints are refused"] != []
    assert failed(found) == []


def test_algorithm_that_cannot_begin_is_named():
    def refuses(nursery, **settings):
        raise ConfigError("not today")

    items = [f.item for f in failed(check_algorithm(refuses))]

    assert items == ["refusing constraints only raised", "searching raised"]


def test_algorithm_under_global_chance_is_named():
    def wild(nursery, *, n_objectives, constrained, settings):
        inner = RandomSearch(
            nursery, n_objectives=n_objectives, constrained=constrained, settings=settings
        )
        ask = inner.ask

        def wild_ask():
            nursery.rng = np.random.default_rng(int(np.random.randint(1 << 30)))  # noqa: NPY002
            return ask()

        inner.ask = wild_ask  # type: ignore[method-assign]
        return inner

    items = [f.item for f in failed(check_algorithm(wild))]

    assert "differs for the same seed" in items
    assert "uses the global generators" in items


def test_algorithm_that_repeats_itself_is_named():
    def stuck(nursery, *, n_objectives, constrained, settings):
        inner = RandomSearch(
            nursery, n_objectives=n_objectives, constrained=constrained, settings=settings
        )
        first = []
        ask = inner.ask

        def same():
            first.append(ask() if not first else first[0])
            return first[0]

        inner.ask = same  # type: ignore[method-assign]
        return inner

    items = [f.item for f in failed(check_algorithm(stuck))]

    assert "asks again" in items
    assert "goes on in a space that is used up" in items


def test_algorithm_that_cannot_bear_failures_is_named():
    def delicate(nursery, *, n_objectives, constrained, settings):
        inner = RandomSearch(
            nursery, n_objectives=n_objectives, constrained=constrained, settings=settings
        )
        tell = inner.tell

        def strict(genomes, fitness, violation):
            if (violation > 1e20).any():
                raise ValueError("too much")
            tell(genomes, fitness, violation)

        inner.tell = strict  # type: ignore[method-assign]
        return inner

    assert [f.item for f in failed(check_algorithm(delicate))] == ["failures raised"]
