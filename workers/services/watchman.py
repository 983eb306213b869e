"""The watch over the monitor: the web process looks at the age of its last sweep and raises the alert.

It sends alerts itself while the monitor is silent or no worker serves the queue of deliveries.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from workers.domain.names import DELIVERY_QUEUE
from workers.domain.staleness import spoken
from workers.services import alerting, deliveries, health, monitoring
from workers.services.facts import Found
from workers.store import alerts, sweeps
from workers.store.types import Row
from workers.yard import Yard

KIND = "monitor_silent"
SEND_AFTER_SECONDS = 60.0


def watch(yard: Yard, since: datetime, now: datetime) -> float | None:
    """Return for how many seconds no sweep has run, when that is too long; None while all is well. Raises Unavailable.

    `since` is when this process began to watch: silence before that is nobody's fault. Rules of the kind `monitor_silent`
    raise alerts above their own numbers of missed sweeps.
    """
    with yard.database.read() as connection:
        age = monitoring.seconds_since_sweep(connection, since, now)
        missed = age / yard.settings.monitor_interval_seconds
        rules = [
            rule for rule in alerts.rules_of(connection, KIND) if rule["is_enabled"] and missed > rule["threshold"]
        ]
        last = sweeps.last(connection) if rules else None
    if rules:
        _raise(yard, rules, age, last, now)
    silent = monitoring.too_long(yard.settings, age)
    if rules or silent is not None or DELIVERY_QUEUE in health.unserved_system_queues(yard):
        deliveries.send_due(yard, SEND_AFTER_SECONDS)
    return silent


def _raise(yard: Yard, rules: Sequence[Row], age: float, last: Row | None, now: datetime) -> None:
    detail = (
        f"The last sweep was {spoken((now - last['at']).total_seconds())} ago." if last else "No sweep has run yet."
    )
    missed = age / yard.settings.monitor_interval_seconds
    found = Found("", missed, f"The monitor has not run for {spoken(age)}", detail, "/stuck")
    with yard.database.write() as connection:
        changed = alerting.observe(connection, yard, {rule["id"]: (rule, [found]) for rule in rules}, now)
    alerting.tell(yard, changed)
