"""Writes a candidate as a model folder that opens with transformers, and checks that it does."""

from __future__ import annotations

import os
import re
import shutil
import signal
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

import evo
from evo.errors import EvoError, ModelError

from .. import layouts, modules, sliced, sparse_cache
from . import card, shim
from .check import reproduce
from .plan import Plan, make_plan, plan_blocks
from .weights import file_tensors, smaller_model, sparse_layers, worth_packing

CARRIED = {
    "evo_layouts": layouts, "evo_modules": modules, "evo_sliced": sliced,
    "evo_sparse_cache": sparse_cache,
}  # fmt: skip
"""Files that an export with a loader of its own carries, by their names there."""


def export(
    problem: Any,
    choices: Sequence[int],
    folder: Path,
    *,
    expected: Mapping[str, float],
    compress: bool = True,
) -> dict[str, Any]:
    """Write one candidate to a folder, open it in a new process and reproduce its values there.

    Blocks that all have one shape which the model's own config can state become a plain checkpoint.
    Anything else brings its loader along and refuses to open without it. The folder appears only
    when everything was reproduced.

    Args:
        problem: A :class:`problems.pruning.searches.Mixed`.
        choices: Variant index per site, (S,).
        folder: Where the model goes; must not exist or be empty.
        expected: Objective values of the candidate as recorded on the search split.
        compress: Store sparse weights as a bitmap and values, which takes the loader; otherwise
            as zeros.

    Returns:
        JSON: ``folder``, ``format`` (``plain`` or ``heterogeneous``), ``compressed``, ``params``
        (zeros of sparse layers left out), ``dense_params``, ``bytes`` and ``dense_bytes`` of the
        weights at the dtype of the search, ``sparsity`` per site, ``values`` (expected and found
        per compared objective) and ``load``, the line that opens it.

    Raises:
        ModelError: The target is taken, the model cannot be expressed, the disk is full, or the
            written model gives other values; nothing is left behind.
    """
    target = Path(folder).expanduser()
    _refuse_foreign_code(problem.pretrained)
    with _appearing(target) as part, torch.inference_mode(), _quiet():
        plan, facts = _write(problem, choices, part, target.name, compress)
        sparse, earlier = facts.pop("_sparse"), facts.pop("_earlier_zeros")
        scratch = part.with_name(part.name + ".check")
        try:
            scratch.mkdir()
            facts["values"] = reproduce(
                problem, part, scratch, expected,
                trust=not plan.plain, earlier_zeros=earlier, sparse=sparse,
            )  # fmt: skip
        finally:
            shutil.rmtree(scratch, ignore_errors=True)
        card.write_card(problem.pretrained, plan, facts, part, target.name)
    sentences = facts["load"].startswith("SentenceTransformer")
    line = card.how_to_load(problem.pretrained, plan, str(target), sentences=sentences)
    return {"folder": str(target), **facts, "load": line}


def _write(
    problem: Any, choices: Sequence[int], part: Path, name: str, compress: bool
) -> tuple[Plan, dict[str, Any]]:
    """Everything but the card; returns the plan and the facts."""
    pretrained, table = problem.pretrained, problem.table
    blocks = plan_blocks(pretrained, table, choices)
    model = smaller_model(pretrained, table, choices, blocks)
    state = model.state_dict()
    sparse = sparse_layers(pretrained.blocks_path, blocks, table)
    chosen = {n: v for b in blocks if not b.dropped for n, v in b.chosen.items() if v.sparsity}
    sparsity = {n: round(v.sparsity, 6) for n, v in chosen.items()}
    packed = worth_packing(state, sparse) if compress else {}
    about: dict[str, Any] = {
        "made_with": f"evoprune {evo.__version__}",
        "base_model": pretrained.name,
        "blocks": [b.index for b in blocks if not b.dropped],
    }
    about |= {"sparsity": sparsity} if sparsity else {}
    plan = make_plan(pretrained, blocks, state, packed, about)
    _save(plan, pretrained, model, file_tensors(plan, pretrained, state), part)
    card.write_tokenizer(pretrained, part)
    sentences = card.write_sentence_files(pretrained, problem.data.pooling, part)
    zeros = sum(int((state[f"{path}.weight"] == 0).sum()) for path in sparse)
    params = sum(p.numel() for p in model.parameters()) - zeros
    counted = sum(_dense_params(table, n) - v.cost.params for n, v in chosen.items())
    dense = list(pretrained.model.parameters())
    return plan, {
        "format": "plain" if plan.plain else "heterogeneous",
        "compressed": bool(plan.packed),
        "params": params + zeros - counted,
        "dense_params": sum(p.numel() for p in dense),
        "bytes": sum(f.stat().st_size for f in part.glob("*.safetensors")),
        "dense_bytes": sum(p.nbytes for p in dense),
        "sparsity": sparsity,
        "load": card.how_to_load(pretrained, plan, name, sentences=sentences),
        "_sparse": sparse,
        "_earlier_zeros": zeros - counted,
    }


def _dense_params(table: Any, site: str) -> int:
    return table.sites[table.name.index(site)].variants[0].cost.params


def _save(
    plan: Plan, pretrained: Any, model: Any, tensors: dict[str, torch.Tensor], part: Path
) -> None:
    """Weights, config, and the loader where one is needed."""
    model.config = plan.config
    # a loader of its own gets none of the renaming that the library does for its own classes
    model.save_pretrained(part, state_dict=tensors, save_original_format=plan.plain)
    plan.config.architectures = [plan.model_class(pretrained).__name__]
    plan.config.save_pretrained(part)
    mode = (part / "config.json").stat().st_mode
    for file in part.glob("*.safetensors"):  # written for their owner alone
        file.chmod(mode)
    if not plan.plain:
        for name, module in CARRIED.items():
            (part / f"{name}.py").write_text(_standing_alone(module))
        (part / "modeling_evo.py").write_text(loader(plan, pretrained))


def loader(plan: Plan, pretrained: Any) -> str:
    """Source of the module that opens an export: :mod:`.shim` and the class of this model."""
    base = type(pretrained.model)
    source = _standing_alone(shim)
    own = plan.model_class(pretrained).__name__
    return (
        f"{source}\n\nfrom {base.__module__} import {base.__name__}  # noqa: E402\n\n\n"
        f"class {own}(Pruned, {base.__name__}):\n"
        f'    """{base.__name__} with blocks of different shapes."""\n\n'
        f'    blocks_path = "{pretrained.blocks_path}"\n'
    )


def _standing_alone(module: Any) -> str:
    """Source of a module whose neighbours lie beside it under the names that exports give them."""
    source = Path(str(module.__file__)).read_text()
    for name in CARRIED:
        source = re.sub(
            rf"from \.+{name.removeprefix('evo_')} import", f"from .{name} import", source
        )
    return source


def _refuse_foreign_code(pretrained: Any) -> None:
    base = type(pretrained.model)
    if not base.__module__.startswith("transformers.models."):
        raise ModelError(
            f"{pretrained.name} runs modelling code of its own ({base.__module__}); exports need "
            "an architecture that transformers knows"
        )


@contextmanager
def _appearing(target: Path) -> Iterator[Path]:
    """A folder beside the target that takes its name at the end, or vanishes with an error."""
    if target.exists() and not target.is_dir():
        raise ModelError(f"cannot export to {target}: it is a file", hint="name a new folder")
    if target.is_dir() and any(target.iterdir()):
        raise ModelError(f"cannot export to {target}: it is not empty", hint="name a new folder")
    part = target.with_name(f".{target.name}.part-{os.getpid()}")
    try:
        with _ending_politely():
            target.parent.mkdir(parents=True, exist_ok=True)
            part.mkdir()
            yield part
            os.replace(part, target)  # an empty folder in the way is replaced
    except EvoError:
        raise
    except OSError as error:
        raise ModelError(
            f"cannot export to {target}: {error.strerror or error}",
            hint="is the disk full, or the folder read-only?",
        ) from error
    finally:
        shutil.rmtree(part, ignore_errors=True)


@contextmanager
def _ending_politely() -> Iterator[None]:
    """Let a termination signal raise ``SystemExit``, so that what was begun is cleared away."""
    ours = threading.current_thread() is threading.main_thread()
    if not ours or signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL:
        yield
        return

    def leave(number: int, frame: Any) -> None:
        raise SystemExit(128 + number)

    signal.signal(signal.SIGTERM, leave)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


@contextmanager
def _quiet() -> Iterator[None]:
    """Without transformers' messages and progress bars."""
    from transformers.utils import logging

    before, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(before)
        if bars:
            logging.enable_progress_bar()
