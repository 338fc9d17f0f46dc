"""Polish: chosen variants made again on the pruned prefix, against a loop written out."""

from __future__ import annotations

import json
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from families import checkpoint
from torch import nn

from evo import Context, Genomes
from evo.cli import main
from evo.cli.polishing import polish
from problems.pruning.cost import pruned_model
from problems.pruning.layouts import get, matrix, twin
from problems.pruning.searches import Mixed

SIZES = {"calibration": 4, "search": 4, "validation": 2}


def problem_of(folder: Any, variants: list[str], sites: str = "submodule") -> Mixed:
    return Mixed(
        model=str(folder), variants=variants, sites=sites, length=32, sizes=SIZES, cache="off"
    )


@pytest.fixture(scope="module")
def llama(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return checkpoint("llama", tmp_path_factory.mktemp("llama"))


def chosen(problem: Mixed, name: str) -> Genomes:
    """Every site at the variant of a name."""
    row = [[v.name for v in s.variants].index(name) for s in problem.table.sites]
    return Genomes({"choices": np.array([row], dtype=np.int16)})


def by_hand(problem: Mixed, share: float) -> nn.Module:
    """Wanda from block to block, each layer's inputs recorded behind the pruned blocks."""
    model = problem.pretrained.model
    blocks = [b.module for b in problem.pretrained.blocks]
    for index, block in enumerate(problem.pretrained.blocks):
        squares: dict[str, torch.Tensor] = {}
        layers = [*block.layout.attention_linears, *block.layout.feed_forward_linears]
        now = twin(model, {problem.pretrained.blocks_path: nn.ModuleList(blocks)})

        def hook(path: str, squares: dict[str, torch.Tensor] = squares) -> Any:
            def see(module: nn.Module, given: tuple[torch.Tensor, ...]) -> None:
                seen = given[0].reshape(-1, given[0].shape[-1]).double().square().sum(0)
                squares[path] = squares.get(path, torch.zeros_like(seen)) + seen

            return see

        handles = [get(block.module, p).register_forward_pre_hook(hook(p)) for p in layers]
        with torch.no_grad():
            for batch in problem.data.batches("calibration"):
                now(input_ids=batch.ids)
        for handle in handles:
            handle.remove()
        made = {}
        for path in layers:
            layer: Any = nn.Linear(*reversed(matrix(get(block.module, path)).shape), bias=False)
            weight = matrix(get(block.module, path)).detach().clone()
            score = weight.abs() * squares[path].sqrt().float()
            for row, order in enumerate(score.argsort(dim=1, stable=True)):
                weight[row, order[: int(weight.shape[1] * share)]] = 0
            layer.weight = nn.Parameter(weight)
            made[path] = layer
        blocks[index] = twin(block.module, made)
    return twin(model, {problem.pretrained.blocks_path: nn.ModuleList(blocks)})


def test_wanda_made_again_is_the_sequential_pruner(llama: Any) -> None:
    problem = problem_of(llama, ["wanda@0.5"])
    genomes = chosen(problem, "wanda-0.5")

    again, taken = problem.polished(genomes)

    ids = problem.data.batches("search")[0].ids
    with torch.no_grad():
        wanted = by_hand(problem, 0.5)(input_ids=ids).logits
        got = pruned_model(again.pretrained, again.table, taken["choices"][0])(input_ids=ids)
        once = pruned_model(problem.pretrained, problem.table, genomes["choices"][0])
        earlier = once(input_ids=ids).logits
    assert torch.allclose(got.logits, wanted, atol=1e-5)
    assert not torch.allclose(earlier, wanted, atol=1e-3)  # the prefix does matter here


def test_the_first_pruned_block_stays_as_it_was(llama: Any) -> None:
    problem = problem_of(llama, ["sparsegpt@0.5", "width@0.5", "removal"])
    row = np.zeros((1, len(problem.table)), dtype=np.int16)
    names = [[v.name for v in s.variants] for s in problem.table.sites]
    row[0, 2] = names[2].index("sparsegpt-0.5")
    row[0, 3] = names[3].index("width-0.5")

    again, taken = problem.polished(Genomes({"choices": row}))

    assert taken["choices"].tolist() == [[0, 0, 1, 1, 0, 0]]
    before, after = (
        values(p, g) for p, g in ((problem, Genomes({"choices": row})), (again, taken))
    )
    assert np.allclose(before, after, atol=1e-6)


def test_everything_that_learns_is_made_again(llama: Any) -> None:
    kinds = ["sparsegpt@0.5", "multiflow@0.5", "gblm@0.5", "2:4@ria", "heads@0.5", "removal"]
    problem = problem_of(llama, kinds)
    rows = [["gblm-0.5", "2:4@ria", "heads-2", "multiflow-0.5", "removed", "sparsegpt-0.5"]]
    names = [[v.name for v in s.variants] for s in problem.table.sites]
    row = np.array([[n.index(v) for n, v in zip(names, rows[0], strict=True)]], dtype=np.int16)
    before = {k: v.clone() for k, v in problem.pretrained.model.state_dict().items()}

    again, taken = problem.polished(Genomes({"choices": row}))

    assert [s.variants[-1].name for s in again.table.sites] == rows[0]
    same = [values(p, g)[:, 1:] for p, g in ((problem, Genomes({"choices": row})), (again, taken))]
    assert np.allclose(*same)
    for name, tensor in problem.pretrained.model.state_dict().items():
        assert torch.equal(tensor, before[name])


def values(problem: Mixed, genomes: Genomes) -> Any:
    """Divergence and parameters, (1, 2)."""
    batch = problem.batch(genomes, Context())
    named = {o.name: o for o in problem.objectives}
    return np.stack([named[n](batch) for n in ("kl", "params")], axis=1)


@pytest.mark.slow
def test_a_polished_candidate_is_exported(llama: Any, tmp_path: Any) -> None:
    from transformers import AutoModelForCausalLM

    problem = problem_of(llama, ["wanda@0.5", "width@0.5"])
    row = np.array([[1, 2, 1, 2, 1, 2]], dtype=np.int16)
    again, taken = problem.polished(Genomes({"choices": row}))
    kl, params = values(again, taken)[0]

    facts = again.export(taken, tmp_path / "out", expected={"kl": kl, "params": params})

    assert facts["params"] == params
    opened = AutoModelForCausalLM.from_pretrained(tmp_path / "out", trust_remote_code=True)
    ids = again.data.batches("search")[0].ids
    with torch.no_grad():
        wanted = pruned_model(again.pretrained, again.table, taken["choices"][0])(input_ids=ids)
        assert torch.allclose(opened(input_ids=ids).logits, wanted.logits, atol=1e-5)


@pytest.mark.slow
def test_export_polishes_where_that_is_better(
    llama: Any, tmp_path: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = {
        "model": str(llama), "length": 32, "cache": "off", "variants": ["wanda@0.5"],
        "sizes": SIZES,
    }  # fmt: skip
    words = [w for k, v in asked.items() for w in ("--set", f"problem.{k}={toml(v)}")]
    run, made = str(tmp_path / "run"), str(tmp_path / "made")
    small = ["--population", "4", "--generations", "1", "--no-baseline", "--out", run]
    assert main(["run", "prune/mixed", *words, *small]) == 0
    capsys.readouterr()

    code = main(["export", run, "best:params", "--to", made, "--polish", "--json"])

    told = json.loads(capsys.readouterr().out)
    assert code == 0
    found, gain = told["built"]["values"]["kl"]["found"], told["polish"]
    assert gain["kept"] is (gain["search"]["after"] < gain["search"]["before"])
    assert found == pytest.approx(min(gain["search"].values()), abs=2e-5)
    problem = problem_of(llama, ["wanda@0.5"])
    genomes = chosen(problem, "wanda-0.5")
    assert gain["search"]["before"] == pytest.approx(values(problem, genomes)[0, 0], abs=2e-5)
    again = values(*problem.polished(genomes))[0, 0]
    assert gain["search"]["after"] == pytest.approx(again, abs=2e-5)


def toml(value: Any) -> str:
    """As it is written behind --set."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{k} = {v}" for k, v in value.items()) + "}"
    return json.dumps(value)


@pytest.mark.parametrize(("after", "goal", "kept"), [
    (1.0, "min", True), (3.0, "min", False), (2.0, "min", False), (3.0, "max", True),
])  # fmt: skip
def test_the_better_one_is_kept(after: float, goal: str, kept: bool) -> None:
    def problem(value: float) -> Any:
        return SimpleNamespace(
            default_objectives=("quality",), objectives=[Judge("quality", goal, value)],
            pretrained=SimpleNamespace(device="cpu"), batch=lambda genomes, context: None,
        )  # fmt: skip

    before, later = problem(2.0), problem(after)
    before.polished = lambda genomes: (later, "made again")

    taken, genome, facts = polish(before, "as it was")  # type: ignore[arg-type]

    assert (taken is later, genome == "made again", facts["kept"]) == (kept, kept, kept)


@dataclass(frozen=True)
class Judge:
    """An objective that gives one value to all."""

    name: str
    goal: str
    value: float

    def __call__(self, batch: Any) -> Any:
        return np.array([self.value])
