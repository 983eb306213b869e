"""Tasks that look at what they find around them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading

from workers.task import current_settings, enqueue, task

AT_IMPORT = sorted(os.environ)
_SHOW = "import json, os; print(json.dumps(dict(os.environ)))"


@task(max_retries=0)
def environment() -> dict[str, object]:
    """Return the environment at import, in the task, and in a program that it starts."""
    child = subprocess.run([sys.executable, "-c", _SHOW], capture_output=True, text=True, check=True)
    return {"at_import": AT_IMPORT, "in_task": sorted(os.environ), "in_child": sorted(json.loads(child.stdout))}


@task(max_retries=0)
def settings() -> dict[str, object]:
    """Return what the settings show of themselves."""
    own = current_settings()
    return {"shown": repr(own), "secret_key": own.secret_key, "admin_password": own.admin_password}


@task(max_retries=0)
def enqueue_from_thread() -> str:
    """Enqueue a job in a thread of this process."""
    made: list[str] = []
    thread = threading.Thread(target=lambda: made.append(enqueue("samples.noop").job_id))
    thread.start()
    thread.join()
    return made[0]


@task(max_retries=0)
def enqueue_from_fork() -> int:
    """Enqueue a job in a process that the task forks; it reads the settings anew."""
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            enqueue("samples.noop")
            code = 0
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
