"""A web process that shows a scene to a browser, and what can be seen to be wrong with any page."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from playwright.sync_api import BrowserContext, Page

from tests.conftest import open_yard, settings_of
from tests.e2e.scenes import Scene
from tests.people import PASSWORD, add_people
from tests.security.serving import serving
from workers.settings import Settings
from workers.yard import Yard

# What can be pressed or typed into, and can be seen. Boxes that tick are as large as their label.
_SHARED = """
const seen = (one) => one.checkVisibility({visibilityProperty: true, opacityProperty: true}) && !one.closest('.unseen, .skip, dialog:not([open])');
const within = (one) => {
  const {left, top, right, bottom} = one.getBoundingClientRect(), box = {left, top, right, bottom};
  for (let part = one.parentElement; part; part = part.parentElement) {
    const style = getComputedStyle(part);
    if (style.clipPath !== 'none') return {left: 0, top: 0, right: 0, bottom: 0};
    if (style.overflow === 'visible') continue;
    const edge = part.getBoundingClientRect();
    box.left = Math.max(box.left, edge.left); box.right = Math.min(box.right, edge.right);
    box.top = Math.max(box.top, edge.top); box.bottom = Math.min(box.bottom, edge.bottom);
  }
  return box;
};
const isShown = ({left, top, right, bottom}) => right - left > 2 && bottom - top > 2;
const named = (one) => `${location.pathname} ${one.outerHTML.slice(0, 110)}`;
const CONTROLS = 'a[href], button, input:not([type=hidden]), select, textarea, summary';
const controls = () => [...document.querySelectorAll(CONTROLS)].filter(seen).map((one) => [one, within(one)]).filter(([, box]) => isShown(box));
"""
# Each returns what is wrong, in lines; nothing on a sound page.
OVERFLOW = """() => { const {scrollWidth, clientWidth} = document.documentElement;
  return scrollWidth > clientWidth ? [`${location.pathname} is ${scrollWidth} px wide of ${clientWidth}`] : []; }"""
OVERLAPS = f"""() => {{ {_SHARED}
  const floats = (one) => {{ for (let part = one; part; part = part.parentElement) if (/fixed|sticky/.test(getComputedStyle(part).position)) return true; return false; }};
  const all = controls().map(([one, box]) => [one, box, floats(one)]);
  const found = [];
  all.forEach(([one, a, isFloating], at) => all.slice(at + 1).forEach(([other, b, isOther]) => {{
    if (isFloating !== isOther || one.contains(other) || other.contains(one)) return;
    const wide = Math.min(a.right, b.right) - Math.max(a.left, b.left), high = Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top);
    if (wide > 2 && high > 2) found.push(`${{named(one)}} overlaps ${{named(other)}}`);
  }}));
  return found; }}"""
# Text is cut off where it neither scrolls nor ends with an ellipsis.
CUT_OFF = f"""() => {{ {_SHARED}
  const found = [];
  const own = (one) => [...one.childNodes].filter((node) => node.nodeType === 3 && node.textContent.trim());
  for (const one of document.querySelectorAll('body *')) {{
    if (one.closest('svg, option, datalist') || !own(one).length || !seen(one)) continue;
    const box = within(one);
    if (!isShown(box)) continue;
    let isCared = false;
    for (let part = one; part; part = part.parentElement) {{
      const style = getComputedStyle(part);
      if (/auto|scroll/.test(style.overflowX + style.overflowY) || (style.textOverflow === 'ellipsis' && style.overflowX !== 'visible') || style.webkitLineClamp !== 'none') isCared = true;
    }}
    if (isCared || getComputedStyle(one).clipPath !== 'none') continue;
    for (const node of own(one)) {{
      const range = document.createRange();
      range.selectNodeContents(node);
      const text = range.getBoundingClientRect();
      if (text.right > box.right + 5 || text.left < box.left - 5) found.push(`${{named(one)}} ends ${{Math.round(text.right - box.right)}} px outside`);
    }}
  }}
  return found; }}"""
# A word that is broken letter by letter stands in a column that is far too narrow for it.
SQUEEZED = f"""() => {{ {_SHARED}
  const found = [];
  for (const one of document.querySelectorAll('h1, h2, h3, p, td > *, .name, .sub')) {{
    const text = one.textContent.trim();
    if (!seen(one) || one.closest('svg') || text.length < 12 || one.children.length > 4) continue;
    const {{width, height}} = one.getBoundingClientRect();
    if (width > 0 && width < 48 && height > 120) found.push(`${{named(one)}} is ${{Math.round(width)}} px wide and ${{Math.round(height)}} px high`);
  }}
  return found; }}"""
# Controls that show no word have a tooltip.
UNNAMED = f"""() => {{ {_SHARED}
  const shows = (one) => (one.innerText ?? '').trim() !== '' && getComputedStyle(one).fontSize !== '0px';
  return [...document.querySelectorAll('button, a[href], summary')].filter((one) => seen(one) && isShown(within(one)) && !shows(one) && !one.querySelector('svg text'))
    .filter((one) => !one.closest('[title]') && !one.title).map(named); }}"""
SMALL = f"""() => {{ {_SHARED}
  const buttons = 'button, a.btn, select, summary, input:not([type=hidden]), .tabs a, .nav a, .tabbar a, .sorter';
  return controls().map(([one]) => one).filter((one) => one.matches(buttons) && !one.closest('.seg, .choice'))
    .map((one) => [one, (one.closest('label:has(> input[type=checkbox])') ?? one).getBoundingClientRect()])
    .filter(([, box]) => box.width < 31.5 || box.height < 31.5).map(([one, box]) => `${{named(one)}} ${{box.width}}x${{box.height}}`); }}"""
FAULTS = (OVERFLOW, OVERLAPS, CUT_OFF, SQUEEZED, UNNAMED)


@dataclass(frozen=True)
class Shown:
    """A scene and where it is shown."""

    address: str
    yard: Yard
    scene: Scene | None


@contextmanager
def showing(valkey: Settings, folder: Path, plant: Callable[[Yard], Scene] | None) -> Iterator[Shown]:
    """Serve a scene, or an empty Taskyard, until the block ends. Its rows count as fresh for ten minutes."""
    folder.mkdir()
    yard = open_yard(settings_of(valkey, folder, f"sqlite:///{folder / 'taskyard.db'}"))
    try:
        add_people(yard)
        scene = plant(yard) if plant else None
        with serving(yard, folder, HEARTBEAT_SECONDS="600", MONITOR_INTERVAL_SECONDS="3600") as web:
            yield Shown(web.address, yard, scene)
    finally:
        yard.close()


def enter(context: BrowserContext, address: str) -> Page:
    """Sign ada in, in a new page of a browser."""
    page = context.new_page()
    page.goto(address + "/sign-in")
    page.get_by_label("Name").fill("ada")
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_label("Password").press("Enter")
    page.wait_for_url(address + "/")
    return page


def faults_of(page: Page, checks: Sequence[str] = FAULTS) -> list[str]:
    """List what is wrong with a page as it is shown now."""
    return [line for check in checks for line in page.evaluate(check)]
