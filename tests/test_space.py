import hashlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evo.errors import ShapeError, SpaceError
from evo.genomes import Genomes
from evo.space import Choice, Integer, Mask, Real, SearchSpace, Subset
from evo.streams import derive, stream

EVERY = SearchSpace(
    (
        Real("share", [0.0, -1.0], [1.0, 2.0]),
        Integer("level", [0, -3], [4, 3]),
        Choice("kind", [1, 2, 5]),
        Mask("keep", 3),
        Subset("seeds", 6, 3, 1),
    )
)


def random_genomes(n: int, seed: int) -> Genomes:
    """Rows far outside every bound, in each part's dtype where that can hold them."""
    rng = np.random.default_rng(seed)
    return Genomes(
        {p.name: rng.normal(0, 10, (n, *p.shape)).astype(np.float64) for p in EVERY.parts}
    )


@given(n=st.integers(0, 9), seed=st.integers(0, 2**31))
@settings(max_examples=40, deadline=None)
def test_sampled_and_repaired_genomes_are_legal_and_repair_leaves_them_alone(n, seed):
    for genomes in (EVERY.sample(n, stream(seed, "x")), EVERY.repair(random_genomes(n, seed))):
        EVERY.check(genomes)

        assert EVERY.repair(genomes).rows() == genomes.rows()
        assert len(genomes) == n


@given(n=st.integers(0, 6), seed=st.integers(0, 2**31))
@settings(max_examples=30, deadline=None)
def test_flat_and_unflat_are_inverse(n, seed):
    genomes = EVERY.sample(n, stream(seed, "x"))

    assert EVERY.flat(genomes).shape == (n, EVERY.length)
    assert EVERY.unflat(EVERY.flat(genomes)).rows() == genomes.rows()


def test_repair_rounds_half_up_clips_and_replaces_nan():
    part = Integer("a", 0, 4)

    assert part.repair(np.array([[0.5], [1.4], [9.0], [-2.0], [np.nan]])).ravel().tolist() == [
        1, 1, 4, 0, 0,
    ]  # fmt: skip


def test_repair_of_a_subset_drops_repeats_sorts_and_tops_up():
    part = Subset("s", 5, 3, 2)

    fixed = part.repair(np.array([[4, 4, 1], [9, -1, -1], [3, 0, 2]]))

    assert fixed.tolist() == [[1, 4, -1], [0, 1, -1], [0, 2, 3]]


def test_rules_run_after_the_parts_in_order():
    def first_off(genomes: Genomes) -> Genomes:
        keep = genomes["keep"].copy()
        keep[:, 0] = False
        return Genomes({"keep": keep})

    space = SearchSpace((Mask("keep", 2),), (first_off,))

    assert not space.sample(20, stream(0))["keep"][:, 0].any()
    with pytest.raises(SpaceError, match="row 1 of part 'keep'"):
        space.check(Genomes({"keep": np.array([[False, True], [True, True]])}))


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ({"kind": np.zeros((2, 3), np.int16)}, "need the parts"),
        ({"keep": np.zeros((2, 4), bool)}, "rows of shape"),
        ({"keep": np.zeros((2, 3), np.int8)}, "dtype bool"),
    ],
)
def test_check_names_what_is_wrong(parts, message):
    space = SearchSpace((Mask("keep", 3),))

    with pytest.raises(SpaceError, match=message):
        space.check(Genomes(parts))


def test_genes_in_single_precision_are_repaired_and_sampled_in_it():
    part = Real("a", [0.1, -1.0], [1.0, 3.0], "float32")

    found = part.repair(np.array([[np.nan, 0.3], [2.0, -9.0]]))

    assert found.dtype == part.dtype == part.sample(3, stream(0)).dtype == np.float32
    assert found.tolist() == [[np.float32(0.1), np.float32(0.3)], [1.0, -1.0]]
    space = SearchSpace((part,))
    space.check(space.sample(50, stream(0)))
    assert Real("a", 0, 1).dtype == np.float64


def test_bad_spaces_are_refused():
    with pytest.raises(SpaceError, match="'a' needs precision float32 or float64, got 'float16'"):
        Real("a", 0, 1, "float16")
    with pytest.raises(SpaceError, match="identifier"):
        Real("no name", 0, 1)
    with pytest.raises(SpaceError, match="low <= high"):
        Real("a", 1, 0)
    with pytest.raises(SpaceError, match="distinct names"):
        SearchSpace((Mask("a", 1), Mask("a", 1)))
    with pytest.raises(SpaceError, match="least <= most"):
        Subset("a", 3, 4)


def test_genomes_take_join_and_tell_rows_apart():
    genomes = Genomes({"a": np.arange(4)[:, None], "b": np.array([[0], [1], [0], [1]], bool)})

    assert len(genomes.take([])) == 0
    assert genomes.take([]).rows() == []
    assert genomes.take(np.array([True, False, True, False]))["a"].ravel().tolist() == [0, 2]
    assert Genomes.concat(genomes.take([3]), genomes.take([0])).rows() == [
        genomes.rows()[3], genomes.rows()[0],
    ]  # fmt: skip
    hashed = [hashlib.blake2b(row, digest_size=16).digest() for row in genomes.rows()]
    assert genomes.keys() == hashed
    assert len({*hashed, *Genomes({"a": genomes["a"], "b": ~genomes["b"]}).keys()}) == 8
    with pytest.raises(ShapeError, match="same number of rows"):
        Genomes({"a": np.zeros((2, 1)), "b": np.zeros((3, 1))})
    with pytest.raises(ShapeError, match="same parts"):
        Genomes.concat(genomes, Genomes({"a": np.zeros((1, 1))}))


def test_streams_depend_on_seed_and_every_name_only():
    draws = {derive(s, *names) for s in (0, 1) for names in [("a",), ("a", 1), ("a", 11), ("b",)]}

    assert len(draws) == 8
    assert stream(3, "x", 1).random() == stream(3, "x", 1).random()


def test_keys_travel_with_their_rows():
    genomes = EVERY.sample(6, stream(0, "keys"))
    fresh = Genomes(dict(genomes.parts)).keys()

    assert genomes.keys() == fresh
    for rows in (slice(1, 4), np.array([5, 0, 0]), np.arange(6) % 2 == 0, []):
        taken = genomes.take(rows)
        assert taken.keys() == Genomes(dict(taken.parts)).keys()
    both = Genomes.concat(genomes.take([2]), genomes)
    assert both.keys() == [fresh[2], *fresh]
    half = Genomes.concat(genomes, EVERY.sample(1, stream(1, "keys")))  # one of them without keys
    assert half.keys() == Genomes(dict(half.parts)).keys()
