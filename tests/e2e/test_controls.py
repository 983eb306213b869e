"""Controls pressed by mouse and by key while jobs run: what they do, and what the same control says and does afterwards."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

import pytest
from playwright.sync_api import Browser, Locator, Page, Route, StorageState, expect

from tests.e2e.conftest import sign_in, traffic_on
from tests.integration.running import Running
from tests.support import eventually
from workers.domain.actors import Actor
from workers.services import jobs, queues, schedules, triggers
from workers.services.enqueueing import NewJob
from workers.store import jobs as job_rows
from workers.yard import Yard

SLOW = 60_000
ADA = Actor("user", "ada", "admin")


@pytest.fixture(scope="module")
def traffic(yard: Yard) -> Iterator[None]:
    """Enqueue jobs while the tests of this file run."""
    with traffic_on(yard, "traffic"):
        yield


@pytest.fixture(scope="module")
def signed_in_state(taskyard: Running, browser: Browser) -> StorageState:
    """Sign the admin in once for all tests of this file."""
    context = browser.new_context()
    sign_in(taskyard, context.new_page())
    state = context.storage_state()
    context.close()
    return state


@pytest.fixture
def page(browser: Browser, signed_in_state: StorageState, traffic: None) -> Iterator[Page]:
    context = browser.new_context(storage_state=signed_in_state)
    context.set_default_timeout(SLOW)
    opened = context.new_page()
    errors: list[str] = []
    opened.on("pageerror", lambda error: errors.append(str(error)))
    yield opened
    context.close()
    assert errors == []


def open_page(page: Page, taskyard: Running, path: str) -> None:
    page.goto(taskyard.address + path)
    expect(page.locator("[data-behavior=live]")).to_have_text("Live")


def job_in(yard: Yard, status: str, queue: str) -> str:
    """Create a job in this status: `failed` by running, `pending` on a queue that is paused."""
    if status == "failed":
        made = jobs.enqueue(yard, NewJob("samples.fail", {"times": 1}, queue=queue, max_retries=0)).job_id
        wait_for_status(yard, made, "failed")
        return made
    made = jobs.enqueue(yard, NewJob("samples.noop", queue=queue, delay_seconds=3600)).job_id
    if status == "canceled":
        jobs.cancel(yard, made, ADA)
    if status == "pending":
        queues.pause(yard, queue, ADA)
        jobs.run_now(yard, made, ADA)
    return made


def status_of(yard: Yard, job_id: str) -> str | None:
    with yard.database.read() as connection:
        row = job_rows.get(connection, job_id)
    return None if row is None else row["status"]


def wait_for_status(yard: Yard, job_id: str, *wanted: str | None) -> None:
    def has_status() -> None:
        assert status_of(yard, job_id) in wanted

    eventually(has_status, within=60)


def tick(page: Page, job_id: str) -> Locator:
    row = page.locator(f"#row-{job_id}")
    row.get_by_role("checkbox").click()
    return row


@pytest.mark.parametrize(
    ("action", "before", "after"),
    [
        ("Retry", "failed", ("pending", "processing", "completed")),
        ("Run now", "scheduled", ("pending", "processing", "completed")),
        ("Cancel", "scheduled", ("canceled",)),
        ("Delete", "canceled", (None,)),
    ],
)
def test_selected_jobs_are_changed(
    taskyard: Running, yard: Yard, page: Page, action: str, before: str, after: tuple[str | None, ...]
) -> None:
    queue = f"selected-{action.split()[0].lower()}"
    made = [job_in(yard, before, queue=queue) for _ in range(3)]
    open_page(page, taskyard, f"/jobs?queue={queue}")
    for job_id in made[:2]:
        tick(page, job_id)
    expect(page.locator("[data-selected]")).to_have_text("2 selected")
    page.get_by_role("region", name="Selection").get_by_role("button", name=action).click()
    if action in {"Cancel", "Delete"}:
        expect(page.get_by_role("alertdialog")).to_contain_text(f"{action} 2 jobs?")
        assert [status_of(yard, job_id) for job_id in made] == [before] * 3
        page.get_by_role("button", name=f"{action} 2 jobs").click()
    for job_id in made[:2]:
        wait_for_status(yard, job_id, *after)
    assert status_of(yard, made[2]) == before
    expect(page.locator("[data-selection]")).to_be_hidden()
    if action == "Delete":
        # Other rows stay where they are until somebody asks for the list as it is now.
        expect(page.locator(f"#row-{made[0]}[data-gone]")).to_have_count(1)
        page.get_by_role("button", name="2 deleted").click()
        expect(page.locator(f"#row-{made[0]}")).to_have_count(0)
    assert "404" not in page.locator(".messages").inner_text()
    assert page.url == f"{taskyard.address}/jobs?queue={queue}"


def paused_queue(yard: Yard, name: str) -> bool:
    with yard.database.read() as connection:
        return queues.get(connection, name)["paused_at"] is not None


def paused_schedule(yard: Yard, schedule_id: str) -> bool:
    with yard.database.read() as connection:
        return not schedules.get(connection, schedule_id)["enabled"]


def paused_trigger(yard: Yard, trigger_id: str) -> bool:
    with yard.database.read() as connection:
        return not triggers.get(connection, trigger_id)["enabled"]


@pytest.fixture(scope="module")
def switches(yard: Yard) -> list[tuple[str, str, Callable[[], bool]]]:
    """Each place with a Pause button: its path, what the button names, and whether the row is paused."""
    jobs.enqueue(yard, NewJob("samples.noop", queue="switched"))
    noop = {"task": "samples.noop", "payload": {}}
    schedule = schedules.create(yard, {"name": "Switched", "cron": "0 6 * * *", **noop}, ADA)["id"]
    trigger = triggers.create(yard, {"name": "Switched", "listens": "a.b", **noop}, ADA)["id"]
    queue = partial(paused_queue, yard, "switched")
    of_schedule, of_trigger = partial(paused_schedule, yard, schedule), partial(paused_trigger, yard, trigger)
    return [
        ("/queues", " switched", queue),
        ("/queues/switched", " queue", queue),
        ("/schedules", " Switched", of_schedule),
        (f"/schedules/{schedule}", " schedule", of_schedule),
        ("/triggers", " Switched", of_trigger),
        (f"/triggers/{trigger}", " trigger", of_trigger),
    ]


def test_a_pressed_pause_button_becomes_resume_and_back(
    taskyard: Running, page: Page, switches: list[tuple[str, str, Callable[[], bool]]]
) -> None:
    for path, name, is_paused in switches:
        open_page(page, taskyard, path)
        press_pause_and_resume(page, name, is_paused)


def press_pause_and_resume(page: Page, name: str, is_paused: Callable[[], bool]) -> None:
    pause = page.get_by_role("button", name=f"Pause{name}", exact=True)
    resume = page.get_by_role("button", name=f"Resume{name}", exact=True)
    pause.click()
    expect(resume).to_be_visible()
    expect(pause).to_have_count(0)
    expect(resume).to_be_focused()
    assert is_paused()
    resume.click()
    expect(pause).to_be_visible()
    assert not is_paused()
    # A second click of the same gesture does not take the first one back.
    pause.dblclick()
    expect(resume).to_be_visible()
    assert is_paused()
    page.get_by_role("button", name="Undo").click()
    expect(pause).to_be_visible()
    assert not is_paused()


def test_a_canceled_job_offers_to_be_retried_by_the_button_that_says_so(
    taskyard: Running, yard: Yard, page: Page
) -> None:
    job_id = job_in(yard, "pending", "canceled-here")
    open_page(page, taskyard, f"/jobs/{job_id}")
    title = page.locator(".title--job")
    title.get_by_role("button", name="Cancel job", exact=True).click()
    expect(title.locator(".badge")).to_have_text("Canceled")
    assert status_of(yard, job_id) == "canceled"
    expect(title.get_by_role("button", name="Cancel job", exact=True)).to_have_count(0)
    title.get_by_role("button", name="Retry job", exact=True).click()
    expect(title.locator(".badge")).to_have_text("Pending")
    assert status_of(yard, job_id) == "pending"


def test_a_button_that_changes_while_it_is_pressed_does_nothing(taskyard: Running, yard: Yard, page: Page) -> None:
    job_id = job_in(yard, "pending", "canceled-elsewhere")
    open_page(page, taskyard, f"/jobs/{job_id}")
    title = page.locator(".title--job")
    cancel = title.get_by_role("button", name="Cancel job", exact=True)
    cancel.hover()
    page.mouse.down()
    jobs.cancel(yard, job_id, ADA)
    expect(title.locator(".badge")).to_have_text("Canceled")
    page.mouse.up()
    expect(title.get_by_role("button", name="Retry job", exact=True)).to_be_visible()
    assert status_of(yard, job_id) == "canceled"
    expect(page.locator("[data-toasts]")).not_to_contain_text("back on")


def focused_row(page: Page) -> str | None:
    found: str | None = page.evaluate("document.activeElement.closest('tr.row')?.id ?? null")
    return found


def test_rows_are_worked_with_keys_alone(taskyard: Running, yard: Yard, page: Page) -> None:
    first, second, third = [job_in(yard, "scheduled", "by-key") for _ in range(3)][::-1]
    open_page(page, taskyard, "/jobs?queue=by-key")
    keys = page.keyboard
    for key, row in (("j", first), ("j", second), ("j", third), ("j", third), ("k", second)):
        keys.press(key)
        assert focused_row(page) == f"row-{row}"

    # x selects the focused row, Escape clears the selection and leaves the focus where it is.
    keys.press("x")
    keys.press("j")
    keys.press("x")
    expect(page.locator("[data-selected]")).to_have_text("2 selected")
    keys.press("Escape")
    expect(page.locator("[data-selection]")).to_be_hidden()
    assert focused_row(page) == f"row-{third}"

    # c asks before it cancels the focused row; no is no.
    keys.press("c")
    dialog = page.get_by_role("alertdialog")
    expect(dialog).to_contain_text("Cancel 1 job?")
    keys.press("Escape")
    expect(dialog).to_be_hidden()
    assert status_of(yard, third) == "scheduled"
    keys.press("c")
    dialog.get_by_role("button", name="Cancel 1 job").press("Enter")
    expect(page.locator(f"#row-{third} .badge")).to_have_text("Canceled")
    assert [status_of(yard, one) for one in (first, second, third)] == ["scheduled", "scheduled", "canceled"]
    assert focused_row(page) == f"row-{third}"

    # r asks before it retries the focused row, and means the selected rows when there are some.
    keys.press("r")
    expect(dialog).to_contain_text("Retry 1 job?")
    dialog.get_by_role("button", name="Retry 1 job").press("Enter")
    wait_for_status(yard, third, "pending", "processing", "completed")
    keys.press("k")
    keys.press("x")
    keys.press("k")
    keys.press("x")
    keys.press("c")
    expect(dialog).to_contain_text("Cancel 2 jobs?")
    dialog.get_by_role("button", name="Go back").press("Enter")
    expect(page.locator("[data-selected]")).to_have_text("2 selected")
    keys.press("Escape")

    # Enter opens the focused row; c and z cancel and undo there.
    with page.expect_navigation():
        keys.press("Enter")
    assert page.url == f"{taskyard.address}/jobs/{first}"
    badge = page.locator(".title--job .badge")
    keys.press("c")
    dialog.get_by_role("button", name="Cancel job").press("Enter")
    expect(badge).to_have_text("Canceled")
    keys.press("z")
    expect(badge).to_have_text("Scheduled")
    assert status_of(yard, first) == "scheduled"


def let_go(page: Page, held: list[Route]) -> None:
    """Let a request go on that is held, or is about to be."""
    while not held:
        page.wait_for_timeout(10)
    held.pop().continue_()


def test_rows_that_are_selected_while_an_answer_is_awaited_stay_selected(
    taskyard: Running, yard: Yard, page: Page
) -> None:
    first, second, third = [job_in(yard, "scheduled", "awaited") for _ in range(3)]
    open_page(page, taskyard, "/jobs?queue=awaited")
    selection = page.get_by_role("region", name="Selection")
    held: list[Route] = []
    page.route("**/jobs/selection", lambda route: held.append(route))

    # The button of the selection: what was sent is unticked, not what was ticked since.
    tick(page, first)
    with page.expect_request("**/jobs/selection"):
        selection.get_by_role("button", name="Run now").click()
    tick(page, second)
    let_go(page, held)
    wait_for_status(yard, first, "pending", "processing", "completed")
    expect(page.locator("[data-selected]")).to_have_text("1 selected")
    expect(page.locator(f"#row-{second}").get_by_role("checkbox")).to_be_checked()
    page.keyboard.press("Escape")

    # The key of a focused row: no row was sent as selected.
    page.locator(f"#row-{third} a[href]").first.focus()
    with page.expect_request("**/jobs/selection"):
        page.keyboard.press("c")
    let_go(page, held)
    dialog = page.get_by_role("alertdialog")
    with page.expect_request("**/jobs/selection"):
        dialog.get_by_role("button", name="Cancel 1 job").click()
    tick(page, second)
    let_go(page, held)
    expect(page.locator(f"#row-{third} .badge")).to_have_text("Canceled")
    expect(page.locator("[data-selected]")).to_have_text("1 selected")


def test_a_selection_that_back_restores_does_not_hold_the_list(taskyard: Running, yard: Yard, page: Page) -> None:
    job_id = job_in(yard, "scheduled", "went-back")
    open_page(page, taskyard, "/jobs?queue=went-back")
    tick(page, job_id)
    page.locator(f"#row-{job_id} a.name").click()
    page.wait_for_url(f"**/jobs/{job_id}")
    page.go_back()
    expect(page.locator("[data-behavior=live]")).to_have_text("Live")
    expect(page.locator("[data-selection]")).to_be_hidden()
    expect(page.locator(f"#row-{job_id}").get_by_role("checkbox")).not_to_be_checked()
    jobs.cancel(yard, job_id, ADA)
    expect(page.locator(f"#row-{job_id} .badge")).to_have_text("Canceled")

    # Rows that are selected stay, and still show what they are.
    jobs.retry(yard, job_in(yard, "canceled", "went-back"), ADA)
    tick(page, job_id)
    jobs.delete(yard, job_id, ADA)
    expect(page.locator("[data-selected]")).to_have_text("1 selected")


def test_every_key_of_the_sheet_does_something_on_every_page(taskyard: Running, page: Page) -> None:
    open_page(page, taskyard, "/")
    for key, path in {
        "j": "/jobs",
        "q": "/queues",
        "c": "/schedules",
        "w": "/workers",
        "k": "/stuck",
        "a": "/alerts",
    }.items():
        page.keyboard.press("g")
        page.keyboard.press(key)
        page.wait_for_url(taskyard.address + path)
    page.keyboard.press("?")
    expect(page.locator("#keys")).to_be_visible()
    page.keyboard.press("Escape")
    page.keyboard.press("Control+k")
    expect(page.locator("#palette")).to_be_visible()
    page.keyboard.press("Escape")
    page.keyboard.press("t")
    theme = page.evaluate("document.documentElement.dataset.theme")
    page.keyboard.press("t")
    assert page.evaluate("document.documentElement.dataset.theme") != theme
    page.goto(taskyard.address + "/jobs")
    page.keyboard.press("/")
    expect(page.get_by_label("Add a filter")).to_be_focused()
    page.keyboard.press("Escape")
    expect(page.get_by_label("Add a filter")).not_to_be_focused()
    page.keyboard.press("p")
    expect(page.locator("[data-behavior=live]")).to_have_text("Paused")
    page.keyboard.press("p")
    expect(page.locator("[data-behavior=live]")).to_have_text("Live")


@pytest.mark.parametrize("width", [360, 1440])
def test_controls_are_there_and_large_enough_to_be_pressed(
    taskyard: Running, yard: Yard, page: Page, width: int, switches: object
) -> None:
    job_in(yard, "scheduled", "small")
    page.set_viewport_size({"width": width, "height": 800})
    open_page(page, taskyard, "/jobs?queue=small")
    page.get_by_role("checkbox", name="Select samples.noop").first.click()
    expect(page.get_by_role("region", name="Selection").get_by_role("button", name="Cancel")).to_be_in_viewport()
    expect(page.get_by_role("button", name="Switch theme: light, dark, high contrast")).to_be_visible()
    small = page.evaluate(SMALL)
    for path, names in CONTROLS.items():
        page.goto(taskyard.address + path)
        for name in names:
            expect(page.get_by_role("button", name=name).first).to_be_visible()
        small += page.evaluate(SMALL)
    assert small == []


CONTROLS = {
    "/queues": ["Pause traffic"],
    "/schedules": ["Pause Switched", "Run Switched now"],
    "/triggers": ["Pause Switched"],
    "/workers": ["Stop "],
    "/alerts": [],
    "/settings": [],
    "/stuck": [],
    "/tasks": [],
    "/more": ["Switch theme"],
}
# Buttons, fields and links that look like buttons whose place for a finger is less than 32 by 32 pixels.
SMALL = """() => [...document.querySelectorAll('button, a.btn, select, summary, input:not([type=hidden]), .tabs a, .nav a, .tabbar a')]
  .filter((one) => one.checkVisibility({visibilityProperty: true}) && !one.closest('.unseen, .seg, .choice, dialog:not([open])'))
  .map((one) => [one, (one.closest('label:has(> input[type=checkbox])') ?? one).getBoundingClientRect()])
  .filter(([, box]) => box.width > 1 && (box.width < 31.5 || box.height < 31.5))
  .map(([one, box]) => `${location.pathname} ${one.outerHTML.slice(0, 120)} ${box.width}x${box.height}`)"""
