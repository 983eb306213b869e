"""The log of a running job in a real browser."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from tests.e2e.conftest import sign_in
from tests.integration.running import Running

MODULE = "tests.integration.output_tasks"


@pytest.fixture(scope="module")
def speaking() -> Iterator[Running]:
    folder = Path(tempfile.mkdtemp(prefix="ty-e2e-"))
    running = Running(folder / "data", WORKERS="1", TASK_MODULES=MODULE).start().ready()
    yield running
    running.stop()
    shutil.rmtree(folder, ignore_errors=True)


def test_a_progress_bar_is_one_line_that_changes_live_and_is_there_on_reload(
    speaking: Running, page: Page, tmp_path: Path
) -> None:
    page.set_default_timeout(60_000)
    sign_in(speaking, page)
    go = tmp_path / "go"
    job = speaking.enqueue("output_tasks.rewrite", f'{{"path": "{go}"}}')
    page.goto(f"{speaking.address}/jobs/{job}?tab=logs")
    lines = page.locator("[data-log] li span:last-child")
    expect(lines).to_have_text(["before", "load 50%"], timeout=60_000)

    page.reload()
    expect(lines).to_have_text(["before", "load 50%"], timeout=60_000)

    page.evaluate("document.querySelector('[data-log] li').dataset.mark = 'same page'")
    go.touch()
    expect(lines).to_have_text(["before", "load 100%", "after"], timeout=60_000)
    page.reload()
    expect(lines).to_have_text(["before", "load 100%", "after"], timeout=60_000)


def test_a_flood_shows_its_end_and_the_download_says_what_was_left_out(speaking: Running, page: Page) -> None:
    page.set_default_timeout(60_000)
    sign_in(speaking, page)
    job = speaking.enqueue("output_tasks.flood", '{"megabytes": 2, "how": "descriptor"}')
    page.goto(f"{speaking.address}/jobs/{job}?tab=logs")
    expect(page.locator("[data-log] li span:last-child").last).to_have_text("the last line", timeout=60_000)
    with page.expect_download() as download:
        page.get_by_role("link", name="Download").click()
    text = Path(download.value.path()).read_text()
    assert "the first line" in text.splitlines()[0]
    assert "… 10,002 lines left out …" in text.splitlines()[8_000]
    assert len(text.splitlines()) == 10_001
