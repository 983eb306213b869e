"""Phones, large text, forced colors and browsers without scripts: whatever can be done or seen elsewhere can be there."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, BrowserContext, Locator, Page, StorageState, expect

from tests.e2e import scenes
from tests.e2e.shown import FAULTS, SMALL, Shown, enter, faults_of, showing
from workers.settings import Settings
from workers.store import queues as queue_rows
from workers.store.jobs import get

PHONE = {"width": 360, "height": 740}
LISTS = (
    "/",
    "/jobs",
    "/queues",
    "/schedules",
    "/workers",
    "/alerts",
    "/tasks",
    "/triggers",
    "/stuck",
    "/health",
    "/settings",
    "/more",
)


@pytest.fixture(scope="module")
def shown(valkey: Settings, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shown]:
    with showing(valkey, Path(tmp_path_factory.mktemp("phone")) / "yard", scenes.ordinary) as one:
        yield one


@pytest.fixture(scope="module")
def state(browser: Browser, shown: Shown) -> StorageState:
    """Sign in once for all browsers of this file."""
    context = browser.new_context()
    enter(context, shown.address)
    kept = context.storage_state()
    context.close()
    return kept


def opened(context: BrowserContext, address: str) -> Page:
    context.set_default_timeout(60_000)
    page = context.new_page()
    page.goto(address)
    return page


def test_a_phone_selects_rows_stops_pauses_and_switches_the_theme(
    browser: Browser, shown: Shown, state: StorageState
) -> None:
    context = browser.new_context(viewport=PHONE, has_touch=True, is_mobile=True, storage_state=state)
    page = opened(context, shown.address + "/jobs?status=scheduled")
    rows = page.locator("tr.row").count()
    everything = page.locator("[data-behavior=all]")
    expect(page.locator("thead label", has=everything)).to_have_text("Select all")
    page.locator("thead label", has=everything).tap()
    expect(page.locator("[data-selected]")).to_have_text(f"{rows} selected")
    expect(page.locator("input[name=id]:checked")).to_have_count(rows)
    for action in ("retry", "run_now", "cancel", "delete"):
        expect(page.locator(f"[data-selection] button[value={action}]")).to_be_in_viewport(ratio=1)
    assert faults_of(page, (*FAULTS, SMALL)) == []
    page.locator("[data-behavior=unselect]").tap()
    expect(page.locator("[data-selection]")).to_be_hidden()

    # Stop a job.
    assert shown.scene is not None
    job_id = shown.scene.jobs["scheduled"]
    page.goto(f"{shown.address}/jobs/{job_id}")
    page.locator("button[data-key=c]").tap()
    expect(page.locator(".title--job")).to_have_attribute("data-state", "canceled")
    with shown.yard.database.read() as connection:
        row = get(connection, job_id)
    assert row is not None
    assert row["status"] == "canceled"

    # Pause a queue, and resume it by the same button.
    page.goto(shown.address + "/queues")
    page.locator("#queue-default button").last.tap()
    expect(page.locator("#queue-default")).to_have_attribute("data-state", "paused")
    assert paused(shown) == {"default", "images"}
    page.locator("h1").tap()  # a second tap at the same place would be one of a double tap, which starts nothing
    page.locator("#queue-default button").last.tap()
    expect(page.locator("#queue-default")).not_to_have_attribute("data-state", "paused")
    assert paused(shown) == {"images"}

    # Live updates and the theme are in the bar of every page; the order of a list and signing out are there too.
    pill = page.locator("[data-behavior=live]")
    pill.tap()
    expect(pill).to_have_attribute("aria-pressed", "true")
    pill.tap()
    page.locator("header [data-behavior=theme]").tap()
    expect(page.locator("html")).to_have_attribute("data-theme", "dark")
    page.locator("thead .sorter").first.tap()
    expect(page.locator("th[aria-sort]")).to_be_visible()
    page.goto(shown.address + "/more")
    expect(page.locator("form[action='/sign-out'] button").last).to_be_in_viewport(ratio=1)
    context.close()


def paused(shown: Shown) -> set[str]:
    with shown.yard.database.read() as connection:
        return {row["name"] for row in queue_rows.all_queues(connection) if row["paused_at"] is not None}


def test_controls_are_large_enough_and_named_on_narrow_and_magnified_pages(
    browser: Browser, shown: Shown, state: StorageState
) -> None:
    context = browser.new_context(storage_state=state)
    page = opened(context, shown.address + "/")
    assert shown.scene is not None
    found = []
    for path in (*LISTS, f"/jobs/{shown.scene.jobs['failed']}", f"/schedules/{shown.scene.schedule_id}"):
        page.goto(shown.address + path)
        # At 200 % a window of 1,440 px has room for 720 px, and one of 768 px for 384 px.
        for width in (360, 384, 720, 768):
            page.set_viewport_size({"width": width, "height": 800})
            found += [f"{width} px: {fault}" for fault in faults_of(page, (*FAULTS, SMALL))]
        for target in ("/stuck", "/jobs", "/audit"):
            expect(page.locator(f".nav a[href='{target}']").first).to_be_visible()
        expect(page.locator(".side form[action='/sign-out'] button")).to_be_visible()
    assert found == []
    context.close()


def test_forced_colors_keep_states_the_current_page_and_legends(
    browser: Browser, shown: Shown, state: StorageState
) -> None:
    context = browser.new_context(forced_colors="active", viewport={"width": 1440, "height": 900}, storage_state=state)
    page = opened(context, shown.address + "/jobs")
    assert page.evaluate("matchMedia('(forced-colors: active)').matches")
    for width, place in ((1440, ".nav"), (768, ".nav"), (360, ".tabbar")):
        page.set_viewport_size({"width": width, "height": 800})
        current = page.locator(f"{place} a[aria-current=page]")
        other = page.locator(f"{place} a[href='/queues']")
        assert background(current) != background(other), width
    page.set_viewport_size({"width": 1440, "height": 900})

    # The tracks of states: of rows, of badges, of the map and of the tabs.
    states = {"failed", "completed", "processing", "scheduled"}
    for name in states:
        for part in (
            f"tr.row[data-state={name}] > td:first-child",
            f".badge[data-state={name}]",
            f".map [data-state={name}]",
        ):
            assert painted(page, part), part
    assert len({hue(page, f".badge[data-state={name}]") for name in states}) == len(states)
    assert (
        page.locator(".tabs a[aria-current=page]").evaluate("one => getComputedStyle(one).textDecorationLine")
        == "underline"
    )

    # Charts have the hues that their legends have.
    page.goto(shown.address + "/health")
    expect(page.locator("[data-chart] canvas").first).to_be_visible()
    for name in ("completed", "failed"):
        assert painted(page, f".legend [data-state={name}]", "")
    assert page.locator("[data-chart] canvas").first.evaluate(COLORED) is True
    page.goto(shown.address + "/")
    assert painted(page, ".number .track", "")
    expect(page.locator(".bar").first).to_be_visible()
    assert page.locator(".bar").first.evaluate("one => getComputedStyle(one).forcedColorAdjust") == "none"
    context.close()


def background(one: Locator) -> str:
    return str(one.evaluate("one => getComputedStyle(one).backgroundColor"))


def painted(page: Page, selector: str, part: str = "::before") -> bool:
    """Return whether something of its own color is painted: not that of the system."""
    script = "(one, part) => { const style = getComputedStyle(one, part || null);"
    script += " return style.forcedColorAdjust === 'none' && (style.backgroundImage !== 'none' || style.backgroundColor !== 'rgba(0, 0, 0, 0)'); }"
    return bool(page.locator(selector).first.evaluate(script, part))


def hue(page: Page, selector: str) -> str:
    return str(page.locator(selector).first.evaluate("one => getComputedStyle(one, '::before').backgroundImage"))


# Whether a canvas has anything that is not grey.
COLORED = """canvas => { const {width, height} = canvas, {data} = canvas.getContext('2d').getImageData(0, 0, width, height);
  for (let at = 0; at < data.length; at += 4) {
    if (data[at + 3] > 120 && Math.max(data[at], data[at + 1], data[at + 2]) - Math.min(data[at], data[at + 1], data[at + 2]) > 60) return true;
  }
  return false; }"""


def test_charts_are_tables_without_scripts(browser: Browser, shown: Shown, state: StorageState) -> None:
    context = browser.new_context(java_script_enabled=False, storage_state=state)
    page = opened(context, shown.address + "/health")
    figures = page.locator("figure.plot", has=page.locator("table"))
    assert figures.count() >= 4
    for figure in figures.all():
        expect(figure.locator("table")).to_be_visible()
        expect(figure.locator("[data-chart]")).to_be_hidden()
        expect(figure.locator("summary")).to_be_hidden()
    numbers = figures.first.locator("td.num").all_inner_texts()
    assert any(text.strip() not in ("", "–", "0") for text in numbers)
    # What is pressed works, and the pill does not claim to be live.
    page.goto(shown.address + "/queues")
    expect(page.locator("header .live")).to_have_attribute("data-state", "paused")
    page.locator("#queue-sync button").last.click()
    expect(page.locator("#queue-sync")).to_have_attribute("data-state", "paused")
    assert "sync" in paused(shown)
    context.close()
