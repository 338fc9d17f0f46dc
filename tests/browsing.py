"""A headless Chromium for tests: found where it is, and listened to."""

from __future__ import annotations

import os
import shutil
import time
from contextlib import contextmanager

import pytest

_NAMES = ("chromium", "chromium-browser", "google-chrome")


def chromium():
    """The program, which ``EVO_CHROMIUM`` may name; the test is skipped where there is none."""
    named = os.environ.get("EVO_CHROMIUM")
    found = named or next((path for name in _NAMES if (path := shutil.which(name))), None)
    if found is None:
        pytest.skip(f"no Chromium: none of {', '.join(_NAMES)} is there; EVO_CHROMIUM may name it")
    return found


@contextmanager
def launched():
    """A browser, without a sandbox of its own, so that it starts for root too."""
    program = chromium()
    driver = pytest.importorskip("playwright.sync_api", reason="playwright drives the browser")
    with driver.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        try:
            yield browser
        finally:
            browser.close()


class Tab:
    """A page, and all that it asked for and complained of."""

    def __init__(self, browser, width=1400, scheme="light"):
        self.page = browser.new_page(
            viewport={"width": width, "height": 900}, color_scheme=scheme, reduced_motion="reduce"
        )
        self.asked, self.complaints = [], []
        self.page.on("request", lambda request: self.asked.append(request.url))
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("console", self._hear)

    def _hear(self, message):
        if message.type in ("error", "warning"):
            self.complaints.append(message.text)

    def open(self, url):
        self.page.goto(url)
        self.page.wait_for_selector("section")
        return self

    def see(self, selector):
        """Bring it into the window, so that figures are drawn."""
        self.page.locator(selector).first.scroll_into_view_if_needed()
        self.page.evaluate(
            "s => document.querySelector(s).scrollIntoView({block: 'center'})", selector
        )

    def see_all(self):
        """Scroll through the page; every figure is drawn."""
        for i in range(self.page.locator(".plot").count()):
            self.page.locator(".plot").nth(i).scroll_into_view_if_needed()
        self.until(
            "[...document.querySelectorAll('.plot')].every(d => d.querySelector('svg.main-svg'))"
        )

    def until(self, expression):
        """Wait for something to come true, in pages too that forbid evaluated code."""
        end = time.monotonic() + 30
        while not self.page.evaluate(expression):
            assert time.monotonic() < end, expression
            self.page.wait_for_timeout(50)

    def text(self, selector):
        return self.page.inner_text(selector)

    def count(self, selector):
        return self.page.locator(selector).count()

    def marks(self, figure):
        """Marks by candidate in a figure: name, whether dimmed, place in the window."""
        return self.page.evaluate(
            """name => [...document.querySelectorAll(`#plot-${name} .scatterlayer .trace`)].flatMap(g => {
              const names = g.__data__[0].trace.customdata;
              return Array.isArray(names) ? [...g.querySelectorAll('path.point')].map(p => {
                const box = p.getBoundingClientRect();
                return {name: names[p.__data__.i], out: p.classList.contains('evo-out'),
                        x: box.x + box.width / 2, y: box.y + box.height / 2};
              }) : [];
            })""",  # noqa: E501 - one script
            figure,
        )

    def slide(self, selector, value):
        """Move a slider as its input event tells."""
        self.page.locator(selector).evaluate(
            "(s, v) => { s.value = v; s.dispatchEvent(new Event('input', {bubbles: true})); }",
            str(value),
        )

    def drag(self, x, y, to):
        """Press at (x, y), move straight to the height ``to``, let go."""
        self.page.mouse.move(x, y)
        self.page.mouse.down()
        self.page.mouse.move(x, (y + to) / 2)
        self.page.mouse.move(x, to)
        self.page.mouse.up()
