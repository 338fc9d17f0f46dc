import itertools

import numpy as np
import pytest
from pymoo.problems import get_problem

from evo.config import RunConfig
from evo.errors import ConfigError
from evo.evaluate import Judges
from evo.genomes import Genomes
from evo.problem import Context
from evo.registry import build_problem, listing
from evo.streams import stream
from problems.synthetic import DTLZ, ZDT, Knapsack, Layers

CHEAP = [e.ref for e in listing("problem") if e.ref.startswith("synthetic/")]


def values(problem, genomes, split="search"):
    batch = problem.batch(genomes, Context(split=split))
    return np.stack([o(batch) for o in problem.objectives], axis=1)


@pytest.mark.parametrize("number", [1, 2, 3, 4, 6])
def test_zdt_agrees_with_pymoo(number):
    problem = ZDT(number)
    genomes = problem.space.sample(50, stream(number))

    expected = get_problem(f"zdt{number}").evaluate(genomes["x"])

    assert np.allclose(values(problem, genomes), expected, atol=2e-9)


@pytest.mark.parametrize("number", [1, 2])
@pytest.mark.parametrize("m", [2, 3, 5])
def test_dtlz_agrees_with_pymoo(number, m):
    problem = DTLZ(number, m)
    genomes = problem.space.sample(50, stream(m))

    reference = get_problem(f"dtlz{number}", n_obj=m, n_var=problem.space.length)

    assert np.allclose(values(problem, genomes), reference.evaluate(genomes["x"]), atol=2e-9)


def test_zdt1_worked_by_hand():
    problem = ZDT(1, n_variables=3)

    found = values(problem, Genomes({"x": np.array([[0.25, 0.0, 0.0], [1.0, 1.0, 1.0]])}))

    assert np.allclose(found, [[0.25, 0.5], [1.0, 10 * (1 - np.sqrt(0.1))]])


@pytest.mark.parametrize("number", [1, 2, 3, 4])
def test_points_on_the_true_front_are_reached_and_not_beaten(number):
    problem = ZDT(number)
    front = problem.front(400)
    x = np.zeros((len(front), problem.space.length))
    x[:, 0] = front[:, 0]

    assert np.allclose(values(problem, Genomes({"x": x})), front, atol=2e-9)
    dominated = (front[:, None] >= front[None]).all(2) & (front[:, None] > front[None]).any(2)
    assert not dominated.any()


def test_zdt6_front_starts_at_the_least_first_objective():
    x = np.zeros((200_001, 10))
    x[:, 0] = np.linspace(0, 1, len(x))

    least = values(ZDT(6), Genomes({"x": x}))[:, 0].min()

    assert least == pytest.approx(ZDT(6).front()[0, 0], abs=1e-6)


@pytest.mark.parametrize("m", [2, 3, 7])
def test_the_front_of_dtlz_is_a_plane_and_a_sphere(m):
    plane, sphere = DTLZ(1, m).front(99), DTLZ(2, m).front(99)

    assert plane.shape == sphere.shape == (99, m)
    assert np.allclose(plane.sum(axis=1), 0.5)
    assert np.allclose((sphere**2).sum(axis=1), 1)
    assert min(plane.min(), sphere.min()) >= 0


def brute_force(problem, part, options):
    rows = np.array(list(itertools.product(*options)))
    genomes = problem.space.repair(Genomes({part: rows}))
    signs = np.array([1.0 if o.goal == "min" else -1.0 for o in problem.objectives])
    batch = problem.batch(genomes, Context())
    feasible = np.ones(len(rows), dtype=bool)
    for constraint in problem.constraints:
        feasible &= constraint(batch) == 0
    return (values(problem, genomes) * signs)[feasible], signs


def pareto(points):
    return np.unique(
        [p for p in points if not ((points <= p).all(1) & (points < p).any(1)).any()], axis=0
    )


@pytest.mark.parametrize("m", [1, 2, 3])
def test_the_knapsack_front_is_that_of_trying_everything(m):
    problem = Knapsack(items=10, n_objectives=m, instance=m)

    points, signs = brute_force(problem, "packed", [[0, 1]] * 10)

    assert np.array_equal(pareto(points), np.unique(problem.front() * signs, axis=0))


def test_the_front_of_layers_is_that_of_trying_everything():
    problem = Layers(layers=6, levels=3, instance=4)

    points, _ = brute_force(problem, "choices", [[0, 1, 2]] * 6)

    assert np.array_equal(pareto(points[:, :2]), np.unique(problem.front(), axis=0))


def test_layers_judge_validation_on_other_losses_and_the_same_sizes():
    problem = Layers()
    genomes = problem.ladder()

    search, unseen = values(problem, genomes), values(problem, genomes, "validation")

    assert (unseen[1:, 0] > search[1:, 0]).all()
    assert np.array_equal(search[:, 1:], unseen[:, 1:])
    assert search[0].tolist() == [problem.describe()["dense"][o.name] for o in problem.objectives]


def test_layers_tell_another_model_by_their_fingerprint():
    assert Layers(instance=1).fingerprint() != Layers(instance=2).fingerprint()
    assert Layers(instance=1).fingerprint() == Layers(instance=1).fingerprint()


def test_layer_sites_add_up_to_the_judged_params():
    problem = Layers(layers=3, levels=4)
    sites = problem.describe()["sites"]
    genomes = problem.space.sample(9, stream(0))

    summed = [
        sum(site["variants"][k]["params"] for site, k in zip(sites, row, strict=True))
        for row in genomes["choices"]
    ]

    assert values(problem, genomes)[:, 1].tolist() == summed


@pytest.mark.parametrize("ref", CHEAP)
@pytest.mark.parametrize("chunk", [1, 7])
def test_all_chunk_plans_agree(ref, chunk):
    problem = build_problem(RunConfig.from_mapping({"problem": ref}))
    judges = Judges.of(problem, RunConfig())
    genomes = problem.space.sample(23, stream(1))
    whole = judges(problem.batch(genomes, Context()))

    cut = [
        judges(problem.batch(genomes.take(slice(i, i + chunk)), Context()))
        for i in range(0, 23, chunk)
    ]

    for k in range(2):
        assert np.array_equal(np.concatenate([c[k] for c in cut]), whole[k])


@pytest.mark.parametrize("ref", CHEAP)
@pytest.mark.parametrize("n", [0, 1])
def test_no_candidate_and_one_candidate_are_ordinary_batches(ref, n):
    problem = build_problem(RunConfig.from_mapping({"problem": ref}))
    genomes = problem.space.sample(n, stream(1))

    batch = problem.batch(genomes, Context())

    assert len(batch) == n
    assert all(o(batch).shape == (n,) for o in problem.objectives)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: ZDT(5), "there is no ZDT5"),
        (lambda: ZDT(1, 1), "at least 2 variables"),
        (lambda: DTLZ(7), "there is no DTLZ7"),
        (lambda: DTLZ(2, 3, 2), "at least 2 objectives and as many variables"),
        (lambda: Knapsack(0), "needs items"),
        (lambda: Layers(levels=1), "2 levels"),
    ],
)
def test_impossible_sizes_are_refused(make, message):
    with pytest.raises(ConfigError, match=message):
        make()
