"""A whole Taskyard for each file of browser tests, and somebody who is signed in to it."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page

from tests.integration.running import Running

PASSWORD = "correct horse battery"


@pytest.fixture(scope="module")
def taskyard() -> Iterator[Running]:
    folder = Path(tempfile.mkdtemp(prefix="ty-e2e-"))
    running = Running(folder / "data", WORKERS="2").start().ready()
    yield running
    running.stop()
    shutil.rmtree(folder, ignore_errors=True)


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
