"""Lines of a log as a page shows them: colors as names of classes, found words marked, a mark where a day or an attempt begins."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

from markupsafe import escape

from dashboard.zones import local
from workers.domain.ansi import PLAIN, Run, parse_runs, strip_colors
from workers.store.log_pages import LogPage, is_gap
from workers.store.types import Row


@dataclass(frozen=True, slots=True)
class Piece:
    """Text of one look; `classes` are those of the style sheet, empty for plain text."""

    text: str
    classes: str
    is_hit: bool = False


@dataclass(frozen=True, slots=True)
class Line:
    """One line; `mark` is what stands above it, empty for most."""

    id: int
    at: datetime
    clock: str
    exact: str
    level: str
    pieces: list[Piece]
    mark: str
    is_gap: bool


def show_lines(page: LogPage, zone: str, words: str, has_attempts: bool) -> list[Line]:
    """Make the lines of a page; times are those of the zone."""
    shown = []
    previous = page.previous
    for row in page.lines:
        shown.append(_show_line(row, _mark(row, previous, zone, has_attempts), zone, words))
        previous = row
    return shown


def html_size(text: str) -> int:
    """Return how many bytes a line takes on a page, without its element."""
    return len(escape(strip_colors(text)).encode())


def _show_line(row: Row, mark: str, zone: str, words: str) -> Line:
    at = local(row["at"], zone)
    return Line(
        id=row["id"],
        at=row["at"],
        clock=at.strftime("%H:%M:%S"),
        exact=at.strftime("%Y-%m-%d %H:%M:%S.%f ") + (at.tzname() or zone),
        level=row["level"],
        pieces=list(_pieces(row["line"], words)),
        mark=mark,
        is_gap=is_gap(row),
    )


def _mark(row: Row, previous: Row | None, zone: str, has_attempts: bool) -> str:
    at = local(row["at"], zone)
    parts = []
    if has_attempts and (previous is None or previous["attempt"] != row["attempt"]):
        parts.append(f"Attempt {row['attempt']}")
    if previous is None or local(previous["at"], zone).date() != at.date():
        parts.append(f"{at:%Y-%m-%d} {at.tzname() or zone}")
    return " · ".join(parts)


def _pieces(text: str, words: str) -> Iterator[Piece]:
    runs = parse_runs(text)
    hits = _hits("".join(run.text for run in runs), words)
    place = 0
    for run in runs:
        classes = "" if run.style == PLAIN else " ".join(f"ansi-{name}" for name in run.style.names)
        for start, end, is_hit in _cuts(run, place, hits):
            yield Piece(run.text[start:end], classes, is_hit)
        place += len(run.text)


def _hits(text: str, words: str) -> list[tuple[int, int]]:
    if not words:
        return []
    return [found.span() for found in re.finditer(re.escape(words), text, re.IGNORECASE)]


def _cuts(run: Run, place: int, hits: list[tuple[int, int]]) -> Iterator[tuple[int, int, bool]]:
    """Cut a run that begins at a place of its line at the edges of what was found."""
    at = 0
    for start, end in hits:
        first, last = max(start - place, at), min(end - place, len(run.text))
        if first >= last:
            continue
        if first > at:
            yield at, first, False
        yield first, last, True
        at = last
    if at < len(run.text):
        yield at, len(run.text), False
