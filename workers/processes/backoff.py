"""How long to wait before something that died or failed is tried again."""

from __future__ import annotations

LONGEST_SECONDS = 30.0
STEADY_SECONDS = 60.0


class Backoff:
    """Waits of 1, 2, 4 … 30 seconds, or what else is given; back to the first after a minute without trouble."""

    def __init__(self, first_seconds: float = 1.0, longest_seconds: float = LONGEST_SECONDS) -> None:
        self._first = self._next = first_seconds
        self._longest = longest_seconds

    def after(self, alive_seconds: float) -> float:
        """Tell the seconds to wait now, after it has worked for so long."""
        if alive_seconds >= STEADY_SECONDS:
            self._next = self._first
        wait, self._next = self._next, min(self._next * 2, self._longest)
        return wait

    def reset(self) -> None:
        """Forget the trouble."""
        self._next = self._first
