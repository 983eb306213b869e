"""What a worker asks of its child: one attempt to run, as a line."""

from __future__ import annotations

from dataclasses import dataclass

LONGEST = 200  # bytes
_QUIET, _ALOUD = "quiet", "aloud"


@dataclass(frozen=True, slots=True)
class Order:
    """An attempt to run; `quiet` leaves it to the worker to notify viewers that it has begun."""

    job_id: str
    attempt: int
    quiet: bool = False

    @classmethod
    def parse(cls, line: str) -> Order:
        """Read a line."""
        job_id, attempt, quiet = line.split()
        return cls(job_id, int(attempt), quiet == _QUIET)

    def line(self) -> bytes:
        """Return the line that says it: `<job> <attempt> <quiet|aloud>`."""
        return f"{self.job_id} {self.attempt} {_QUIET if self.quiet else _ALOUD}\n".encode("ascii")
