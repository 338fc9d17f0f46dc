"""Search a model whose weights exceed the memory that the process is given.

    python experiments/benchmarks/streaming.py [--limit 1.0] [--memory 0.7] [--blocks 24]

Linux only, with the right to make a control group for memory (root, as a rule). A random model of
LLaMA's shape (24 blocks, d 1024, vocabulary 32,000: 1.4 GB of weights) is searched by two child
processes: layer by layer inside a control group of ``--limit`` gigabytes, which holds everything,
mapped files included, and depth first, the way for models that fit, without a limit. Before figures
are printed, both must have recorded the same values. The peak is the largest ``RssAnon``, sampled,
and is compared with the plan that the run has recorded.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

from evo.view import read_run

VOCABULARY, WIDTH = 32_000, 1024
SAMPLED = 0.01  # seconds between two looks at the child's memory


def model(folder: Path, blocks: int) -> Path:
    """A random model with a tokenizer of its own."""
    from pydoc_data.topics import topics

    from tokenizers import Tokenizer, models, pre_tokenizers, trainers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    words = Tokenizer(models.WordLevel(unk_token="[UNK]"))
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    words.train_from_iterator(
        topics.values(), trainers.WordLevelTrainer(vocab_size=4096, special_tokens=["[UNK]"])
    )
    PreTrainedTokenizerFast(tokenizer_object=words, unk_token="[UNK]").save_pretrained(folder)
    torch.manual_seed(0)
    config = LlamaConfig(
        num_hidden_layers=blocks, hidden_size=WIDTH, intermediate_size=2816,
        num_attention_heads=16, num_key_value_heads=8, vocab_size=VOCABULARY,
        max_position_embeddings=512,
    )  # fmt: skip
    LlamaForCausalLM(config).save_pretrained(folder)
    return folder


class Group:
    """A control group for memory, of the first or the second kind."""

    def __init__(self, limit: int) -> None:
        old = Path("/sys/fs/cgroup/memory")
        root, name = (old, "memory.limit_in_bytes") if old.is_dir() else (old.parent, "memory.max")
        own = Path("/proc/self/cgroup").read_text(encoding="ascii").splitlines()
        line = next((x for x in own if x.split(":")[1] in ("memory", "")), own[0])
        self.folder = root / line.split(":", 2)[2].lstrip("/") / f"evo-{os.getpid()}"
        try:
            self.folder.mkdir()
            (self.folder / name).write_text(str(limit))
        except OSError as error:
            sys.exit(f"no control group for memory can be made here: {error}")

    def join(self) -> None:
        """The process that calls this is limited from now on."""
        (self.folder / "cgroup.procs").write_text(str(os.getpid()))

    def close(self) -> None:
        """Remove the group; its processes have ended."""
        self.folder.rmdir()


def searched(folder: Path, out: Path, group: Group | None, given: Any) -> dict[str, Any]:
    """One search in a process of its own: seconds, and the most it filled."""
    traversal = "layer" if group else "depth"
    settings = {
        "problem.model": folder, "problem.traversal": traversal, "problem.dtype": "stored",
        "problem.length": 128, "problem.cache": "off", "problem.variants": '["removal", "width"]',
        "problem.sizes": '{calibration = 2, search = 2, validation = 2}',
        "problem.tokens_at_once": 128, "evaluator.memory": given.memory if group else 0,
        "evaluator.device": "cpu", "algorithm.surrogate": "false",
    }  # fmt: skip
    words = [word for k, v in settings.items() for word in ("--set", f"{k}={v}")]
    command = [
        sys.executable, "-m", "evo", "run", "prune/mixed", "--objective", "kl", "--objective",
        "params", "--population", str(given.population), "--generations", str(given.generations),
        "--no-baseline", "--out", str(out), *words,
    ]  # fmt: skip
    start, peak = time.perf_counter(), 0
    with (out.parent / f"{out.name}.log").open("w") as log:
        child = subprocess.Popen(
            command, stdout=log, stderr=log, preexec_fn=group.join if group else None
        )
        while child.poll() is None:
            peak = max(peak, filled(child.pid))
            time.sleep(SAMPLED)
    if child.returncode:
        sys.exit((out.parent / f"{out.name}.log").read_text()[-2000:])
    view = read_run(out)
    seconds = sum(g.seconds for g in view.generations)
    plan = view.meta["memory"]["peak"] if group else None
    return {
        "traversal": traversal, "limited": group is not None,
        "planned_mb": plan and plan / 1e6, "peak_mb": peak / 1e6,
        "peak_of_plan": plan and peak / plan,
        "search_seconds": seconds, "seconds": time.perf_counter() - start,
    }  # fmt: skip


def filled(pid: int) -> int:
    """Bytes of a process that lie in no file; 0 when it has ended."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text(encoding="ascii").splitlines()
    except OSError:
        return 0
    return next((int(x.split()[1]) * 1024 for x in lines if x.startswith("RssAnon:")), 0)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--limit", type=float, default=1.0, help="gigabytes of the control group")
    parser.add_argument("--memory", type=float, default=0.7, help="gigabytes of evaluator.memory")
    parser.add_argument("--blocks", type=int, default=24)
    parser.add_argument("--population", type=int, default=16)
    parser.add_argument("--generations", type=int, default=3)
    parser.add_argument("--model", type=Path, help="a folder instead of the random model")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = given.model or model(Path(scratch) / "model", given.blocks)
        weights = sum(f.stat().st_size for f in folder.glob("*.safetensors"))
        assert weights > 1e9 * given.limit, "the model would fit"
        group = Group(int(1e9 * given.limit))
        try:
            rows = [searched(folder, Path(scratch) / "limited", group, given)]
        finally:
            group.close()
        rows.append(searched(folder, Path(scratch) / "free", None, given))
        values = [read_run(Path(scratch) / n).candidates.values for n in ("limited", "free")]
        assert np.array_equal(*values), "a limit on memory changed a value"
    print(json.dumps({"weights_mb": weights / 1e6, "limit_mb": 1e3 * given.limit}))
    for row in rows:
        print(json.dumps({k: round(v, 2) if isinstance(v, float) else v for k, v in row.items()}))


if __name__ == "__main__":
    main()
