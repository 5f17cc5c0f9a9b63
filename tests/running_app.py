"""The FiftyOne App of a project in a process of its own, and a real Chromium that looks at it."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from annoloop.app.fiftyone_app import mongod_path

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")

needs_mongodb = pytest.mark.skipif(
    mongod_path() is None and not os.environ.get("FIFTYONE_DATABASE_URI"),
    reason="FiftyOne has no MongoDB: run scripts/setup on Linux x86-64, or set FIFTYONE_DATABASE_URI",
)
needs_chromium = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium: apt-get install chromium, then run again")


def own_database(folder: Path, **more: str) -> dict[str, str]:
    """An environment whose FiftyOne has a database of its own."""
    return {**os.environ, "FIFTYONE_DATABASE_DIR": str(folder / "mongo"), "HOME": str(folder), **more}


def annoloop(*arguments: str) -> list[str]:
    """The command line of the package that is tested."""
    return [sys.executable, "-m", "annoloop", *arguments]


@contextmanager
def served(project: Path, environment: Mapping[str, str]) -> Iterator[str]:
    """``annoloop browse`` at work; gives the address of its App."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = annoloop("browse", "--project", str(project), "--port", str(port), "--no-open", "--json")
    with (project / "browse.log").open("w+") as log:
        child = subprocess.Popen(command, env=environment, stdout=log, stderr=subprocess.STDOUT, start_new_session=True)
        try:
            _wait_until_told(child, Path(log.name))
            yield f"http://127.0.0.1:{port}"
        finally:
            child.send_signal(signal.SIGHUP)  # as a closed ssh session does
            try:
                assert child.wait(20) == 0
            except subprocess.TimeoutExpired:
                os.killpg(child.pid, signal.SIGKILL)
                raise


@contextmanager
def looked_at(url: str) -> Iterator[Any]:
    """A page in Chromium."""
    from playwright.sync_api import TimeoutError as NotThere
    from playwright.sync_api import sync_playwright

    flags = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=flags)
        page = browser.new_page(viewport={"width": 1400, "height": 900})
        page.set_default_timeout(15_000)
        page.goto(url)
        page.wait_for_selector("[data-cy='looker']", timeout=90_000)
        with suppress(NotThere):  # FiftyOne mostly advertises itself over the grid, once it has settled
            page.get_by_role("button", name="Dismiss").click(timeout=10_000)
        yield page
        browser.close()


def _wait_until_told(child: subprocess.Popen[bytes], log: Path) -> None:
    """Until the address is printed; the port answers before that, with nothing to see."""
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        if child.poll() is not None:
            pytest.fail(f"browse ended with {child.returncode}:\n{log.read_text()}")
        if '"url"' in log.read_text():
            return
        time.sleep(0.5)
    pytest.fail(f"the App did not come up:\n{log.read_text()}")
