"""A newcomer's way through a whole Taskyard, in a real browser."""

from __future__ import annotations

import signal
from datetime import timedelta
from pathlib import Path

import psutil
import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page, expect

from tests.integration.running import Running
from tests.support import eventually
from workers.domain.actors import Actor
from workers.domain.clock import utcnow
from workers.services import execution, jobs, statistics
from workers.services.enqueueing import NewJob
from workers.settings import Settings
from workers.store import jobs as rows
from workers.yard import Yard

PAGES = (
    "/",
    "/jobs",
    "/queues",
    "/workers",
    "/stuck",
    "/schedules",
    "/schedules/new",
    "/schedules/load",
    "/triggers",
    "/triggers/new",
    "/alerts",
    "/alert-rules/rule-cpu",
    "/health",
    "/tasks",
    "/settings",
    "/audit",
    "/tasks/datasets.process/run",
    "/api/docs",
)


def test_a_dataset_is_uploaded_watched_live_and_its_report_read(
    taskyard: Running, signed_in: Page, tmp_path: Path
) -> None:
    rows = "".join(f"{n},{n % 7},name {n % 100}\n" for n in range(3_000_000))
    (tmp_path / "table.csv").write_text("id,weekday,name\n" + rows)
    page = signed_in
    page.goto(taskyard.address + "/tasks/datasets.process/run")
    page.set_input_files("input[type=file]", str(tmp_path / "table.csv"))
    page.get_by_role("button", name="Run datasets.process").click()
    page.wait_for_url("**/jobs/*")
    page.evaluate(
        """() => { window.seen = new Set(); new MutationObserver(() => { const bar = document.querySelector('.progress [data-part=bar]');
        if (bar) window.seen.add(bar.getAttribute('aria-valuenow')); }).observe(document.body,
        {subtree: true, childList: true, attributes: true}); }"""
    )
    expect(page.locator(".title .badge", has_text="Completed")).to_be_visible()
    assert page.evaluate("window.seen.size") >= 20
    page.get_by_role("link", name="Result").click()
    with page.expect_navigation():
        page.get_by_role("link", name="report.html").click()
    expect(page.get_by_role("heading", name="table.csv")).to_be_visible()
    expect(page.get_by_text("3,000,000 records")).to_be_visible()


def test_a_failed_job_opens_on_its_error_and_is_retried(taskyard: Running, signed_in: Page) -> None:
    page = signed_in
    page.goto(taskyard.address + "/tasks/samples.fail/run")
    page.get_by_label("times").fill("1")
    page.get_by_label("message").fill("<img src=x onerror=document.title='owned'> boom")
    page.get_by_text("Options: queue").click()
    page.get_by_label("Retries").fill("0")
    page.get_by_role("button", name="Run samples.fail").click()
    expect(page.locator(".title .badge", has_text="Failed")).to_be_visible()
    page.get_by_role("link", name="Error").click()
    expect(page.locator(".failure__msg")).to_contain_text("<img src=x")
    assert "owned" not in page.title()
    page.get_by_role("button", name="Retry job", exact=True).click()
    expect(page.locator(".title .badge", has_text="Completed")).to_be_visible()


def test_a_running_job_is_canceled(taskyard: Running, signed_in: Page) -> None:
    page = signed_in
    page.goto(taskyard.address + "/tasks/samples.sleep/run")
    page.get_by_label("seconds").first.fill("60")
    page.get_by_label("steps").fill("600")
    page.get_by_role("button", name="Run samples.sleep").click()
    expect(page.locator(".title .badge", has_text="Processing")).to_be_visible()
    page.get_by_role("button", name="Cancel").click()
    page.get_by_role("alertdialog").get_by_role("button", name="Cancel job").click()
    expect(page.locator(".title .badge", has_text="Canceled")).to_be_visible()


def test_the_page_comes_back_to_life_after_the_web_process_was_killed(taskyard: Running, signed_in: Page) -> None:
    page = signed_in
    page.goto(taskyard.address + "/jobs")
    pill = page.locator("[data-behavior=live]")
    expect(pill).to_have_text("Live")
    assert taskyard.process is not None
    for child in psutil.Process(taskyard.process.pid).children(recursive=True):
        if "web" in child.cmdline():
            child.send_signal(signal.SIGKILL)
    expect(pill).to_have_text("Offline")
    expect(pill).to_have_text("Live")


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_every_page_is_open_to_everybody(taskyard: Running, signed_in: Page, theme: str) -> None:
    page = signed_in
    page.emulate_media(color_scheme=theme, reduced_motion="reduce")
    found: dict[str, list[str]] = {}
    for path in PAGES:
        page.goto(taskyard.address + path)
        told = Axe().run(page)
        if told.violations_count:
            found[path] = [f"{one['id']}: {one['nodes'][0]['html'][:160]}" for one in told.response["violations"]]
    assert found == {}


@pytest.mark.parametrize("width", [360, 768, 1440])
def test_no_page_scrolls_sideways(taskyard: Running, signed_in: Page, width: int) -> None:
    page = signed_in
    page.set_viewport_size({"width": width, "height": 800})
    wide = []
    for path in PAGES:
        page.goto(taskyard.address + path)
        if page.evaluate("document.documentElement.scrollWidth > document.documentElement.clientWidth"):
            wide.append(path)
    assert wide == []


def test_an_alert_rings_on_every_page_and_is_acknowledged(taskyard: Running, signed_in: Page) -> None:
    page = signed_in
    page.goto(taskyard.address + "/queues")
    expect(page.locator("[data-behavior=live]")).to_have_text("Live")
    yard = Yard.open(Settings.from_env(taskyard.environment))
    jobs.enqueue_many(yard, [NewJob("samples.fail", {"message": "out of order"}, max_retries=0)] * 8)

    def all_failed() -> None:
        with yard.database.read() as connection:
            assert statistics.status_counts(connection)["failed"] >= 8

    eventually(all_failed, within=15)
    assert taskyard.run("sweep").returncode == 0
    yard.close()
    expect(page.locator("[data-toasts]")).to_contain_text("tasks failed in last hour")
    expect(page.locator(".bell b")).to_be_visible()
    page.locator(".bell").click()
    row = page.locator(".alarm", has_text="tasks failed in last hour")
    row.get_by_role("button", name="Acknowledge").click()
    expect(row.locator(".tag", has_text="Acknowledged")).to_be_visible()


def test_a_stuck_job_is_seen_and_put_back(taskyard: Running, signed_in: Page) -> None:
    yard = Yard.open(Settings.from_env(taskyard.environment))
    made = jobs.enqueue(yard, NewJob("samples.noop", queue="nobody-yet", max_retries=1, delay_seconds=3600)).job_id
    jobs.run_now(yard, made, Actor("user", "olga", "operator"))
    execution.begin(yard, made, 1, "a-worker-that-is-gone")
    with yard.database.write() as connection:
        rows.touch(connection, made, 1, {"heartbeat_at": utcnow() - timedelta(minutes=14)})
    page = signed_in
    page.goto(taskyard.address + "/stuck")
    card = page.locator(f"#stuck-{made}")
    expect(card).to_contain_text("Worker lost")
    card.get_by_role("button", name="Reset now").click()
    expect(card).to_have_count(0)
    page.goto(f"{taskyard.address}/jobs/{made}")
    expect(page.locator(".timeline")).to_contain_text("is no longer registered")
    yard.close()
