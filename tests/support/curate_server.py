"""The curation page as a process, and a browser on it."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

from playwright.sync_api import Browser, Page, expect, sync_playwright

CHROMIUM = Path("/usr/bin/chromium")
# Shared machines are ten times as slow as others.
_TIMEOUT_MILLISECONDS = 60_000
_ARGUMENTS = (
    "--no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync"
)


class CurateServer:
    """`tunebench dataset curate`, until the block ends or it is killed."""

    def __init__(self, candidates: Path, decisions: Path, *options: str) -> None:
        """Start it and wait for its address."""
        command = [sys.executable, "-m", "tunebench_operator", "dataset", "curate"]
        command += [str(candidates), "--decisions", str(decisions), "--by", "Ada", "-o", "json"]
        self.process = subprocess.Popen(
            [*command, *options], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        assert self.process.stdout
        line = self.process.stdout.readline()
        if not line.startswith('{"url"'):
            said = line + self.process.communicate()[0] + self.process.communicate()[1]
            raise AssertionError(said)
        self.url: str = json.loads(line)["url"]

    def stop(self, signal: int) -> tuple[int, str]:
        """Send a signal; return the exit code and what was said on standard error."""
        self.process.send_signal(signal)
        _, said = self.process.communicate(timeout=30)
        return self.process.returncode, said

    def __enter__(self) -> Self:
        """Return what is to be ended."""
        return self

    def __exit__(self, *_: object) -> None:
        """Kill it where it still runs."""
        if self.process.poll() is None:
            self.process.kill()
        self.process.communicate()


@contextmanager
def open_browser() -> Iterator[Browser]:
    """Start a Chromium without a window."""
    assert CHROMIUM.exists(), f"{CHROMIUM} must exist; run tests/support/install-chromium"
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=str(CHROMIUM), args=_ARGUMENTS.split())
        expect.set_options(timeout=_TIMEOUT_MILLISECONDS)
        try:
            yield browser
        finally:
            browser.close()


def open_page(browser: Browser, url: str, **options: Any) -> tuple[Page, list[str]]:
    """Open the page; the list fills with all that the console and the scripts complain of."""
    page = browser.new_page(viewport={"width": 1440, "height": 900}, **options)
    complaints: list[str] = []
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("console", lambda message: complaints.append(f"{message.type}: {message.text}"))
    page.on("dialog", lambda dialog: complaints.append(f"dialog: {dialog.message}"))
    page.goto(url)
    page.locator("#pull:not([hidden])").wait_for()
    return page, complaints
