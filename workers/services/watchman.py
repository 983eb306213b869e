"""The watch over the monitor: the web process looks at the age of its last sweep and raises the alert.

It sends alerts itself while the monitor is silent or no worker serves the queue of deliveries.
"""

from __future__ import annotations

from datetime import datetime

from workers.domain.names import DELIVERY_QUEUE
from workers.domain.staleness import spoken
from workers.services import alerting, deliveries, health, monitoring
from workers.services.facts import Found
from workers.store import alerts, sweeps
from workers.yard import Yard

RULE = "rule-monitor_silent"
SEND_AFTER_SECONDS = 60.0


def watch(yard: Yard, since: datetime, now: datetime) -> float | None:
    """Tell for how many seconds no sweep has run, when that is too long; None while all is well. Raises Unavailable.

    `since` is when this process began to watch: silence before that is nobody's fault.
    """
    with yard.database.read() as connection:
        silent = monitoring.silent_seconds(connection, yard.settings, since, now)
        rule = alerts.rule(connection, RULE) if silent is not None else None
        last = sweeps.last(connection) if silent is not None else None
    if silent is None:
        if DELIVERY_QUEUE in health.unserved_system_queues(yard):
            deliveries.send_due(yard, SEND_AFTER_SECONDS)
        return None
    if rule is not None and rule["is_enabled"]:
        detail = (
            f"the last sweep was {spoken((now - last['at']).total_seconds())} ago" if last else "it has never swept"
        )
        missed = silent / yard.settings.monitor_interval_seconds
        found = Found("", missed, f"The monitor has been silent for {spoken(silent)}", detail, "/stuck")
        with yard.database.write() as connection:
            changed = alerting.observe(connection, yard, {RULE: (rule, [found])}, now)
        alerting.tell(yard, changed)
    deliveries.send_due(yard, SEND_AFTER_SECONDS)
    return silent
