"""Where a run comes from: versions, machine, source, and what the problem stands on."""

from __future__ import annotations

import hashlib
import platform
import subprocess
import sys
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from .problem import Problem

_ALWAYS = ("evoprune", "numpy", "pymoo", "deap", "moocore")
_WHEN_LOADED = ("torch", "transformers", "safetensors", "networkx")


def versions() -> dict[str, str]:
    """Versions of Python, of what any search stands on, and of what the problem has loaded."""
    found = {"python": platform.python_version()}
    for name in (*_ALWAYS, *(n for n in _WHEN_LOADED if n in sys.modules)):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found | {"search code": search_code()}


def search_code() -> str:
    """Hash of the source that decides what is asked for: algorithms and operators."""
    home = Path(__file__).resolve().parent
    digest = hashlib.blake2b(digest_size=6)
    for folder in (home / "algorithms", home.parent / "operators"):
        for path in sorted(folder.glob("*.py")):
            digest.update(path.name.encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()


def machine() -> dict[str, str]:
    """Name, system and processor of this computer."""
    return {"name": platform.node(), "system": platform.platform(), "cpu": platform.machine()}


def source_commit() -> str | None:
    """The commit of the checkout this package runs from, with ``+`` when edited; None otherwise."""
    home = Path(__file__).resolve().parent.parent
    if not (home / ".git").exists():
        return None
    try:
        text = subprocess.run(
            ["git", "-C", str(home), "describe", "--always", "--dirty=+", "--abbrev=12"],
            capture_output=True, text=True, timeout=10, check=True,
        )  # fmt: skip
    except (OSError, subprocess.SubprocessError):
        return None
    return text.stdout.strip() or None


def fingerprints(problem: Problem) -> dict[str, str]:
    """Hashes of what the problem stands on, by name; empty when it tells none."""
    tell: Any = getattr(problem, "fingerprint", None)
    return {str(k): str(v) for k, v in tell().items()} if tell else {}


def changes(old: Mapping[str, Any], new: Mapping[str, Any], *, complete: bool = False) -> list[str]:
    """One ``name old → new`` per entry that differs.

    Args:
        old: Before.
        new: Now.
        complete: Whether entries that only one of the two has differ as well.
    """
    if complete:
        names = [*old, *(n for n in new if n not in old)]
        old, new = ({n: side.get(n, "nothing") for n in names} for side in (old, new))
    return [
        f"{name} {value} → {new[name]}"
        for name, value in old.items()
        if name in new and new[name] != value
    ]
