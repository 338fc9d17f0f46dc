"""The command that shows a run or a study in the browser while it grows."""

from __future__ import annotations

import json as json_module
import sys
from pathlib import Path

from ..errors import ConfigError
from ..folders import runs_home
from .output import Flag, run_folder, say, tell


def watch(run: str, /, *, port: int = 0, every: float = 2.0, json: Flag = False) -> None:
    """Show a run or a study as a page that grows with it, on this machine only; Ctrl-C ends it.

    The page is read-only and disturbs nothing: the run may be going on, or be finished.

    Args:
        run: Folder of a run or of a study, or its name in the folder of runs.
        port: Where on 127.0.0.1 to listen; 0 takes a free one.
        every: Seconds after which the page asks for news.
        json: Write the address as JSON.
    """
    from ..studies.folder import RECORD
    from ..watch import Server, run_page, study_pages

    if not 0 <= port < 2**16:
        raise ConfigError(f"--port must lie in 0 to 65535, got {port}")
    if not 0.2 <= every <= 3600:
        raise ConfigError(f"--every must lie in 0.2 to 3600 seconds, got {every:g}")
    studies = [f for f in (Path(run), runs_home() / run) if (f / RECORD).is_file()]
    pages = study_pages(studies[0]) if studies else {"": run_page(run_folder(run))}
    server = Server(pages, port=port, every=every)
    try:
        say(json_module.dumps({"url": server.url}) if json else server.url)
        sys.stdout.flush()
        tell("open this address in a browser; Ctrl-C ends the page, not the run")
        server.serve()
    except KeyboardInterrupt:
        tell("")
    finally:
        server.close()
