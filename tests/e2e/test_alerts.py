"""An alert from its message to its acknowledgement, its rule and the limit in the chart, with the mouse."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import Page, expect

from tests.e2e.conftest import PASSWORD
from tests.integration.running import Running
from tests.support import eventually
from workers.domain.clock import utcnow
from workers.services import alerting, rules
from workers.services.alert_messages import acknowledge_path
from workers.services.facts import Found
from workers.store import alerts
from workers.yard import Yard

pytestmark = pytest.mark.timeout(180)

# How many rows of pixels of a chart are broken lines; its labels of time are some too.
DASHED_ROWS = """host => {
  const canvas = host.querySelector("canvas"), pen = canvas.getContext("2d");
  const left = Math.round(canvas.width * .3), width = Math.round(canvas.width * .6);
  const rows = [];
  for (let y = 0; y < canvas.height; y++) {
    const data = pen.getImageData(left, y, width, 1).data;
    let changes = 0;
    for (let x = 1; x < width; x++) if ((data[4 * x + 3] > 60) !== (data[4 * x - 1] > 60)) changes++;
    if (changes > width / 10) rows.push(y);
  }
  return rows.length;
}"""


def raise_alert(yard: Yard) -> str:
    """Raise an alert of a rule that is deleted, which no sweep resolves meanwhile."""
    found = Found("emails", 1500, "1,500 jobs waiting on emails", "2 workers listening", "/queues/emails")
    with yard.database.write() as connection:
        rule = {**rules.get(connection, "rule-queue_depth"), "id": "deleted"}
        alerting.observe(connection, yard, {rule["id"]: (rule, [found])}, utcnow())
        (row,) = alerts.open_alerts_of(connection, rule["id"])
    return str(row["id"])


def test_the_link_of_a_message_leads_to_the_button_that_acknowledges(taskyard: Running, page: Page, yard: Yard) -> None:
    alert_id = raise_alert(yard)
    page.goto(taskyard.address + acknowledge_path(alert_id))
    page.get_by_label("Name").fill("admin")
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Sign in").click()
    expect(page.get_by_role("heading", name="1,500 jobs waiting on emails")).to_be_visible()
    section = page.locator("#acknowledge")
    section.get_by_label("Note").fill("adding workers")
    section.get_by_role("button", name="Acknowledge").click()
    expect(page.locator("body")).to_contain_text("adding workers")

    def acknowledged() -> None:
        with yard.database.read() as connection:
            assert alerting.get(connection, alert_id)["status"] != "firing"

    eventually(acknowledged, within=10)


def test_a_rule_is_given_another_limit_and_repetition_and_the_chart_draws_it(
    taskyard: Running, signed_in: Page, yard: Yard
) -> None:
    signed_in.goto(taskyard.address + "/alerts")
    signed_in.get_by_role("link", name="Memory", exact=True).click()
    signed_in.get_by_label(re.compile("Threshold")).fill("150")
    signed_in.get_by_role("button", name="Save rule").click()
    expect(signed_in.get_by_role("alert")).to_contain_text("never above 100 %")
    signed_in.get_by_label(re.compile("Threshold")).fill("73")
    signed_in.get_by_label(re.compile("Repeat every")).fill("7200")
    signed_in.get_by_role("button", name="Save rule").click()
    expect(signed_in.get_by_role("row").filter(has_text="Memory")).to_contain_text("repeated every 2 h")

    def measured() -> None:
        signed_in.goto(taskyard.address + "/health?period=1h")
        assert signed_in.locator("#h-memory_percent").count() == 1

    eventually(measured, within=60, every=1)
    panel = signed_in.locator("section", has=signed_in.locator("#h-memory_percent"))
    expect(panel).to_contain_text("limit 73 %")
    host = panel.locator("[data-chart]")
    expect(host).to_have_attribute("data-limits", "73")
    expect(host.locator("canvas")).to_be_visible()
    lines = host.evaluate(DASHED_ROWS)
    host.evaluate("host => { delete host.dataset.limits; document.documentElement.dataset.contrast = 'redrawn'; }")

    def redrawn_without_limit() -> None:
        assert host.evaluate(DASHED_ROWS) < lines

    eventually(redrawn_without_limit, within=10)
