"""Every page that people open, its faults, and how its blocks are arranged: what pictures of pages would be compared for."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser, Page

from tests.e2e.scenes import Scene
from tests.e2e.shown import FAULTS, Shown, enter
from workers.domain.clock import utcnow

WIDTHS = (360, 768, 1440)
HEIGHT = 900
THEMES = ("light", "dark")
ORDINARY = "ordinary"
REVIEWED = Path(__file__).with_name("layouts.json")
Layout = Mapping[str, list[list[Any]]]  # by width: name, left edge and width in percent of the window

# Text on its ground by WCAG AA. Colors are read from a canvas, which knows every notation.
CONTRAST = """() => {
  const pen = document.createElement('canvas').getContext('2d', {willReadFrequently: true});
  const known = new Map();
  const rgba = (color) => {
    if (!known.has(color)) {
      pen.clearRect(0, 0, 1, 1); pen.fillStyle = color; pen.fillRect(0, 0, 1, 1);
      known.set(color, [...pen.getImageData(0, 0, 1, 1).data]);
    }
    return known.get(color);
  };
  const light = ([r, g, b]) => [r, g, b].map((part) => part / 255)
    .map((part) => (part <= .04045 ? part / 12.92 : ((part + .055) / 1.055) ** 2.4)).reduce((sum, part, at) => sum + part * [.2126, .7152, .0722][at], 0);
  const ground = (one) => {
    for (let part = one; part; part = part.parentElement) {
      const style = getComputedStyle(part);
      if (style.opacity !== '1') return null;
      const color = rgba(style.backgroundColor);
      if (color[3] > 250) return color;
      if (color[3] > 5) return null;
    }
    return rgba(getComputedStyle(document.documentElement).backgroundColor);
  };
  const found = [];
  for (const one of document.querySelectorAll('body *')) {
    if (one.closest('svg, :disabled, [aria-disabled], .unseen, .skip, dialog, option, datalist, [data-gone]') || !one.checkVisibility({visibilityProperty: true})) continue;
    if (![...one.childNodes].some((node) => node.nodeType === 3 && node.textContent.trim())) continue;
    const style = getComputedStyle(one), size = parseFloat(style.fontSize), behind = ground(one);
    if (!behind || size < 1) continue;
    const [a, b] = [light(rgba(style.color)), light(behind)], ratio = (Math.max(a, b) + .05) / (Math.min(a, b) + .05);
    if (ratio < (size >= 24 || (size >= 18.66 && style.fontWeight >= 700) ? 3 : 4.5)) found.push(`${location.pathname} ${ratio.toFixed(2)}:1 ${one.outerHTML.slice(0, 110)}`);
  }
  return found;
}"""
# The frame and the blocks of a page, without their words: where each begins and how wide it is.
BLOCKS = """() => {
  const name = (one) => [one.tagName.toLowerCase(), one.getAttribute('aria-labelledby') ?? '', one.classList[0] ?? ''].filter(Boolean).join('.');
  const share = (pixels) => Math.round(pixels / innerWidth * 100);
  return [...document.querySelectorAll('header.top, .side .nav, .tabbar, main, main h1, main .panel, main figure.plot, main .filter, main .numbers, main .zonebar')]
    .filter((one) => one.checkVisibility() && !one.closest('dialog')).slice(0, 24)
    .map((one) => [one, one.getBoundingClientRect()]).filter(([, box]) => box.width > 0)
    .map(([one, box]) => [name(one), share(box.left), one.matches('h1') ? 0 : share(box.width)]);
}"""
# The colors that mean something, as red, green and blue.
COLORS = """() => {
  const pen = document.createElement('canvas').getContext('2d', {willReadFrequently: true});
  const probe = document.body.appendChild(document.createElement('b'));
  const names = ['ground', 'surface', 'ink', 'ink-3', 'focus', 'scheduled', 'pending', 'processing', 'retry', 'completed', 'failed', 'stuck', 'neutral'];
  const found = names.map((name) => {
    probe.style.color = `var(--${name})`;
    pen.fillStyle = getComputedStyle(probe).color; pen.fillRect(0, 0, 1, 1);
    return [name, [...pen.getImageData(0, 0, 1, 1).data].slice(0, 3)];
  });
  probe.remove();
  return Object.fromEntries(found);
}"""


def paths_of(scene: Scene | None) -> dict[str, str]:
    """Return the address of each page by its name; the pages of single things only where there are some."""
    lists = (
        "/",
        "/jobs",
        "/jobs?status=failed",
        "/queues",
        "/schedules",
        "/schedules/load",
        "/schedules/new",
        "/workers",
        "/alerts",
    )
    more = (
        "/alert-rules/rule-cpu",
        "/tasks",
        "/triggers",
        "/triggers/new",
        "/bulk-actions",
        "/health",
        "/stuck",
        "/audit",
        "/settings",
        "/more",
    )
    paths = {path: path for path in (*lists, *more, "/api/docs")}
    if scene is None:
        return paths
    failed = f"/jobs/{scene.jobs['failed']}"
    paths |= {f"job {state}": f"/jobs/{job_id}" for state, job_id in scene.jobs.items()}
    paths |= {f"job {tab}": f"{failed}?tab={tab}" for tab in ("payload", "logs", "attempts", "events")}
    paths |= {"job edit": f"{failed}/edit", "job deletion": f"{failed}/deletions"}
    paths |= {"queue": f"/queues/{scene.queue}", "queue purge": f"/queues/{scene.queue}/purges"}
    schedule, trigger = f"/schedules/{scene.schedule_id}", f"/triggers/{scene.trigger_id}"
    paths |= {"schedule": schedule, "schedule edit": f"{schedule}/edit", "schedule deletion": f"{schedule}/deletions"}
    paths |= {"trigger": trigger, "trigger edit": f"{trigger}/edit", "trigger deletion": f"{trigger}/deletions"}
    return paths | {
        "alert": f"/alerts/{scene.alert_id}",
        "bulk action": f"/bulk-actions/{scene.action_id}",
        "run task": f"/tasks/{scene.task}/run",
    }


def pages_of(browser: Browser, shown: Shown) -> Iterator[tuple[str, Page]]:
    """Open each page of a scene in one window, with its clock stopped; every page answers and logs no error."""
    context = browser.new_context(viewport={"width": 1440, "height": HEIGHT}, reduced_motion="reduce")
    context.set_default_timeout(60_000)
    page = enter(context, shown.address)
    errors: list[str] = []
    page.on("pageerror", lambda error: errors.append(f"{page.url} {error}"))
    page.on("console", lambda message: errors.append(f"{page.url} {message.text}") if message.type == "error" else None)
    page.clock.set_fixed_time(utcnow())
    for name, path in paths_of(shown.scene).items():
        answer = page.goto(shown.address + path)
        assert answer is not None
        assert answer.status == 200, path
        yield name, page
    context.close()
    assert errors == []


def each_view(page: Page) -> Iterator[tuple[str, int]]:
    """Show a page in each theme at each width."""
    for theme in THEMES:
        page.emulate_media(color_scheme="dark" if theme == "dark" else "light", reduced_motion="reduce")
        for width in WIDTHS:
            page.set_viewport_size({"width": width, "height": HEIGHT})
            yield theme, width


def look(page: Page) -> tuple[list[str], Layout, dict[str, dict[str, list[int]]]]:
    """Look at a page in each theme at each width: its faults, its layout by width, and the colors of each theme."""
    faults: list[str] = []
    layout: dict[str, list[list[Any]]] = {}
    colors: dict[str, dict[str, list[int]]] = {}
    everything = f"() => [{', '.join(f'({fault})()' for fault in FAULTS)}].flat()"
    for theme, width in each_view(page):
        blocks = page.evaluate(BLOCKS)
        if theme == THEMES[0]:  # a theme changes colors alone, as the blocks show
            faults += [f"{width} px: {fault}" for fault in page.evaluate(everything)]
        if layout.setdefault(str(width), blocks) != blocks:
            faults.append(f"{width} px: blocks are arranged differently in the dark")
        if width == WIDTHS[-1]:
            faults += [f"{theme}: {fault}" for fault in page.evaluate(CONTRAST)]
            colors[theme] = page.evaluate(COLORS)
    return faults, layout, colors


def differences(now: Layout, reviewed: Layout, tolerance: int = 2) -> list[str]:
    """List what is arranged otherwise than it was reviewed; edges may differ by some percent of the window."""
    found = []
    for width, blocks in reviewed.items():
        names, seen = [block[0] for block in blocks], [block[0] for block in now.get(width, [])]
        if names != seen:
            found.append(f"{width} px: {seen} in place of {names}")
            continue
        for was, block in zip(blocks, now[width], strict=True):
            if any(abs(a - b) > tolerance for a, b in zip(was[1:], block[1:], strict=True)):
                found.append(f"{width} px: {was[0]} is at {block[1:]}, not at {was[1:]}")
    return found


def read_reviewed() -> dict[str, Any]:
    """Read the layouts that were reviewed: of each scene its pages, and the colors of the themes."""
    return dict(json.loads(REVIEWED.read_text()))


def write_reviewed(pages: Mapping[str, Mapping[str, Layout]], colors: Mapping[str, Any]) -> None:
    """Write layouts, a line for each page and width, so that a change is read as one; as ordinary ones only where they differ."""
    parts = [f'"colors": {json.dumps(colors)}']
    for scene, layouts in pages.items():
        own = {name: one for name, one in layouts.items() if scene == ORDINARY or one != pages[ORDINARY].get(name)}
        rows = ",\n".join(f"  {json.dumps(name)}: {{\n{_widths(layout)}\n  }}" for name, layout in own.items())
        parts.append(f"{json.dumps(scene)}: {{\n{rows}\n}}")
    REVIEWED.write_text("{\n" + ",\n".join(parts) + "\n}\n")


def _widths(layout: Layout) -> str:
    return ",\n".join(f"    {json.dumps(width)}: {json.dumps(blocks)}" for width, blocks in layout.items())


def reviewed_layout(reviewed: Mapping[str, Any], scene: str, page_name: str) -> Layout:
    """Return the reviewed layout of a page, which is that with ordinary data where it has none of its own. Raises KeyError."""
    return dict(reviewed[scene].get(page_name) or reviewed[ORDINARY][page_name])
