"""Take the README's picture, pictures of every page to review, and the layouts that tests compare: `make pictures`."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser, expect, sync_playwright

from tests.conftest import ROOT
from tests.e2e.shown import Shown, enter, showing
from tests.e2e.test_views import SCENES
from tests.e2e.views import ORDINARY, REVIEWED, each_view, look, pages_of, write_reviewed
from tests.support import eventually, repeated
from workers.broker.embedded import EmbeddedValkey
from workers.broker.live import HEARTBEAT
from workers.processes import home
from workers.settings import Settings

README = ROOT / "docs" / "overview.png"
FOLDER = ROOT / "build" / "pictures"
BEAT_SECONDS = 1.0


@contextmanager
def valkey(folder: Path) -> Iterator[Settings]:
    """Run a Valkey until the block ends."""
    settings = home.settle(Settings.from_env({"DATA_DIR": str(folder)}))
    server = EmbeddedValkey(settings)
    server.prepare()

    def answers() -> None:
        assert server.answers()

    with subprocess.Popen(server.command(), stdout=subprocess.DEVNULL) as process:
        try:
            eventually(answers, within=20)
            yield settings
        finally:
            process.terminate()


def heartbeats(shown: Shown) -> AbstractContextManager[None]:
    """Publish what a scheduler publishes, so that pages are live."""
    return repeated(lambda: shown.yard.live.publish({"type": HEARTBEAT}), every=BEAT_SECONDS)


def take_overview(browser: Browser, shown: Shown) -> None:
    """Take the picture of the README."""
    context = browser.new_context(
        viewport={"width": 1440, "height": 900}, color_scheme="light", reduced_motion="reduce"
    )
    page = enter(context, shown.address)
    with heartbeats(shown):
        expect(page.locator("[data-behavior=live]")).to_have_attribute("data-state", "processing", timeout=60_000)
        page.screenshot(path=README)
    context.close()


def take_pages(browser: Browser, shown: Shown, scene: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Take a picture of each page in each theme at each width; the layouts of the pages, and the colors."""
    layouts: dict[str, Any] = {}
    colors: dict[str, Any] = {}
    for name, page in pages_of(browser, shown):
        faults, layouts[name], colors = look(page)
        for fault in faults:
            sys.stdout.write(f"{scene}: {fault}\n")
        for theme, width in each_view(page):
            folder = FOLDER / scene / theme / str(width)
            folder.mkdir(parents=True, exist_ok=True)
            page.screenshot(path=folder / f"{name.strip('/').translate(_PLAIN) or 'overview'}.png", full_page=True)
    return layouts, colors


_PLAIN = str.maketrans("/?= ", "----")


def main() -> None:
    """Take all pictures and write the layouts."""
    path = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    shutil.rmtree(FOLDER, ignore_errors=True)
    layouts: dict[str, Any] = {}
    colors: dict[str, Any] = {}
    with (
        tempfile.TemporaryDirectory(prefix="ty-pictures-") as name,
        valkey(Path(name) / "valkey") as settings,
        sync_playwright() as playwright,
    ):
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox", "--disable-gpu"])
        for scene, plant in SCENES.items():
            with showing(settings, Path(name) / scene, plant) as shown:
                if scene == ORDINARY:
                    take_overview(browser, shown)
                layouts[scene], colors = take_pages(browser, shown, scene)
        browser.close()
    write_reviewed(layouts, colors)
    pictures, readme = FOLDER.relative_to(ROOT), README.relative_to(ROOT)
    sys.stdout.write(f"Look at {pictures} and at {readme} before you commit {REVIEWED.relative_to(ROOT)}.\n")


if __name__ == "__main__":
    main()
