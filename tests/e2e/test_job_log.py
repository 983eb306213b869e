"""The log of a running job in a real browser."""

from __future__ import annotations

import re
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Locator, Page, expect

from tests.e2e.conftest import sign_in
from tests.integration.running import Running
from tests.support import eventually

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
    expect(lines).to_have_text(["before", "load 50%"])

    page.reload()
    expect(lines).to_have_text(["before", "load 50%"])

    page.evaluate("document.querySelector('[data-log] li').dataset.mark = 'same page'")
    go.touch()
    expect(lines).to_have_text(["before", "load 100%", "after"])
    page.reload()
    expect(lines).to_have_text(["before", "load 100%", "after"])


def test_a_flood_shows_its_end_and_the_download_says_what_was_left_out(speaking: Running, page: Page) -> None:
    page.set_default_timeout(60_000)
    sign_in(speaking, page)
    job = speaking.enqueue("output_tasks.flood", '{"megabytes": 2, "how": "print"}')
    page.goto(f"{speaking.address}/jobs/{job}?tab=logs")
    expect(page.locator("[data-log] li span:last-child").last).to_have_text("the last line")
    with page.expect_download() as download:
        page.get_by_role("link", name="Download").click()
    text = Path(download.value.path()).read_text()
    assert "the first line" in text.splitlines()[0]
    assert "… 10,002 lines left out …" in text.splitlines()[8_000]
    assert len(text.splitlines()) == 10_001


class Log:
    """The log of a job that says what is appended to a file, and its view in a browser."""

    def __init__(self, speaking: Running, page: Page, path: Path) -> None:
        path.touch()
        self.path, self.page = path, page
        self.job = speaking.enqueue("output_tasks.read_aloud", f'{{"path": "{path}"}}')
        self.texts = page.locator(".log__text")

    def say(self, *lines: str) -> None:
        with self.path.open("a", encoding="utf-8") as file:
            file.write("".join(f"{line}\n" for line in lines))

    @property
    def follow(self) -> Locator:
        return self.page.locator("[data-part=follow]")

    def place(self) -> tuple[float, bool]:
        """Where the list is scrolled to, and whether that is its end."""
        found = self.page.evaluate(
            "() => { const log = document.querySelector('.log'); "
            "return [log.scrollTop, log.scrollHeight - log.scrollTop - log.clientHeight < 8]; }"
        )
        return found[0], found[1]


def test_following_releases_when_the_reader_scrolls_up_and_counts_what_is_new(
    speaking: Running, page: Page, tmp_path: Path
) -> None:
    page.set_default_timeout(60_000)
    errors: list[str] = []
    page.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: errors.append(str(error)))
    sign_in(speaking, page)
    log = Log(speaking, page, tmp_path / "lines")
    log.say(*[f"old {n}" for n in range(700)])
    page.goto(f"{speaking.address}/jobs/{log.job}?tab=logs")
    expect(log.texts.last).to_have_text("old 699")
    expect(log.follow).to_have_text("Following")
    eventually(lambda: _is(log.place()[1]), within=60)

    log.say("\x1b[31mred\x1b[0m new")
    expect(log.texts.last).to_have_text("red new")
    expect(log.texts.last.locator("i")).to_have_class("ansi-fg-1")
    eventually(lambda: _is(log.place()[1]), within=60)

    page.locator(".log").hover()
    page.mouse.wheel(0, -900)
    expect(log.follow).to_have_text("Follow")
    expect(log.follow).to_have_attribute("aria-pressed", "false")
    eventually(lambda: _is(not log.place()[1]), within=60)
    top = page.evaluate(_TOP_LINE)
    log.say(*[f"new {n}" for n in range(120)])
    expect(log.follow).to_have_text("120 new lines")
    assert page.evaluate(_TOP_LINE) == top  # what is being read has not moved
    log.say("one more")
    expect(log.follow).to_have_text("121 new lines")

    log.follow.click()
    expect(log.follow).to_have_text("Following")
    expect(log.texts.last).to_have_text("one more")
    eventually(lambda: _is(log.place()[1]), within=60)
    log.say("followed again")
    expect(log.texts.last).to_have_text("followed again")
    eventually(lambda: _is(log.place()[1]), within=60)

    log.say("end")
    expect(page.locator(".title--job [data-state=completed]")).to_be_visible()
    expect(log.follow).to_have_text("Last lines")
    _read_up_to_the_first_line(page, log)
    expect(log.texts).to_have_count(823)
    assert page.locator(".log li[data-id]").evaluate_all("all => new Set(all.map(one => one.dataset.id)).size") == 823
    assert errors == []


def test_search_level_and_wrapping_by_mouse_while_lines_come(speaking: Running, page: Page, tmp_path: Path) -> None:
    page.set_default_timeout(60_000)
    sign_in(speaking, page)
    log = Log(speaking, page, tmp_path / "lines")
    log.say("info|needle one", *["hay"] * 400, "warning|needle two", "error|" + "long " * 200)
    page.goto(f"{speaking.address}/jobs/{log.job}?tab=logs")
    expect(log.texts.last).to_contain_text("long long")

    page.get_by_label("Search log").fill("NEEDLE")
    expect(log.texts).to_have_text(["needle one", "needle two"])
    expect(page.locator(".log mark")).to_have_text(["needle", "needle"])
    assert "q=NEEDLE" in page.url
    log.say("hay", "needle three")
    expect(log.texts).to_have_text(["needle one", "needle two", "needle three"])
    page.reload()
    expect(log.texts).to_have_text(["needle one", "needle two", "needle three"])
    page.get_by_label("Level").select_option("Warning and above")
    expect(log.texts).to_have_text(["needle two"])
    page.get_by_label("Search log").fill("nothing like it")
    expect(page.locator("[data-part=empty]")).to_contain_text("No lines match this filter.")
    page.get_by_role("link", name="Clear filter").click()
    expect(log.texts.last).to_have_text("needle three")

    wrap = page.get_by_role("button", name="Wrap lines")
    expect(wrap).to_have_attribute("aria-pressed", "true")
    assert not page.evaluate(_IS_WIDE)
    wrap.click()
    expect(wrap).to_have_attribute("aria-pressed", "false")
    assert page.evaluate(_IS_WIDE)
    page.reload()
    expect(wrap).to_have_attribute("aria-pressed", "false")
    wrap.click()
    expect(wrap).to_have_attribute("aria-pressed", "true")
    log.say("end")


def test_a_gap_is_visible_where_it_is_and_a_reader_keeps_the_lines_on_the_screen(
    speaking: Running, page: Page, tmp_path: Path
) -> None:
    page.set_default_timeout(60_000)
    sign_in(speaking, page)
    log = Log(speaking, page, tmp_path / "lines")
    log.say(*[f"head {n}" for n in range(8_100)])
    page.goto(f"{speaking.address}/jobs/{log.job}?tab=logs")
    expect(log.texts.last).to_have_text("head 8099")
    page.locator(".log").hover()
    page.mouse.wheel(0, -700)
    expect(log.follow).to_have_text("Follow")
    top = page.evaluate(_TOP_LINE)
    log.say(*[f"tail {n}" for n in range(5_000)])
    expect(log.follow).to_have_text(re.compile("new lines", re.IGNORECASE))
    log.say("end")
    expect(page.locator(".title--job [data-state=completed]")).to_be_visible()
    assert page.evaluate(_TOP_LINE) == top
    log.follow.click()
    expect(log.texts.last).to_have_text("tail 4999")
    gap = page.locator(".log__gap")

    def gap_is_read() -> None:
        page.locator(".log").evaluate("log => { log.scrollTop = 0; }")
        assert gap.count() == 1

    eventually(gap_is_read, within=60, every=0.2)
    expect(gap).to_contain_text("… 3,100 lines left out …")
    numbers = page.evaluate(
        "() => { const gap = document.querySelector('.log__gap'); const text = (one) => one.querySelector('.log__text').textContent; "
        "return [text(gap.previousElementSibling), text(gap.nextElementSibling)]; }"
    )
    assert numbers == ["head 7999", "tail 3000"]


_TOP_LINE = (
    "() => { const log = document.querySelector('.log').getBoundingClientRect(); "
    "return document.elementFromPoint(log.left + 200, log.top + 30).closest('li').textContent; }"
)
_IS_WIDE = "() => { const log = document.querySelector('.log'); return log.scrollWidth > log.clientWidth; }"


def _is(value: bool) -> None:
    assert value


def _read_up_to_the_first_line(page: Page, log: Log) -> None:
    def first_is_read() -> None:
        page.locator(".log").evaluate("log => { log.scrollTop = 0; }")
        assert log.texts.first.text_content() == "old 0"

    eventually(first_is_read, within=60, every=0.2)
