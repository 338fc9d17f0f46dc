"""Folders of runs: where they go, what they are called, who may write, and files written whole."""

from __future__ import annotations

import contextlib
import fcntl
import os
import socket
import tempfile
import time
from pathlib import Path
from typing import IO

from .errors import StoreError
from .schema import FILE, guarded

LOCK = "run.lock"
_OURS = {FILE, LOCK, "config.toml", "log.txt", "new.sqlite", "new.sqlite-journal"}


def runs_home() -> Path:
    """Where runs go: ``$EVO_RUNS``, or ``runs`` in the current folder."""
    return Path(os.environ.get("EVO_RUNS") or "runs")


def default_folder(problem: str, seed: int) -> Path:
    """A new, empty folder such as ``runs/1123-prune-mixed-s0``; a suffix keeps names apart.

    Raises:
        StoreError: The folder of all runs cannot be written.
    """
    plain = "".join(c if c.isalnum() else "-" for c in problem).strip("-")
    stem = f"{time.strftime('%m%d')}-{plain}-s{seed}"
    home = runs_home()
    with guarded(home):
        home.mkdir(parents=True, exist_ok=True)
        for number in range(1, 10_000):
            folder = home / (stem if number == 1 else f"{stem}-{number}")
            with contextlib.suppress(FileExistsError):
                folder.mkdir()
                return folder
    raise StoreError(f"{str(home)!r} holds too many runs called {stem!r}; move some away")


def refuse_used(folder: Path) -> None:
    """Raise unless a run may begin in the folder.

    Raises:
        StoreError: It holds a run, or files that are not ours.
    """
    if (folder / FILE).exists():
        raise StoreError(
            f"run folder {str(folder)!r} holds a run already", hint=f"evo resume {folder}"
        )
    others = sorted(p.name for p in folder.iterdir() if p.name not in _OURS)
    if others:
        raise StoreError(
            f"folder {str(folder)!r} is not empty: it holds {others[0]!r}",
            hint="name a new folder for the run",
        )


def replace_file(target: Path, text: str, what: str) -> None:
    """Write beside the target, then rename over it: readers see the old file or the new one.

    Args:
        target: The file; its folder is made when missing.
        text: What it shall hold, written as UTF-8.
        what: What an error calls it, e.g. ``the report``.

    Raises:
        StoreError: It cannot be written.
    """
    name = None
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(
            dir=target.parent, prefix=f".{target.name}.", suffix=".part"
        )
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(name, 0o644)
        os.replace(name, target)
    except OSError as error:
        raise StoreError(
            f"{what} {str(target)!r} cannot be written: {error.strerror or error}",
            hint="name another place with --out",
        ) from error
    finally:
        if name is not None:
            with contextlib.suppress(OSError):
                os.unlink(name)


def take_lock(folder: Path, what: str = "run") -> IO[str]:
    """Become the one writer of the folder until the file returned is closed, or the process ends.

    Args:
        folder: Of a run, or of a study.
        what: What an error calls it.

    Raises:
        StoreError: Another process writes; it is named.
    """
    lock = open(folder / LOCK, "a+", encoding="utf-8")  # noqa: SIM115 - held until the run closes
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        lock.seek(0)
        owner = lock.read().strip() or "another process"
        lock.close()
        raise StoreError(
            f"{what} {str(folder)!r} is being written by {owner}",
            hint="wait until it ends, or stop it",
        ) from error
    lock.truncate(0)
    lock.write(f"process {os.getpid()} on {socket.gethostname()}")
    lock.flush()
    return lock


def being_written(folder: Path) -> bool:
    """Whether a process of this machine writes the folder now; the lock is not touched.

    The kernel's list of locks tells; where there is none, whether the process named in the lock
    file is alive. Writers on other machines are not seen.
    """
    try:
        text = (folder / LOCK).read_text(encoding="utf-8")
        inode = (folder / LOCK).stat().st_ino
    except (OSError, UnicodeDecodeError):
        return False
    try:
        held = Path("/proc/locks").read_text(encoding="ascii").splitlines()
    except OSError:
        return _alive(text)
    return any("FLOCK" in line and f":{inode} " in line for line in held)


def _alive(text: str) -> bool:
    """Whether the process of a lock's text lives on this machine."""
    words = text.split()
    if len(words) != 4 or not words[1].isdigit() or words[3] != socket.gethostname():
        return False
    try:
        os.kill(int(words[1]), 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
