"""Names of browsers, from what they say of themselves; enough to tell one's own sessions apart."""

from __future__ import annotations

import re

# The order matters: Edge and Opera name Chrome too, and Chrome names Safari.
_BROWSERS = (
    (re.compile(r"Edg(?:e|A|iOS)?/(\d+)"), "Edge"),
    (re.compile(r"OPR/(\d+)"), "Opera"),
    (re.compile(r"(?:Firefox|FxiOS)/(\d+)"), "Firefox"),
    (re.compile(r"(?:Headless)?(?:Chrome|CriOS|Chromium)/(\d+)"), "Chrome"),
    (re.compile(r"Version/(\d+)[\d.]* (?:Mobile/\S+ )?Safari/"), "Safari"),
)
_SYSTEMS = (
    ("iPhone", "iPhone"),
    ("iPad", "iPad"),
    ("Android", "Android"),
    ("Windows", "Windows"),
    ("Mac OS X", "macOS"),
    ("CrOS", "ChromeOS"),
    ("Linux", "Linux"),
)
_LONGEST = 40


def browser(user_agent: str) -> str:
    """Return a short name such as `Firefox 140 on Linux`; the first words of what it says when it is no known browser."""
    system = next((name for mark, name in _SYSTEMS if mark in user_agent), "")
    for pattern, name in _BROWSERS:
        found = pattern.search(user_agent)
        if found:
            return f"{name} {found[1]} on {system}" if system else f"{name} {found[1]}"
    return user_agent[:_LONGEST] or "Unknown browser"
