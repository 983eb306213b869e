"""What the dashboard costs browsers and the web process: `python -m bench.dashboard`, briefly with `--short`.

Bytes and requests of a first and of later loads; how much a page's content moves by itself at 20 jobs a second; how busy the
browser's main thread is at 50 changes a second; how busy the web process is at 20 jobs a second by the number of viewers.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser, BrowserContext, Page, sync_playwright

from bench._common import ROOT, tell
from tests.integration.running import Running
from workers.domain.actors import Actor
from workers.services import jobs, tokens
from workers.services.enqueueing import NewJob
from workers.settings import Settings
from workers.yard import Yard

PAGES = (
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
)
CHANGES_OF_A_JOB = 3  # enqueued, started, completed
SYSTEM = Actor("system", "bench", "admin")
VIEWERS_OF_A_TOKEN = 40
CHROMIUM = {"executable_path": "/usr/bin/chromium", "args": ["--no-sandbox", "--disable-gpu"]}
_WATCH_SHIFTS = """() => {
  window.shift = 0;
  new PerformanceObserver((list) => {
    for (const entry of list.getEntries()) if (!entry.hadRecentInput) window.shift += entry.value;
  }).observe({ type: "layout-shift", buffered: true });
}"""


@contextmanager
def taskyard() -> Iterator[tuple[Running, Yard]]:
    """Run a whole Taskyard."""
    with tempfile.TemporaryDirectory(prefix="taskyard-bench-") as folder:
        settings = {
            "WORKERS": "2",
            "LOG_LEVEL": "warning",
            "HEARTBEAT_SECONDS": "15",
            "MAX_CONNECTIONS_PER_ADDRESS": "0",
        }
        running = Running(Path(folder) / "data", **settings).start()
        wait_until_ready(running)
        yard = Yard.open(Settings.from_env(running.environment))
        try:
            yield running, yard
        finally:
            yard.close()
            running.stop()


def wait_until_ready(running: Running) -> None:
    """Wait until the web process answers."""
    import urllib.request

    for _ in range(600):
        try:
            with urllib.request.urlopen(running.address + "/readyz", timeout=5) as answer:
                if answer.status == 200:
                    return
        except OSError:
            time.sleep(0.1)
    raise TimeoutError(running.log())


@contextmanager
def traffic(yard: Yard, rate: float) -> Iterator[None]:
    """Enqueue so many jobs a second, which two workers run."""
    ended = threading.Event()

    def enqueue() -> None:
        start, sent = time.monotonic(), 0
        while not ended.wait(0.01):
            while sent < (time.monotonic() - start) * rate:
                jobs.enqueue(yard, NewJob("samples.noop"))
                sent += 1

    thread = threading.Thread(target=enqueue)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


@contextmanager
def browser_page(browser: Browser, state: Any = None) -> Iterator[tuple[BrowserContext, Page]]:
    """Open a page with an empty cache."""
    context = browser.new_context(storage_state=state, viewport={"width": 1440, "height": 900})
    page = context.new_page()
    page.set_default_timeout(60_000)
    yield context, page
    context.close()


def sign_in(browser: Browser, running: Running) -> Any:
    """Sign in; what a browser keeps of it."""
    with browser_page(browser) as (context, page):
        page.goto(running.address + "/sign-in")
        page.get_by_label("Name").fill("admin")
        page.get_by_label("Password").fill(running.environment["ADMIN_PASSWORD"])
        page.get_by_role("button", name="Sign in").click()
        page.wait_for_url(running.address + "/")
        return context.storage_state()


def load(page: Page, url: str) -> tuple[int, int]:
    """Load a page; the bytes over the network until it is live and quiet for a second, and in how many requests."""
    session = page.context.new_cdp_session(page)
    session.send("Network.enable")
    sizes: dict[str, int] = {}
    session.on("Network.loadingFinished", lambda event: sizes.update({event["requestId"]: event["encodedDataLength"]}))
    page.goto(url)
    page.wait_for_function("() => document.querySelector('[data-behavior=live] span').textContent === 'Live'")
    page.wait_for_timeout(1_000)
    session.detach()
    sent = [size for size in sizes.values() if size]
    return sum(sent), len(sent)


def loads(browser: Browser, running: Running, state: Any) -> dict[str, float]:
    """Measure the first load of the Overview, and what every other page adds."""
    figures: dict[str, float] = {}
    with browser_page(browser, state) as (_context, page):
        for path in ("/", *PAGES):
            name = "first_load" if path == "/" else f"later_{path[1:]}"
            figures[f"{name}_bytes"], figures[f"{name}_requests"] = load(page, running.address + path)
    return figures


def shifts(browser: Browser, running: Running, state: Any, seconds: float) -> dict[str, float]:
    """Measure how much of each page moves without anybody touching it (cumulative layout shift)."""
    figures: dict[str, float] = {}
    with browser_page(browser, state) as (context, _page):
        pages = {}
        for path in ("/", *PAGES):
            pages[path] = context.new_page()
            pages[path].goto(running.address + path)
            pages[path].evaluate(_WATCH_SHIFTS)
        time.sleep(seconds)
        for path, page in pages.items():
            page.bring_to_front()
            figures[f"shift_{path[1:] or 'overview'}"] = float(page.evaluate("window.shift"))
    return figures


def main_thread(browser: Browser, running: Running, state: Any, seconds: float) -> dict[str, float]:
    """Measure how much of a core the main thread of a page takes, in per cent."""
    figures: dict[str, float] = {}
    with browser_page(browser, state) as (context, page):
        session = context.new_cdp_session(page)
        session.send("Performance.enable", {"timeDomain": "threadTicks"})  # of the processor, not of the clock

        def busy() -> float:
            metrics = session.send("Performance.getMetrics")["metrics"]
            return float(next(one["value"] for one in metrics if one["name"] == "TaskDuration"))

        for name in ("", "jobs"):
            page.goto(f"{running.address}/{name}")
            page.wait_for_timeout(2_000)
            before, start = busy(), time.monotonic()
            page.wait_for_timeout(seconds * 1000)
            figures[f"main_thread_{name or 'overview'}_percent"] = 100 * (busy() - before) / (time.monotonic() - start)
    return figures


def web_load(running: Running, names: list[str], count: int, seconds: float) -> dict[str, float]:
    """Measure how busy the web process is with so many viewers of the Overview, in per cent of a core."""
    web = running.part("web")
    chosen = [names[n // VIEWERS_OF_A_TOKEN] for n in range(count)]
    command = [sys.executable, "-m", "bench._dashboard_viewers", running.address, str(seconds + 4), *chosen]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as looking:
        assert looking.stdout is not None
        assert looking.stdout.readline() == "ready\n"
        time.sleep(2)
        before, start = sum(web.cpu_times()[:2]), time.monotonic()
        time.sleep(seconds)
        percent = 100 * (sum(web.cpu_times()[:2]) - before) / (time.monotonic() - start)
        seen = json.loads(looking.stdout.read())
    figures = {f"web_{count}_viewers_percent": percent}
    if count:
        figures[f"web_{count}_viewers_readings_a_second"] = seen["readings"] / (seconds + 4)
    return figures


def main() -> None:
    """Measure all of it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--viewers", type=int, nargs="+", default=[0, 1, 10, 100])
    parser.add_argument("--short", action="store_true", help="5 seconds each, nothing kept in bench/results")
    parser.add_argument("--only", choices=("loads", "shifts", "thread", "web"), nargs="+", default=None)
    wanted = parser.parse_args()
    seconds = 5.0 if wanted.short else wanted.seconds
    parts = wanted.only or ["loads", "shifts", "thread", "web"]
    figures: dict[str, float] = {}
    with taskyard() as (running, yard):
        if set(parts) - {"web"}:
            with sync_playwright() as playwright:
                browser = playwright.chromium.launch(**CHROMIUM)  # type: ignore[arg-type]
                state = sign_in(browser, running)
                with traffic(yard, 20):
                    if "loads" in parts:
                        figures |= loads(browser, running, state)
                    if "shifts" in parts:
                        figures |= shifts(browser, running, state, seconds)
                if "thread" in parts:
                    with traffic(yard, 50 / CHANGES_OF_A_JOB):
                        figures |= main_thread(browser, running, state, seconds)
                browser.close()
        if "web" in parts:
            names = [tokens.create(yard, f"bench {n}", "viewer", None, SYSTEM) for n in range(3)]
            with traffic(yard, 20):
                for count in wanted.viewers:
                    figures |= web_load(running, names, count, seconds)
    show(figures, is_kept=not wanted.short and wanted.only is None)


def show(figures: dict[str, float], *, is_kept: bool) -> None:
    """Print the figures; those of a whole run are kept."""
    if is_kept:
        tell("dashboard", figures)
        return
    for key, value in figures.items():
        sys.stdout.write(f"{key.replace('_', ' '):44} {value:>12,.3f}\n")


if __name__ == "__main__":
    main()
