"""The command that prunes with one method: what it tells, what it writes, what it refuses."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from families import checkpoint
from safetensors.torch import load_file
from test_families import judge
from test_pruning_cli import elsewhere, refused, said_json  # noqa: F401 - a fixture

from evo import registry
from evo.cli import main, pruning
from evo.registry import listing
from problems.pruning import export as exports
from problems.pruning.importance import SCORERS
from problems.pruning.methods import Outcome, weight_count
from problems.pruning.searches import Mixed
from problems.pruning.variants import parse

SETTINGS = {"cache": "off", "length": 24, "sizes": {"calibration": 4, "search": 6, "validation": 4}}
SET = [
    word
    for text in ("cache=off", "length=24", "sizes={calibration = 4, search = 6, validation = 4}")
    for word in ("--set", f"problem.{text}")
]
LINEARS = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")

OWN = '''
from dataclasses import dataclass
import numpy as np
from problems.pruning.methods import Outcome

@dataclass(frozen=True)
class Drawn:
    """Removes submodules by chance."""
    def __call__(self, problem, sparsity, rng):
        other = problem.again(["removal"])
        return Outcome(other, (rng.random(len(other.table)) < sparsity).astype(np.int16), 7)

@dataclass(frozen=True)
class Wrong:
    def __call__(self, problem, sparsity, rng):
        return 3

@dataclass(frozen=True)
class Stopped:
    def __call__(self, problem, sparsity, rng):
        raise KeyboardInterrupt

def function(problem, sparsity, rng):
    return None
'''


@pytest.fixture(scope="module")
def llama(tmp_path_factory: Any) -> str:
    return str(checkpoint("llama", tmp_path_factory.mktemp("models") / "llama"))


@pytest.fixture
def own(elsewhere: Path) -> Path:  # noqa: F811
    (elsewhere / "own_methods.py").write_text(OWN)
    return elsewhere


def weights_in(folder: str | Path) -> int:
    """Weights of linear layers in a folder's files."""
    tensors = load_file(Path(folder) / "model.safetensors")
    return sum(t.numel() for n, t in tensors.items() if n.split(".")[-2] in LINEARS)


# ---- what it writes and tells


@pytest.mark.slow
def test_it_writes_a_smaller_model_that_loads_and_gives_the_told_values(
    llama: str, tmp_path: Path, capsys: Any
) -> None:
    from transformers import AutoModelForCausalLM

    to = tmp_path / "pruned"
    line = ["prune", llama, "--method", "2ssp", "--sparsity", "0.5", "--to", str(to), *SET]
    told = said_json(capsys, [*line, "--json"])

    model = AutoModelForCausalLM.from_pretrained(to, trust_remote_code=True).eval()
    problem = Mixed(model=llama, variants=["removal"], **SETTINGS)  # type: ignore[arg-type]
    values = told["values"]["search"]["pruned"]
    assert model.num_parameters() == values["params"] == told["built"]["params"]
    loss, kl = judge(problem, model).mean(0)
    np.testing.assert_allclose((loss, kl), (values["loss"], values["kl"]), atol=1e-4)
    size, dense = (Path(f, "model.safetensors").stat().st_size for f in (to, llama))
    assert told["built"]["bytes"] == size < 0.9 * dense
    assert told["sparsity"]["requested"] == 0.5
    assert told["sparsity"]["realised"] == pytest.approx(1 - weights_in(to) / weights_in(llama))


OURS = (
    "2ssp", "blockpruner", "depth", "shortened-llama", "shortgpt", "sleb", "uidl", "width",
)  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("family", ["llama", "bert"])
@pytest.mark.parametrize("method", OURS)
def test_every_method_writes_a_model_that_gives_its_values_in_a_new_process(
    method: str, family: str, tmp_path: Path, capsys: Any
) -> None:
    model = str(checkpoint(family, tmp_path / family))
    asked = {"depth": "0.2", "2ssp": "0.5"}.get(method, "0.34")
    line = ["prune", model, "--method", method, "--sparsity", asked, "--to", str(tmp_path / "x")]

    told = said_json(capsys, [*line, *SET, "--json"])

    found = told["built"]["values"]
    assert {"params", "drift" if family == "bert" else "kl"} <= set(found)
    assert all(abs(v["expected"] - v["found"]) < 1e-3 for v in found.values())
    assert told["built"]["bytes"] < told["built"]["dense_bytes"]
    assert told["sparsity"]["realised"] == pytest.approx(float(asked), abs=0.12)


@pytest.fixture
def unchecked(monkeypatch: Any) -> None:
    """Exports are not opened again in a new process, which takes seconds; one test does that."""
    monkeypatch.setattr(exports, "reproduce", lambda *args, **kwargs: {})


def test_people_read_the_same_and_commentary_goes_elsewhere(
    llama: str, tmp_path: Path, capsys: Any, unchecked: None
) -> None:
    to = tmp_path / "pruned"
    line = ["prune", llama, "--method", "sleb", "--sparsity", "0.3", "--to", str(to), *SET]

    assert main(line) == 0

    out, err = capsys.readouterr()
    lines = out.splitlines()
    assert lines[0] == "sleb on llama · sparsity 0.3333 of 0.3 asked"
    rows = {words[0]: words for words in map(str.split, lines[1:]) if words}
    assert {"params", "macs", "weight_bytes", "latency", "kl", "loss", "perplexity"} < set(rows)
    assert rows["kl"][:3] == ["kl", "↓", "0"]
    assert rows["kl"].count("0") == 2  # of the dense model, on both texts
    assert "0" not in rows["loss"]
    assert str(to) in rows
    assert "from_pretrained" in lines[-1]
    assert "choosing with sleb" in err
    assert "judging on validation text" in err
    assert "choosing" not in out


def test_dense_and_pruned_values_stand_beside_one_another(llama: str, capsys: Any) -> None:
    told = said_json(
        capsys, ["prune", llama, "--method", "sleb", "--sparsity", "0.33", *SET, "--json"]
    )

    problem = Mixed(model=llama, variants=["removal"], **SETTINGS)  # type: ignore[arg-type]
    dense = problem.pretrained.model
    for split in ("search", "validation"):
        values = told["values"][split]
        assert values["dense"]["kl"] == 0 < values["pruned"]["kl"]
        assert values["dense"]["params"] == sum(p.numel() for p in dense.parameters())
        assert values["pruned"]["perplexity"] == pytest.approx(
            math.exp(values["pruned"]["loss"]), rel=1e-3
        )
    assert told["values"]["search"]["pruned"]["kl"] != told["values"]["validation"]["pruned"]["kl"]
    assert set(told["latency_ms"]) == {"dense", "pruned"}
    assert min(told["latency_ms"].values()) > 0
    assert list(told["choices"].values()).count("removed") == 1
    assert (told["to"], told["built"], told["method"], told["model"]) == (
        None, None, "sleb", "llama",
    )  # fmt: skip


def test_without_a_folder_nothing_is_written(llama: str, own: Path, capsys: Any) -> None:
    assert main(["prune", llama, "--method", "width", "--sparsity", "0.25", *SET]) == 0

    assert "--to DIR writes the model" in capsys.readouterr().out
    assert [p.name for p in own.iterdir() if p.name != "__pycache__"] == ["own_methods.py"]


def test_the_seed_decides_what_a_method_draws(llama: str, own: Path, capsys: Any) -> None:
    line = ["prune", llama, "--method", "own_methods:Drawn", "--sparsity", "0.5", *SET, "--json"]

    first, again, other = (
        said_json(capsys, [*line, "--seed", seed])["choices"] for seed in ("3", "3", "4")
    )

    assert first == again != other


def test_settings_of_the_method_change_what_it_does(llama: str, capsys: Any) -> None:
    line = ["prune", llama, "--method", "2ssp", "--sparsity", "0.5", *SET, "--json"]

    plain = said_json(capsys, line)
    more = said_json(capsys, [*line, "--set", "method.alpha=3", "--set", "method.samples=2"])

    gone = [list(told["choices"].values()).count("removed") for told in (plain, more)]
    assert gone == [1, 2]  # round(3 · 0.5^(2 / 1.5)) and round(3 · 0.5^(2 / 3))
    assert plain["settings"] == {"alpha": 1.5, "samples": 1, "multiple": 1}
    assert more["settings"] == {"alpha": 3, "samples": 2, "multiple": 1}
    windows = [told["tokens"] / 24 for told in (plain, more)]
    assert windows == [3, 2 * (3 + 2)]


# ---- what it refuses, before anything is read

REFUSED = [
    (["--sparsity", "0"], "--sparsity must be a share between 0 and 1, got 0"),
    (["--sparsity", "1"], "got 1"),
    (["--sparsity", "-0.5"], "got -0.5"),
    (["--sparsity", "nan"], "got nan"),
    (["--sparsity", "25"], "got 25"),
    (["--sparsity", "much"], "--sparsity"),
    (["--seed", "-1"], "--seed must be"),
    (["--method", "2spp"], "no method called '2spp'; did you mean '2ssp'?"),
    (["--method", "os:getcwd"], "is no method"),
    (["--method", "own_methods:function"], "is no method"),
    (["--set", "method.alhpa=2"], "no setting called 'alhpa'; did you mean 'alpha'?"),
    (["--set", "method.alpha=many"], "alpha of method '2ssp' must be a number, got 'many'"),
    (["--set", "method.alpha=true"], "must be a number, got True"),
    (["--set", "method.multiple=1.5"], "multiple of method '2ssp' must be a whole number"),
    (["--set", "method.alpha=0"], "alpha of method '2ssp' must be above 0, got 0"),
    (["--set", "method.samples=0"], "samples of method '2ssp' must be a whole number"),
    (["--set", "method.alpha"], "--set takes settings of the text or the method"),
    (["--set", "alpha=2"], "got 'alpha=2'"),
    (["--set", "problem.model=x"], "got 'problem.model=x'"),
    (["--set", "algorithm.id=random"], "got 'algorithm.id=random'"),
    (["--to", "."], "'.' exists already and is not an empty folder"),
    (["--to", "own_methods.py"], "exists already and is not an empty folder"),
]


@pytest.mark.parametrize(("words", "told"), REFUSED, ids=[" ".join(w) for w, _ in REFUSED])
def test_wrong_usage_is_refused_before_the_model_is_read(
    words: list[str], told: str, own: Path, capsys: Any, monkeypatch: Any
) -> None:
    monkeypatch.setattr(pruning, "build_problem", lambda *_: pytest.fail("it was read"))
    line = {"--method": "2ssp", "--sparsity": "0.5"}
    flags = [w for k, v in line.items() if k not in words for w in (k, v)]

    assert told in refused(capsys, ["prune", "nowhere", *flags, *words])


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["./nowhere", "--method", "2ssp"], "'./nowhere' does not exist"),
        (["LLAMA", "--method", "2ssp", "--set", "problem.lenght=9"], "did you mean 'length'?"),
        (["LLAMA", "--method", "own_methods:Wrong"], "gave a int without 'problem'"),
        (["LLAMA", "--method", "2ssp", "--device", "cuda:7"], "there is no device 'cuda:7'"),
        (["LLAMA", "--method", "depth"], "'depth' can remove 1 to 2 attentions"),
    ],
)
def test_what_only_the_model_tells_is_one_sentence_too(
    words: list[str], told: str, llama: str, own: Path, capsys: Any
) -> None:
    words = [llama if word == "LLAMA" else word for word in words]

    assert told in refused(capsys, ["prune", *words, "--sparsity", "0.5", "--to", "x", *SET])
    assert not (own / "x").exists()


def test_ctrl_c_while_choosing_leaves_nothing(llama: str, own: Path, capsys: Any) -> None:
    line = ["prune", llama, "--method", "own_methods:Stopped", "--sparsity", "0.5", *SET]

    assert main([*line, "--to", "x"]) == 130

    assert capsys.readouterr().err.splitlines()[-1] == "evo: interrupted"
    assert not (own / "x").exists()


def test_ctrl_c_while_writing_leaves_nothing(
    llama: str, own: Path, capsys: Any, monkeypatch: Any
) -> None:
    def stop(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(exports, "reproduce", stop)
    line = ["prune", llama, "--method", "width", "--sparsity", "0.25", *SET, "--to", "x"]

    assert main(line) == 130
    assert [p.name for p in own.iterdir() if p.name != "__pycache__"] == ["own_methods.py"]


def test_an_empty_folder_may_be_named(llama: str, own: Path, unchecked: None) -> None:
    (own / "x").mkdir()
    line = ["prune", llama, "--method", "width", "--sparsity", "0.25", *SET, "--to", "x"]

    assert main(line) == 0
    assert (own / "x" / "model.safetensors").is_file()


# ---- lists


def test_methods_and_variants_are_listed(capsys: Any) -> None:
    told = said_json(capsys, ["list", "methods", "--json"])["methods"]
    rows = {row["id"]: row for row in told}
    assert {"2ssp", "sleb", "shortgpt", "uidl", "blockpruner", "shortened-llama"} < set(rows)
    assert main(["list"]) == 0
    words = set(capsys.readouterr().out.split())
    assert {"methods", "variants", "2ssp", "removal", "width", *SCORERS, "2:4"} <= words


def test_every_listed_variant_is_what_its_name_means() -> None:
    for entry in listing("variant"):
        kind = registry.build("variant", registry.Ref(entry.ref))
        assert kind == parse(entry.ref).kind, entry.ref


def test_show_tells_the_settings_of_a_method_with_their_meaning(capsys: Any) -> None:
    told = said_json(capsys, ["show", "2ssp", "--json"])

    assert told["kind"] == "method"
    rows = {s["name"]: s for s in told["settings"]}
    assert {n: s["default"] for n, s in rows.items()} == {"alpha": 1.5, "samples": 1, "multiple": 1}
    assert all(s["doc"] for s in rows.values())


@pytest.mark.parametrize("entry", listing("method"), ids=lambda e: e.ref)
def test_every_setting_of_every_method_is_explained(entry: Any, capsys: Any) -> None:
    told = said_json(capsys, ["show", entry.ref, "--kind", "method", "--json"])

    assert (told["kind"], told["target"]) == ("method", entry.target)
    assert told["about"]
    assert [s["name"] for s in told["settings"] if not s["doc"]] == []


def test_show_tells_the_levels_and_settings_of_a_variant(capsys: Any) -> None:
    told = said_json(capsys, ["show", "width", "--json"])

    assert told["levels"] == [0.125, 0.25, 0.375, 0.5, 0.625, 0.75, 0.875]
    assert [(s["name"], s["default"]) for s in told["settings"]] == [("multiple", 8)]
    assert main(["show", "wanda"]) == 0
    assert "levels 0.3, 0.4, 0.5, 0.6, 0.7" in capsys.readouterr().out


def test_a_namesake_of_another_kind_is_told(capsys: Any) -> None:
    assert main(["show", "width"]) == 0
    out, err = capsys.readouterr()
    assert out.startswith("width · variant")
    assert err == "evo: there is also a method called 'width': evo show width --kind method\n"

    assert main(["show", "width", "--kind", "method"]) == 0
    out, err = capsys.readouterr()
    assert (out.startswith("width · method"), err) == (True, "")
    assert "no kind 'methd'; did you mean 'method'" in refused(
        capsys, ["show", "width", "--kind", "methd"]
    )


def test_what_a_variant_was_made_with_is_no_setting(capsys: Any) -> None:
    line = ["show", "2:4", "--kind", "variant", "--json"]

    assert said_json(capsys, line)["settings"] == []


def test_a_method_of_ones_own_is_shown_and_never_checked(own: Path, capsys: Any) -> None:
    assert said_json(capsys, ["show", "own_methods:Drawn", "--json"])["kind"] == "method"
    assert "is a method, of which evo check knows no promises" in refused(capsys, ["check", "2ssp"])


# ---- the share that is told


@pytest.mark.parametrize("family", ["llama", "gpt2", "bert"])
def test_the_told_sparsity_counts_weights_of_linear_layers(family: str, tmp_path: Path) -> None:
    folder = checkpoint(family, tmp_path / family)
    kinds = ["removal", "width@0.5", "wanda@0.5"]
    problem = Mixed(model=str(folder), variants=kinds, **SETTINGS)  # type: ignore[arg-type]
    names = [[v.name for v in site.variants] for site in problem.table.sites]
    linear = [m for b in problem.pretrained.blocks for m in b.module.modules() if matrix_like(m)]
    total = sum(m.weight.numel() for m in linear)

    def share(*wanted: tuple[int, str]) -> float:
        row = np.zeros(len(names), dtype=np.int16)
        for site, name in wanted:
            row[site] = names[site].index(name)
        return Outcome(problem, row).sparsity * total

    attention, ffn = (problem.table.sites[i].place.weight_count() for i in (0, 1))
    assert weight_count(problem) == total == 3 * (attention + ffn)
    assert share() == 0
    assert share((0, "removed")) == attention
    assert share((1, "width-0.5")) == ffn / 2
    assert share((2, "wanda-0.5"), (5, "wanda-0.5")) == (attention + ffn) / 2
    assert share(*((i, "removed") for i in range(6))) == total


def matrix_like(module: torch.nn.Module) -> bool:
    return type(module).__name__ in ("Linear", "Conv1D")
