"""Every page in both themes at three widths, with ordinary, no and hostile data: nothing overflows, overlaps or is cut off.

Pictures of pages differ between machines and versions of Chromium, so their layout is compared instead: the edges of the blocks
of each page with those in `layouts.json`, which `make pictures` writes beside pictures to review.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from flask import Flask
from playwright.sync_api import Browser

from tests.e2e import scenes
from tests.e2e.scenes import Scene
from tests.e2e.shown import showing
from tests.e2e.views import ORDINARY, differences, look, pages_of, paths_of, read_reviewed, reviewed_layout
from tests.routes import routes_of
from workers.settings import Settings
from workers.yard import Yard

pytestmark = pytest.mark.timeout(600)
SCENES: dict[str, Callable[[Yard], Scene] | None] = {
    ORDINARY: scenes.ordinary,
    "empty": None,
    "hostile": scenes.hostile,
}
# What is no page of its own: data, parts of pages, and what is seen before signing in.
NO_PAGES = {
    "/alerts/bell", "/api/openapi.json", "/bulk-actions/running", "/healthz", "/jobs/export", "/jobs/rows", "/metrics", "/palette",
    "/readyz", "/schedules/preview", "/schedules/crowds/<number:index>", "/sign-in", "/sign-in/code",
    "/jobs/<id:job_id>/files/<name:name>", "/jobs/<id:job_id>/log", "/jobs/<id:job_id>/logs.txt", "/jobs/<id:job_id>/text",
    "/jobs/<id:job_id>/failures",
}  # fmt: skip


@pytest.mark.parametrize("name", SCENES)
def test_pages_are_sound_and_arranged_as_reviewed(
    name: str, browser: Browser, valkey: Settings, tmp_path: Path
) -> None:
    reviewed = read_reviewed()
    faults: list[str] = []
    with showing(valkey, tmp_path / "yard", SCENES[name]) as shown:
        for page_name, page in pages_of(browser, shown):
            found, layout, colors = look(page)
            faults += found
            faults += [
                f"{page_name}, {line}" for line in differences(layout, reviewed_layout(reviewed, name, page_name))
            ]
            faults += [f"{page_name}, {line}" for line in other_colors(colors, reviewed["colors"])]
    assert faults == []


def other_colors(now: dict[str, dict[str, list[int]]], reviewed: dict[str, dict[str, list[int]]]) -> list[str]:
    """List the colors that are not those that were reviewed; versions of Chromium round differently."""
    return [
        f"{theme}: {name} is {color}, not {reviewed[theme][name]}"
        for theme, colors in now.items()
        for name, color in colors.items()
        if any(abs(a - b) > 3 for a, b in zip(color, reviewed[theme][name], strict=True))
    ]


def test_every_page_is_looked_at(app: Flask) -> None:
    one = Scene({"failed": ID}, ID, ID, ID, ID, "default", "samples.noop")
    adapter = app.url_map.bind("localhost")
    looked = {adapter.match(path.split("?")[0], return_rule=True)[0].rule for path in paths_of(one).values()}
    pages = {route.rule for route in routes_of(app) if route.method == "GET" and not route.is_call}
    assert pages - looked == NO_PAGES


ID = "01890a5d-ac96-774b-bcce-b302099a8057"
