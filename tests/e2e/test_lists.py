"""Lists under live traffic: rows keep their place, the filter is never guessed, stuck jobs look stuck."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect
from sqlalchemy import update

from tests.e2e.conftest import sign_in, traffic_on
from tests.integration.running import Running
from tests.support import eventually
from workers.domain.clock import utcnow
from workers.services import jobs
from workers.services.enqueueing import NewJob
from workers.store import queues as queue_rows
from workers.store.jobs import JOBS
from workers.yard import Yard

SLOW = 60_000


@pytest.fixture(scope="module")
def taskyard() -> Iterator[Running]:
    """Run a Taskyard whose monitor leaves stuck jobs to the tests."""
    folder = Path(tempfile.mkdtemp(prefix="ty-e2e-"))
    running = Running(folder / "data", WORKERS="2", MONITOR_INTERVAL_SECONDS="3600").start().ready()
    yield running
    running.stop()
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="module")
def traffic(yard: Yard) -> Iterator[None]:
    """Enqueue jobs while the tests of this file run."""
    with traffic_on(yard, "traffic"):
        yield


@pytest.fixture(scope="module")
def page(taskyard: Running, browser: Browser, traffic: None) -> Iterator[Page]:
    context = browser.new_context()
    context.set_default_timeout(SLOW)
    opened = context.new_page()
    errors: list[str] = []
    opened.on("pageerror", lambda error: errors.append(str(error)))
    sign_in(taskyard, opened)
    yield opened
    context.close()
    assert errors == []


def shown(page: Page) -> list[str]:
    return page.locator("tr.row").evaluate_all("rows => rows.map((row) => row.id)")


def places(page: Page) -> dict[str, float]:
    return page.locator("tr.row").evaluate_all(
        "rows => Object.fromEntries(rows.map((row) => [row.id, Math.round(row.getBoundingClientRect().top)]))"
    )


SHIFTS = """() => { window.shifts = 0; new PerformanceObserver((list) => {
  for (const entry of list.getEntries()) if (!entry.hadRecentInput) window.shifts += entry.value;
}).observe({ type: "layout-shift" }); }"""


@pytest.mark.parametrize(
    "path", ["/jobs", "/jobs?status=pending,processing,completed&queue=traffic", "/jobs?status=processing"]
)
def test_rows_of_jobs_keep_their_place_until_new_ones_are_asked_for(
    taskyard: Running, yard: Yard, page: Page, path: str
) -> None:
    for _ in range(3):
        jobs.enqueue(yard, NewJob("samples.sleep", {"seconds": 1.5, "steps": 3}))
    page.goto(taskyard.address + path)
    expect(page.locator("tr.row").first).to_be_visible()
    before = places(page)
    page.evaluate(SHIFTS)
    new = page.locator("[data-behavior=fresh]")
    expect(new).to_be_visible()
    expect(new).to_contain_text("new")
    eventually(lambda: _has_ended(page), within=60)
    assert places(page) == before
    assert page.evaluate("window.shifts") <= 0.01
    new.click()
    eventually(lambda: _is_renewed(page, before), within=60)
    assert page.url == taskyard.address + path


def _has_ended(page: Page) -> None:
    """Rows change in place: by now one says that its job has ended, also where the filter does not show such jobs."""
    assert page.locator("tr.row[data-state=completed]").count() > 0


def _is_renewed(page: Page, before: dict[str, float]) -> None:
    now = shown(page)
    assert now
    assert now[0] not in before


def test_the_button_under_a_resting_pointer_stays_that_of_its_queue(taskyard: Running, yard: Yard, page: Page) -> None:
    for index in range(4):
        jobs.enqueue(yard, NewJob("samples.noop", queue=f"q{index}", delay_seconds=3600))
    page.goto(taskyard.address + "/queues?sort=-waiting")
    order = shown(page)
    button = page.get_by_role("button", name="Pause q1")
    button.hover()
    jobs.enqueue_many(yard, [NewJob("samples.sleep", {"seconds": 60}, queue="q3")] * 30)
    expect(page.locator("#queue-q3")).to_contain_text("waiting")
    eventually(lambda: _waits(page, "q3"), within=60)
    assert shown(page)[: len(order)] == order
    box = button.bounding_box()
    assert box is not None
    page.mouse.down()
    page.mouse.up()
    expect(page.get_by_role("button", name="Resume q1")).to_be_visible()
    with yard.database.read() as connection:
        paused = [row["name"] for row in queue_rows.all_queues(connection) if row["paused_at"] is not None]
    assert paused == ["q1"]
    assert shown(page)[: len(order)] == order
    page.get_by_role("link", name="Waiting").click()
    expect(page.locator("th[aria-sort]")).to_have_text("Waiting")
    assert shown(page).index("queue-q3") < shown(page).index("queue-q0")


def _waits(page: Page, queue: str) -> None:
    assert int(page.locator(f"#queue-{queue} td").nth(1).inner_text().split()[0].replace(",", "")) > 10


def test_a_filter_is_typed_marked_and_mended(taskyard: Running, page: Page) -> None:
    page.goto(taskyard.address + "/jobs")
    bar = page.get_by_label("Add a filter")
    page.keyboard.press("/")
    page.keyboard.type("status:failed,bogus -task:monitor.* since:yesterday")
    page.keyboard.press("Enter")
    expect(page.get_by_role("alert")).to_contain_text("Unknown status 'bogus'. Use one of: scheduled, pending")
    expect(bar).to_have_value("status:failed,bogus")
    expect(page.locator(".chip")).to_have_text(["not task monitor.*", "since yesterday"])
    expect(page.get_by_role("link", name="Delete…")).to_have_count(0)
    expect(page.get_by_role("link", name="CSV")).to_have_count(0)
    page.reload()
    expect(bar).to_have_value("status:failed,bogus")
    page.get_by_role("link", name="status:completed").click()
    expect(page.locator(".tabs a[aria-current]")).to_contain_text("Completed")
    expect(page.get_by_role("link", name="Delete…")).to_be_visible()
    page.get_by_role("link", name="Remove not task monitor.*").click()
    expect(page.locator(".chip")).to_have_text(["since yesterday"])
    assert "task" not in page.url
    page.go_back()
    expect(page.locator(".chip")).to_have_text(["not task monitor.*", "since yesterday"])


def test_a_stuck_job_looks_stuck_everywhere(taskyard: Running, yard: Yard, page: Page) -> None:
    stuck = jobs.enqueue(yard, NewJob("samples.sleep", {"seconds": 1}, queue="lost", delay_seconds=3600)).job_id
    values = {
        "status": "processing",
        "worker": "gone.1",
        "started_at": utcnow(),
        "heartbeat_at": utcnow(),
        "due_at": None,
    }
    with yard.database.write() as connection:  # as a worker leaves it that dies in the middle
        connection.execute(update(JOBS).where(JOBS.c.id == stuck).values(values))
    page.goto(f"{taskyard.address}/jobs/{stuck}")
    expect(page.locator(".title .badge")).to_have_text("Processing")
    with yard.database.write() as connection:
        connection.execute(update(JOBS).where(JOBS.c.id == stuck).values(heartbeat_at=utcnow() - timedelta(minutes=5)))
    # No message comes of it: the page finds out by itself.
    expect(page.locator(".title .badge")).to_have_text("Stuck")
    expect(page.get_by_role("heading", name="Worker lost")).to_be_visible()
    expect(page.locator("table.evidence")).to_contain_text("Heartbeat")
    expect(page.get_by_role("button", name="Reset now")).to_be_visible()
    page.goto(taskyard.address + "/")
    expect(page.locator(f"#running-{stuck}")).to_contain_text("Stuck: gone.1 is no longer registered")
    page.goto(taskyard.address + "/jobs")
    page.get_by_role("navigation", name="Status").get_by_role("link", name="Stuck").click()
    expect(page).to_have_url(taskyard.address + "/jobs?status=stuck")
    expect(page.locator("tr.row")).to_have_count(1)
    expect(page.locator(f"#row-{stuck}")).to_contain_text("Stuck")
    expect(page.locator(".tabs a[aria-current] b")).to_have_text("1")
    page.goto(f"{taskyard.address}/jobs/{stuck}")
    page.get_by_role("button", name="Reset now").click()
    expect(page.get_by_role("button", name="Reset now")).to_have_count(0)
    expect(page.locator(".title .badge")).not_to_have_text("Stuck")
    with yard.database.read() as connection:
        assert jobs.get(connection, stuck)["attempt"] == 2
