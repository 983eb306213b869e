"""The one clock of an installation: the database's, and whether it runs evenly.

Each process measures by how much its host's clock is off and corrects `utcnow`. What a clock that was set, a machine that
slept or a pause of everything would make look old is found here; ages are counted anew from such a moment.
"""

from __future__ import annotations

import hashlib
import logging
import os
import socket
import time
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, func, select

from workers.domain import clock
from workers.domain.clock import utcnow
from workers.domain.evenness import Clocks, Disturbance, Reading, as_json, disturbance_of, instant_of, reading_of
from workers.domain.staleness import spoken
from workers.store import settings as values
from workers.store import sweeps
from workers.store import workers as worker_rows
from workers.yard import Yard

log = logging.getLogger(__name__)

MEASURE_EVERY_SECONDS = 60.0
LONGEST_ANSWER_SECONDS = 2.0  # an answer that took longer says too little about the clock
SHOWN_OFFSET_SECONDS = 2.0
RECENT_SECONDS = 3600.0  # a disturbance is shown for so long
_DISTURBANCE, _REFERENCES, _AHEAD = "clock.disturbance", "clock.references", "clock.ahead"
_MOST_REFERENCES = 50
_MOST_SHOWN = 20
_measured: dict[str, float] = {}


def synchronize(yard: Yard, *, force: bool = False) -> float | None:
    """Measure this host's clock against the database's, once a minute or now, and have `utcnow` follow the database's.

    Returns by how many seconds the database's is ahead; None when it was not measured. SQLite has no clock but the
    host's. Raises Unavailable.
    """
    last = _measured.get("at")
    if yard.database.is_sqlite or not (force or last is None or clock.uptime() - last >= MEASURE_EVERY_SECONDS):
        return None
    with yard.database.read() as connection:
        connection.execute(select(1))  # what connecting takes is not part of the answer's time
        before, started = time.time(), clock.uptime()
        told: datetime = connection.execute(select(func.clock_timestamp())).scalar_one()
        took = clock.uptime() - started
    if took > LONGEST_ANSWER_SECONDS:
        return None
    offset = told.astimezone(UTC).timestamp() - (before + took / 2)
    clock.follow(offset)
    _measured["at"] = started
    return offset


def forget_measurement() -> None:
    """Have the next `synchronize` measure."""
    _measured.clear()


@lru_cache(maxsize=1)
def machine() -> str:
    """Return a name of this machine's steady clock: it changes with each start of the machine."""
    parts = [socket.gethostname()]
    with suppress(OSError):
        parts = [Path("/proc/sys/kernel/random/boot_id").read_text().strip()]
    with suppress(OSError):
        parts.append(os.readlink("/proc/self/ns/time"))  # containers may have a steady clock of their own
    return hashlib.sha256(" ".join(parts).encode()).hexdigest()[:16]


def take_reading(now: datetime | None = None) -> Reading:
    """Return the clocks of this moment; of another `now`, as they would be if only time had passed until then."""
    present, uptime = utcnow(), clock.uptime()
    if now is None:
        return Reading(machine(), present, uptime)
    return Reading(machine(), now, uptime + (now - present).total_seconds())


def read(connection: Connection, now: datetime | None = None) -> Clocks:
    """Return the clocks for judging ages; changes nothing. Raises Unavailable."""
    return _clocks(connection, take_reading(now))


def observe(yard: Yard, reading: Reading, worker: str | None = None) -> Clocks:
    """Return the clocks for judging ages, and record what is new about them. Raises Unavailable.

    `worker` is the one that runs the caller: when it could write no heartbeat, others could not either.
    """
    with yard.database.write() as connection:
        known = _disturbance(values.get(connection, _DISTURBANCE))
        clocks = _clocks(connection, reading)
        clocks = _with_pause(connection, clocks, worker, yard.settings.heartbeat_seconds)
        clocks = _with_future(connection, clocks)
        _record(connection, clocks, reading, known)
    if clocks.disturbance is not None and clocks.disturbance != known:
        log.warning("%s", sentence(clocks.disturbance))
    return clocks


def report_jump(connection: Connection, earlier: Reading, present: Reading) -> bool:
    """Record a jump of the clock between two readings of one process; False when there was none."""
    jump = present.jump_since(earlier)
    if not jump:
        return False
    found = Disturbance(present.at, "clock", jump)
    values.put(connection, _DISTURBANCE, as_json(found), present.at)
    log.warning("%s", sentence(found))
    return True


def era(yard: Yard) -> str:
    """Return a name of the time since the last disturbance: a clock that was set back shows the same times twice.

    Raises Unavailable.
    """
    with yard.database.read() as connection:
        found = _disturbance(values.get(connection, _DISTURBANCE))
    return "" if found is None else f":{int(found.at.timestamp())}"


def pause_limit(heartbeat_seconds: float) -> float:
    """Return after how many seconds without a heartbeat of its own a worker takes others' silence for no evidence."""
    return max(2 * heartbeat_seconds, worker_rows.lost_after_seconds(heartbeat_seconds) - 2 * heartbeat_seconds)


def sentence(found: Disturbance) -> str:
    """Describe a disturbance in a sentence."""
    if found.kind == "pause":
        how_long = spoken(found.seconds) if found.seconds else "a while"
        return (
            f"The monitor could not write for {how_long}: the machine was suspended or the database was down. "
            "Missing heartbeats are counted from that time on."
        )
    way = "forward" if found.seconds > 0 else "back"
    return f"The clock went {way} by {spoken(abs(found.seconds))}. Missing heartbeats are counted from that time on."


def notes(connection: Connection, now: datetime) -> list[str]:
    """Return what people should know of the clocks, in sentences: hosts that are off, and a disturbance within the hour."""
    found = recent_disturbance(connection, now)
    told = [] if found is None else [sentence(found)]
    offsets = {row["host"]: row["clock_offset_seconds"] or 0.0 for row in worker_rows.present(connection)}
    off = {host: seconds for host, seconds in sorted(offsets.items()) if abs(seconds) > SHOWN_OFFSET_SECONDS}
    for host, seconds in [*off.items()][:_MOST_SHOWN]:
        way = "behind" if seconds > 0 else "ahead of"
        told.append(
            f"The clock of {host} is {spoken(abs(seconds))} {way} the database's. "
            "Taskyard corrects its own times; the clock that tasks read is wrong. Synchronize the host's clock."
        )
    return told


def recent_disturbance(connection: Connection, now: datetime) -> Disturbance | None:
    """Return the disturbance of the clock within the last hour, if there was one."""
    found = _disturbance(values.get(connection, _DISTURBANCE))
    if found is None or abs((now - found.at).total_seconds()) > RECENT_SECONDS:
        return None
    return found


def _clocks(connection: Connection, reading: Reading) -> Clocks:
    kept = values.get_many(connection, (_DISTURBANCE, _REFERENCES, _AHEAD))
    known = _disturbance(kept.get(_DISTURBANCE))
    clocks = Clocks(reading.at, known, *_ahead(kept.get(_AHEAD)))
    earlier = _reference(kept.get(_REFERENCES), reading.machine)
    jump = reading.jump_since(earlier) if earlier is not None else 0.0
    if not jump or earlier is None:
        return clocks
    since = (reading.at - known.at).total_seconds() if known is not None else None
    if since is not None and 0 <= since <= reading.uptime - earlier.uptime:
        return clocks  # somebody else has recorded it already
    return clocks.disturbed_at(reading.at, "clock", jump)


def _with_pause(connection: Connection, clocks: Clocks, worker: str | None, heartbeat_seconds: float) -> Clocks:
    row = worker_rows.get(connection, worker) if worker else None
    if row is None:
        return clocks
    silent = clocks.age_seconds(row["heartbeat_at"])
    if silent > pause_limit(heartbeat_seconds):
        return clocks.disturbed_at(clocks.now, "pause", silent)
    resumed_at, known = row["resumed_at"], clocks.disturbance
    if resumed_at is None or resumed_at > clocks.now:
        return clocks
    # The sweep that saw the worker silent was a moment earlier than the worker's own heartbeat.
    if known is not None and (resumed_at - known.at).total_seconds() < pause_limit(heartbeat_seconds):
        return clocks
    return clocks.disturbed_at(resumed_at, "pause", 0.0)


def _with_future(connection: Connection, clocks: Clocks) -> Clocks:
    found = [sweeps.latest_job_heartbeat(connection), worker_rows.latest_heartbeat(connection)]
    ahead = max((moment for moment in found if moment is not None and clocks.is_ahead(moment)), default=None)
    if ahead is None:
        return replace(clocks, ahead_until=None, ahead_seen_at=None)
    until, seen_at = clocks.ahead_until, clocks.ahead_seen_at
    # `seen_at` lies in the future itself after a clock that was set back again.
    if until is not None and ahead <= until and seen_at is not None and not clocks.is_ahead(seen_at):
        return clocks
    return replace(clocks, ahead_until=ahead, ahead_seen_at=clocks.now)


def _record(connection: Connection, clocks: Clocks, reading: Reading, known: Disturbance | None) -> None:
    now = clocks.now
    if clocks.disturbance is not None and clocks.disturbance != known:
        values.put(connection, _DISTURBANCE, as_json(clocks.disturbance), now)
    ahead = None
    if clocks.ahead_until is not None and clocks.ahead_seen_at is not None:
        ahead = {"until": clocks.ahead_until.isoformat(), "seen_at": clocks.ahead_seen_at.isoformat()}
    if ahead != values.get(connection, _AHEAD):
        values.put(connection, _AHEAD, ahead, now)
    references = values.get(connection, _REFERENCES)
    others = references.items() if isinstance(references, dict) else ()
    kept = dict([(name, one) for name, one in others if name != reading.machine][1 - _MOST_REFERENCES :])
    values.put(connection, _REFERENCES, {**kept, reading.machine: as_json(reading)}, now)


def _reference(kept: Any, name: str) -> Reading | None:
    with suppress(KeyError, TypeError, ValueError, OverflowError):
        return reading_of(kept[name])
    return None


def _disturbance(kept: Any) -> Disturbance | None:
    with suppress(KeyError, TypeError, ValueError, OverflowError):
        return disturbance_of(kept)
    return None


def _ahead(kept: Any) -> tuple[datetime | None, datetime | None]:
    with suppress(KeyError, TypeError, ValueError, OverflowError):
        return instant_of(kept["until"]), instant_of(kept["seen_at"])
    return None, None
