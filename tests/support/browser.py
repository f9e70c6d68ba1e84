"""Debian's Chromium, and a window in it that keeps what its console says."""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

import pytest
from playwright.async_api import Browser, ConsoleMessage, Page, async_playwright, expect

CHROMIUM: Final = Path("/usr/bin/chromium")
PATIENCE_MS: Final = 60_000


def needs_chromium() -> None:
    """To be called by a file of tests. Where there is no browser, they fail in CI, and are left out elsewhere."""
    if not (CHROMIUM.exists() or os.environ.get("CI")):
        what = f"there is no {CHROMIUM} (Debian: apt-get install chromium): the page at /live is not looked at"
        pytest.skip(what, allow_module_level=True)


@asynccontextmanager
async def chromium() -> AsyncIterator[Browser]:
    """A browser without a screen, until the end of the block."""
    expect.set_options(timeout=PATIENCE_MS)
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=CHROMIUM)
        try:
            yield browser
        finally:
            await browser.close()


class Window:
    """A page in a profile of its own. ``complaints`` are the errors and warnings that its console shows, violations of
    the policy and exceptions that nobody caught among them."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.complaints: list[str] = []
        page.set_default_timeout(PATIENCE_MS)
        page.on("console", self._heard)
        page.on("pageerror", lambda error: self.complaints.append(str(error)))

    def _heard(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            self.complaints.append(message.text)


@asynccontextmanager
async def window(browser: Browser, *, width: int = 1280) -> AsyncIterator[Window]:
    """A window so wide."""
    context = await browser.new_context(viewport={"width": width, "height": 720})
    try:
        yield Window(await context.new_page())
    finally:
        await context.close()
