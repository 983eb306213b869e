"""A whole Taskyard for each file of browser tests, and somebody who is signed in to it."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.integration.running import Running
from tests.support import repeated
from workers.services import jobs
from workers.services.enqueueing import NewJob
from workers.settings import Settings
from workers.yard import Yard

PASSWORD = "correct horse battery"

# How long a page may take to show something. No test measures speed: other tests keep this machine busy.
expect.set_options(timeout=60_000)


@pytest.fixture(scope="module")
def taskyard() -> Iterator[Running]:
    folder = Path(tempfile.mkdtemp(prefix="ty-e2e-"))
    running = Running(folder / "data", WORKERS="2").start().ready()
    yield running
    running.stop()
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="module", autouse=True)
def _close_pages(browser: Browser) -> Iterator[None]:
    """Close what a file has left open: a page that nobody looks at goes on drawing, and slows down all other tests."""
    yield
    for context in browser.contexts:
        context.close()


@pytest.fixture(scope="module")
def yard(taskyard: Running) -> Iterator[Yard]:
    """Open the same Taskyard as its processes do."""
    opened = Yard.open(Settings.from_env(taskyard.environment))
    yield opened
    opened.close()


def traffic_on(yard: Yard, queue: str | None = None) -> AbstractContextManager[None]:
    """Enqueue about 20 jobs a second until the block ends."""
    return repeated(lambda: jobs.enqueue(yard, NewJob("samples.noop", queue=queue)), every=0.05)


def sign_in(taskyard: Running, page: Page) -> Page:
    """Sign the admin in."""
    page.goto(taskyard.address + "/sign-in")
    page.get_by_label("Name").fill("admin")
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Sign in").click()
    page.wait_for_url(taskyard.address + "/")
    return page


@pytest.fixture
def signed_in(taskyard: Running, page: Page) -> Page:
    return sign_in(taskyard, page)
