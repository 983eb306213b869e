"""Keeping Taskyard's own house."""

from __future__ import annotations

from workers.domain.clock import utcnow
from workers.services import removal, retention
from workers.task import Skipped, progress, task, the_yard


@task(max_retries=1, timeout_seconds=3600)
def cleanup() -> dict[str, int]:
    """Delete what is older than RETENTION_DAYS: ended jobs with their logs and files, old uploads, old roll-ups. Skips when nothing is."""
    yard, now = the_yard(), utcnow()
    jobs = rows = 0
    while gone := retention.purge_step(yard, now):
        jobs += gone
        progress(jobs, None, f"{jobs:,} old jobs deleted")
    while gone := retention.tidy_step(yard, now):
        rows += gone
        progress(jobs + rows, None, f"{jobs:,} jobs and {rows:,} other rows deleted")
    uploads = removal.expire_uploads(yard, now)
    while removal.remove_leftovers(yard, now):
        pass
    if not jobs and not rows and not uploads:
        raise Skipped("nothing to delete")
    return {"jobs": jobs, "other_rows": rows, "uploads": uploads}
