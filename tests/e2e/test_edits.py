"""Two tabs that edit the same thing: the second is shown both values and loses nothing of what was typed."""

from __future__ import annotations

import os

import pytest
from playwright.sync_api import Page, expect

from tests.integration.running import Running


def open_schedule(page: Page, address: str) -> str:
    page.goto(address + "/schedules/new")
    page.locator("#cron").fill("0 6 * * *")
    page.locator("#name").fill("Nightly")
    page.locator("#task").select_option("samples.noop")
    page.get_by_role("button", name="Save schedule").click()
    expect(page.locator("h1")).to_contain_text("Nightly")
    return page.url + "/edit"


def open_trigger(page: Page, address: str) -> str:
    page.goto(address + "/triggers/new")
    page.locator("#listens").fill("orders.created")
    page.locator("#name").fill("On orders")
    page.locator("#task").select_option("samples.noop")
    page.get_by_role("button", name="Save trigger").click()
    expect(page.locator("h1")).to_contain_text("On orders")
    return page.url + "/edit"


def open_rule(_page: Page, address: str) -> str:
    return address + "/alert-rules/rule-cpu"


@pytest.mark.parametrize("create", [open_schedule, open_trigger, open_rule])
def test_the_second_of_two_tabs_sees_both_values_and_keeps_what_was_typed(
    taskyard: Running, signed_in: Page, create: object
) -> None:
    first = signed_in
    path = create(first, taskyard.address)  # type: ignore[operator]
    second = first.context.new_page()
    for page in (first, second):
        page.goto(path)
    first.locator("#name").fill("Changed in the first tab")
    first.locator("button[data-kind=primary][type=submit], form.formgrid button[data-kind=primary]").first.click()
    first.wait_for_url(lambda url: url != path)

    second.locator("#name").fill("Typed in the second tab")
    second.locator("button[data-kind=primary][type=submit], form.formgrid button[data-kind=primary]").first.click()
    panel = second.locator("section", has_text="Differences")
    expect(panel).to_contain_text("Changed in the first tab")
    expect(panel).to_contain_text("Typed in the second tab")
    expect(second.locator("#name")).to_have_value("Typed in the second tab")
    expect(second.locator("[role=alert]").first).to_contain_text("Somebody else has changed")
    take_pictures(second, create.__name__)  # type: ignore[attr-defined]

    second.locator("button[data-kind=primary][type=submit], form.formgrid button[data-kind=primary]").first.click()
    second.wait_for_url(lambda url: url != path)
    second.goto(path)
    expect(second.locator("#name")).to_have_value("Typed in the second tab")


def take_pictures(page: Page, name: str) -> None:
    folder = os.environ.get("PICTURES")
    for scheme in ("light", "dark") if folder else ():
        for width in (360, 1440):
            page.emulate_media(color_scheme=scheme)
            page.set_viewport_size({"width": width, "height": 900})
            page.screenshot(path=f"{folder}/{name}-{scheme}-{width}.png", full_page=True)
