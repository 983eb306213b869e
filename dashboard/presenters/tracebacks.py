"""A traceback cut into frames, so that the ones in the user's own code can be lit and the rest folded."""

from __future__ import annotations

import re
from dataclasses import dataclass

_FRAME = re.compile(r'  File "(?P<file>[^"]+)", line (?P<line>\d+), in (?P<name>.+)')
_FOREIGN = (
    "site-packages",
    "/lib/python",
    "<frozen",
    "workers/registry.py",
    "workers/processes/",
    "workers/running.py",
)


@dataclass(frozen=True, slots=True)
class Frame:
    """One frame."""

    file: str
    line: int
    name: str
    source: str
    is_own: bool


def frames(traceback: str | None) -> list[Frame]:
    """Read the frames of a traceback, outermost first; none when it is not one of Python's."""
    found: list[Frame] = []
    lines = (traceback or "").splitlines()
    for index, text in enumerate(lines):
        match = _FRAME.fullmatch(text)
        if match is None:
            continue
        following = lines[index + 1] if index + 1 < len(lines) else ""
        source = following.strip() if following.startswith("    ") else ""
        is_own = not any(part in match["file"] for part in _FOREIGN)
        found.append(Frame(match["file"], int(match["line"]), match["name"], source, is_own))
    return found[-60:]
