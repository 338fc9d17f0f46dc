"""2SSP: its closed form against published counts, its stages against slow versions of them."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from families import EACH, checkpoint
from hypothesis import given
from hypothesis import strategies as st
from local_data import data
from test_families import judge

from evo.config import Ref
from evo.errors import ConfigError
from evo.registry import build
from problems.pruning.cost import pruned_model
from problems.pruning.layouts import find_blocks, find_layout, get, keep_neurons, matrix
from problems.pruning.methods import Outcome
from problems.pruning.methods.depth import AttentionsAlone, attention_count
from problems.pruning.methods.removals import longest
from problems.pruning.methods.two_stage import (
    Counts,
    TwoStage,
    count,
    rounded,
    split,
    without_attentions,
)
from problems.pruning.methods.width import WidthAlone
from problems.pruning.models import Block
from problems.pruning.searches import Mixed

SIZES = {"calibration": 4, "search": 4, "validation": 2}
RNG = np.random.default_rng(0)


def problem_of(folder: Path | str, **more: Any) -> Mixed:
    settings = {"length": 24, "sizes": SIZES, "cache": "off"} | more
    return Mixed(model=str(folder), variants=["removal"], **settings)


@pytest.fixture(scope="module", params=["llama", "bert"])
def problem(request: Any, tmp_path_factory: Any) -> Mixed:
    return problem_of(checkpoint(request.param, tmp_path_factory.mktemp("m") / request.param))


@pytest.fixture(scope="module")
def llama(tmp_path_factory: Any) -> Mixed:
    return problem_of(checkpoint("llama", tmp_path_factory.mktemp("m") / "llama"))


# ---- the closed form


def llm(blocks: int, hidden: int, inner: int, keys: int, *, biases: int = 0) -> Counts:
    """Counts of a decoder with a gated feed-forward and two norms, from its shapes alone."""
    attention = 2 * hidden * hidden + 2 * hidden * keys + biases
    feed_forward = 3 * hidden * inner
    return Counts(blocks, attention, feed_forward, inner,
                  blocks * (attention + feed_forward + 2 * hidden))  # fmt: skip


SHAPES = {
    "llama-2-7b": llm(32, 4096, 11008, 4096),
    "llama-3.1-8b": llm(32, 4096, 14336, 1024),
    "qwen2.5-7b": llm(28, 3584, 18944, 512, biases=3584 + 2 * 512),
    "phi-3-medium": llm(40, 5120, 17920, 1280),
    "stories260K": llm(5, 64, 172, 32),
}
PUBLISHED = {  # sparsity 25 %, 37.5 %, 50 %: attentions removed, neurons kept
    "llama-2-7b": [(5, 7744), (9, 6368), (13, 4992)],
    "llama-3.1-8b": [(1, 10005), (2, 7893), (5, 5994)],
    "qwen2.5-7b": [(0, 13525), (0, 10816), (1, 8204)],
    "phi-3-medium": [(1, 12480), (3, 9920), (6, 7466)],
    "stories260K": [(0, 113), (1, 96), (1, 66)],
}
CASES = [
    (name, sparsity, wanted)
    for name, row in PUBLISHED.items()
    for sparsity, wanted in zip((0.25, 0.375, 0.5), row, strict=True)
]


@pytest.mark.parametrize(("name", "sparsity", "wanted"), CASES)
def test_the_split_is_the_published_one(name: str, sparsity: float, wanted: Any) -> None:
    counts = SHAPES[name]

    attentions, neurons = split(counts, sparsity, 1.5)

    assert (attentions, neurons) == wanted
    gone = attentions * counts.attention
    gone += counts.blocks * counts.feed_forward * (1 - neurons / counts.neurons)
    step = counts.blocks * counts.feed_forward / counts.neurons / counts.total  # of one neuron
    assert abs(gone / counts.total - sparsity) < max(3e-5, 0.51 * step)


def config_of(name: str) -> Any:
    import transformers as t

    if name == "qwen2.5-7b":
        return t.Qwen2Config(
            hidden_size=3584, intermediate_size=18944, num_hidden_layers=28,
            num_attention_heads=28, num_key_value_heads=4,
        )  # fmt: skip
    if name == "phi-3-medium":
        return t.Phi3Config(
            hidden_size=5120, intermediate_size=17920, num_hidden_layers=40,
            num_attention_heads=40, num_key_value_heads=10,
        )  # fmt: skip
    shape = SHAPES[name]
    hidden, keys = {"llama-2-7b": (4096, 32), "llama-3.1-8b": (4096, 8), "stories260K": (64, 4)}[
        name
    ]
    return t.LlamaConfig(
        hidden_size=hidden, intermediate_size=shape.neurons, num_hidden_layers=shape.blocks,
        num_attention_heads=8 if name == "stories260K" else 32, num_key_value_heads=keys,
    )  # fmt: skip


@pytest.mark.parametrize("name", SHAPES)
def test_counts_are_those_of_the_built_architecture(name: str) -> None:
    from transformers import AutoModelForCausalLM

    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config_of(name))
    _, modules = find_blocks(model)  # type: ignore[misc]
    layout = find_layout(modules[0])

    found = count([Block(i, m, layout, None) for i, m in enumerate(modules)])  # type: ignore[arg-type]

    assert found == SHAPES[name]


@pytest.mark.parametrize(
    ("sparsity", "alpha", "told"),
    [
        (0.25, 1e9, "removes 32 of 32 attentions, which alone are 0.331"),
        (0.3, 1e9, "a smaller alpha removes fewer"),
        (0.7, 0.01, "removes 0 of 32 attentions; with all feed-forwards that is 0.668"),
        (0.66836, 0.01, "a neuron must be left in each"),
    ],
)
def test_what_cannot_be_split_is_told(sparsity: float, alpha: float, told: str) -> None:
    with pytest.raises(ConfigError) as caught:
        split(SHAPES["llama-2-7b"], sparsity, alpha)

    assert told in f"{caught.value.message} {caught.value.hint}"


@given(
    st.sampled_from(list(SHAPES)), st.floats(1e-6, 0.999), st.floats(0.1, 100)
)  # fmt: skip
def test_the_split_reaches_the_target_or_is_refused(
    name: str, sparsity: float, alpha: float
) -> None:
    counts = SHAPES[name]
    try:
        attentions, neurons = split(counts, sparsity, alpha)
    except ConfigError:
        return
    assert 0 <= attentions <= counts.blocks
    assert 1 <= neurons <= counts.neurons
    gone = attentions * counts.attention
    gone += counts.blocks * counts.feed_forward * (1 - neurons / counts.neurons)
    step = counts.blocks * counts.feed_forward / counts.neurons
    assert abs(gone - sparsity * counts.total) <= 0.51 * step + counts.blocks


def test_almost_nothing_asks_for_no_attention() -> None:
    assert split(SHAPES["llama-2-7b"], 1e-6, 1.5)[0] == 0


@pytest.mark.parametrize(
    ("neurons", "multiple", "wanted"),
    [(113, 1, 113), (113, 8, 112), (117, 8, 120), (116, 8, 120), (3, 8, 8), (171, 64, 172)],
)
def test_neurons_are_rounded_to_multiples(neurons: int, multiple: int, wanted: int) -> None:
    assert rounded(neurons, 172, multiple) == wanted


# ---- the first stage


def test_slicing_equals_a_zero_column_and_a_zero_gate_row(tmp_path: Path) -> None:
    problem = problem_of(checkpoint("llama", tmp_path / "llama"))
    block = copy.deepcopy(problem.pretrained.blocks[0].module).double()
    layout, kept = problem.pretrained.blocks[0].layout, torch.arange(64)[torch.arange(64) != 7]
    x = torch.randn(5, 32, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    gate, up, down = (get(block, p) for p in (*layout.ups, layout.down))

    def output(gate: Any, up: Any, down: Any) -> torch.Tensor:
        return down(torch.nn.functional.silu(gate(x)) * up(x))

    sliced = output(*keep_neurons(block, layout, kept).values())
    column, row = copy.deepcopy(down), copy.deepcopy(gate)
    column.weight.data[:, 7] = 0
    row.weight.data[7] = 0

    assert (output(gate, up, column) - output(row, up, down)).abs().max() == 0
    torch.testing.assert_close(sliced, output(gate, up, column), atol=1e-14, rtol=0)
    assert not torch.allclose(sliced, output(gate, up, down))


def activations(problem: Mixed) -> dict[int, list[torch.Tensor]]:
    """Per block, the inputs (tokens, h) of its last linear layer for each sequence alone."""
    found: dict[int, list[torch.Tensor]] = {b.index: [] for b in problem.pretrained.blocks}
    handles = [
        get(b.module, b.layout.down).register_forward_pre_hook(
            lambda _, given, i=b.index: found[i].append(given[0].reshape(-1, given[0].shape[-1]))
        )
        for b in problem.pretrained.blocks
    ]
    with torch.inference_mode():
        for batch in problem.data.batches("calibration"):
            for row in range(len(batch.ids)):
                n = len(batch.ids[row]) if batch.mask is None else int(batch.mask[row].sum())
                problem.pretrained.model(input_ids=batch.ids[row : row + 1, :n])
    for handle in handles:
        handle.remove()
    return found


def test_the_neurons_of_the_largest_mean_norm_stay(problem: Mixed) -> None:
    outcome = WidthAlone()(problem, 0.2, RNG)

    seen = activations(problem)
    for site, choice in zip(outcome.problem.table.sites, outcome.choices.tolist(), strict=True):
        if site.kind != "feed_forward":
            assert choice == 0
            continue
        norms = torch.stack([x.double().norm(dim=0) for x in seen[site.depth]]).mean(0)
        keep = site.variants[choice].shape["intermediate_size"]
        wanted = norms.argsort(descending=True)[:keep].sort().values
        down = get(site.place.block.module, site.place.block.layout.down)
        made = site.variants[choice].build()[site.place.block.layout.down]
        assert torch.equal(matrix(made), matrix(down)[:, wanted])


def test_width_alone_reaches_the_target(problem: Mixed) -> None:
    counts = count(problem.pretrained.blocks)

    outcome = WidthAlone()(problem, 0.3, RNG)
    coarse = WidthAlone(multiple=16)(problem, 0.3, RNG)

    widths = [width_of(o) for o in (outcome, coarse)]
    wanted = 64 * (1 - 0.3 * counts.total / (3 * counts.feed_forward))
    assert abs(widths[0] - wanted) <= 0.51
    assert widths[1] == 16 * round(wanted / 16)
    assert outcome.tokens == 0


def width_of(outcome: Outcome) -> int:
    sites = zip(outcome.problem.table.sites, outcome.choices.tolist(), strict=True)
    found = {s.variants[v].shape.get("intermediate_size", 64) for s, v in sites
             if s.kind == "feed_forward"}  # fmt: skip
    assert len(found) == 1
    return found.pop()


# ---- the second stage


class Fake:
    """Random losses; counts what it is asked."""

    def __init__(self, seed: int = 0) -> None:
        self.rng, self.asked = np.random.default_rng(seed), 0

    def __call__(self, rows: Any) -> Any:
        self.asked += len(rows)
        return self.rng.random(len(rows))


@pytest.fixture(scope="module")
def tall(tmp_path_factory: Any) -> Mixed:
    """Thirty-two blocks."""
    folder = checkpoint("llama", tmp_path_factory.mktemp("m") / "tall")
    config = json.loads((folder / "config.json").read_text())
    from transformers import AutoModelForCausalLM, LlamaConfig

    said = LlamaConfig(**config | {"num_hidden_layers": 32, "layer_types": None})
    AutoModelForCausalLM.from_config(said).save_pretrained(folder)
    return problem_of(folder).again(["removal", "width@0.5"])


@pytest.mark.parametrize(("attentions", "wanted"), [(1, 32), (5, 150), (13, 338)])
def test_as_many_candidates_are_asked_for_as_published(
    tall: Mixed, attentions: int, wanted: int
) -> None:
    asked = Fake()

    row = without_attentions(tall, asked, np.zeros(64, dtype=np.int16), attentions)

    assert asked.asked == wanted
    assert np.count_nonzero(row) == np.count_nonzero(row[::2]) == attentions


def test_attentions_are_judged_on_the_narrowed_model_and_the_first_window(llama: Mixed) -> None:
    outcome = TwoStage()(llama, 0.55, RNG)

    other, batch = outcome.problem, longest(llama.data.batches("calibration"), 1)[0]
    assert torch.equal(batch.ids, llama.data.batches("calibration")[0].ids[:1])
    counts = count(llama.pretrained.blocks)
    attentions, neurons = split(counts, 0.55, 1.5)
    assert width_of(outcome) == neurons
    gone = outcome.choices[::2]
    assert np.count_nonzero(gone) == attentions > 0
    row, asked = np.where(np.arange(6) % 2, outcome.choices, 0).astype(np.int16), 0
    for _ in range(attentions):
        left = [i for i in (0, 2, 4) if row[i] == 0]
        losses = []
        for i in left:
            tried = row.copy()
            tried[i] = len(other.table.sites[i].variants) - 1
            model = pruned_model(other.pretrained, other.table, tried)
            with torch.inference_mode():
                losses.append(float(model(input_ids=batch.ids, labels=batch.ids).loss))
        asked += len(left)
        best = left[int(np.argmin(losses))]
        row[best] = len(other.table.sites[best].variants) - 1
    assert outcome.choices.tolist() == row.tolist()
    assert outcome.tokens == asked * 24


def test_more_samples_are_read_when_asked_for(llama: Mixed) -> None:
    one, three, every = (TwoStage(samples=n)(llama, 0.55, RNG).tokens for n in (1, 3, None))

    assert (three, every) == (3 * one, 4 * one)


def test_attentions_alone_come_nearest_to_the_target(problem: Mixed) -> None:
    counts = count(problem.pretrained.blocks)
    each = counts.attention / counts.total

    for wanted in (1, 2):
        outcome = AttentionsAlone()(problem, (wanted + 0.3) * each, RNG)
        assert np.count_nonzero(outcome.choices) == wanted
        assert not outcome.choices[1::2].any()
    with pytest.raises(ConfigError, match="can remove 1 to 2 attentions"):
        attention_count(counts, 2.6 * each)
    with pytest.raises(ConfigError, match="is nearest to 0"):
        attention_count(counts, 0.4 * each)


# ---- all of it


@pytest.mark.parametrize("family", EACH)
def test_every_family_is_narrowed_and_loses_attentions(family: str, tmp_path: Path) -> None:
    problem = problem_of(checkpoint(family, tmp_path / family))
    counts = count(problem.pretrained.blocks)
    target = 0.55 if counts.feed_forward > 1.5 * counts.attention else 0.5
    attentions, neurons = split(counts, target, 1.5)

    outcome = TwoStage()(problem, target, RNG)

    assert np.count_nonzero(outcome.choices[::2]) == attentions > 0
    assert width_of(outcome) == neurons
    attention, ffn = weights(problem, "attention"), weights(problem, "feed_forward")
    gone = attentions * attention + 3 * ffn * (1 - neurons / counts.neurons)
    assert outcome.sparsity == pytest.approx(gone / (3 * (attention + ffn)), rel=1e-9)
    assert outcome.sparsity == pytest.approx(target, abs=0.03)  # norms and biases aside
    model = pruned_model(problem.pretrained, outcome.problem.table, outcome.choices)
    assert np.isfinite(judge(outcome.problem, model)).all()


def weights(problem: Mixed, part: str) -> int:
    """Weights of the linear layers of one attention or feed-forward."""
    block = problem.pretrained.blocks[0]
    paths = getattr(block.layout, f"{part}_linears")
    return sum(matrix(get(block.module, path)).numel() for path in paths)


@pytest.mark.parametrize(
    ("method", "settings", "told"),
    [
        (TwoStage, {"alpha": 0.0}, "alpha of method '2ssp' must be above 0"),
        (TwoStage, {"alpha": float("nan")}, "alpha of method '2ssp' must be above 0"),
        (TwoStage, {"multiple": 0}, "multiple of method '2ssp'"),
        (TwoStage, {"samples": 0}, "samples of method '2ssp'"),
        (WidthAlone, {"multiple": -8}, "multiple of method 'width'"),
        (AttentionsAlone, {"samples": 0}, "samples of method 'depth'"),
    ],
)
def test_wrong_settings_are_told(method: Any, settings: Any, told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        method(**settings)


@pytest.mark.parametrize("name", ["2ssp", "width"])
def test_a_target_below_one_neuron_is_refused(name: str, llama: Mixed) -> None:
    with pytest.raises(ConfigError, match="nearest to removing nothing"):
        build("method", Ref(name))(llama, 1e-4, RNG)


def test_the_other_problem_keeps_its_order(llama: Mixed) -> None:
    before = [v.name for s in llama.table.sites for v in s.variants]

    outcome = TwoStage()(llama, 0.3, RNG)

    assert outcome.problem._order == "activation"
    assert llama._order == "output"
    assert [v.name for s in llama.table.sites for v in s.variants] == before
    assert llama.again(["removal"])._order == "output"


@pytest.mark.slow
@pytest.mark.parametrize("sparsity", [0.3, 0.5])
def test_two_stages_lose_less_than_width_alone_on_a_trained_model(sparsity: float) -> None:
    problem = problem_of(
        data("models", "books2m"), text=str(data("text", "books", "test.txt")), length=128,
        sizes={"calibration": 16, "search": 16, "validation": 2},
    )  # fmt: skip

    def loss(name: str) -> float:
        outcome = build("method", Ref(name))(problem, sparsity, RNG)
        assert outcome.sparsity == pytest.approx(sparsity, abs=0.005)
        model = pruned_model(problem.pretrained, outcome.problem.table, outcome.choices)
        return float(judge(outcome.problem, model)[:, 0].mean())

    assert loss("2ssp") < loss("width") - 0.05
