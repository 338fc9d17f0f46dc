"""Weights that stay in their file: mapped, read block by block, within planned memory."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from families import checkpoint
from safetensors import safe_open
from torch import nn

from evo import Context, Genomes
from evo.cli import main
from evo.config import RunConfig
from evo.errors import ConfigError
from evo.evaluate import memory
from evo.run import Run
from evo.store import read_run
from problems.pruning import footprint, models, paging
from problems.pruning.quality import LanguageReader, TeacherReader
from problems.pruning.searches import Mixed
from problems.pruning.sweep import Sweep

linux = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="hints of Linux")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: Any) -> Path:
    return checkpoint("llama", tmp_path_factory.mktemp("models") / "llama")


def problem_of(folder: Path, **settings: Any) -> Mixed:
    given = {
        "variants": ["removal", "width@0.5", "wanda@0.5"], "length": 16, "cache": "off",
        "sizes": {"calibration": 4, "search": 8, "validation": 2}, "tokens_at_once": 32,
    }  # fmt: skip
    return Mixed(model=str(folder), **given | settings)  # type: ignore[arg-type]


def population(problem: Mixed) -> np.ndarray:
    rng = np.random.default_rng(0)
    return np.stack([rng.integers(0, problem.table.sizes) for _ in range(12)]).astype(np.int16)


# -- order of the work -----------------------------------------------------------------------------


def test_all_text_passes_a_block_before_the_next_one_is_touched(
    folder: Path, monkeypatch: Any
) -> None:
    problem = problem_of(folder)
    sweep = Sweep(problem.pretrained, problem.table, order="layer")
    reader, batches = problem.reader("search"), problem.data.batches("search")
    said: list[tuple[str, int]] = []
    blocks = {id(b.module): b.index for b in problem.pretrained.blocks}
    step = sweep._step

    def stepped(depth: int, *given: Any) -> Any:
        said.append(("run", depth))
        return step(depth, *given)

    monkeypatch.setattr(sweep, "_step", stepped)
    for name in ("fetch", "drop"):
        monkeypatch.setattr(
            paging, name, lambda module, name=name: said.append((name, blocks[id(module)]))
        )
    sweep(population(problem), batches, reader)

    assert len(batches) == 4
    depths = [depth for what, depth in said if what == "run"]
    assert depths == sorted(depths)
    first = {depth: said.index(("run", depth)) for depth in range(3)}
    last = {depth: len(said) - 1 - said[::-1].index(("run", depth)) for depth in range(3)}
    for depth in range(3):
        assert said.count(("drop", depth)) == 1
        assert said.index(("drop", depth)) == last[depth] + 1
    for depth in (1, 2):
        assert said.count(("fetch", depth)) == 1
        assert said.index(("fetch", depth)) < first[depth - 1]  # while the one before computes
    assert sweep._assembly._built.kept == {}
    assert sweep._assembly._built.bytes == 0


def test_a_population_passes_each_block_once_though_its_text_has_parts(
    folder: Path, monkeypatch: Any
) -> None:
    sizes = {"calibration": 4, "search": 24, "validation": 2}
    problem = problem_of(folder, sizes=sizes, traversal="layer")
    problem.reader("search")  # the dense model's own pass
    dropped: list[Any] = []
    monkeypatch.setattr(paging, "drop", dropped.append)
    batch = problem.batch(Genomes({"choices": population(problem)}), Context())
    found = batch.readings

    assert len(batch.pieces) == 5
    assert len(dropped) == len(problem.pretrained.blocks)
    other = problem.batch(Genomes({"choices": batch.choices}), Context())
    for piece in reversed(range(5)):
        other.judge(np.arange(12), piece)
    assert np.allclose(other.readings, found, atol=1e-6)


# -- mapped weights --------------------------------------------------------------------------------


@linux
@pytest.mark.parametrize(("saved", "asked", "mapped"), [
    ("float32", "stored", True), ("bfloat16", "stored", True), ("bfloat16", "float32", False),
])  # fmt: skip
def test_weights_in_their_stored_type_lie_in_the_file(
    folder: Path, tmp_path: Path, saved: str, asked: str, mapped: bool
) -> None:
    models.load(str(folder)).model.to(getattr(torch, saved)).save_pretrained(tmp_path)
    for file in folder.glob("*token*"):
        (tmp_path / file.name).write_bytes(file.read_bytes())

    found = models.load(str(tmp_path), dtype=asked)

    assert str(found.dtype) == f"torch.{saved if mapped else asked}"
    spans = [line.split()[0] for line in maps() if str(tmp_path) in line]
    ends = [tuple(int(x, 16) for x in span.split("-")) for span in spans]
    weight = found.blocks[0].module.mlp.down_proj.weight
    assert any(low <= weight.data_ptr() < high for low, high in ends) == mapped


def maps() -> list[str]:
    return Path("/proc/self/maps").read_text().splitlines()


@linux
def test_dropped_weights_leave_memory_and_come_back(tmp_path: Path) -> None:
    layer = nn.Linear(1024, 1024, bias=False)
    from safetensors.torch import save_file

    save_file({"weight": layer.weight.detach()}, tmp_path / "w.safetensors")
    with safe_open(tmp_path / "w.safetensors", framework="pt") as handle:
        layer.weight = nn.Parameter(handle.get_tensor("weight"), requires_grad=False)
    os.sync()  # pages that wait to be written cannot leave
    before = layer.weight.clone()
    full = resident(layer.weight)

    paging.drop(layer)
    left = resident(layer.weight)
    same = torch.equal(layer.weight, before)

    assert full > 0.9
    assert left < 0.1
    assert same


@linux
def test_weights_that_lie_in_no_file_are_never_lost() -> None:
    layer = nn.Linear(1024, 1024)
    before = layer.weight.detach().clone()

    paging.drop(layer)
    paging.fetch(layer)

    assert torch.equal(layer.weight, before)


def resident(tensor: torch.Tensor) -> float:
    """Share of the pages of a tensor that are mapped in, by the kernel's own account."""
    page = os.sysconf("SC_PAGE_SIZE")
    first = tensor.data_ptr() // page + 1
    count = tensor.numel() * tensor.element_size() // page - 1
    with open("/proc/self/pagemap", "rb") as file:
        file.seek(8 * first)
        entries = np.frombuffer(file.read(8 * count), dtype="<u8")
    return float(((entries >> np.uint64(63)) & np.uint64(1)).mean())


# -- the teacher -----------------------------------------------------------------------------------


@pytest.mark.parametrize(("top", "at_once"), [(5, 1), (5, 7 * 40), (40, 10**6)])
def test_a_teacher_from_pieces_is_that_of_whole_logits(
    top: int, at_once: int, monkeypatch: Any
) -> None:
    from problems.pruning.head import Projection

    monkeypatch.setattr("problems.pruning.quality.TEACHER_LOGITS", at_once)
    draw = torch.Generator().manual_seed(0)
    features, weight = (torch.randn(*s, generator=draw) for s in ((3, 9, 16), (40, 16)))
    whole: list[Any] = []
    pieces: list[Any] = []
    TeacherReader(whole, top)(0, None, features @ weight.T)

    shape = TeacherReader(pieces, top).in_pieces(0, None, features, Projection(weight)).shape

    assert shape == (3, 0)
    assert torch.equal(pieces[0].tokens, whole[0].tokens)
    torch.testing.assert_close(pieces[0].log_probs, whole[0].log_probs, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(pieces[0].tail, whole[0].tail, atol=1e-4, rtol=1e-5)


def test_a_language_model_is_asked_in_pieces(folder: Path, monkeypatch: Any) -> None:
    def whole(*given: Any) -> None:
        raise AssertionError("all logits at once")

    monkeypatch.setattr(TeacherReader, "__call__", whole)

    assert isinstance(problem_of(folder).reader("search"), LanguageReader)


# -- plan of memory --------------------------------------------------------------------------------


def test_a_chunk_fills_what_a_limit_leaves(monkeypatch: Any) -> None:
    monkeypatch.setattr(memory, "held_bytes", lambda: 300_000_000)

    plan = memory.planned(1.0, each=10_000_000, beside=250_000_000, most=100)

    assert plan.chunk == 45
    assert plan.peak == 300_000_000 + 250_000_000 + 45 * 10_000_000
    assert memory.planned(1.0, each=10_000_000, beside=250_000_000, most=20).chunk == 20


def test_a_limit_that_holds_no_candidate_is_refused_with_the_least_that_would(
    monkeypatch: Any,
) -> None:
    monkeypatch.setattr(memory, "held_bytes", lambda: 300_000_000)

    with pytest.raises(ConfigError, match=r"0.5 GB, but one candidate at a time needs 0.56 GB"):
        memory.planned(0.5, each=10_000_000, beside=250_000_000, most=100)
    with pytest.raises(ConfigError, match="bytes_per_candidate"):
        memory.planned(0.5, each=None, beside=0, most=100)
    monkeypatch.setattr(memory, "held_bytes", lambda: None)
    with pytest.raises(ConfigError, match="only on Linux"):
        memory.planned(0.5, each=1, beside=0, most=100)


@linux
def test_what_a_process_holds_grows_by_what_it_fills() -> None:
    before = memory.held_bytes()
    filled = np.ones(50_000_000 // 8)

    after = memory.held_bytes()

    assert before is not None
    assert after is not None
    assert 45_000_000 < after - before < 60_000_000
    assert filled[-1] == 1


def test_layer_by_layer_a_candidate_takes_the_states_of_all_text(folder: Path) -> None:
    by_depth, by_layer = (problem_of(folder, traversal=t) for t in ("depth", "layer"))

    width = by_depth.pretrained.config.hidden_size * 4
    tokens = 8 * 16  # of search text, more than of validation
    assert by_layer.bytes_per_candidate - by_depth.bytes_per_candidate == tokens * width
    assert by_depth.bytes_beside - by_layer.bytes_beside > 1.9e9  # states kept for children


def test_states_take_what_is_spared_unless_the_settings_say_how_much(folder: Path) -> None:
    default, own = problem_of(folder), problem_of(folder, states_memory=1.0)
    before = default.bytes_beside

    for problem in (default, own):
        problem.spare(500_000_000)

    assert before - default.bytes_beside == 1_500_000_000
    assert before - own.bytes_beside == 1_000_000_000
    assert default.sweep()._states.budget == 500_000_000
    assert own.sweep()._states.budget == 1_000_000_000


def test_variants_are_planned_for_one_block_or_for_all(folder: Path) -> None:
    table = problem_of(folder, variants=["removal", "width@0.5", "wanda@0.5"]).table
    narrow = {s.depth: 0 for s in table.sites}
    for site in table.sites:
        for variant in site.variants:
            if variant.kind == "width":
                narrow[site.depth] += variant.cost.weight_bytes
            if variant.kind == "wanda":  # stored as they are multiplied, zeros and all
                narrow[site.depth] += site.variants[0].cost.weight_bytes

    assert footprint._built(table, by_layer=True) == max(narrow.values())
    assert footprint._built(table, by_layer=False) == sum(narrow.values())


def configured(folder: Path, gigabytes: float) -> RunConfig:
    return RunConfig.from_mapping(
        {
            "problem": {
                "id": "prune/mixed", "model": str(folder), "variants": ["removal"], "length": 16,
                "sizes": {"calibration": 2, "search": 4, "validation": 2}, "cache": "off",
                "traversal": "layer", "dtype": "stored",
            },
            "objectives": ["kl", "params"],
            "algorithm": {"id": "nsga2", "population": 6},
            "stop": {"generations": 2},
            "evaluator": {"memory": gigabytes, "device": "cpu"},
        }
    )  # fmt: skip


@linux
def test_a_run_keeps_the_plan_it_was_made_by(folder: Path, tmp_path: Path) -> None:
    with Run.create(configured(folder, 64), tmp_path / "run") as run:
        list(run)
        run.finish()

    view = read_run(tmp_path / "run")
    plan = view.meta["memory"]
    assert view.meta["chunk"] == plan["chunk"] == 6  # the population
    assert plan["limit"] == 64_000_000_000
    assert plan["peak"] == plan["held"] + plan["beside"] + 6 * plan["each"]
    assert view.candidates.ok.all()
    smaller = configured(folder, 64).override("evaluator.chunk", 4)
    with Run.create(smaller, tmp_path / "smaller") as run:
        assert run.file.meta()["memory"]["chunk"] == run.file.meta()["chunk"] == 4


@linux
def test_too_little_memory_is_refused_before_anything_is_made(
    folder: Path, tmp_path: Path, capsys: Any
) -> None:
    words = ["run", "prune/mixed", "--set", f"problem.model={folder}", "--set", "problem.length=16"]

    code = main([*words, "--set", "evaluator.memory=0.01", "--out", str(tmp_path / "run")])

    assert code == 2
    assert "evaluator.memory is 0.01 GB, but one candidate at a time needs" in (
        capsys.readouterr().err
    )
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("value", [-1, "many", True])
def test_memory_is_a_number_of_gigabytes(value: Any) -> None:
    with pytest.raises(ConfigError, match="must be gigabytes such as 2"):
        RunConfig.from_mapping({"evaluator": {"memory": value}})
