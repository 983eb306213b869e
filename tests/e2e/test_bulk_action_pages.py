"""Bulk actions in a browser: found again from anywhere, aborted, resumed, while other jobs run."""

from __future__ import annotations

import sqlite3

from playwright.sync_api import Page, expect

from tests.integration.running import Running
from tests.support import eventually

_ENQUEUE = """async () => {
  const jobs = Array(40).fill({ task: "samples.noop", delay_seconds: 3600 });
  const headers = { "Content-Type": "application/json", "X-CSRFToken": document.body.dataset.csrf };
  return (await fetch("/api/v1/jobs/bulk", { method: "POST", headers, body: JSON.stringify({ jobs }) })).status;
}"""


def rows(taskyard: Running, statement: str) -> list[tuple[object, ...]]:
    with sqlite3.connect(taskyard.data_dir / "taskyard.db") as connection:
        return connection.execute(statement).fetchall()


def test_an_action_is_found_from_every_page_and_aborted_in_the_list(taskyard: Running, signed_in: Page) -> None:
    page = signed_in
    page.set_default_timeout(60_000)
    messages: list[str] = []
    page.on("console", lambda message: messages.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: messages.append(str(error)))
    assert page.evaluate(_ENQUEUE) == 202

    page.goto(taskyard.address + "/bulk-actions")
    expect(page.locator("main")).to_contain_text("No bulk actions yet")
    page.goto(taskyard.address + "/bulk-actions?action=cancel&task=samples.noop")
    page.locator("#rate").fill("0.1")
    page.get_by_role("button", name="Cancel 40 jobs").click()
    page.wait_for_url(taskyard.address + "/bulk-actions/*")
    action = page.url.rsplit("/", 1)[1]

    page.goto(taskyard.address + "/queues")
    head = page.get_by_title("Bulk actions in progress")
    expect(head).to_contain_text("Cancel 40 jobs")
    head.click()
    page.wait_for_url(f"{taskyard.address}/bulk-actions/{action}")
    page.locator("main a[href^='/jobs/']").first.click()
    page.get_by_role("link", name="Open bulk action").click()
    page.wait_for_url(f"{taskyard.address}/bulk-actions/{action}")

    page.get_by_role("navigation", name="Pages").get_by_role("link", name="Bulk actions").click()
    row = page.locator(f"#action-{action}")
    row.get_by_role("button", name="Abort").click()
    expect(row).to_contain_text("Aborted")
    expect(row.get_by_role("button", name="Abort")).to_have_count(0)
    expect(page.get_by_title("Bulk actions in progress")).to_have_count(0)
    assert rows(taskyard, f"SELECT status FROM bulk_actions WHERE id = '{action}'") == [("aborted",)]
    canceled = rows(taskyard, "SELECT count(*) FROM jobs WHERE task = 'samples.noop' AND status = 'canceled'")[0][0]
    assert int(str(canceled)) < 40
    assert messages == []


def test_an_action_that_lost_its_job_says_so_and_is_resumed(taskyard: Running, signed_in: Page) -> None:
    page = signed_in
    page.set_default_timeout(60_000)
    with sqlite3.connect(taskyard.data_dir / "taskyard.db", timeout=30) as connection:
        # As a crash of an earlier version left it: at work, with a job that is not there.
        connection.execute(
            "INSERT INTO bulk_actions (id, action, selection, status, total, done, refused, job_id, created_at, created_by) "
            "VALUES ('01a21e00-0000-7000-8000-000000000001', 'retry', '{\"task\": \"nothing.like_it\"}', 'processing', 5, 2, 0, "
            "'01a21e00-0000-7000-8000-000000000002', '2026-11-01 00:00:00.000000', 'user:admin')"
        )
    taskyard.run("sweep")

    def is_failed() -> None:
        assert rows(taskyard, "SELECT status FROM bulk_actions WHERE done = 2") == [("failed",)]

    eventually(is_failed, within=60)
    page.goto(taskyard.address + "/bulk-actions/01a21e00-0000-7000-8000-000000000001")
    expect(page.locator("main")).to_contain_text("Its job ended or was deleted before the action was complete.")
    page.get_by_role("button", name="Resume").click()
    expect(page.locator(".title")).to_contain_text("Completed")
    expect(page.get_by_role("button", name="Resume")).to_have_count(0)
