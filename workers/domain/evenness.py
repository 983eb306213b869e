"""Is the clock to be trusted? Ages of rows, counted only for the time in which the clock ran evenly.

The wall clock of a machine can be set, forward or back, and a machine can be suspended or cut off. Silence that a clock
shows across such a moment is no evidence: after it, every age is counted anew.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from typing import Any

# More than any delay between two readings; less than any threshold that ages are compared with.
JUMP_SECONDS = 2.0


@dataclass(frozen=True, slots=True)
class Reading:
    """The wall clock and the steady clock of one machine, read together."""

    machine: str  # names the steady clock: one start of one machine
    at: datetime
    uptime: float  # seconds

    def jump_since(self, earlier: Reading) -> float:
        """Return by how many seconds the wall clock went ahead (back: below zero) of the steady clock since then; else 0."""
        if self.machine != earlier.machine or self.uptime < earlier.uptime:
            return 0.0
        passed = (self.at - earlier.at).total_seconds()
        jump = passed - (self.uptime - earlier.uptime)
        return jump if abs(jump) > JUMP_SECONDS else 0.0


@dataclass(frozen=True, slots=True)
class Disturbance:
    """A moment from which ages are counted anew."""

    at: datetime
    kind: str  # clock (it was set, or the machine slept), pause (nothing ran, or the database was away)
    seconds: float  # how far the clock jumped, or how long the pause was


@dataclass(frozen=True, slots=True)
class Clocks:
    """One moment, and what is known of the clock that the rows were written by."""

    now: datetime
    disturbance: Disturbance | None = None
    # Rows from the future: the latest that was seen, and when it was first seen.
    ahead_until: datetime | None = None
    ahead_seen_at: datetime | None = None

    def age_seconds(self, written_at: datetime) -> float:
        """Return for how long a row has been as it is, in seconds; never more than the clock has run evenly."""
        return max((self.now - self._since(written_at)).total_seconds(), 0.0)

    def is_ahead(self, written_at: datetime) -> bool:
        """Return whether a row is from the future."""
        return (written_at - self.now).total_seconds() > JUMP_SECONDS

    def disturbed_at(self, moment: datetime, kind: str, seconds: float) -> Clocks:
        """Return the same with a disturbance."""
        return replace(self, disturbance=Disturbance(moment, kind, seconds))

    def _since(self, written_at: datetime) -> datetime:
        since = written_at
        if self.is_ahead(written_at):
            since = self._seen_at(written_at)
        if self.disturbance is not None and self.disturbance.at <= self.now:
            since = max(since, self.disturbance.at)
        return since

    def _seen_at(self, written_at: datetime) -> datetime:
        # One that was not there when the future was last looked at has been written since: its writer lives.
        if self.ahead_until is None or self.ahead_seen_at is None or written_at > self.ahead_until:
            return self.now
        return self.ahead_seen_at


def as_json(thing: Reading | Disturbance) -> dict[str, Any]:
    """Return it as a JSON object."""
    values = asdict(thing)
    return {**values, "at": thing.at.isoformat()}


def instant_of(text: str) -> datetime:
    """Return the instant that was kept as text, in UTC. Raises TypeError, ValueError and OverflowError for anything else."""
    return datetime.fromisoformat(text).astimezone(UTC)


def reading_of(values: dict[str, Any]) -> Reading:
    """Return the reading that was kept as JSON. Raises KeyError and what `instant_of` raises for anything else."""
    return Reading(str(values["machine"]), instant_of(values["at"]), float(values["uptime"]))


def disturbance_of(values: dict[str, Any]) -> Disturbance:
    """Return the disturbance that was kept as JSON. Raises KeyError and what `instant_of` raises for anything else."""
    return Disturbance(instant_of(values["at"]), str(values["kind"]), float(values["seconds"]))
