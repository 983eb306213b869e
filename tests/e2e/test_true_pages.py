"""What pages say and draw is so: charts, problems, statements and times, with the mouse and with jobs running."""

from __future__ import annotations

import random
import re
from datetime import datetime
from typing import Any, cast
from zoneinfo import ZoneInfo

import pytest
from playwright.sync_api import Browser, Locator, Page, expect
from sqlalchemy import Table, insert

from tests.e2e.conftest import sign_in, traffic_on
from tests.integration.running import Running
from tests.support import eventually
from workers.domain.actors import Actor
from workers.domain.clock import utcnow
from workers.services import alerting, jobs, rules
from workers.services import queues as queue_service
from workers.services.enqueueing import NewJob
from workers.services.facts import Found
from workers.services.statistics import minute_of
from workers.store import alerts, queues
from workers.store.models import JobMinute
from workers.store.monitor_models import JobHistogram
from workers.yard import Yard

pytestmark = pytest.mark.timeout(240)
MINUTES, HISTOGRAMS = cast(Table, JobMinute.__table__), cast(Table, JobHistogram.__table__)

# The stretches of columns of a canvas in which anything of a hue is painted, each with its upper and lower edge as
# shares of the height. Axis labels and grid lines are grey.
STRETCHES = """host => {
  const canvas = host.querySelector("canvas"), {width, height} = canvas;
  const data = canvas.getContext("2d").getImageData(0, 0, width, height).data;
  const found = [];
  let open = null;
  for (let x = 0; x < width; x++) {
    let top = null, low = null;
    for (let y = 0; y < height; y++) {
      const at = 4 * (y * width + x), rgb = [data[at], data[at + 1], data[at + 2]];
      if (data[at + 3] < 120 || Math.max(...rgb) - Math.min(...rgb) < 40) continue;
      top ??= y; low = y;
    }
    if (top === null) { open = null; continue; }
    if (!open) { open = {top: 1, low: 0}; found.push(open); }
    open.top = Math.min(open.top, top / height); open.low = Math.max(open.low, low / height);
  }
  return found;
}"""


def chart(page: Page, name: str) -> Locator:
    return page.locator("section", has=page.locator(f"#h-{name}")).locator("[data-chart]")


def ended(minute: int, completed: int, failed: int) -> dict[str, Any]:
    numbers = {"completed": completed, "failed": failed, "retried": 0, "canceled": 0, "run_ms": 0, "wait_ms": 0}
    return {"minute": minute, "queue": "charts", "task": "charts.drawn", "slot": 0, **numbers}


def test_every_value_of_a_chart_is_drawn_and_a_new_one_rescales_it(
    taskyard: Running, signed_in: Page, yard: Yard
) -> None:
    now = minute_of(utcnow())
    alone = [now - 50, now - 40, now - 30]
    with yard.database.write() as connection:
        connection.execute(insert(MINUTES), [ended(minute, 99_000, 1) for minute in alone])
        wide = [(now // 5 * 5 - 5 * back, bucket) for back, bucket in ((2, 30), (5, 12), (9, 41))]
        rows = [{"minute": minute, "bucket": bucket, "kind": "run", "n": 3} for minute, bucket in wide]
        connection.execute(
            insert(HISTOGRAMS), [{"queue": "charts", "task": "charts.drawn", "slot": 0, **row} for row in rows]
        )
    signed_in.goto(taskyard.address + "/health?period=1h&task=charts.drawn")
    throughput = chart(signed_in, "throughput")
    # One failure beside 99,000 completed jobs is seen: each bar begins above the line and ends below it.
    eventually(lambda: expect_stretches(throughput, 3), within=20)
    assert all(one["low"] > low_of_line(throughput) for one in throughput.evaluate(STRETCHES))
    # Points of which a line has no neighbour to go to.
    eventually(lambda: expect_stretches(chart(signed_in, "success"), 3), within=20)
    eventually(lambda: expect_stretches(chart(signed_in, "run"), 3), within=20)
    # Nobody reloads: the newest bucket, which is not over, gets a value far above all others and is drawn to its end.
    with yard.database.write() as connection:
        connection.execute(insert(MINUTES), [ended(minute_of(utcnow()), 4_000_000, 0)])
    taskyard.enqueue("samples.noop")

    def rescaled() -> None:
        newest = throughput.evaluate(STRETCHES)[-1]
        assert 0.02 < newest["top"] < 0.25
        assert throughput.evaluate(STRETCHES)[0]["top"] > 0.5

    eventually(rescaled, within=60, every=0.5)


def expect_stretches(host: Locator, count: int) -> None:
    assert len(host.evaluate(STRETCHES)) == count


def low_of_line(host: Locator) -> float:
    """Return the lowest upper edge among the bars' own parts: where the bars of completed jobs stand."""
    return max(float(one["top"]) for one in host.evaluate(STRETCHES))


def test_axes_hold_every_value_and_repeat_no_label(taskyard: Running, signed_in: Page) -> None:
    rng = random.Random(7)
    cases = []
    for unit in ("n", "s", "ms", "MB", "%"):
        for _ in range(120):
            values = [rng.choice((0, 1)) * 10 ** rng.uniform(-4, 7) for _ in range(rng.randint(1, 4))]
            values = [round(value) if unit == "n" else value for value in values]
            cases.append({"unit": unit, "values": values, "most": rng.randint(2, 9)})
    found = signed_in.evaluate(
        """async (cases) => {
          const {linearRange, linearTicks, logRange, logTicks, labels} = await import("/static/js/chart_scales.js");
          return cases.map(({unit, values, most}) => {
            const range = linearRange(values, {unit}), log = logRange(values);
            const said = labels(linearTicks(...range, most, unit), unit), logs = labels(logTicks(...log, most), "s");
            return {range, said, log, logs};
          });
        }""",
        cases,
    )
    for case, drawn in zip(cases, found, strict=True):
        values = cast(list[float], case["values"])
        assert drawn["range"][0] <= min(values) <= max(values) <= drawn["range"][1], case
        positive = [value for value in values if value > 0]
        assert all(drawn["log"][0] < value < drawn["log"][1] for value in positive), case
        for said in (drawn["said"], drawn["logs"]):
            assert len(said) > 1, (case, drawn)
            assert len(set(said)) == len(said), (case, drawn)


def test_charts_are_tables_without_javascript(taskyard: Running, signed_in: Page, browser: Browser) -> None:
    context = browser.new_context(java_script_enabled=False, storage_state=signed_in.context.storage_state())
    page = context.new_page()
    page.goto(taskyard.address + "/health?period=1h")
    expect(page.locator("#h-throughput")).to_be_visible()
    assert page.locator("[data-chart]:visible").count() == 0
    tables = page.locator("figure.plot table.data")
    assert tables.count() > 0
    for table in tables.all():
        expect(table).to_be_visible()
    context.close()


def raise_alerts(yard: Yard, severities: list[str]) -> None:
    """Raise an alert of each severity, of rules that no sweep judges."""
    with yard.database.write() as connection:
        base = rules.get(connection, "rule-probe")
        for n, severity in enumerate(severities):
            rule = {**base, "id": f"deleted-{n}", "severity": severity}
            found = Found(f"cause-{n}", 1, f"Problem {n} {severity}", "for the test", "/queues/default")
            alerting.observe(connection, yard, {rule["id"]: (rule, [found])}, utcnow())


def test_problems_are_acknowledged_where_they_are_named(taskyard: Running, signed_in: Page, yard: Yard) -> None:
    page = signed_in
    errors: list[str] = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    raise_alerts(yard, ["info", "warning", "critical", "info", "warning", "critical", "info", "warning", "critical"])
    with traffic_on(yard):
        page.goto(taskyard.address + "/")
        heading = page.locator(".health h1")
        expect(heading).to_contain_text("problems need attention")
        shown = page.locator("[data-region=health] li.alert:visible")
        expect(shown.first).to_contain_text("Problem 2 critical")
        expect(shown).to_have_count(6)
        page.locator("#more-problems summary").click()
        expect(page.locator("li.alert", has_text="Problem 6 info")).to_be_visible()
        first = page.locator("li.alert", has_text="Problem 2 critical")
        alert_id = str(first.get_attribute("id")).removeprefix("need-")
        first.get_by_role("button", name="Acknowledge").click()
        # The row goes, another one comes up, and what somebody has opened stays open.
        expect(first).to_have_count(0)
        expect(page.locator("[data-region=health] .mid").first).to_contain_text("1 acknowledged alert")
        expect(page.locator("li.alert", has_text="Problem 6 info")).to_be_visible()
        expect(shown.first).to_contain_text("Problem 5 critical")
    with yard.database.read() as connection:
        row = alerting.get(connection, alert_id)
        assert (row["status"], row["acknowledged_by"]) == ("acknowledged", "admin")
    shown.first.get_by_role("link", name="Problem 5 critical").click()
    page.wait_for_url(taskyard.address + "/queues/default")
    with yard.database.write() as connection:
        for row in alerts.open_alerts(connection):
            alerts.change(connection, row["id"], alerting.OPEN, {"status": "resolved", "resolved_at": utcnow()})
    assert errors == []


def test_times_follow_the_choice_of_the_viewer(taskyard: Running, browser: Browser, yard: Yard) -> None:
    context = browser.new_context(timezone_id="Asia/Tokyo")
    page = sign_in(taskyard, context.new_page())
    job_id = jobs.enqueue(yard, NewJob("samples.noop")).job_id
    with traffic_on(yard):
        page.goto(f"{taskyard.address}/jobs/{job_id}")
        created = page.locator("dl.facts time").first
        expect(created).to_have_attribute("title", re.compile(r"\+09:00 Asia/Tokyo$"))
        switch = page.locator(".zonebar")
        expect(switch).to_contain_text("Times in Asia/Tokyo (UTC+09:00)")
        switch.get_by_role("button", name="UTC", exact=True).click()
        expect(switch).to_contain_text("Times in UTC")
        assert page.url == f"{taskyard.address}/jobs/{job_id}"
        expect(switch.get_by_role("button", name="UTC", exact=True)).to_have_attribute("aria-pressed", "true")
        expect(created).to_have_attribute("title", re.compile(r" UTC$"))
        # What arrives live is in the same zone as the page.
        expect(page.locator(".title .badge", has_text="Completed")).to_be_visible()
        expect(page.locator(".timeline time").last).to_have_attribute("title", re.compile(r" UTC$"))
        page.goto(taskyard.address + "/health?period=1h")
        expect(page.locator("html")).to_have_attribute("data-zone", "UTC")
        page.locator(".zonebar").get_by_role("button", name="My time zone").click()
        expect(page.locator("html")).to_have_attribute("data-zone", "Asia/Tokyo")
        at = page.locator("#h-throughput").locator("xpath=ancestor::section").locator("tbody time").last
        shown = at.evaluate("node => [node.dateTime, node.textContent]")
        moment = datetime.fromisoformat(shown[0]).astimezone(ZoneInfo("Asia/Tokyo"))
        assert shown[1] == f"{moment:%H:%M}"
    page.goto(taskyard.address + "/schedules/new")
    page.locator("#timezone").fill("America/New_York")
    expect(page.locator("label[for=starts_at]")).to_contain_text("in America/New_York")
    context.close()


def test_an_answer_that_is_lost_is_not_called_undone(taskyard: Running, signed_in: Page, yard: Yard) -> None:
    signed_in.goto(taskyard.address + "/queues/emails")
    signed_in.context.set_offline(True)
    signed_in.get_by_role("button", name="Pause queue", exact=True).click()
    expect(signed_in.locator("body")).to_contain_text("may or may not have been done")
    signed_in.context.set_offline(False)
    assert not is_paused(yard, "emails")
    signed_in.get_by_role("button", name="Pause queue", exact=True).click()

    def paused() -> None:
        assert is_paused(yard, "emails")

    eventually(paused, within=60)


def is_paused(yard: Yard, name: str) -> bool:
    with yard.database.read() as connection:
        return any(row["name"] == name and row["paused_at"] for row in queues.all_queues(connection))


def test_waiting_times_tick_and_a_pool_is_resized(taskyard: Running, signed_in: Page, yard: Yard) -> None:
    queue_service.pause(yard, "reports", Actor("user", "admin", "admin"))
    jobs.enqueue(yard, NewJob("samples.noop", queue="reports"))
    signed_in.goto(taskyard.address + "/queues/reports")
    age = signed_in.locator(".numbers time[data-behavior=elapsed]")
    first = age.text_content()
    expect(age).not_to_have_text(str(first))
    signed_in.goto(taskyard.address + "/workers")
    pool = signed_in.get_by_role("group", name="Workers in each pool")
    expect(pool).to_contain_text("2")
    pool.get_by_role("button", name="Add one worker").click()
    expect(signed_in.locator("body")).to_contain_text("Pool size set to 3 workers.")
    expect(pool).to_contain_text("3")
    expect(signed_in.locator(".title")).to_contain_text("of 6 workers")
