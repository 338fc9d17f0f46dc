"""What a conformance check finds, one line per item."""

from __future__ import annotations

import random
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..genomes import Genomes


@dataclass(frozen=True, slots=True)
class Finding:
    """One item of a conformance check.

    Args:
        item: What was tried when it holds, or what is wrong when it does not.
        ok: Whether it holds.
        detail: Numbers or names behind it; empty when there are none.
    """

    item: str
    ok: bool
    detail: str = ""


class Findings(list[Finding]):
    """Findings in the order they were tried."""

    def expect(self, holds: object, good: str, bad: str, detail: object = "") -> bool:
        """Record ``good`` when it holds, else ``bad`` with the detail; tell which."""
        self.append(Finding(good, True) if holds else Finding(bad, False, str(detail)))
        return bool(holds)

    def attempt(self, what: str, act: Callable[[], Any]) -> Any:
        """What ``act`` returns; when it raises, a failing finding ``"<what> raised"`` and None."""
        try:
            return act()
        except Exception as error:  # the edge that turns a user's failure into a finding
            self.append(Finding(f"{what} raised", False, f"{type(error).__name__}: {error}"))
            return None

    def legal(self, what: str, act: Callable[[], None]) -> bool:
        """Record ``"<what> are legal"`` when ``act`` returns, else that it raised; tell which."""
        before = len(self)
        self.attempt(f"checking {what}", act)
        if len(self) == before:
            self.append(Finding(f"{what} are legal", True))
        return self[-1].ok


def failed(findings: Sequence[Finding]) -> list[Finding]:
    """The findings that do not hold."""
    return [finding for finding in findings if not finding.ok]


@contextmanager
def watching_chance(found: Findings) -> Iterator[None]:
    """Find out whether the block drew from the global generators of Python, NumPy or PyTorch."""
    before = _global_states()
    yield
    after = _global_states()
    used = [name for name in before if before[name] != after[name]]
    good, bad = "leaves the global generators alone", "uses the global generators"
    found.expect(not used, good, bad, f"of {', '.join(used)}")


def same_genomes(first: Genomes, second: Genomes) -> bool:
    """Whether both hold the same parts, dtypes, shapes and rows, byte for byte."""
    layouts = [{k: (v.dtype, v.shape) for k, v in g.parts.items()} for g in (first, second)]
    return layouts[0] == layouts[1] and first.rows() == second.rows()


def copy_genomes(genomes: Genomes) -> Genomes:
    """The same rows in memory of their own."""
    return Genomes({name: values.copy() for name, values in genomes.parts.items()})


def _global_states() -> dict[str, object]:
    """What the generators of Python, NumPy and, once it is loaded, PyTorch would give next."""
    state: Any = np.random.get_state()  # noqa: NPY002 - read to prove that nobody draws from it
    states: dict[str, object] = {
        "random": random.getstate(), "numpy.random": (str(state[1].tolist()), str(state[2:])),
    }  # fmt: skip
    torch: Any = sys.modules.get("torch")
    return states if torch is None else {**states, "torch": torch.get_rng_state().tolist()}
