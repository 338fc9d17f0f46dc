"""Kinds of choices: how they are named, ordered and judged, and warm starts made of them."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from families import checkpoint

from evo import Context, Genomes
from evo.errors import ConfigError, RegistryError
from evo.streams import stream
from problems.pruning import starts, variants
from problems.pruning.cost import pruned_model
from problems.pruning.searches import Mixed
from problems.pruning.sweep import Sweep
from problems.pruning.variants.width import WIDTH, rounded

SIZES = {"calibration": 2, "search": 6, "validation": 2}


@pytest.fixture(scope="module")
def folders(tmp_path_factory: Any) -> Any:
    home = tmp_path_factory.mktemp("models")
    return {name: str(checkpoint(name, home / name)) for name in ("llama", "bert", "gpt2")}


def problem_of(folder: str, kinds: Any, **more: Any) -> Mixed:
    return Mixed(model=folder, variants=kinds, length=24, sizes=SIZES, cache="off", **more)


def names(problem: Mixed, site: int) -> list[str]:
    return [v.name for v in problem.table.sites[site].variants]


# ---- names


@pytest.mark.parametrize(
    ("text", "name", "scorer", "levels"),
    [
        ("removal", "removal", None, ()),
        ("heads", "heads", None, (0.25, 0.5, 0.75)),
        ("width", "width", None, (0.125, 0.25, 0.375, 0.5, 0.625, 0.75, 0.875)),
        ("width@0.75,0.5,0.75", "width", None, (0.5, 0.75)),
        ("wanda", "wanda", "wanda", (0.3, 0.4, 0.5, 0.6, 0.7)),
        ("magnitude@0.5", "magnitude", "magnitude", (0.5,)),
        ("magnitude-row@.25", "magnitude-row", "magnitude-row", (0.25,)),
        ("2:4", "2:4", None, ()),
        ("4:8@magnitude", "4:8@magnitude", None, ()),
        ("1:4@wanda", "1:4", None, ()),
        ("problems.pruning.variants.width:WIDTH", "width", None, WIDTH.levels),
        ("problems.pruning.variants.width:WIDTH@0.5", "width", None, (0.5,)),
    ],
)
def test_every_way_to_name_a_kind(text: str, name: str, scorer: Any, levels: Any) -> None:
    asked = variants.parse(text)

    assert (asked.kind.name, asked.kind.scorer, asked.levels) == (name, scorer, levels)


@pytest.mark.parametrize(
    ("text", "message", "hint"),
    [
        ("widht", "no kind of variant called 'widht'", "did you mean 'width'?"),
        ("magnitude-rows", "no kind of variant called", "did you mean 'magnitude-row'?"),
        ("xyz", "no kind of variant called 'xyz'", "known: dsnot, heads, "),
        ("wanda@0", "'wanda@0': levels must be numbers between 0 and 1", None),
        ("wanda@1.0", "levels must be numbers between 0 and 1", None),
        ("wanda@-0.5", "levels must be numbers between 0 and 1", None),
        ("wanda@nan", "levels must be numbers between 0 and 1", None),
        ("wanda@0.5,half", "levels must be numbers between 0 and 1", None),
        ("4:4", "4:4 is not a sparsity pattern", None),
        ("0:4", "0:4 is not a sparsity pattern", None),
        ("2:4@wnda", "2:4@wnda: no scorer called 'wnda'; known: wanda, magnitude", None),
    ],
)
def test_names_that_lead_nowhere(text: str, message: str, hint: str | None) -> None:
    with pytest.raises(ConfigError) as caught:
        variants.parse(text)

    assert message in caught.value.message
    assert caught.value.hint is None if hint is None else hint in str(caught.value.hint)


def test_a_module_that_is_missing_is_named() -> None:
    with pytest.raises(RegistryError, match="no_such_module"):
        variants.parse("no_such_module:THING")


@pytest.mark.parametrize("text", [
    ["removal", "width@0.25,0.5", "2:4"], "removal width@0.25,0.5 2:4",
    "removal; width@0.25,0.5; 2:4", "removal,width@0.25,0.5,2:4", "removal, width@0.25, 0.5, 2:4",
])  # fmt: skip
def test_kinds_may_come_in_one_string(text: Any, folders: Any) -> None:
    problem = problem_of(folders["llama"], text)

    assert set(names(problem, 1)) == {"dense", "removed", "width-0.25", "width-0.5", "2:4"}


# ---- what they give


def test_choices_are_ordered_from_dense_to_smallest(folders: Any) -> None:
    problem = problem_of(
        folders["llama"], ["wanda", "removal", "magnitude-row@0.5", "2:4", "heads", "width"]
    )

    for site, row in zip(problem.table.sites, problem.table.params, strict=True):
        given = [v.name for v in site.variants]
        assert given[0] == "dense"
        assert given[-1] == "removed"
        assert (np.diff(row[: len(given)]) <= 0).all()
    # 50 % keeps as many, whatever chose them: then fewer operations first, then the name
    assert names(problem, 0) == [
        "dense", "wanda-0.3", "wanda-0.4", "2:4", "magnitude-row-0.5", "wanda-0.5", "heads-2",
        "wanda-0.6", "wanda-0.7", "removed",
    ]  # fmt: skip


def test_levels_that_round_to_one_size_are_one_choice(folders: Any) -> None:
    problem = problem_of(folders["llama"], ["heads", "width@0.45,0.5,0.55,0.97"])

    assert names(problem, 0) == ["dense", "heads-2"]
    assert [v.shape.get("intermediate_size") for v in problem.table.sites[1].variants] == [None, 32]


@pytest.mark.parametrize(
    ("width", "full", "expected"),
    [(35.9, 64, 32), (36.0, 64, 40), (1.0, 64, 8), (20.5, 63, 21), (0.1, 63, 1), (107.5, 172, 104)],
)
def test_widths_are_multiples_of_eight(width: float, full: int, expected: int) -> None:
    assert rounded(width, full) == expected


def test_a_site_with_nothing_to_choose_is_no_site(folders: Any) -> None:
    problem = problem_of(folders["llama"], ["width@0.5"])

    assert problem.table.kind == ["feed_forward"] * 3
    assert problem.table.sizes == [2, 2, 2]


@pytest.mark.parametrize(
    ("kinds", "sites", "message"),
    [
        (["width@0.5", "width@0.5"], "submodule", "two variants of one name"),
        (["heads"], "block", "'heads' applies to no site of kind 'block'"),
        (["wanda@0.5", "removal"], "linear", "'removal' applies to no site of kind 'linear'"),
        (["1:5"], "submodule", "1:5 needs rows that 5 divides, but self_attn.q_proj of block 0"),
        (["removal"], "layers", "sites must be 'submodule', 'block' or 'linear', got 'layers'"),
        ([], "submodule", "variants is empty"),
        ("", "submodule", "variants is empty"),
    ],
)
def test_kinds_that_do_not_fit(kinds: Any, sites: str, message: str, folders: Any) -> None:
    with pytest.raises(ConfigError) as caught:
        problem_of(folders["llama"], kinds, sites=sites)

    assert message in caught.value.message


# ---- judged like whole models


def population(problem: Mixed, n: int = 9) -> np.ndarray:
    rng = np.random.default_rng(7)
    rows = np.stack([rng.integers(0, problem.table.sizes) for _ in range(n)]).astype(np.int16)
    rows[0], rows[1] = 0, np.array(problem.table.sizes) - 1
    rows[3:6] = np.arange(3)[:, None] % np.array(problem.table.sizes)
    return rows


def judged_whole(problem: Mixed, row: np.ndarray) -> np.ndarray:
    """Readings of one candidate from an ordinary forward pass, (sequences, width)."""
    model, reader = pruned_model(problem.pretrained, problem.table, row), problem.reader("search")
    found = []
    with torch.inference_mode():
        for i, batch in enumerate(problem.data.batches("search")):
            output = model(input_ids=batch.ids, attention_mask=batch.mask)
            said = output.logits if problem.kind == "lm" else output.last_hidden_state
            found.append(reader(i, batch, said))
    return torch.cat(found).numpy()


@pytest.mark.parametrize("family", ["llama", "bert", "gpt2"])
@pytest.mark.parametrize(
    ("sites", "kinds"),
    [("linear", ["wanda@0.5", "magnitude@0.3", "2:4"]), ("block", ["removal", "wanda@0.6", "2:4"])],
)
def test_single_layers_and_whole_blocks_are_judged_like_whole_models(
    family: str, sites: str, kinds: list[str], folders: Any
) -> None:
    problem = problem_of(folders[family], kinds, sites=sites)
    rows, batches = population(problem), problem.data.batches("search")
    per_block = len(problem.pretrained.blocks[0].layout.attention_linears) + len(
        problem.pretrained.blocks[0].layout.feed_forward_linears
    )

    swept = problem.sweep()(rows, batches, problem.reader("search"))
    breadth = Sweep(problem.pretrained, problem.table, order="breadth")
    other = breadth(rows, batches, problem.reader("search"))

    assert len(problem.table) == (3 * per_block if sites == "linear" else 3)
    for row, got in zip(rows, swept, strict=True):
        np.testing.assert_allclose(got, judged_whole(problem, row), atol=1e-6)
    np.testing.assert_allclose(other, swept, atol=1e-6)
    assert len(np.unique(swept[:, :, -1].mean(1).round(6))) > 4


OWN = '''
"""A kind of choice of one's own: all weights of a site lose their last bits."""

from problems.pruning.layouts import get, matrix, with_weight
from problems.pruning.sites import Variant


class Coarse:
    name, levels, scorer = "coarse", (0.5, 0.25), None

    def variants(self, place, library, levels):
        return [self._variant(place, step) for step in levels]

    def _variant(self, place, step):
        def build():
            layers = {path: get(place.block.module, path) for path in place.linears}
            return {
                path: with_weight(layer, (matrix(layer) / step).round() * step, None)
                for path, layer in layers.items()
            }

        return Variant(f"coarse-{step:g}", "coarse", place.cost(), build)


COARSE = Coarse()
'''


def test_a_kind_of_ones_own_takes_part(folders: Any, tmp_path: Path, monkeypatch: Any) -> None:
    (tmp_path / "own_kinds.py").write_text(OWN)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))

    problem = problem_of(folders["llama"], ["own_kinds:COARSE", "removal"])
    rows = population(problem)
    swept = problem.sweep()(rows, problem.data.batches("search"), problem.reader("search"))

    assert names(problem, 0) == ["dense", "coarse-0.25", "coarse-0.5", "removed"]
    assert problem.table.sizes == [4] * 6
    for row, got in zip(rows, swept, strict=True):
        np.testing.assert_allclose(got, judged_whole(problem, row), atol=1e-6)
    kl = swept[[0, 3, 4, 5], :, 1].mean(1)
    assert (swept[3:6, :, 1].mean(1) > 1e-6).sum() == 2
    assert kl[0] == pytest.approx(0, abs=1e-6)


# ---- warm starts


@pytest.fixture(scope="module")
def mixed(folders: Any) -> Mixed:
    return problem_of(folders["llama"], ["removal", "heads", "width", "wanda"])


def test_the_ladder_leads_from_dense_to_nothing(mixed: Mixed) -> None:
    rungs = starts.ladder(mixed.table)
    sizes = mixed.table.look_up(mixed.table.params, rungs).sum(1)

    assert (rungs[0] == 0).all()
    assert (rungs[-1] == np.array(mixed.table.sizes) - 1).all()
    assert (np.diff(sizes) < 0).all()
    assert len(np.unique(rungs, axis=0)) == len(rungs) <= starts.RUNGS


def test_rungs_keep_about_one_share_everywhere(mixed: Mixed) -> None:
    kept = starts.shares(mixed.table)
    targets = np.linspace(1, 0, starts.RUNGS)
    expected = []
    for target in targets:
        row = [min(range(size), key=lambda v: (abs(kept[s, v] - target), v))
               for s, size in enumerate(mixed.table.sizes)]  # fmt: skip
        if row not in expected:
            expected.append(row)

    assert starts.ladder(mixed.table).tolist() == expected


def test_one_change_genomes_are_all_there(mixed: Mixed) -> None:
    rows = starts.one_change(mixed.table)

    assert len(rows) == sum(mixed.table.sizes) - len(mixed.table)
    assert ((rows != 0).sum(1) == 1).all()
    assert len(np.unique(rows, axis=0)) == len(rows)


@pytest.mark.parametrize("n", [0, 1, 5, 16, 20, 40, 100, 500])
def test_the_mixture_keeps_to_n_without_repeats(n: int, mixed: Mixed) -> None:
    ladder = starts.ladder(mixed.table).tolist()

    rows = starts.mixture(mixed.table, n, stream(3, "starts"))

    assert len(rows) <= n
    assert len(np.unique(rows, axis=0)) == len(rows)
    assert rows[: len(ladder)].tolist() == ladder[:n]
    changes = rows[len(ladder) :]
    assert ((changes != 0).sum(1) == 1).all()
    everything = starts.one_change(mixed.table).tolist()
    both = sum(row in ladder for row in everything)
    wanted = min(int(0.4 * n), max(0, n - len(ladder)), len(everything))
    assert wanted - both <= len(changes) <= wanted


def test_the_mixture_repeats_for_a_stream_and_differs_between_streams(mixed: Mixed) -> None:
    first, again, other = (
        starts.mixture(mixed.table, 40, stream(seed, "starts")) for seed in (3, 3, 4)
    )

    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)
    mixed.space.check(Genomes({"choices": first}))
    assert len(mixed.batch(mixed.starts(7, stream(0, "x")), Context())) <= 7
