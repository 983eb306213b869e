"""Logs of attempts on their way into SQL and to viewers: from the process that runs the attempt, or after its death."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from workers.domain.ansi import mask_colored, strip_colors
from workers.domain.clock import rfc3339
from workers.domain.log_bounds import MAX_LINE
from workers.domain.masking import JobMasker
from workers.domain.texts import safe_text
from workers.store import logs
from workers.yard import Yard

MAX_MASKED = 65_536  # characters of a line that are masked before it is cut
_MOST_TOLD = 200
_LIVE_BYTES = 40_000


def shown_by(masker: JobMasker) -> Callable[[str], str]:
    """Return what makes a line as it is kept: masked, nothing in it unseen but colors, then cut."""

    def show(text: str) -> str:
        line = mask_colored(safe_text(text, MAX_MASKED), masker.text)
        if len(line) > MAX_LINE:
            line = strip_colors(line)
        return line[: MAX_LINE - 1] + "…" if len(line) > MAX_LINE else line

    return show


def is_stored(yard: Yard, job_id: str, attempt: int, at_us: int) -> bool:
    """Return whether the line of this time (microseconds since 1970) is in the log of an attempt. Raises Unavailable."""
    with yard.database.read() as connection:
        return logs.has_line(connection, job_id, attempt, at_us)


def tell(yard: Yard, job_id: str, attempt: int, lines: Sequence[logs.Line]) -> None:
    """Send viewers the last of these lines, in messages that are small enough. Never raises."""
    batch: list[logs.Line] = []
    size = 0
    for line in lines[-_MOST_TOLD:]:
        size += len(line["line"].encode()) + 120
        if batch and size > _LIVE_BYTES:
            _publish(yard, job_id, attempt, batch)
            batch, size = [], 0
        batch.append({**line, "at": rfc3339(line["at"]), "line": strip_colors(line["line"])})
    if batch:
        _publish(yard, job_id, attempt, batch)


def _publish(yard: Yard, job_id: str, attempt: int, lines: Sequence[logs.Line]) -> None:
    yard.live.publish({"type": "log", "job_id": job_id, "attempt": attempt, "lines": lines})
