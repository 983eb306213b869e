"""The ten main flows by keyboard alone, while jobs run: what controls say, where the focus is, and what the rows hold."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Locator, Page, expect

from tests.e2e.conftest import PASSWORD, traffic_on
from tests.e2e.test_alerts import raise_alert
from tests.integration.running import Running
from tests.support import eventually
from workers.services import jobs
from workers.services.enqueueing import NewJob
from workers.store import alerts, schedules
from workers.store import jobs as job_rows
from workers.store import queues as queue_rows
from workers.yard import Yard

pytestmark = pytest.mark.timeout(300)

# Anything that a pointer does is a fault of the test.
_POINTER = """window.pointed = 0;
addEventListener('pointerdown', (event) => { if (event.isTrusted) window.pointed += 1; }, true);"""
# The element that has the focus, if it can be seen and is marked as such by itself or by its row or box.
_FOCUS = """() => {
  const one = document.activeElement;
  if (!one || one === document.body) return 'the focus is on the body';
  const {left, top, right, bottom} = one.getBoundingClientRect();
  if (bottom < 0 || top > innerHeight || right < 0 || left > innerWidth) return `out of sight: ${one.outerHTML.slice(0, 120)}`;
  const marked = (part) => { const style = getComputedStyle(part); return (style.outlineStyle !== 'none' && parseFloat(style.outlineWidth) >= 1) || style.boxShadow !== 'none'; };
  for (let part = one; part && part !== document.body; part = part.parentElement) if (marked(part)) return '';
  return `not marked: ${one.outerHTML.slice(0, 120)}`;
}"""


@pytest.fixture(scope="module")
def taskyard() -> Iterator[Running]:
    folder = Path(tempfile.mkdtemp(prefix="ty-e2e-"))
    modules = {"TASK_MODULES": "tests.integration.output_tasks"}
    running = Running(folder / "data", WORKERS="2", **modules).start().ready()
    yield running
    running.stop()
    shutil.rmtree(folder, ignore_errors=True)


class Keyboard:
    """A page that is used by its keyboard alone."""

    def __init__(self, page: Page, address: str) -> None:
        self.page, self.address = page, address

    def press(self, *keys: str) -> None:
        for key in keys:
            self.page.keyboard.press(key)

    def type(self, text: str) -> None:
        self.page.keyboard.type(text)

    def go(self, letter: str, path: str) -> None:
        """Go to a page by its letter and wait until it is live."""
        self.press("g", letter)
        self.page.wait_for_url(self.address + path)
        self.wait_until_live()

    def wait_until_live(self) -> None:
        expect(self.page.locator("[data-behavior=live]")).to_have_attribute("data-state", "processing")

    def reach(self, target: Locator, key: str = "Tab", most: int = 200) -> None:
        """Move the focus to a control, one control at a time."""
        expect(target).to_be_visible()
        for _ in range(most):
            if target.evaluate("one => one === document.activeElement"):
                self.look()
                return
            self.press(key)
        raise AssertionError(f"{target} is not reached")

    def look(self) -> None:
        """Check that the focus is somewhere, in sight and marked."""

        def is_marked() -> None:
            assert self.page.evaluate(_FOCUS) == ""

        eventually(is_marked, within=20)

    def consent(self) -> None:
        """Answer a question with yes: it opens on no."""
        dialog = self.page.get_by_role("alertdialog")
        expect(dialog).to_be_visible()
        expect(dialog.locator("[data-confirm=no]")).to_be_focused()
        self.press("Tab")
        expect(dialog.locator("[data-confirm=yes]")).to_be_focused()
        self.press("Enter")
        expect(dialog).to_be_hidden()

    def filter(self, words: str) -> None:
        """Go to the jobs that a filter matches."""
        self.go("j", "/jobs")
        self.press("/")
        self.look()
        self.type(words)
        with self.page.expect_navigation():
            self.press("Enter")
        self.wait_until_live()


@contextmanager
def at_keyboard(browser: Browser, taskyard: Running) -> Iterator[Keyboard]:
    context = browser.new_context(timezone_id="Europe/Berlin")
    context.set_default_timeout(60_000)
    page = context.new_page()
    errors: list[str] = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.add_init_script(_POINTER)
    page.goto(taskyard.address + "/sign-in")
    keyboard = Keyboard(page, taskyard.address)
    expect(page.locator("#name")).to_be_focused()
    keyboard.type("admin")
    keyboard.press("Tab")
    expect(page.locator("#password")).to_be_focused()
    keyboard.type(PASSWORD)
    keyboard.press("Enter")
    page.wait_for_url(taskyard.address + "/")
    keyboard.wait_until_live()
    yield keyboard
    assert page.evaluate("window.pointed") == 0
    context.close()
    assert errors == []


@pytest.fixture(scope="module")
def keyboard(browser: Browser, taskyard: Running, yard: Yard) -> Iterator[Keyboard]:
    """Sign in and stay while jobs run."""
    with traffic_on(yard, "traffic"), at_keyboard(browser, taskyard) as one:
        yield one


def job_of(yard: Yard, job_id: str) -> dict[str, Any]:
    with yard.database.read() as connection:
        row = job_rows.get(connection, job_id)
    assert row is not None
    return dict(row)


def wait_for(yard: Yard, job_id: str, *statuses: str) -> None:
    def has_status() -> None:
        assert job_of(yard, job_id)["status"] in statuses

    eventually(has_status, within=60)


def test_a_failed_job_is_found_by_a_filter_and_retried(keyboard: Keyboard, yard: Yard) -> None:
    job_id = jobs.enqueue(yard, NewJob("samples.fail", {"times": 1}, queue="by-key", max_retries=0)).job_id
    wait_for(yard, job_id, "failed")
    keyboard.filter("status:failed queue:by-key")
    row = keyboard.page.locator(f"#row-{job_id}")
    keyboard.press("j")
    keyboard.look()
    expect(row.locator("a.name")).to_be_focused()
    keyboard.press("r")
    keyboard.consent()
    expect(row).to_have_attribute("data-state", "completed")
    keyboard.look()
    expect(row.locator(":focus")).to_have_count(1)
    assert (job_of(yard, job_id)["status"], job_of(yard, job_id)["attempt"]) == ("completed", 2)


def test_a_scheduled_job_is_canceled_and_the_cancellation_undone(keyboard: Keyboard, yard: Yard) -> None:
    job_id = jobs.enqueue(yard, NewJob("samples.noop", queue="to-cancel", delay_seconds=3600)).job_id
    keyboard.filter("queue:to-cancel")
    keyboard.press("j")
    with keyboard.page.expect_navigation():
        keyboard.press("Enter")
    keyboard.wait_until_live()
    title = keyboard.page.locator(".title--job")
    cancel = title.locator("button[data-key=c]")
    keyboard.reach(cancel)
    keyboard.press("Enter")
    expect(title).to_have_attribute("data-state", "canceled")
    expect(cancel).to_have_count(0)
    keyboard.look()
    assert job_of(yard, job_id)["status"] == "canceled"
    keyboard.press("z")
    expect(title).to_have_attribute("data-state", "scheduled")
    expect(cancel).to_be_visible()
    keyboard.look()
    assert job_of(yard, job_id)["status"] == "scheduled"
    # By its key, from wherever the focus is; the letter asks first. Undo is also a button that the keyboard reaches.
    keyboard.press("c")
    keyboard.consent()
    expect(title).to_have_attribute("data-state", "canceled")
    keyboard.look()
    keyboard.page.locator("[data-undo] button").focus()  # it goes away after ten seconds, which the way there may take
    keyboard.press("Enter")
    expect(title).to_have_attribute("data-state", "scheduled")
    keyboard.look()
    assert job_of(yard, job_id)["status"] == "scheduled"


def test_a_task_is_run_from_its_form(keyboard: Keyboard, yard: Yard) -> None:
    keyboard.go("t", "/tasks")
    page = keyboard.page
    keyboard.reach(page.locator("a[href='/tasks/samples.sleep/run']"))
    with page.expect_navigation():
        keyboard.press("Enter")
    keyboard.reach(page.locator("input[name$='seconds']").first)
    keyboard.press("Control+a")
    keyboard.type("a few")
    keyboard.press("Enter")
    expect(page.locator("[data-problems]")).to_be_focused()
    keyboard.look()
    field = page.locator("input[aria-invalid]").first
    expect(field).to_have_value("a few")
    keyboard.reach(field)
    keyboard.press("Control+a")
    keyboard.type("0.5")
    with page.expect_navigation(url="**/jobs/*"):
        keyboard.press("Enter")
    job_id = page.url.rsplit("/", 1)[1].split("?")[0]
    expect(page.locator(".title--job")).to_have_attribute("data-state", "completed")
    row = job_of(yard, job_id)
    assert (row["task"], row["status"], row["created_by"]) == ("samples.sleep", "completed", "admin")
    assert '"seconds":0.5' in row["payload"].replace(" ", "")


def test_a_queue_is_paused_and_resumed_by_the_same_button(keyboard: Keyboard, yard: Yard) -> None:
    jobs.enqueue(yard, NewJob("samples.noop", queue="kept", delay_seconds=3600))
    keyboard.go("q", "/queues")
    row = keyboard.page.locator("#queue-kept")
    button = row.locator("button").last
    before = button.get_attribute("aria-label")
    keyboard.reach(button)
    keyboard.press("Enter")
    expect(row).to_have_attribute("data-state", "paused")
    expect(button).not_to_have_attribute("aria-label", before or "")
    expect(button).to_be_focused()
    keyboard.look()
    assert is_paused(yard, "kept")
    keyboard.press("Enter")
    expect(row).not_to_have_attribute("data-state", "paused")
    expect(button).to_have_attribute("aria-label", before or "")
    keyboard.look()
    assert not is_paused(yard, "kept")


def is_paused(yard: Yard, name: str) -> bool:
    with yard.database.read() as connection:
        return any(row["name"] == name and row["paused_at"] is not None for row in queue_rows.all_queues(connection))


def test_a_schedule_is_created_paused_and_deleted(keyboard: Keyboard, yard: Yard) -> None:
    keyboard.go("c", "/schedules")
    page = keyboard.page
    keyboard.reach(page.locator("a[href='/schedules/new']").first)
    with page.expect_navigation():
        keyboard.press("Enter")
    keyboard.reach(page.locator("#cron"))
    keyboard.press("Control+a")
    keyboard.type("0 3 * * *")
    keyboard.reach(page.locator("#name"))
    keyboard.type("By keyboard")
    keyboard.reach(page.locator("#task"))
    keyboard.type("samples.noop")
    expect(page.locator("#task")).to_have_value("samples.noop")
    keyboard.look()
    keyboard.reach(page.locator("#name"), "Shift+Tab")
    with page.expect_navigation(url="**/schedules/*-*"):
        keyboard.press("Enter")
    schedule_id = page.url.rsplit("/", 1)[1].split("?")[0]
    keyboard.wait_until_live()
    title = page.locator(".title--job")
    keyboard.reach(title.locator("form[action$='/pauses'] button"))
    keyboard.press("Enter")
    expect(title).to_have_attribute("data-state", "paused")
    keyboard.look()
    assert schedule_of(yard, schedule_id)["enabled"] is False
    keyboard.reach(title.locator("a[href$='/deletions']"), "Shift+Tab")
    with page.expect_navigation():
        keyboard.press("Enter")
    keyboard.reach(page.locator("main form button[data-kind=danger]"))
    with page.expect_navigation():
        keyboard.press("Enter")
    assert schedule_of(yard, schedule_id) == {}


def schedule_of(yard: Yard, schedule_id: str) -> dict[str, Any]:
    with yard.database.read() as connection:
        return dict(schedules.get(connection, schedule_id) or {})


def test_an_alert_is_acknowledged(keyboard: Keyboard, yard: Yard) -> None:
    alert_id = raise_alert(yard)
    keyboard.go("a", "/alerts")
    row = keyboard.page.locator(f"#alert-{alert_id}")
    button = row.locator("form[action$='/acknowledgements'] button")
    keyboard.reach(button)
    keyboard.press("Enter")
    expect(button).to_have_count(0)
    expect(row).to_contain_text("admin")
    keyboard.look()
    with yard.database.read() as connection:
        row_now = alerts.get(connection, alert_id)
    assert row_now is not None
    assert (row_now["status"], row_now["acknowledged_by"]) == ("acknowledged", "admin")


def test_a_log_is_followed_released_and_followed_again(keyboard: Keyboard, yard: Yard, tmp_path: Path) -> None:
    spoken = tmp_path / "spoken"
    spoken.write_text("".join(f"line {n}\n" for n in range(80)))
    job_id = jobs.enqueue(yard, NewJob("output_tasks.read_aloud", {"path": str(spoken)}, queue="logs")).job_id
    wait_for(yard, job_id, "processing")
    keyboard.filter("queue:logs")
    page = keyboard.page
    keyboard.press("j")
    with page.expect_navigation():
        keyboard.press("Enter")
    keyboard.reach(page.locator(".tabs a[href*='tab=logs']"))
    with page.expect_navigation():
        keyboard.press("Enter")
    last = page.locator(".log__text").last
    expect(last).to_have_text("line 79")
    follow = page.locator("[data-part=follow]")
    keyboard.reach(follow)
    expect(follow).to_have_attribute("aria-pressed", "true")
    keyboard.press("Enter")
    expect(follow).to_have_attribute("aria-pressed", "false")
    with spoken.open("a") as file:
        file.write("".join(f"more {n}\n" for n in range(40)))
    expect(follow).to_contain_text("40")
    keyboard.look()
    keyboard.press("Enter")
    expect(last).to_have_text("more 39")
    expect(last).to_be_in_viewport()
    expect(follow).to_have_attribute("aria-pressed", "true")
    keyboard.reach(page.locator(".log__find"), "Shift+Tab")
    keyboard.type("more 7")
    expect(page.locator(".log__text")).to_have_text(["more 7"])
    expect(page.locator(".log__find")).to_be_focused()
    keyboard.look()
    keyboard.reach(page.locator("[data-part=wrap]"))  # letters are text in a field
    with spoken.open("a") as file:
        file.write("end\n")
    wait_for(yard, job_id, "completed")


def test_rows_are_selected_and_changed_together(keyboard: Keyboard, yard: Yard) -> None:
    made = [jobs.enqueue(yard, NewJob("samples.noop", queue="rows", delay_seconds=3600)).job_id for _ in range(3)]
    keyboard.filter("queue:rows")
    page = keyboard.page
    keyboard.press("j", "x", "j", "x")
    expect(page.locator("input[name=id]:checked")).to_have_count(2)
    expect(page.locator("[data-selected]")).to_contain_text("2")
    keyboard.look()
    keyboard.press("c")
    expect(page.get_by_role("alertdialog")).to_contain_text("2")
    keyboard.consent()
    for job_id in (made[2], made[1]):
        expect(page.locator(f"#row-{job_id}")).to_have_attribute("data-state", "canceled")
        assert job_of(yard, job_id)["status"] == "canceled"
    assert job_of(yard, made[0])["status"] == "scheduled"
    expect(page.locator("[data-selection]")).to_be_hidden()
    keyboard.look()
    # The same by the buttons of the bar, which the keyboard reaches too.
    keyboard.press("j", "x")
    keyboard.reach(page.locator("[data-selection] button[value=run_now]"))
    keyboard.press("Enter")
    wait_for(yard, made[0], "pending", "processing", "completed")
    expect(page.locator("[data-selection]")).to_be_hidden()
    keyboard.look()


def test_theme_and_time_zone_are_switched_and_the_user_signs_out(
    keyboard: Keyboard, browser: Browser, taskyard: Running
) -> None:
    with at_keyboard(browser, taskyard) as other:
        page, root = other.page, other.page.locator("html")
        other.go("j", "/jobs")
        other.press("t")
        first = root.get_attribute("data-theme")
        theme = page.locator("header [data-behavior=theme]")
        other.reach(theme)
        other.press("Enter")
        expect(root).not_to_have_attribute("data-theme", first or "")
        expect(theme).to_be_focused()
        other.look()
        utc = page.locator("button[name=times][value=utc]")
        expect(root).to_have_attribute("data-zone", "Europe/Berlin")
        other.reach(utc)
        with page.expect_navigation():
            other.press("Enter")
        expect(root).to_have_attribute("data-zone", "UTC")
        expect(utc).to_have_attribute("aria-pressed", "true")
        other.reach(page.locator(".side form[action='/sign-out'] button"))
        with page.expect_navigation():
            other.press("Enter")
        expect(page).to_have_url(taskyard.address + "/sign-in")
        page.goto(taskyard.address + "/jobs")
        expect(page.locator("#password")).to_be_visible()
