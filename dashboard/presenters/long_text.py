"""Long texts on a page: the beginning within a number of bytes; the rest is loaded on demand."""

from __future__ import annotations

from dataclasses import dataclass

from markupsafe import escape

BYTES = 8_000


@dataclass(frozen=True, slots=True)
class LongText:
    """What a page shows of a text, and how long all of it is, in characters."""

    shown: str
    length: int

    @property
    def is_cut(self) -> bool:
        """Return whether there is more than is shown."""
        return len(self.shown) < self.length


def cut_start(text: str, most: int = BYTES) -> LongText:
    """Return the beginning of a text that takes at most so many bytes on a page."""
    return LongText(text[: _fitting(text[:most], most)], len(text))


def cut_end(text: str, most: int = BYTES) -> LongText:
    """Return the end of a text that takes at most so many bytes on a page."""
    end = text[-most:]
    count = _fitting(end[::-1], most)
    return LongText(end[len(end) - count :], len(text))


def _fitting(text: str, most: int) -> int:
    """Return how many of the first characters fit."""
    size = 0
    for place, letter in enumerate(text):
        size += len(escape(letter).encode())
        if size > most:
            return place
    return len(text)
