"""What 10,000 schedules cost: their page, the week of load, an idle scheduler, a full minute: `python -m bench.schedules`."""

from __future__ import annotations

import random
import subprocess
import sys
import time
from datetime import timedelta
from typing import Any

import psutil
from sqlalchemy import insert

from bench._common import ROOT, tell, yard
from bench.pages import PASSWORD, SYSTEM, milliseconds
from dashboard.factory import create_app
from tests.support import sign_in
from workers.broker.timers import Timers
from workers.domain.clock import utcnow
from workers.services import carrying, enqueueing, firing, schedule_load, schedules, users
from workers.services.enqueueing import NewJob
from workers.store import jobs
from workers.store import schedules as rows
from workers.yard import Yard

COUNT, WITH_HISTORY, FIRES = 10_000, 200, 60
IDLE_SECONDS = 30.0
_SCHEDULER = (
    "from workers.settings import Settings; from workers.processes.scheduler import run_scheduler;"
    "run_scheduler(Settings.from_env(), 'bench')"
)


def fill(yard: Yard) -> list[dict[str, Any]]:
    """Make the schedules: daily at any minute, hours away from now; the first by name have a history."""
    dice = random.Random(1)
    away = (utcnow() + timedelta(hours=8)).hour
    template = schedules.create(yard, {"name": "template", "task": "samples.noop", "cron": "0 0 1 1 *"}, SYSTEM)
    made = []
    for number in range(COUNT):
        cron = f"{dice.randrange(60)} {(away + dice.randrange(8)) % 24} * * *"
        row = {**template, "id": template["id"][:-6] + f"{number:06x}", "name": f"schedule {number:05d}", "cron": cron}
        fire_at = schedules.rhythm_of(row).next(utcnow())
        made.append({**row, "next_fire_at": fire_at, "next_due_at": fire_at})
    with yard.database.write() as connection:
        rows.remove(connection, template["id"])
        connection.execute(insert(rows.SCHEDULES), made)
    for row in made[:WITH_HISTORY]:
        _history(yard, row)
    return made


def _history(yard: Yard, row: dict[str, Any]) -> None:
    now = utcnow()
    new = [enqueueing.row_of(yard, NewJob("samples.noop", schedule=row["id"]), now) for _ in range(FIRES)]
    fires = [
        firing._fire_row(row, now - timedelta(days=number + 1), now, "fired", job["id"])
        for number, job in enumerate(new)
    ]
    with yard.database.write() as connection:
        jobs.add(connection, new)
        connection.execute(insert(rows.FIRES), fires)


def idle_share(yard: Yard) -> float:
    """Tell how much of a core a scheduler takes that has nothing to fire."""
    environment = {"DATA_DIR": str(yard.settings.data_dir), "PATH": "/usr/bin:/bin"}
    with subprocess.Popen([sys.executable, "-c", _SCHEDULER], cwd=ROOT, env=environment) as process:
        try:
            time.sleep(10)
            watched = psutil.Process(process.pid)
            before = sum(watched.cpu_times()[:2])
            time.sleep(IDLE_SECONDS)
            return 100 * (sum(watched.cpu_times()[:2]) - before) / IDLE_SECONDS
        finally:
            process.terminate()


def full_minute(yard: Yard) -> float:
    """Tell how long 500 schedules take that are due in the same second, in seconds."""
    now = utcnow()
    with yard.database.write() as connection:
        for row in rows.page(connection, limit=500):
            rows.change(connection, row["id"], row["version"], {"next_fire_at": now, "next_due_at": now})
            Timers(yard.redis).carry(carrying.PREFIX + row["id"], now)
    timers, begun = Timers(yard.redis), time.perf_counter()
    while timers.fire_due(utcnow(), lambda name, _at: _fire(yard, name)):
        pass
    return time.perf_counter() - begun


def _fire(yard: Yard, name: str) -> None:
    firing.fire(yard, name.removeprefix(carrying.PREFIX))


def main() -> None:
    """Measure."""
    figures: dict[str, float] = {}
    with yard() as opened:
        users.add(opened, "ada", "admin", PASSWORD, SYSTEM)
        client = create_app(opened.settings, opened).test_client()
        assert sign_in(client, "ada", PASSWORD).status_code == 303
        made = fill(opened)
        begun = time.perf_counter()
        while carrying.reconcile(opened, 5000):
            pass
        figures["carry_10000_seconds"] = time.perf_counter() - begun
        figures["page_ms"] = milliseconds(lambda: client.get("/schedules").status_code)
        figures["one_ms"] = milliseconds(lambda: client.get(f"/schedules/{made[0]['id']}").status_code)
        figures["overview_ms"] = milliseconds(lambda: client.get("/").status_code)
        schedule_load._kept.clear()
        begun = time.perf_counter()
        assert client.get("/schedules/load").status_code == 200
        figures["week_of_load_first_ms"] = 1000 * (time.perf_counter() - begun)
        figures["week_of_load_again_ms"] = milliseconds(lambda: client.get("/schedules/load").status_code)
        begun = time.perf_counter()
        carrying.reconcile(opened)
        figures["reconcile_ms"] = 1000 * (time.perf_counter() - begun)
        figures["idle_percent_of_a_core"] = idle_share(opened)
        figures["fire_500_at_once_seconds"] = full_minute(opened)
    tell("schedules", figures)


if __name__ == "__main__":
    main()
