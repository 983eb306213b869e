"""Pages of a job's log by keyset: the newest lines, those before a line or those after it, narrowed or not.

The line that stands for lines that were left out is on every page it belongs to, also on narrowed ones: no page may look
complete where lines are missing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Connection, Select, or_, select, type_coerce

from workers.domain.ansi import strip_colors
from workers.domain.log_bounds import GAP_LEVEL, LEVELS
from workers.store.logs import LOGS
from workers.store.types import ColoredLogText, Row

MAX_SEARCHED = 10_000  # lines that one page of a search looks at
_SEARCH_STEP = 500
_OLD_GAP = "… % left out …"  # as earlier versions wrote it, with the level of a warning
_LINE = type_coerce(LOGS.c.line, ColoredLogText).label("line")


@dataclass(frozen=True, slots=True)
class LogFilter:
    """Which lines of a job: of one attempt, of a level and those above it, with words in them in any case."""

    attempt: int | None = None
    least_level: str = ""
    words: str = ""


@dataclass(frozen=True, slots=True)
class LogCursor:
    """Where a page is: before the line of this id, after it, or the newest lines; ids are those of rows."""

    before: int | None = None
    after: int | None = None


@dataclass(frozen=True, slots=True)
class Budget:
    """What a page may hold: so many lines, and so much of them as `size` measures it."""

    lines: int
    size: int
    measure: Callable[[str], int] = len


@dataclass(frozen=True, slots=True)
class LogPage:
    """Lines with their colors, oldest first.

    `older` and `newer` are the ids before and after which the next page begins, None where there is none. `previous` is the
    line before the first of the page, when it was read. `is_gone` says that the line of the cursor is not stored any more.
    """

    lines: list[Row]
    older: int | None = None
    newer: int | None = None
    previous: Row | None = None
    is_gone: bool = False


def read_page(
    connection: Connection,
    job_id: str,
    cursor: LogCursor,
    wanted: LogFilter,
    budget: Budget,
    between: Callable[[], object] = lambda: None,
) -> LogPage:
    """Read a page; `between` is called between lines, so that others may run while a long log is searched."""
    chosen = select(LOGS.c.id, LOGS.c.attempt, LOGS.c.at, LOGS.c.level, _LINE).where(
        LOGS.c.job_id == job_id, *_conditions(wanted)
    )
    scan = _Scan(
        connection, chosen, wanted.words.casefold(), between, _SEARCH_STEP if wanted.words else budget.lines + 1
    )
    if cursor.after is None:
        return _read_older(scan, cursor.before, budget)
    known = _line(connection, job_id, cursor.after)
    if cursor.after and known is None:
        return LogPage([], is_gone=True)
    lines, newer, _ = _take(scan.lines(cursor.after, is_forward=True), budget)
    older = (lines[0]["id"] if lines else cursor.after) if known else None
    return LogPage(lines, older, newer, known)


def _read_older(scan: _Scan, before: int | None, budget: Budget) -> LogPage:
    lines, older, following = _take(scan.lines(before, is_forward=False), budget)
    lines.reverse()
    newer = None if before is None else (lines[-1]["id"] if lines else before)
    return LogPage(lines, older, newer, following)


def _take(found: Iterator[Row | int], budget: Budget) -> tuple[list[Row], int | None, Row | None]:
    """Take lines within a budget; the id at which the rest begins, and the first line of the rest when it was read."""
    lines: list[Row] = []
    size = 0
    for one in found:
        if isinstance(one, int):
            return lines, one, None
        size += budget.measure(one["line"])
        if lines and (len(lines) == budget.lines or size > budget.size):
            return lines, lines[-1]["id"], one
        lines.append(one)
    return lines, None, None


@dataclass(frozen=True, slots=True)
class _Scan:
    connection: Connection
    chosen: Select[Any]
    words: str  # folded
    between: Callable[[], object]
    step: int

    def lines(self, place: int | None, *, is_forward: bool) -> Iterator[Row | int]:
        """Yield lines one by one from a place on; where as many as may be were searched, the id of the last of them."""
        searched = 0
        while searched < MAX_SEARCHED:
            count = 0
            for row in self._rows(place, is_forward):
                self.between()
                count, place = count + 1, row["id"]
                if not self.words or is_gap(row) or self.words in strip_colors(row["line"]).casefold():
                    yield row
            searched += count
            if count < self.step:
                return
        if place is not None:
            yield place

    def _rows(self, place: int | None, is_forward: bool) -> Iterable[Row]:
        chosen = self.chosen.order_by(LOGS.c.id if is_forward else LOGS.c.id.desc()).limit(self.step)
        if place is not None:
            chosen = chosen.where(LOGS.c.id > place if is_forward else LOGS.c.id < place)
        return self.connection.execute(chosen).mappings()


def is_gap(row: Row) -> bool:
    """Return whether a line stands for lines that were left out."""
    if row["level"] == GAP_LEVEL:
        return True
    line: str = row["line"]
    return row["level"] == "warning" and line.startswith("… ") and line.endswith(" left out …")


def _line(connection: Connection, job_id: str, line_id: int) -> Row | None:
    chosen = select(LOGS.c.id, LOGS.c.attempt, LOGS.c.at).where(LOGS.c.job_id == job_id, LOGS.c.id == line_id)
    return connection.execute(chosen).mappings().one_or_none()


def _conditions(wanted: LogFilter) -> list[ColumnElement[bool]]:
    conditions = [] if wanted.attempt is None else [LOGS.c.attempt == wanted.attempt]
    if wanted.least_level:
        levels = LEVELS[LEVELS.index(wanted.least_level) :]
        gap = (LOGS.c.level == "warning") & LOGS.c.line.like(_OLD_GAP)
        conditions.append(or_(LOGS.c.level.in_([*levels, GAP_LEVEL]), gap))
    return conditions
