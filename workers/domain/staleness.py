"""Is a running job stuck? Judged by its heartbeat, its worker and its time limit; the evidence goes with the verdict."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from workers.domain.durations import write_duration

MISSED_BEATS = 4
SHORTEST_SILENCE_SECONDS = 10.0
# The worker itself ends an attempt at its limit; the monitor steps in only when that has clearly not happened.
OVERDUE_SECONDS = 60.0

WORKER_LOST = "worker_lost"
SILENT = "silent"
OVER_LIMIT = "over_limit"


@dataclass(frozen=True, slots=True)
class Evidence:
    """What is known of a running job at one moment; ages and limits in seconds."""

    heartbeat_age: float
    heartbeat_limit: float
    worker: str
    worker_state: str  # alive, silent, stopped, elsewhere (it runs something else), unknown (it has no row)
    worker_silent: float | None  # since when the worker has told nothing
    process: str  # alive, gone, unknown (it is on another host)
    running: float
    time_limit: float
    progress: float
    done: int | None = None
    total: int | None = None
    message: str | None = None

    def as_json(self) -> dict[str, Any]:
        """Make it a JSON object."""
        return {
            name: round(value, 1) if isinstance(value, float) else value
            for name, value in asdict(self).items()
            if value not in (None, "")
        }


@dataclass(frozen=True, slots=True)
class Verdict:
    """Why a job is stuck."""

    kind: str  # worker_lost, silent, over_limit
    headline: str
    sentence: str
    error: str  # what the job fails with when no tries are left


def heartbeat_limit(heartbeat_seconds: float) -> float:
    """Tell after how many seconds without a heartbeat a job is suspect: four beats, ten seconds at least."""
    return max(MISSED_BEATS * heartbeat_seconds, SHORTEST_SILENCE_SECONDS)


def judge(evidence: Evidence, stuck_after_seconds: float) -> Verdict | None:
    """Tell why a job is stuck; None while there is a sign that it is not."""
    over = evidence.running - evidence.time_limit
    if over > max(OVERDUE_SECONDS, evidence.heartbeat_limit):
        limit = spoken(evidence.time_limit)
        return Verdict(
            OVER_LIMIT,
            "Timeout exceeded",
            f"The job has run for {spoken(evidence.running)}. Its timeout is {limit}, but {evidence.worker} has not stopped it.",
            f"Task timeout - exceeded {limit_words(evidence.time_limit)} limit",
        )
    if evidence.heartbeat_age <= evidence.heartbeat_limit:
        return None
    silent = spoken(evidence.heartbeat_age)
    if evidence.worker_state != "alive" or evidence.process == "gone":
        return Verdict(
            WORKER_LOST,
            "Worker lost",
            f"{_of_worker(evidence)}. The job has sent no heartbeat for {silent}.",
            f"Worker lost: no heartbeat from {evidence.worker} for {silent}",
        )
    if evidence.heartbeat_age > stuck_after_seconds:
        return Verdict(
            SILENT,
            "No heartbeat",
            f"{evidence.worker} is alive but has sent no heartbeat for this job for {silent}.",
            f"Task timeout - exceeded {limit_words(stuck_after_seconds)} limit",
        )
    return None


def _of_worker(evidence: Evidence) -> str:
    name, silent = evidence.worker or "Its worker", evidence.worker_silent
    if evidence.worker_state == "unknown":
        return f"{name} is no longer registered"
    if evidence.worker_state == "stopped":
        return f"{name} has stopped"
    if evidence.worker_state == "elsewhere":
        return f"{name} no longer runs this job"
    if evidence.process == "gone":
        return f"The process of {name} no longer exists"
    return f"{name} has sent no heartbeat for {spoken(silent or 0.0)}"


def spoken(seconds: float) -> str:
    """Write a duration in whole seconds: `14 min 22 s`."""
    whole = int(seconds)
    return write_duration(whole) if whole else "0 s"


def limit_words(seconds: float) -> str:
    """Say a limit as errors do: 30 minute, 90 second."""
    return f"{int(seconds // 60)} minute" if seconds >= 60 and seconds % 60 == 0 else f"{seconds:g} second"
