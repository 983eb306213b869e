"""Schedules and triggers in a real browser, with real schedulers and workers behind it."""

from __future__ import annotations

from playwright.sync_api import Browser, Page, expect

from tests.e2e.conftest import sign_in
from tests.integration.running import Running


def test_a_schedule_is_previewed_while_it_is_typed_saved_and_seen_firing(
    taskyard: Running,
    signed_in: Page,
) -> None:
    page = signed_in
    page.goto(taskyard.address + "/schedules/new")
    preview = page.locator("[data-preview]")
    page.get_by_label("Cron", exact=False).and_(page.locator("#cron")).fill("30 2 8-14 3 SUN")
    page.locator("#timezone").fill("America/New_York")
    expect(preview).to_contain_text("02:30 does not exist on this day")
    page.locator("#cron").fill("nonsense")
    expect(preview).to_contain_text("five fields")
    page.locator(".seg label", has_text="Every …").click()
    expect(page.locator("#cron")).to_be_hidden()
    page.locator("#every").fill("2")
    page.locator("#every_unit").select_option("seconds")
    expect(preview).to_contain_text("Every 2 seconds")
    page.locator("#name").fill("Heartbeat <img src=x onerror=document.title='owned'>")
    page.locator("#task").select_option("samples.noop")
    page.get_by_role("button", name="Save schedule").click()
    expect(page.locator("h1")).to_contain_text("Heartbeat <img")
    # Nobody reloads: the fires arrive.
    expect(page.locator("tr.row .badge", has_text="Completed").first).to_be_visible()
    expect(page.locator(".runs path[data-state=completed]")).to_have_count(1)
    page.get_by_role("button", name="Pause schedule", exact=True).click()
    expect(page.locator(".title .badge", has_text="Paused")).to_be_visible()
    page.get_by_role("button", name="Run now").click()
    expect(page.locator("tr.row", has_text="manual run").first).to_be_visible()
    assert page.title().endswith("Taskyard")


def test_samples_are_made_and_a_crowd_is_spread(taskyard: Running, signed_in: Page) -> None:
    page = signed_in
    page.goto(taskyard.address + "/schedules")
    page.get_by_role("button", name="Install samples").click()
    expect(page.locator(".messages")).to_contain_text("sample schedules installed")  # the page was loaded again
    expect(page.locator("tr.row", has_text="Weekly clean-up")).to_be_visible()
    for name in ("one", "two", "three"):
        page.goto(taskyard.address + "/schedules/new")
        page.locator("#cron").fill("40 4 * * *")
        page.locator("#name").fill(name)
        page.locator("#task").select_option("samples.noop")
        page.get_by_role("button", name="Save schedule").click()
        expect(page.locator("h1")).to_contain_text(name)
    page.goto(taskyard.address + "/schedules")
    expect(page.locator(".advice")).to_contain_text("3 schedules start in the same minute")
    page.get_by_role("link", name="Preview the 2 moves").click()
    page.get_by_role("button", name="Move schedules").click()
    expect(page.locator(".messages")).to_contain_text("2 schedules moved")
    expect(page.locator("[data-region=load]")).to_contain_text("No three schedules")


def test_an_event_from_the_page_runs_a_task_by_its_trigger(taskyard: Running, signed_in: Page) -> None:
    page = signed_in
    page.goto(taskyard.address + "/triggers/new")
    page.locator("#listens").fill("orders.created")
    page.locator("#name").fill("Thank the customer")
    page.locator("#task").select_option("samples.sleep")
    page.locator("#payload").fill('{"seconds": "$.payload.seconds"}')
    page.get_by_role("button", name="Save trigger").click()
    expect(page.locator("h1")).to_contain_text("Thank the customer")
    page.goto(taskyard.address + "/triggers")
    page.get_by_text("Send an event").click()
    page.locator("#name").fill("orders.created")
    page.locator("#payload").fill('{"seconds": 0.1}')
    page.get_by_role("button", name="Send event").click()
    expect(page.locator(".trigger__fires li", has_text="orders.created")).to_be_visible()
    page.get_by_role("link", name="Thank the customer", exact=True).click()
    expect(page.locator("tr.row .badge", has_text="Completed")).to_be_visible()


def test_the_viewers_own_clock_is_shown_beside_the_schedules(taskyard: Running, browser: Browser) -> None:
    page = sign_in(taskyard, browser.new_context(timezone_id="Asia/Tokyo").new_page())
    page.goto(taskyard.address + "/schedules/new")
    expect(page.locator(".fires__head")).to_contain_text("Tokyo, yours")
    expect(page.locator("#timezone")).to_have_value("Asia/Tokyo")
