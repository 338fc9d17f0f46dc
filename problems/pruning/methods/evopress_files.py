"""Results of EvoPress as the published code writes them: what goes per block, levels per layer.

Both are plain text (IST-DASLab/EvoPress): a depth result has a line per block, ``none``, ``attn``,
``mlp`` or ``attn+mlp``; a level result has a line ``module name: integer`` per linear layer.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from evo.errors import ConfigError

from .staged import Rows

WORDS = ("none", "attn", "mlp", "attn+mlp")  # bit 0: the attention goes, bit 1: the feed-forward


def write_depth(file: Path, attentions: Rows, feed_forwards: Rows) -> None:
    """Write what is removed, each (L,) with 1 for removed."""
    codes = attentions + 2 * feed_forwards
    _write(file, [WORDS[code] for code in codes])


def read_depth(file: Path, blocks: int) -> tuple[Rows, Rows]:
    """Attentions and feed-forwards, each (L,) with 1 for removed.

    Args:
        file: The file.
        blocks: How many blocks the model has, L.

    Raises:
        ConfigError: The file cannot be read, or is no such result of a model with L blocks.
    """
    lines = _read(file)
    wrong = [line for line in lines if line not in WORDS]
    if wrong or len(lines) != blocks:
        found = f"a line {wrong[0]!r}" if wrong else f"{len(lines)} lines"
        raise ConfigError(
            f"{file} must have a line for each of {blocks} blocks, one of {', '.join(WORDS)}; "
            f"it has {found}"
        )
    codes = np.array([WORDS.index(line) for line in lines], dtype=np.int16)
    return codes & 1, codes >> 1


def write_levels(file: Path, levels: Mapping[str, int]) -> None:
    """Write the level of every layer, by module name; names are sorted as text."""
    _write(file, [f"{name}: {level}" for name, level in sorted(levels.items())])


def read_levels(file: Path, names: Sequence[str]) -> Rows:
    """The level of each layer, (S,), in the order of the names given.

    Raises:
        ConfigError: The file cannot be read, a line is no ``name: integer``, or its names are not
            those given.
    """
    found: dict[str, int] = {}
    for line in _read(file):
        name, _, level = (part.strip() for part in line.partition(":"))
        if name in found or not level.removeprefix("-").isdecimal():
            raise ConfigError(f"{file} must have one line 'module name: integer' per layer: {line}")
        found[name] = int(level)
    odd = sorted(found.keys() ^ set(names))
    if odd:
        problem = "has no line for" if odd[0] in names else "names a layer the model lacks,"
        raise ConfigError(f"{file} {problem} {odd[0]}", hint="is it the result of another model?")
    return np.array([found[name] for name in names], dtype=np.int16)


def _write(file: Path, lines: Sequence[str]) -> None:
    try:
        file.write_text("".join(f"{line}\n" for line in lines))
    except OSError as error:
        raise ConfigError(f"{file} cannot be written: {error.strerror or error}") from None


def _read(file: Path) -> list[str]:
    try:
        text = file.read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{file} cannot be read as text: {error}") from None
    return [line.strip() for line in text.splitlines() if line.strip()]
