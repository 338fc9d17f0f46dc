"""Weights that lie in a file: read ahead of a block, and let go of after it.

``from_pretrained`` maps safetensors files into memory, so weights in their stored type are read
from the file when they are first used, and the system may drop them again. What is said here are
hints (Linux, ``madvise``): nothing depends on them but time and resident memory. Pages that were
written to, or that lie in no file, are never lost by them.
"""

from __future__ import annotations

import ctypes
import mmap
import sys
from collections.abc import Iterator
from functools import cache
from typing import Any

from torch import nn

_WILL_NEED, _PAGE_OUT = 3, 21  # MADV_WILLNEED, MADV_PAGEOUT; the latter since Linux 5.4
_MMAP_THRESHOLD = -3  # M_MMAP_THRESHOLD of the GNU C library
_LARGE = 1 << 20  # bytes from which on memory goes back to the system when it is freed


def give_back_freed() -> None:
    """Let this process return large tensors to the system as soon as they are freed.

    Otherwise the C library keeps what was freed, several times what is in use. It costs time where
    large tensors come and go, so it is only asked for where memory is short.
    """
    set_option = _of_libc("mallopt")
    if set_option is not None:
        set_option(_MMAP_THRESHOLD, _LARGE)


def fetch(module: nn.Module) -> None:
    """Begin to read a module's weights."""
    _advise(module, _WILL_NEED)


def drop(module: nn.Module) -> None:
    """Let a module's weights leave memory; they are read again when they are used."""
    _advise(module, _PAGE_OUT)


def _advise(module: nn.Module, advice: int) -> None:
    call = _of_libc("madvise")
    if call is None:
        return
    for start, length in _ranges(module):
        call(ctypes.c_void_p(start), ctypes.c_size_t(length), advice)  # a refusal changes nothing


def _ranges(module: nn.Module) -> Iterator[tuple[int, int]]:
    """Whole pages of each parameter on the processor: address and bytes."""
    page = mmap.PAGESIZE
    for parameter in module.parameters():
        if parameter.device.type != "cpu":
            continue
        first = -(-parameter.data_ptr() // page) * page
        last = (parameter.data_ptr() + parameter.numel() * parameter.element_size()) // page * page
        if last > first:
            yield first, last - first


@cache
def _of_libc(name: str) -> Any:
    """A function of the C library; None elsewhere than on Linux, or where it has none."""
    if not sys.platform.startswith("linux"):
        return None
    return getattr(ctypes.CDLL(None), name, None)
