"""Tries whether an algorithm asks for the same genomes in another process."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys

from ..registry import load, resolve
from .algorithms import drive
from .findings import Finding, Findings

_CODE = (
    "import sys; from evo.check.elsewhere import asked; print(asked(sys.argv[1], int(sys.argv[2])))"
)
_SECONDS = 600


def check_elsewhere(ref: str, *, seed: int = 0) -> list[Finding]:
    """Drive one algorithm here, and again in a process that hashes strings in another way.

    A run is resumed by asking again, so an order that comes out of a set or of ``hash`` cannot be
    resumed. Costs one start of Python.

    Args:
        ref: An id or ``module:attr``.
        seed: Root seed.
    """
    found = Findings()
    here = found.attempt("searching", lambda: asked(ref, seed))
    there = found.attempt("searching in another process", lambda: _asked_there(ref, seed))
    if here is not None and there is not None:
        good, bad = "repeats in another process", "differs in another process"
        found.expect(here == there, good, bad, "such a run cannot be resumed")
    return found


def asked(ref: str, seed: int) -> str:
    """A hash of all genomes that an algorithm asks for, in their order."""
    own = resolve("algorithm", ref).settings
    batches = drive(load("algorithm", ref), seed=seed, settings=own)
    rows = (row for genomes in batches for row in genomes.rows())
    digest = hashlib.blake2b(digest_size=8)
    for row in rows:
        digest.update(row)
    return digest.hexdigest()


def _asked_there(ref: str, seed: int) -> str:
    other = "2" if os.environ.get("PYTHONHASHSEED") == "1" else "1"
    path = os.pathsep.join(sys.path)
    done = subprocess.run(
        [sys.executable, "-c", _CODE, ref, str(seed)],
        env={**os.environ, "PYTHONHASHSEED": other, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        timeout=_SECONDS,
    )
    if done.returncode:
        raise RuntimeError((done.stderr.strip().splitlines() or ["it said nothing"])[-1])
    return done.stdout.strip()
