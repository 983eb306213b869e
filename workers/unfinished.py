"""Unfinished lines: what a stream has said since its last line break, and what a carriage return takes back of it."""

from __future__ import annotations

import time
from dataclasses import dataclass

LONGEST_UNFINISHED = 8_192  # characters, or bytes; what is longer becomes a line of its own


@dataclass(slots=True)
class Unfinished:
    """The unfinished line of a source: text, or bytes when a character may not be complete yet."""

    text: str = ""
    data: bytes = b""
    turn: int = 1  # counts what was taken from the source; see `journal.Slot`
    opened_us: int = 0  # the time under which it is shown already
    since: float = 0.0  # monotonic
    shown: str = ""  # what was stored of it last
    thread: int = 0  # the thread that has begun it

    @property
    def line(self) -> str:
        """The line as a terminal would show it now."""
        return last_state(self.data.decode(errors="replace") if self.data else self.text)

    def note_time(self) -> None:
        """Note since when it stands."""
        if not self.since:
            self.since = time.monotonic()


def last_state(line: str) -> str:
    """Return what a terminal shows in the end of a line that was rewritten after carriage returns."""
    return line.rstrip("\r").rpartition("\r")[2] if "\r" in line else line


def split_text(text: str) -> tuple[str | None, str]:
    """Return the lines that a text completes, None for none, and the unfinished one."""
    lines, cut, rest = text.rpartition("\n")
    rest = _without_rewritten(rest)
    if len(rest) > LONGEST_UNFINISHED:
        return (f"{lines}\n{rest}" if cut else rest), ""
    return (lines if cut else None), rest


def split_bytes(data: bytes) -> tuple[bytes | None, bytes]:
    """Do the same with bytes."""
    lines, cut, rest = data.rpartition(b"\n")
    if b"\r" in rest:
        rest = _without_rewritten(rest.decode("latin-1")).encode("latin-1")
    if len(rest) > LONGEST_UNFINISHED:
        return (lines + b"\n" + rest if cut else rest), b""
    return (lines if cut else None), rest


def _without_rewritten(rest: str) -> str:
    # A carriage return at the end takes the line back only when something follows it: it may be half of a line end.
    if "\r" not in rest:
        return rest
    return last_state(rest) + "\r" if rest.endswith("\r") else last_state(rest)
