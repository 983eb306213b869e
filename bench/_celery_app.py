"""The Celery side of `bench.execute`: no-op jobs with results and events. Runs under a Python that has Celery."""

from __future__ import annotations

import os
import sys
import time

from celery import Celery, group  # type: ignore[import-not-found]

URL = os.environ["CELERY_URL"]
app = Celery("bench", broker=URL, backend=URL)
app.conf.update(worker_send_task_events=True, task_send_sent_event=True, task_track_started=True)


@app.task(name="bench.noop")  # type: ignore[untyped-decorator]
def noop() -> float:
    """Do nothing; return when."""
    return time.time()


def measure(count: int, warm_up: int) -> float:
    """Run `count` jobs; return jobs per second, from the first one that ran to the last one."""
    group(noop.s() for _ in range(warm_up))().get(timeout=60)
    ran_at = group(noop.s() for _ in range(count))().get(timeout=120)
    return count / (max(ran_at) - min(ran_at))


if __name__ == "__main__":
    sys.stdout.write(str(measure(int(sys.argv[1]), int(sys.argv[2]))))
