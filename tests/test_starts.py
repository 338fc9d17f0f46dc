"""Warm starts at published allocations of sparsity."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from families import checkpoint

from evo.errors import ConfigError
from evo.streams import stream
from problems.pruning import allocate, starts
from problems.pruning.searches import Mixed

SIZES = {"calibration": 2, "search": 4, "validation": 2}


@pytest.fixture(scope="module")
def folders(tmp_path_factory: Any) -> Any:
    home = tmp_path_factory.mktemp("models")
    return {name: str(checkpoint(name, home / name)) for name in ("llama", "bert")}


def problem_of(folder: str, kinds: Any, **more: Any) -> Mixed:
    return Mixed(model=folder, variants=kinds, length=24, sizes=SIZES, cache="off", **more)


def rng(seed: int = 3) -> np.random.Generator:
    return stream(seed, "starts")


@pytest.mark.parametrize("sites", ["linear", "submodule", "block"])
def test_sites_take_their_nearest_sparsity(sites: str, folders: Any) -> None:
    problem = problem_of(folders["llama"], ["wanda@0.25,0.5,0.75"], sites=sites)
    table, shapes = problem.table, allocate.shapes(problem)
    shares = dict(zip(shapes, rng().random(len(shapes)), strict=True))

    row = starts.nearest(table, "wanda", shares)

    for site, chosen in zip(table.sites, row, strict=True):
        own = {p: out * into for p, (out, into) in site.place.shapes().items()}
        wanted = sum(n * shares[site.depth, p] for p, n in own.items()) / sum(own.values())
        distances = [abs(wanted - level) for level in (0, 0.25, 0.5, 0.75)]
        assert int(chosen) == distances.index(min(distances))
    assert len(set(row.tolist())) > 1


def test_only_one_kind_is_used_and_other_sites_stay_dense(folders: Any) -> None:
    kinds = ["removal", "width@0.5", "2:4", "ria@0.3,0.6", "wanda@0.4,0.8"]
    table = problem_of(folders["llama"], kinds).table
    shares = {(i, p): 0.55 for i in range(3) for s in table.sites for p in s.place.linears}

    for kind, name in (("ria", "ria-0.6"), ("wanda", "wanda-0.4"), ("sparsegpt", "dense")):
        row = starts.nearest(table, kind, shares)
        names = {s.variants[v].name for s, v in zip(table.sites, row, strict=True)}
        assert names == {name}


def test_kinds_with_several_sparsities_have_a_range(folders: Any) -> None:
    kinds = ["removal", "width", "2:4", "ria@0.5", "wanda@0.25,0.5,0.75"]
    table = problem_of(folders["llama"], kinds).table

    assert starts.sparsity_kinds(table) == {"wanda": (0.25, 0.75)}


def test_each_allocator_gives_a_start_at_each_target(folders: Any) -> None:
    problem = problem_of(folders["bert"], ["wanda@0.2,0.3,0.4,0.5,0.6,0.7,0.8"], sites="linear")
    names = ("uniform", "owl(spread=0.2)", "erk", "alphapruning")
    found = [allocate.find(name) for name in names]

    rows = starts.allocations(problem, found, rng())

    # rows of 32 lose int(32 * 0.2) = 6 and int(32 * 0.8) = 25, those of 64 the same share or more
    low, high = starts.sparsity_kinds(problem.table)["wanda"]
    expected = [
        starts.nearest(problem.table, "wanda", one(problem, target, rng())).tolist()
        for share in (0.5, 0.25, 0.75)
        for target in [round(low + share * (high - low), 3)]
        for one in found
    ]
    assert rows.tolist() == list(map(list, dict.fromkeys(map(tuple, expected))))
    assert len(rows) >= 10
    sparsities = np.array([[v.sparsity for v in s.variants] for s in problem.table.sites])
    counts = np.array([s.place.weight_count() for s in problem.table.sites])
    shares = (problem.table.look_up(sparsities, rows) * counts).sum(1) / counts.sum()
    assert np.abs(shares[:4] - 0.5).max() < 0.08  # half of a step between levels, and the floor


def test_allocations_are_among_the_starts(folders: Any) -> None:
    problem = problem_of(folders["llama"], ["wanda", "removal"])
    rows = starts.allocations(problem, [allocate.find("owl")], rng()).tolist()

    many = problem.starts(60, rng())["choices"].tolist()
    few = problem.starts(10, rng())["choices"].tolist()

    assert all(row in many for row in rows)
    everyone = starts.allocations(problem, [allocate.find(n) for n in starts.ALLOCATORS], rng())
    assert sum(row in few for row in everyone.tolist()) >= 2
    for found, n in ((many, 60), (few, 10)):
        assert len(found) <= n
        assert len({tuple(row) for row in found}) == len(found)
        assert found[0] == [0] * len(problem.table)
        assert (np.array(problem.table.sizes) - 1).tolist() in found  # the smallest too
    assert problem.starts(1, rng())["choices"].tolist() == [[0] * len(problem.table)]
    assert problem.starts(0, rng())["choices"].shape == (0, len(problem.table))


def test_starts_repeat_whatever_allocators_draw(
    folders: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(starts, "_TARGETS", (0.5,))
    plain = problem_of(folders["llama"], ["wanda"])
    none = problem_of(folders["llama"], ["wanda"], allocators=[])
    drawn = problem_of(
        folders["llama"], ["wanda"], allocators="ecoflap(sequences=1),owl(spread=.2)"
    )

    for problem in (plain, none, drawn):
        first, again = (problem.starts(30, rng())["choices"] for _ in range(2))
        assert np.array_equal(first, again)
    assert np.array_equal(none.starts(30, rng())["choices"], starts.mixture(none.table, 30, rng()))
    assert not np.array_equal(plain.starts(30, rng())["choices"], none.starts(30, rng())["choices"])


def test_allocators_are_not_asked_where_nothing_is_sparse(
    folders: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(self: Any, *args: Any) -> Any:
        raise AssertionError

    monkeypatch.setattr("problems.pruning.allocate.owl.OWL.__call__", refuse)
    problem = problem_of(folders["llama"], ["removal", "heads", "width", "2:4"])

    expected = starts.mixture(problem.table, 20, rng())
    assert np.array_equal(problem.starts(20, rng())["choices"], expected)


def test_an_unknown_allocator_is_told_when_the_problem_is_made(folders: Any) -> None:
    with pytest.raises(ConfigError, match="no allocator called 'alpha'"):
        problem_of(folders["llama"], ["wanda"], allocators=["owl", "alpha"])
