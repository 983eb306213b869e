"""Colors of terminals in lines of logs: read from what a job wrote, kept in one short form, never passed on as they came.

Of all sequences that steer a terminal only those that color text are kept, and of these only sixteen colors and six
styles: each run of text gets a style that is one of a known set, whatever the job wrote.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import NamedTuple

from workers.domain.untrusted import TERMINAL_SEQUENCE, visible

MAX_RUNS = 200  # of one line; what follows has no color
_COLOR = re.compile(r"(?:\x1b\[|\x9b)([0-9;:]{0,64})m")
_STYLES = {1: "bold", 2: "dim", 3: "italic", 4: "underline", 7: "inverse", 9: "strike"}
_ENDED_BY = {22: {1, 2}, 23: {3}, 24: {4}, 27: {7}, 29: {9}}
# The sixteen colors that others are drawn in, as 0 to 255.
_PALETTE = (
    (0, 0, 0),
    (205, 0, 0),
    (0, 205, 0),
    (205, 205, 0),
    (0, 0, 238),
    (205, 0, 205),
    (0, 205, 205),
    (229, 229, 229),
    (127, 127, 127),
    (255, 0, 0),
    (0, 255, 0),
    (255, 255, 0),
    (92, 92, 255),
    (255, 0, 255),
    (0, 255, 255),
    (255, 255, 255),
)


class Style(NamedTuple):
    """How a run of text looks: colors from 0 to 15, and the codes of its styles."""

    foreground: int | None = None
    background: int | None = None
    styles: frozenset[int] = frozenset()

    @property
    def names(self) -> list[str]:
        """Name its parts: `fg-1`, `bg-12`, `bold` …"""
        colors = [] if self.foreground is None else [f"fg-{self.foreground}"]
        colors += [] if self.background is None else [f"bg-{self.background}"]
        return colors + [_STYLES[code] for code in sorted(self.styles)]


class Run(NamedTuple):
    """Text of one style."""

    text: str
    style: Style


PLAIN = Style()


def is_colored(text: str) -> bool:
    """Return whether a text may hold sequences for a terminal."""
    return "\x1b" in text or "\x9b" in text


def parse_runs(text: str) -> list[Run]:
    """Cut text into runs of one style; every sequence is removed."""
    runs: list[Run] = []
    style, start = PLAIN, 0
    for found in TERMINAL_SEQUENCE.finditer(text):
        _append(runs, text[start : found.start()], style)
        start = found.end()
        codes = _COLOR.fullmatch(found[0])
        if codes is not None and len(runs) < MAX_RUNS:
            style = _styled(style, codes[1])
        elif codes is not None:
            style = PLAIN
    _append(runs, text[start:], style)
    return runs


def strip_colors(text: str) -> str:
    """Return text without sequences for a terminal."""
    return TERMINAL_SEQUENCE.sub("", text) if is_colored(text) else text


def write_runs(runs: Sequence[Run]) -> str:
    """Return runs as one text, each style as a single sequence; `parse_runs` reads it back."""
    parts = []
    style = PLAIN
    for run in runs:
        if run.style != style:
            parts.append(_sequence(run.style))
            style = run.style
        parts.append(run.text)
    return "".join(parts) + ("" if style == PLAIN else "\x1b[m")


def mask_colored(text: str, mask: Callable[[str], str]) -> str:
    """Return text with its colors, masked and with nothing in it unseen; without colors where something was masked.

    The mask looks at the text without sequences: a color inside of a secret does not hide the secret.
    """
    if not is_colored(text):
        return visible(mask(text))
    runs = parse_runs(text)
    plain = "".join(run.text for run in runs)
    masked = mask(plain)
    if masked != plain:
        return visible(masked)
    return write_runs([Run(visible(run.text), run.style) for run in runs])


def _append(runs: list[Run], text: str, style: Style) -> None:
    if text and runs and runs[-1].style == style:
        runs[-1] = Run(runs[-1].text + text, style)
    elif text:
        runs.append(Run(text, style))


def _sequence(style: Style) -> str:
    codes = [str(code) for code in sorted(style.styles)]
    if style.foreground is not None:
        codes.append(str(30 + style.foreground if style.foreground < 8 else 82 + style.foreground))
    if style.background is not None:
        codes.append(str(40 + style.background if style.background < 8 else 92 + style.background))
    return f"\x1b[{';'.join(['0', *codes]) if codes else ''}m"


def _styled(style: Style, codes: str) -> Style:
    numbers = [int(code[-6:]) if code else 0 for code in re.split("[;:]", codes)]
    while numbers:
        code = numbers.pop(0)
        if code in {38, 48}:
            color = _extended(numbers)
            style = style._replace(foreground=color) if code == 38 else style._replace(background=color)
        else:
            style = _changed(style, code)
    return style


def _changed(style: Style, code: int) -> Style:
    if code == 0:
        return PLAIN
    if code in _STYLES:
        return style._replace(styles=style.styles | {code})
    if code in _ENDED_BY:
        return style._replace(styles=style.styles - _ENDED_BY[code])
    if code in {39, 49}:
        return style._replace(foreground=None) if code == 39 else style._replace(background=None)
    return _basic(style, code)


def _basic(style: Style, code: int) -> Style:
    tens, place = divmod(code, 10)
    if place > 7 or tens not in {3, 4, 9, 10}:
        return style
    color = place if tens in {3, 4} else place + 8
    return style._replace(foreground=color) if tens in {3, 9} else style._replace(background=color)


def _extended(numbers: list[int]) -> int | None:
    """Take the numbers of one of 256 colors, or of red, green and blue; the nearest of the sixteen."""
    kind = numbers.pop(0) if numbers else 0
    wanted = {5: 1, 2: 3}.get(kind, 0)
    values, numbers[:] = [min(value, 255) for value in numbers[:wanted]], numbers[wanted:]
    if not wanted or len(values) < wanted:
        return None
    if wanted == 3:
        return _nearest(values)
    return values[0] if values[0] < 16 else _nearest(_of_cube(values[0]))


def _of_cube(color: int) -> list[int]:
    if color >= 232:
        return [8 + 10 * (color - 232)] * 3
    steps = (color - 16) // 36, (color - 16) // 6 % 6, (color - 16) % 6
    return [55 + 40 * step if step else 0 for step in steps]


def _nearest(color: Sequence[int]) -> int:
    def distance(place: int) -> int:
        return sum((one - other) ** 2 for one, other in zip(_PALETTE[place], color, strict=True))

    return min(range(16), key=distance)
