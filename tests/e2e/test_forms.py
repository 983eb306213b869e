"""Typed forms in a browser, with jobs running all the time: what is typed is never lost, and what is saved is what was shown."""

from __future__ import annotations

import json
import shutil
import sqlite3
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from playwright.sync_api import Browser, Page, expect
from playwright.sync_api import Error as PlaywrightError

from tests.e2e.conftest import PASSWORD, sign_in
from tests.integration.running import Running
from tests.support import eventually
from workers.domain.masking import MASK

SLOW = 60_000
RUN = "/tasks/forms.ship/run"


@pytest.fixture(scope="module")
def taskyard() -> Iterator[Running]:
    folder = Path(tempfile.mkdtemp(prefix="ty-e2e-"))
    running = Running(folder / "data", WORKERS="1", TASK_MODULES="tests.form_tasks").start().ready()
    yield running
    running.stop()
    shutil.rmtree(folder, ignore_errors=True)


def at(page: Page, path: str) -> Any:
    return page.locator(f'[id="payload.{path}"]')


def rows(taskyard: Running, statement: str) -> list[Any]:
    with sqlite3.connect(taskyard.data_dir / "taskyard.db") as connection:
        return connection.execute(statement).fetchall()


def ship_jobs(taskyard: Running) -> list[dict[str, Any]]:
    return [
        json.loads(row[0]) for row in rows(taskyard, "SELECT payload FROM jobs WHERE task = 'forms.ship' ORDER BY id")
    ]


def fill_required(page: Page) -> None:
    at(page, "address.street").fill("Ring 1")
    at(page, "address.zip").fill("10115")


def run(page: Page) -> None:
    page.get_by_role("button", name="Run forms.ship").click()


def test_a_schedule_with_typed_fields_makes_traffic(taskyard: Running, signed_in: Page) -> None:
    page = signed_in
    page.goto(taskyard.address + "/schedules/new")
    page.locator("#task").select_option("samples.sleep")
    expect(at(page, "seconds")).to_be_visible()
    at(page, "seconds").fill("a while")
    page.get_by_text("Every …").click()
    page.locator("#every").fill("often")
    page.locator("#every_unit").select_option("seconds")
    page.locator("#jitter_seconds").fill("x")
    page.get_by_role("button", name="Save schedule").click()
    for name in ("name-e", "every-e", "jitter_seconds-e", "payload.seconds-e"):
        expect(page.locator(f'[id="{name}"]')).to_be_visible()
    expect(at(page, "seconds")).to_have_value("a while")
    expect(page.locator("[data-problems]")).to_be_focused()
    expect(page.locator("#every")).to_be_visible()
    page.locator("#name").fill("Traffic")
    page.locator("#every").fill("1")
    page.locator("#jitter_seconds").fill("0")
    at(page, "seconds").fill("0.1")
    page.get_by_role("button", name="Save schedule").click()
    page.wait_for_url("**/schedules/*-*")
    assert json.loads(rows(taskyard, "SELECT payload FROM schedules WHERE name = 'Traffic'")[0][0])["seconds"] == 0.1


def test_items_come_and_go_errors_come_at_once_and_both_views_hold_the_same(taskyard: Running, signed_in: Page) -> None:
    page = signed_in
    page.goto(taskyard.address + RUN)
    add = page.get_by_role("button", name="Add item to lines")
    add.click()
    expect(at(page, "lines.0.sku")).to_be_focused()
    at(page, "lines.0.sku").fill("first")
    add.click()
    at(page, "lines.1.sku").fill("second")
    at(page, "lines.1.quantity").fill("two")
    at(page, "weight").fill("heavy")
    at(page, "access").fill("hunter2")
    at(page, "ship_at").fill("2027-07-01T12:00")
    run(page)
    expect(page.locator('[id="payload.address.street-e"]')).to_contain_text("Is required")
    expect(page.locator('[id="payload.address.zip-e"]')).to_contain_text("Is required")
    expect(page.locator('[id="payload.lines.1.quantity-e"]')).to_contain_text("Must be a whole number")
    expect(page.locator('[id="payload.weight-e"]')).to_contain_text("Must be a number")
    expect(at(page, "lines.1.quantity")).to_have_value("two")
    expect(at(page, "access")).to_have_value("hunter2")
    assert ship_jobs(taskyard) == []
    page.get_by_role("button", name="Remove item 1 of lines").click()
    expect(at(page, "lines.0.sku")).to_have_value("second")
    page.get_by_role("button", name="JSON", exact=True).click()
    shown = json.loads(page.locator("textarea#payload").input_value(timeout=SLOW))
    assert (shown["lines"], shown["weight"]) == ([{"sku": "second", "quantity": "two", "tags": []}], "heavy")
    page.locator("textarea#payload").fill("{broken")
    page.get_by_role("button", name="Fields", exact=True).click()
    expect(page.locator("#payload-e")).to_contain_text("not valid JSON")
    expect(page.locator("textarea#payload")).to_have_value("{broken")
    page.locator("textarea#payload").fill(json.dumps({**shown, "weight": 2.5}))
    page.get_by_role("button", name="Fields", exact=True).click()
    expect(at(page, "weight")).to_have_value("2.5")
    expect(at(page, "ship_at")).to_have_value("2027-07-01T12:00")
    expect(at(page, "access")).to_have_value("hunter2")
    fill_required(page)
    at(page, "lines.0.quantity").fill("2")
    at(page, "note").fill("fail")
    at(page, "note").press("Tab")
    at(page, "lines.0.quantity").press("Enter")
    page.wait_for_url("**/jobs/*")
    (payload,) = ship_jobs(taskyard)
    assert payload["lines"] == [{"sku": "second", "quantity": 2, "tags": []}]
    assert (payload["access"], payload["weight"]) == ("hunter2", 2.5)


def test_an_edit_shows_old_and_new_and_keeps_masked_secrets(taskyard: Running, signed_in: Page) -> None:
    page = signed_in
    ((job_id,),) = rows(taskyard, "SELECT id FROM jobs WHERE task = 'forms.ship'")
    page.goto(f"{taskyard.address}/jobs/{job_id}")
    expect(page.get_by_text("The note is fail.").first).to_be_visible()
    page.goto(f"{taskyard.address}/jobs/{job_id}/edit")
    expect(at(page, "access")).to_have_value(MASK)
    assert "hunter2" not in page.content()
    changes = page.locator("[data-comparison]")
    expect(changes).to_contain_text("No changes.")
    at(page, "note").fill("fine")
    expect(changes.locator("del")).to_have_text("fail")
    expect(changes.locator("ins")).to_have_text("fine")
    at(page, "access").fill("hunter3")
    expect(changes).to_contain_text("(changed)")
    assert "hunter3" not in changes.inner_text()
    at(page, "access").fill(MASK)
    expect(changes).not_to_contain_text("(changed)")
    page.get_by_role("button", name="Retry job").click()
    page.wait_for_url(f"**/jobs/{job_id}")
    (payload,) = ship_jobs(taskyard)
    assert (payload["note"], payload["access"]) == ("fine", "hunter2")
    page.goto(taskyard.address + RUN)
    page.get_by_role("link", name="Use last values").click()
    expect(at(page, "lines.0.sku")).to_have_value("second")
    expect(at(page, "access")).to_have_value("")


def test_an_expired_session_a_lost_network_and_a_killed_server_lose_nothing(taskyard: Running, signed_in: Page) -> None:
    page = signed_in
    count = len(ship_jobs(taskyard))
    page.goto(taskyard.address + RUN)
    fill_required(page)
    at(page, "note").fill("typed before")
    page.context.set_offline(True)
    run(page)
    expect(page.locator("[data-problems]")).to_contain_text("did not answer")
    page.context.set_offline(False)
    page.context.clear_cookies()
    run(page)
    expect(page.locator("[data-problems]")).to_contain_text("session has expired")
    with page.context.expect_page() as opened:
        page.get_by_role("link", name="Sign in in a new tab").click()
    other = opened.value
    other.get_by_label("Name").fill("admin")
    other.get_by_label("Password").fill(PASSWORD)
    other.get_by_role("button", name="Sign in").click()
    other.wait_for_url(taskyard.address + "/")
    other.close()
    expect(at(page, "note")).to_have_value("typed before")
    assert len(ship_jobs(taskyard)) == count
    kill_web(taskyard)
    eventually(lambda: answers(page, taskyard), within=60)
    expect(at(page, "note")).to_have_value("typed before")
    page.get_by_role("button", name="Run forms.ship").dblclick()
    page.wait_for_url("**/jobs/*")
    assert len(ship_jobs(taskyard)) == count + 1
    assert ship_jobs(taskyard)[-1]["note"] == "typed before"


def kill_web(taskyard: Running) -> None:
    assert taskyard.process is not None
    children = psutil.Process(taskyard.process.pid).children(recursive=True)
    (web,) = [child for child in children if "web" in child.cmdline()]
    web.kill()
    web.wait(30)


def answers(page: Page, taskyard: Running) -> None:
    try:
        assert page.request.get(taskyard.address + "/healthz").ok
    except PlaywrightError as error:
        raise AssertionError("It does not answer yet.") from error


def test_settings_keep_what_was_typed_beside_the_error(taskyard: Running, signed_in: Page) -> None:
    page = signed_in
    page.goto(taskyard.address + "/settings")
    form = page.locator("#token-form")
    form.locator("[name=name]").fill("robot")
    form.locator("[name=days]").fill("soon")
    page.locator("#user-form [name=name]").fill("nora")
    form.get_by_role("button").click()
    expect(form.locator(".error")).to_contain_text("must be a whole number")
    expect(form.locator("[name=name]")).to_have_value("robot")
    expect(form.locator("[name=days]")).to_have_value("soon")
    expect(page.locator("#user-form [name=name]")).to_have_value("nora")
    form.locator("[name=days]").fill("3")
    form.get_by_role("button").click()
    expect(page.locator(".once")).to_contain_text("robot")
    assert rows(taskyard, "SELECT count(*) FROM api_tokens WHERE name = 'robot'") == [(1,)]


def test_without_javascript_the_server_adds_removes_switches_and_compares(taskyard: Running, browser: Browser) -> None:
    context = browser.new_context(java_script_enabled=False, viewport={"width": 360, "height": 800})
    page = sign_in(taskyard, context.new_page())
    page.goto(taskyard.address + RUN)
    page.get_by_role("button", name="Add item to lines").click()
    at(page, "lines.0.sku").fill("first")
    at(page, "lines.0.quantity").fill("two")
    page.get_by_role("button", name="Add item to tags of item 1").or_(
        page.get_by_role("button", name="Add item to tags")
    ).click()
    at(page, "lines.0.tags.0").fill("red")
    page.get_by_role("button", name="JSON", exact=True).click()
    assert json.loads(page.locator("textarea#payload").input_value())["lines"] == [
        {"sku": "first", "quantity": "two", "tags": ["red"]}
    ]
    page.get_by_role("button", name="Fields", exact=True).click()
    run(page)
    expect(page.locator('[id="payload.lines.0.quantity-e"]')).to_contain_text("Must be a whole number")
    expect(at(page, "lines.0.tags.0")).to_have_value("red")
    at(page, "lines.0.quantity").fill("2")
    fill_required(page)
    run(page)
    page.wait_for_url("**/jobs/*")
    assert ship_jobs(taskyard)[-1]["lines"] == [{"sku": "first", "quantity": 2, "tags": ["red"]}]
    page.goto(taskyard.address + "/tasks/forms.hostile/run")
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    page.get_by_role("button", name="Add tree").click()
    expect(page.locator('[id="payload.tree.children"]')).to_be_visible()
    context.close()
