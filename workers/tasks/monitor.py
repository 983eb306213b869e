"""The monitor's sweep, on the system queue, and the probe, which people may run too."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from workers.domain.names import SYSTEM_QUEUE
from workers.domain.plurals import counted
from workers.services import clocks, measuring, monitoring
from workers.task import Reject, current_job, current_settings, log, task, the_yard


@task(queue=SYSTEM_QUEUE, priority="high", max_retries=0, timeout_seconds=300)
def sweep() -> dict[str, Any]:
    """Find stuck jobs, jobs that Redis lost and dead workers; measure the system and evaluate the alert rules."""
    clocks.synchronize(the_yard(), force=True)
    job = current_job()
    done = monitoring.sweep(the_yard(), worker=job.row["worker"] if job is not None else None)
    if done.reset or done.failed or done.requeued:
        stuck = counted(done.reset + done.failed, "stuck job")
        log(f"{stuck}: {done.reset} reset, {done.failed} failed; {done.requeued} missing in Redis", "warning")
    if done.error:
        log(done.error, "error")
    return asdict(done)


@task(max_retries=0, timeout_seconds=30)
def probe() -> dict[str, Any]:
    """Call PROBE_URL and measure its response time."""
    if not current_settings().probe_url:
        raise Reject("No probe: PROBE_URL is not set.")
    return measuring.probe(current_settings())
