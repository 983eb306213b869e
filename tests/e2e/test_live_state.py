"""What a page says of its own freshness, what it weighs, and which version of the scripts it runs, in a real browser."""

from __future__ import annotations

import contextlib
import shutil
import signal
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import urlsplit

import psutil
import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect

from tests.e2e.conftest import sign_in, traffic_on
from tests.integration.running import ROOT, Running
from tests.support import eventually
from workers.domain.clock import utcnow
from workers.domain.states import Status
from workers.services import alerting, rules, statistics
from workers.services.facts import Found
from workers.settings import Settings
from workers.yard import Yard

pytestmark = pytest.mark.timeout(300)
WITHIN_MS = 60_000
PARTS = ("dashboard", "workers", "templates", "static")


@pytest.fixture(scope="module")
def taskyard() -> Iterator[Running]:
    """Run a copy of the code, which a test may change as an upgrade does."""
    folder = Path(tempfile.mkdtemp(prefix="ty-e2e-"))
    for part in PARTS:
        shutil.copytree(ROOT / part, folder / "code" / part, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "app.py", folder / "code" / "app.py")
    running = Running(folder / "data", WORKERS="2")
    running.root = folder / "code"
    running.start().ready()
    yield running
    running.stop()
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def yard(taskyard: Running) -> Iterator[Yard]:
    """Open the Taskyard as it is now: some of these tests start it again."""
    opened = Yard.open(Settings.from_env(taskyard.environment))
    yield opened
    opened.close()


@pytest.fixture
def traffic(yard: Yard) -> Iterator[None]:
    with traffic_on(yard):
        yield


def check(value: bool) -> None:
    assert value


def completed(yard: Yard) -> int:
    with yard.database.read() as connection:
        return statistics.status_counts(connection)[Status.COMPLETED]


def expect_pill(page: Page, text: str) -> None:
    expect(page.locator("[data-behavior=live]")).to_contain_text(text)


SECONDS_BEHIND = """() => {
  const text = document.querySelector("[data-behavior=live]").innerText;
  const [, minutes, seconds] = text.match(/Delayed (?:([0-9]+) min)? ?(?:([0-9]+) s)?/);
  return 60 * (minutes ?? 0) + Number(seconds ?? 0);
}"""


def seconds_behind(page: Page) -> int:
    return int(page.evaluate(SECONDS_BEHIND))


def count(page: Page, state: str) -> int:
    return int(page.locator(f".side [data-counts={state}]").inner_text().replace(",", ""))


def expect_more(page: Page, state: str, before: int) -> None:
    """Wait until the count beside a state has grown."""
    script = "([s, n]) => Number(document.querySelector(`.side [data-counts=${s}]`).textContent.replace(',', '')) > n"
    page.wait_for_function(script, arg=[state, before])


def test_pausing_is_remembered_on_every_page_and_in_every_tab(
    taskyard: Running, page: Page, context: BrowserContext, yard: Yard, traffic: None
) -> None:
    page.set_default_timeout(WITHIN_MS)
    sign_in(taskyard, page)
    expect_pill(page, "Live")
    button = page.locator("[data-behavior=live]")
    other = context.new_page()
    other.goto(f"{taskyard.address}/settings")
    expect_pill(other, "Live")

    button.click()
    expect_pill(page, "Paused")
    expect(button).to_have_attribute("aria-pressed", "true")
    expect_pill(other, "Paused")
    page.goto(f"{taskyard.address}/queues")
    expect_pill(page, "Paused")
    page.reload()
    expect_pill(page, "Paused")
    before = count(page, "completed")
    eventually(lambda: check(completed(yard) > before + 40), within=60)
    assert count(page, "completed") == before

    page.locator("[data-behavior=live]").click()
    expect_pill(page, "Live")
    expect_pill(other, "Live")
    expect(page.locator("[data-behavior=live]")).to_have_attribute("aria-pressed", "false")
    expect_more(page, "completed", before)


def test_counts_badges_and_title_are_live_on_every_page(
    taskyard: Running, page: Page, yard: Yard, traffic: None
) -> None:
    page.set_default_timeout(WITHIN_MS)
    sign_in(taskyard, page)
    for path in ("/settings", "/health", "/tasks", "/workers", "/triggers", "/stuck", "/more", "/alerts"):
        page.goto(taskyard.address + path)
        expect_more(page, "completed", count(page, "completed"))
    assert not page.title().startswith("(")
    raise_alert(yard)
    expect(page).to_have_title("(1) Alerts · Taskyard")
    expect(page.locator(".side [data-counts=alerts]")).to_have_text("1")
    expect(page.locator(".top .bell b")).to_have_text("1")
    expect(page.locator(".top .bell")).to_have_attribute("aria-label", "1 alert is firing")
    page.reload()
    expect(page).to_have_title("(1) Alerts · Taskyard")


def raise_alert(yard: Yard) -> None:
    """Raise an alert of a rule that is deleted, which no sweep resolves meanwhile."""
    found = Found("emails", 1500, "1,500 jobs waiting on emails", "2 workers listening", "/queues/emails")
    with yard.database.write() as connection:
        rule = {**rules.get(connection, "rule-queue_depth"), "id": "deleted"}
        alerting.observe(connection, yard, {rule["id"]: (rule, [found])}, utcnow())


def test_the_pill_follows_scheduler_redis_and_web_process(taskyard: Running, page: Page, yard: Yard) -> None:
    page.set_default_timeout(WITHIN_MS)
    sign_in(taskyard, page)
    page.goto(f"{taskyard.address}/settings")
    expect_pill(page, "Live")
    for part in ("scheduler", "valkey-server"):
        process = scheduler(taskyard) if part == "scheduler" else taskyard.part(part)
        with stopped(process):
            expect_pill(page, "Delayed")
            age = seconds_behind(page)
            assert age >= 6
            page.wait_for_function(f"() => ({SECONDS_BEHIND})() > {age}")
            assert "heartbeat is" in str(page.locator("[data-behavior=live]").get_attribute("title"))
            if part == "scheduler":
                # A page that is opened now knows at once.
                page.reload()
                expect_pill(page, "Delayed")
        expect_pill(page, "Live")
    web = taskyard.part("web")
    web.kill()
    expect_pill(page, "Offline")
    expect_pill(page, "Live")  # the supervisor has started another one


def scheduler(taskyard: Running) -> psutil.Process:
    """Find the scheduler: the child of the pool that has no children."""
    return next(one for one in taskyard.part("pool").children() if not one.children())


@contextlib.contextmanager
def stopped(process: psutil.Process) -> Iterator[None]:
    """Have a process stand still."""
    process.send_signal(signal.SIGSTOP)
    try:
        yield
    finally:
        process.send_signal(signal.SIGCONT)


def test_an_open_page_of_any_age_gets_one_version_of_all_scripts_after_an_upgrade(
    taskyard: Running, page: Page
) -> None:
    page.set_default_timeout(WITHIN_MS)
    asked: list[str] = []
    page.on("request", lambda request: asked.append(urlsplit(request.url).path))
    sign_in(taskyard, page)
    expect_pill(page, "Live")
    before = page.locator("script[src*='/js/main.']").get_attribute("src")
    # A reload takes nothing from the server but the page.
    asked.clear()
    page.reload()
    expect_pill(page, "Live")
    assert script_versions(page) == [before]

    # An upgrade changes one module below the entry; no other file is touched.
    module = taskyard.root / "static" / "js" / "theme.js"
    module.write_text(module.read_text() + '\ndocument.documentElement.dataset.upgraded = "yes";\n')
    page.reload()
    assert page.locator("html[data-upgraded]").count() == 0  # the running process goes on with what it started with
    assert script_versions(page) == [before]
    taskyard.stop()
    taskyard.start().ready()
    page.reload()
    expect(page.locator("html")).to_have_attribute("data-upgraded", "yes")
    after = page.locator("script[src*='/js/main.']").get_attribute("src")
    assert after != before
    assert script_versions(page) == [after]


def script_versions(page: Page) -> list[str]:
    """List the bundles that the page has run."""
    script = "performance.getEntriesByType('resource').map(r => new URL(r.name).pathname)"
    return [path for path in page.evaluate(script) if path.startswith("/static/js/main.")]


def test_the_first_load_is_light_and_later_pages_are_lighter(
    taskyard: Running, browser: Browser, traffic: None
) -> None:
    context = browser.new_context()
    page = context.new_page()
    page.set_default_timeout(WITHIN_MS)
    sign_in(taskyard, page)
    cookies = context.storage_state()
    context.close()
    context = browser.new_context(storage_state=cookies)  # signed in, with an empty cache
    page = context.new_page()
    page.set_default_timeout(WITHIN_MS)
    count_bytes = measure(page)
    page.goto(taskyard.address + "/")
    expect_pill(page, "Live")
    page.wait_for_function(
        "() => performance.getEntriesByType('resource').some(one => one.name.includes('/js/charts.'))"
    )
    first, requests = count_bytes()
    assert first <= 150_000
    assert requests <= 12
    for path in ("/jobs", "/queues", "/schedules", "/workers", "/tasks", "/settings", "/alerts", "/stuck", "/health"):
        count_bytes = measure(page)
        page.goto(taskyard.address + path)
        expect_pill(page, "Live")
        later, requests = count_bytes()
        assert later <= 20_000, path
        assert requests <= 12, path
    context.close()


def measure(page: Page) -> Callable[[], tuple[int, int]]:
    """Count the bytes that come over the network from now on, and the requests that are not answered from the cache."""
    session = page.context.new_cdp_session(page)
    session.send("Network.enable")
    sizes: dict[str, int] = {}
    session.on("Network.loadingFinished", lambda event: sizes.update({event["requestId"]: event["encodedDataLength"]}))

    def result() -> tuple[int, int]:
        session.detach()
        sent = [size for size in sizes.values() if size]
        return sum(sent), len(sent)

    return result
