"""A queue is purged from its page; the page of the bulk action shows how far it is."""

from __future__ import annotations

import os

from playwright.sync_api import Page, expect

from tests.integration.running import Running
from workers.domain.actors import Actor
from workers.services import jobs, queues
from workers.services.enqueueing import NewJob
from workers.settings import Settings
from workers.yard import Yard


def test_a_queue_is_purged_and_the_progress_is_seen(taskyard: Running, signed_in: Page) -> None:
    yard = Yard.open(Settings.from_env(taskyard.environment))
    jobs.enqueue(yard, NewJob("samples.noop", queue="full", delay_seconds=3600))
    queues.pause(yard, "full", Actor("user", "olga", "operator"))
    jobs.enqueue_many(yard, [NewJob("samples.noop", queue="full")] * 1234)
    yard.close()
    page = signed_in
    page.goto(f"{taskyard.address}/queues/full")
    page.get_by_role("link", name="Purge queue…").click()
    expect(page.get_by_role("heading", name="Cancel 1,234 waiting jobs of full?")).to_be_visible()
    page.get_by_role("button", name="Purge full").click()
    expect(page.get_by_role("heading", name="Cancel 1,234 jobs")).to_be_visible()
    expect(page.get_by_text("1,234 done, 0 refused")).to_be_visible()
    folder = os.environ.get("SCREENSHOTS")
    if folder:
        for width in (360, 1440):
            for scheme in ("light", "dark"):
                page.emulate_media(color_scheme=scheme)
                page.set_viewport_size({"width": width, "height": 800})
                page.screenshot(path=f"{folder}/purge-{width}-{scheme}.png")
