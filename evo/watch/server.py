"""A server for one reader on this machine: it answers what pages need, and refuses everything else.

It listens on the loopback address alone, only reads, and knows its pages by name: no path of a
request ever becomes a path of a file. Requests under another host name are refused, since a foreign
page could have made its own name point here (DNS rebinding).
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from ..errors import EvoError, StoreError
from ..live import plain
from ..report import look
from ..report.page import Parts, document, navigation
from .pages import Source

HOST = "127.0.0.1"
_SHARE = 0.1  # of the time at most goes into making a page anew
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'unsafe-inline'; img-src data: blob:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_HEADERS = {
    "Content-Security-Policy": _POLICY, "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer", "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin", "Cache-Control": "no-store",
}  # fmt: skip


class Page:
    """One page, made anew when its source has changed, and never for more than a tenth of the time.

    Args:
        source: What it shows.
    """

    def __init__(self, source: Source) -> None:
        self._source, self._lock = source, threading.Lock()
        self._stamp = self._text = ""
        self._again = 0.0

    def text(self, since: str) -> str | None:
        """The parts as JSON, or None when the reader who has those of ``since`` needs no others.

        Raises:
            EvoError: The source cannot be read now.
        """
        with self._lock:
            now = self._source.stamp()
            if now != self._stamp and time.monotonic() >= self._again:
                begun = time.monotonic()
                self._text = _json(self._source.parts(), now)
                self._stamp, end = now, time.monotonic()
                self._again = end + (end - begun) * (1 / _SHARE - 1)
            return None if since == self._stamp else self._text


class Server:
    """Answers until it is closed.

    Args:
        sources: Page → what it shows; the first page is called ``""``, others lie under ``run/``.
        port: Where to listen; 0 for any that is free.
        every: Seconds between two questions of a page.

    Raises:
        StoreError: The port is taken, or not allowed.
    """

    def __init__(self, sources: Mapping[str, Source], *, port: int = 0, every: float = 2.0) -> None:
        pages = {name: Page(source) for name, source in sources.items()}
        try:
            self._server = _HTTPServer((HOST, port), _Handler)
        except (OSError, OverflowError) as error:
            raise StoreError(
                f"port {port} cannot be listened on: {error}", hint="--port 0 takes a free one"
            ) from error
        self._server.pages, self._server.every = pages, every

    @property
    def url(self) -> str:
        """Where the first page is."""
        return f"http://{HOST}:{self._server.server_address[1]}/"

    def serve(self) -> None:
        """Answer requests until :meth:`stop` is called, or Ctrl-C."""
        self._server.serve_forever(poll_interval=0.2)

    def stop(self) -> None:
        """Make :meth:`serve` return; called from another thread."""
        self._server.shutdown()

    def close(self) -> None:
        """Stop listening."""
        self._server.server_close()


class _HTTPServer(ThreadingHTTPServer):
    daemon_threads = True
    allow_reuse_address = True
    pages: Mapping[str, Page]
    every: float


class _Handler(BaseHTTPRequestHandler):
    timeout = 30.0  # seconds that a silent reader keeps a thread
    server: _HTTPServer  # pyright: ignore[reportIncompatibleVariableOverride] - no other makes it

    def do_GET(self) -> None:
        self._answer()

    def do_HEAD(self) -> None:
        self._answer()

    def _refuse(self) -> None:
        self._send(405, "text/plain", "only GET and HEAD are answered", {"Allow": "GET, HEAD"})

    do_POST = do_PUT = do_PATCH = do_DELETE = do_OPTIONS = do_TRACE = do_CONNECT = _refuse

    def _answer(self) -> None:
        port = self.server.server_address[1]
        if self.headers.get_all("Host") not in ([f"{HOST}:{port}"], [f"localhost:{port}"]):
            self._send(403, "text/plain", "this page answers to its own address only")
            return
        asked = urlsplit(self.path)
        if asked.path in _SCRIPTS:
            self._send(200, "text/javascript", _SCRIPTS[asked.path]())
            return
        page, rest = self._page(unquote(asked.path))
        if page is None or rest not in ("", "parts.json"):
            self._send(404, "text/plain", "there is no such page")
        elif rest == "":
            self._send(200, "text/html", _shell(self.server.every))
        else:
            self._send_parts(page, parse_qs(asked.query).get("since", [""])[0])

    def _page(self, path: str) -> tuple[Page | None, str]:
        """The page of a path, by its name alone, and what is asked of it."""
        name, rest = "", path.removeprefix("/")
        if path.startswith("/run/"):
            name, slash, rest = path.removeprefix("/run/").partition("/")
            if not name or not slash:
                return None, ""
        return self.server.pages.get(name), rest

    def _send_parts(self, page: Page, since: str) -> None:
        try:
            text = page.text(since)
        except EvoError as error:
            self._send(503, "text/plain", error.message)
            return
        if text is None:
            self._send(204, "application/json", "")
        else:
            self._send(200, "application/json", text)

    def _send(self, code: int, kind: str, text: str, more: Mapping[str, str] | None = None) -> None:
        body = text.encode()
        self.send_response(code)
        for name, value in {**_HEADERS, **(more or {})}.items():
            self.send_header(name, value)
        if code != 204:
            self.send_header("Content-Type", f"{kind}; charset=utf-8")
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def version_string(self) -> str:
        return "evo"

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing: the terminal is not the place."""


def _shell(every: float) -> str:
    """A page without parts; its script asks for them."""
    body = (
        "<header></header><nav></nav><main></main><footer></footer>"
        '<p id="live" role="status">Reading …</p>'
        '<script src="/plotly.js"></script><script src="/script.js"></script>'
        "<noscript>This page needs JavaScript; evo report writes one with tables and text."
        "</noscript>"
    )
    text = document("evo watch", "", body)
    return text.replace("<body>", f'<body data-every="{every:g}">')


def _json(told: Parts, stamp: str) -> str:
    return json.dumps(plain({
        "stamp": stamp, "title": told.title, "head": told.head,
        "nav": navigation(told.sections), "foot": told.footer(),
        "sections": [{"id": s.id, "html": s.html()} for s in told.sections],
    }), ensure_ascii=False)  # fmt: skip


def _script() -> str:
    return look.script((Path(__file__).parent / "live.js").read_text(encoding="utf-8"))


_SCRIPTS = {"/plotly.js": look.library, "/script.js": _script}
