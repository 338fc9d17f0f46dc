"""SubFit, ReplaceMe and Streamline as methods, and the windows of the latter two."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from exporting import opened, outputs, same, write
from families import EVERY, FAMILIES, checkpoint
from local_data import data

from evo import Context, Genomes
from evo.errors import ConfigError
from evo.registry import load
from problems.pruning import models
from problems.pruning.calibration import Calibration
from problems.pruning.cost import pruned_model
from problems.pruning.fitting.flow import passages
from problems.pruning.fitting.spans import angular, dissimilarity, distances
from problems.pruning.layouts import get, matrix
from problems.pruning.methods.replaceme import ReplaceMe
from problems.pruning.methods.streamline import Streamline
from problems.pruning.methods.subfit import SubFit
from problems.pruning.searches import Mixed
from problems.pruning.variants import parse
from problems.pruning.variants.replaceme import folded

SIZES = {"calibration": 4, "search": 10, "validation": 2}
SEQUENTIAL = ("llama", "mistral", "qwen2", "qwen3", "phi3", "opt", "gpt2")
KNOWN: dict[Any, Any] = {}


@pytest.fixture(scope="module", autouse=True)
def _place(tmp_path_factory: Any) -> Any:
    """Keep loaders that transformers copies, and shared folders, out of the home folder."""
    KNOWN["folder"] = tmp_path_factory.mktemp("replacing")
    yield
    KNOWN.clear()


def folder_of(family: str) -> Path:
    folder = KNOWN["folder"] / family
    return folder if folder.is_dir() else checkpoint(family, folder)


def problem_of(family: str) -> Mixed:
    if family not in KNOWN:
        KNOWN[family] = Mixed(model=str(folder_of(family)), variants=["removal"], length=24,
                              sizes=SIZES, cache="off")  # fmt: skip
    return KNOWN[family]


def picked(outcome: Any) -> dict[str, str]:
    """Variant by site, of all that are not dense."""
    sites = outcome.problem.table.sites
    return {s.name: s.variants[c].name for s, c in zip(sites, outcome.choices, strict=True) if c}


def kl_of(problem: Mixed, row: np.ndarray) -> float:
    batch = problem.batch(Genomes({"choices": np.asarray(row, np.int16)[None]}), Context())
    return float(batch.readings[0, :, 1].mean())


def rng() -> np.random.Generator:
    return np.random.default_rng(0)


# ---- distances


def test_distances_of_two_vectors() -> None:
    x, y = torch.tensor([[1.0, 0.0]]).double(), torch.tensor([[1.0, 1.0]]).double()
    last = torch.tensor([True])

    assert float(angular(x, y, last)) == pytest.approx(0.25, abs=1e-6)
    assert float(dissimilarity(x, y, last)) == pytest.approx(0.292893 / 2, abs=1e-6)
    assert float(angular(x, -x, last)) == pytest.approx(1.0)
    assert angular(x, y, torch.tensor([False])).numel() == 0


def test_windows_are_compared_over_the_tokens_of_the_text() -> None:
    problem = problem_of("llama")
    batches = problem.data.batches("calibration")
    with torch.inference_mode():
        states = [torch.cat(x) for x in zip(*(
            problem.pretrained.model(b.ids, output_hidden_states=True).hidden_states
            for b in batches
        ), strict=True)]  # fmt: skip
    calibration = Calibration(problem.pretrained, batches, "")

    ends = distances(calibration, 1, angular)
    tokens = distances(calibration, 2, dissimilarity)

    assert (len(ends), len(tokens)) == (3, 2)  # states after the last block are not normalised
    for i in (0, 1):
        x, y = (states[i + k][:, -1].double().numpy() for k in (0, 1))
        cosine = (x * y).sum(1) / np.linalg.norm(x, axis=1) / np.linalg.norm(y, axis=1)
        assert float(ends[i]) == pytest.approx(np.mean(np.arccos(cosine)) / np.pi, rel=1e-4)
    x, y = (states[k].double().numpy().reshape(-1, 32) for k in (0, 2))
    cosine = (x * y).sum(1) / np.linalg.norm(x, axis=1) / np.linalg.norm(y, axis=1)
    assert float(tokens[0]) == pytest.approx(np.mean(1 - (0.5 + 0.5 * cosine)), rel=1e-4)


# ---- ReplaceMe


@pytest.mark.parametrize("family", ["llama", "gpt2", "opt"])
def test_folding_is_inserting_a_map(family: str) -> None:
    block = problem_of(family).pretrained.blocks[0]
    layer: Any = get(block.module, block.layout.down)
    twin = type(layer)(*reversed(matrix(layer).shape)).double()  # Conv1D(out, in) is turned below
    if layer.weight.shape != twin.weight.shape:
        twin = type(layer)(*matrix(layer).shape).double()
    twin.load_state_dict({k: v.double() for k, v in layer.state_dict().items()}, strict=False)
    if layer.bias is None:
        twin.bias = None
    source = torch.Generator().manual_seed(0)
    change = torch.randn(32, 32, dtype=torch.float64, generator=source)
    x = torch.randn(7, matrix(layer).shape[1], dtype=torch.float64, generator=source)

    with torch.no_grad():
        torch.testing.assert_close(folded(twin, change)(x), twin(x) @ change, atol=1e-10, rtol=0)


@pytest.mark.parametrize("family", SEQUENTIAL)
def test_the_map_solves_the_normal_equations(family: str) -> None:
    problem = problem_of(family)
    outcome = ReplaceMe()(problem, 1 / 3, rng())
    kind = parse(f"replaceme(share={1 / 3},ridge=0.0,skip=0)").kind
    (first,) = kind.window(outcome.problem.library)
    change = outcome.problem.library.fitted(kind)[f"map.{first - 1}"]
    calibration = Calibration(problem.pretrained, problem.data.batches("calibration"), "")
    before = problem.pretrained.blocks[first - 1]
    m, rest = [], []
    for passage in passages(calibration, [before]):
        part = passage.flows[before.index].feed_forward
        m.append(part.update)
        rest.append(passage.states[first + 1].double() - part.residual)
    x, u = torch.cat(m), torch.cat(rest)

    left = x.t() @ (u - x @ change)

    assert left.abs().max() < 1e-7 * (x.t() @ u).abs().max()
    assert (u - x @ change).norm() < (u - x).norm()  # better than plain removal


def test_blocks_that_do_nothing_are_made_up_for_by_nothing() -> None:
    pretrained = models.load(str(folder_of("llama")))
    pretrained.model.double()
    for path in ("self_attn.o_proj", "mlp.down_proj"):
        get(pretrained.blocks[2].module, path).weight.data.zero_()
    batches = problem_of("llama").data.batches("calibration")

    (found,) = parse("replaceme(share=0.34)").kind.fit(Calibration(pretrained, batches, ""))

    assert found["window"].tolist() == [2, 1]
    assert (found["map.1"] - torch.eye(32, dtype=torch.float64)).abs().max() < 1e-8


@pytest.mark.parametrize(
    ("method", "span"), [("replaceme", angular), ("streamline", dissimilarity)]
)
@pytest.mark.parametrize("share", [1 / 3, 2 / 3])
def test_methods_cut_the_window_that_changes_least(method: str, span: Any, share: float) -> None:
    problem = problem_of("qwen3")
    calibration = Calibration(problem.pretrained, problem.data.batches("calibration"), "")
    length = round(share * 3)
    far = distances(calibration, length, span)
    allowed = [i for i in range(len(far)) if i >= (method == "replaceme")]
    start = min(allowed, key=lambda i: far[i])
    at = start - 1 if method == "replaceme" else start

    outcome = load("method", method)()(problem, share, rng())

    chosen = picked(outcome)
    own = {name: v for name, v in chosen.items() if v != "removed"}
    assert list(own) == [f"block{at}.block"]
    assert own[f"block{at}.block"].startswith(method)
    gone = range(start + (method == "streamline"), start + length)
    assert chosen.keys() - own.keys() == {f"block{i}.block" for i in gone}
    assert outcome.tokens == 0
    removed = np.array(
        [s.depth in range(start, start + length) for s in outcome.problem.table.sites]
    )
    names = [[v.name for v in s.variants].index("removed") for s in outcome.problem.table.sites]
    assert kl_of(outcome.problem, outcome.choices) < kl_of(outcome.problem, removed * names)


def test_streamline_reproduces_a_window_that_is_linear() -> None:
    pretrained = models.load(str(folder_of("llama")))
    pretrained.model.double()
    turn = torch.randn(32, 32, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    block: Any = pretrained.blocks[1].module
    get(block, "self_attn.o_proj").weight.data.zero_()
    block.post_attention_layernorm.forward = lambda x: x
    block.mlp.forward = lambda x: x @ turn
    batches = problem_of("llama").data.batches("calibration")
    kind = parse("streamline(share=0.34,ridge=0.0,intercept=false)").kind
    only = Calibration(pretrained, batches, "", (pretrained.blocks[1],))

    (found,) = kind.fit(only)

    assert found["window"].tolist() == [1, 1]
    made = found["1.first"].t() @ found["1.second"]
    torch.testing.assert_close(made, turn.float(), atol=1e-5, rtol=1e-5)


REFUSED = {
    "replaceme": {"gemma2": "normalises what is added", "gemma3": "normalises what is added",
                  "gpt_neox": "side by side", "bert": "normalises sums",
                  "distilbert": "normalises sums", "roberta": "normalises sums"},
    "streamline": dict.fromkeys(("bert", "distilbert", "roberta"), "normalises it"),
}  # fmt: skip


@pytest.mark.parametrize(
    ("method", "family"), list(itertools.product(("replaceme", "streamline"), FAMILIES))
)
def test_windows_are_cut_out_of_every_family_or_refused(method: str, family: str) -> None:
    problem, made = problem_of(family), load("method", method)()
    if family in REFUSED[method]:
        with pytest.raises(ConfigError, match=rf"{method} needs .* {REFUSED[method][family]}"):
            made(problem, 1 / 3, rng())
        return

    outcome = made(problem, 1 / 3, rng())

    row, there = outcome.choices, outcome.problem
    model = pruned_model(there.pretrained, there.table, row)
    reader = there.reader("search")
    pairs = zip(there.data.batches("search"), outputs(there, model), strict=True)
    alone = torch.cat([reader(i, b, out) for i, (b, out) in enumerate(pairs)])
    swept = there.sweep()(row[None], there.data.batches("search"), reader)[0]
    np.testing.assert_allclose(swept, alone.numpy(), atol=1e-6)


@pytest.mark.parametrize("method", ["replaceme", "streamline", "subfit"])
@pytest.mark.parametrize("family", ["llama", "opt"])
def test_outcomes_are_exported(method: str, family: str, tmp_path: Path) -> None:
    outcome = load("method", method)()(problem_of(family), 1 / 3, rng())
    there = outcome.problem

    facts = write(there, outcome.choices, tmp_path / "small")

    assert facts["format"] == ("plain" if method == "replaceme" else "heterogeneous")
    model = opened(tmp_path / "small", "lm", trust_remote_code=method != "replaceme")
    same(
        outputs(there, model),
        outputs(there, pruned_model(there.pretrained, there.table, outcome.choices)),
    )


@pytest.mark.parametrize("method", ["replaceme", "streamline", "subfit"])
@pytest.mark.parametrize("sparsity", [0.1, 1.2])
def test_targets_out_of_reach_are_refused(method: str, sparsity: float) -> None:
    with pytest.raises(ConfigError, match=r"of 3 (blocks|attentions).* between 1 and"):
        load("method", method)()(problem_of("llama"), sparsity, rng())


# ---- SubFit


@pytest.mark.parametrize("family", EVERY)
def test_subfit_bypasses_as_many_of_each_type(family: str) -> None:
    outcome = SubFit()(problem_of(family), 2 / 3, rng())

    kinds = [name.partition(".")[2] for name in picked(outcome)]
    assert sorted(kinds) == ["attention"] * 2 + ["feed_forward"] * 2
    assert all(name.startswith("subfit(") for name in picked(outcome).values())


@pytest.mark.parametrize("alpha", [0.0, 0.5, 1.0])
def test_subfit_takes_those_of_least_effect(alpha: float) -> None:
    problem = problem_of("gpt2")
    outcome = SubFit(alpha=alpha)(problem, 1 / 3, rng())
    fitted = problem.again(["subfit"]).library.fitted(parse("subfit").kind)

    for part in ("attention", "feed_forward"):
        rot, mag = (
            [float(fitted[f"{part}.{i}.{name}"]) for i in range(3)]
            for name in ("rotation", "magnitude")
        )
        effects = [r**alpha * m ** (1 - alpha) for r, m in zip(rot, mag, strict=True)]
        assert f"block{int(np.argmin(effects))}.{part}" in picked(outcome)


def test_subfit_leaves_protected_blocks_alone() -> None:
    problem = problem_of("llama")

    outcome = SubFit(first=1, last=1)(problem, 1 / 3, rng())

    assert set(picked(outcome)) == {"block1.attention", "block1.feed_forward"}
    with pytest.raises(ConfigError, match=r"bypasses 2 of 3 .* between 1 and 1"):
        SubFit(first=1, last=1)(problem, 2 / 3, rng())


def test_subfit_s_bypasses_cost_a_tenth_of_what_goes() -> None:
    problem = Mixed(model=str(data("models", "books2m")), variants=["removal"], length=32,
                    sizes=SIZES, cache="off")  # fmt: skip
    for cost in (0.1, 0.05):
        outcome = SubFit(cost=cost)(problem, 0.5, rng())
        table = outcome.problem.table
        chosen = outcome.choices > 0
        kept = table.look_up(table.params, outcome.choices[None])[0]
        share = kept[chosen].sum() / table.params[chosen, 0].sum()
        assert share == pytest.approx(cost, rel=0.03)  # ranks are whole numbers
        weights = sum(  # the constants are none
            table.sites[i].variants[0].cost.weights - (kept[i] - 128)
            for i in np.flatnonzero(chosen)
        )
        total = sum(table.sites[i].variants[0].cost.weights for i in range(len(table)))
        assert outcome.sparsity == pytest.approx(weights / total)


def test_settings_of_subfit_are_checked() -> None:
    with pytest.raises(ConfigError, match="alpha of subfit must be between 0 and 1, got 2"):
        SubFit(alpha=2)
    with pytest.raises(ConfigError, match="cost of subfit must be between 0 and 1, got 0"):
        SubFit(cost=0)


def test_a_shared_basis_buys_higher_ranks_at_one_cost() -> None:
    problem = Mixed(model=str(data("models", "books2m")), variants=["removal"], length=32,
                    sizes=SIZES, cache="off")  # fmt: skip
    outcome = SubFit(basis="shared")(problem, 0.5, rng())
    table, chosen = outcome.problem.table, outcome.choices > 0
    kept = table.costs("params", outcome.choices[None])[0]
    ranks = [
        said["svd_rank"]
        for site, choice in zip(table.sites, outcome.choices, strict=True)
        for said in site.variants[choice].shape.get("modules", {}).values()
        if said["type"] == "shared-bypass"
    ]

    assert kept[chosen].sum() / table.params[chosen, 0].sum() == pytest.approx(0.1, rel=0.03)
    assert len(ranks) == 4
    assert set(ranks) == {89}  # 62 with an own basis each
    weights = kept - [128 if c else 0 for c in chosen] - [0 if c else 128 for c in chosen]
    dense = sum(s.variants[0].cost.weights for s in table.sites)
    assert outcome.sparsity == pytest.approx(1 - weights.sum() / dense)


@pytest.mark.slow
@pytest.mark.parametrize("sparsity", [0.125, 0.25, 0.375])
def test_fitted_replacements_on_a_trained_model(sparsity: float) -> None:
    """At one number of removed submodules; the order of the methods is recorded, not required."""
    text = data("text", "books", "valid.txt")
    problem = Mixed(
        model=str(data("models", "books2m")), variants=["removal"], text=str(text), length=128,
        sizes={"calibration": 64, "search": 64, "validation": 4}, cache="off",
    )  # fmt: skip
    found = {}
    for method in (SubFit(), ReplaceMe(), Streamline()):
        outcome = method(problem, sparsity, rng())
        found[type(method).__name__] = kl_of(outcome.problem, outcome.choices)
        if isinstance(method, SubFit):
            found["removal"] = kl_of(problem, outcome.choices)  # the same submodules, no bypass

    print(f"KL at {sparsity:.1%}:", {name: round(kl, 4) for name, kl in found.items()})
    assert found["SubFit"] < found["removal"]
    assert all(0 < kl < 1 for kl in found.values())
