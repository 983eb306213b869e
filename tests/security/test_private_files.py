"""What Taskyard writes is for its own user alone, and what it knows is not in the environment of a task."""

from __future__ import annotations

import importlib
import json
import os
import stat
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import running_worker
from tests.integration.running import Running
from tests.support import eventually
from workers import registry
from workers.services import jobs, publishing
from workers.services.enqueueing import NewJob
from workers.yard import Yard


@pytest.fixture
def running(tmp_path: Path) -> Iterator[Running]:
    made = Running(tmp_path / "data")
    yield made
    made.clean_up()


def test_files_in_a_folder_that_was_open_to_all_are_private(running: Running) -> None:
    running.data_dir.mkdir(mode=0o755)
    running.data_dir.chmod(0o755)
    loose = running.data_dir / "taskyard.db"
    loose.touch()
    loose.chmod(0o644)
    running.start().ready()
    job_id = running.enqueue("email.send", '{"to": "a@example.org", "subject": "s", "body": "b"}')

    def is_done() -> None:
        assert running.status(job_id) == "completed"

    eventually(is_done, within=20)
    paths = [path for path in running.data_dir.rglob("*") if not path.is_symlink()]
    open_files = [path for path in paths if path.is_file() and stat.S_IMODE(path.stat().st_mode) & 0o077]
    open_folders = [path for path in paths if path.is_dir() and stat.S_IMODE(path.stat().st_mode) & 0o077]
    assert {path.name for path in paths} >= {"taskyard.db", "lock", "secret_key", "valkey"}
    assert open_files == []
    assert open_folders == []
    assert running.stop() == 0


SPYING = """
import os, subprocess, sys
from workers.task import task

@task
def look() -> dict:
    code = "import os, json; print(json.dumps(dict(os.environ)))"
    inner = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout
    return {"own": dict(os.environ), "inner": inner}
"""


def test_a_task_finds_no_secret_of_taskyard_in_its_environment(yard: Yard, tmp_path: Path, monkeypatch: Any) -> None:
    (tmp_path / "spying.py").write_text(SPYING)
    monkeypatch.syspath_prepend(str(tmp_path))
    importlib.import_module("spying")
    sys.modules.pop("spying")
    publishing.publish(yard, {"spying.look": registry.REGISTRY.pop("spying.look")})
    key = tmp_path / "key"
    key.write_text("0123456789abcdef" * 3)
    secrets = {
        "SECRET_KEY_FILE": str(key),
        "ADMIN_PASSWORD": "correct horse battery",
        "SMTP_URL": "smtp://user:password@localhost:1",
        "ALERT_URLS": "json://localhost/secret",
    }
    with running_worker(yard, TASK_MODULES="spying", PYTHONPATH=f"{tmp_path}{os.pathsep}{os.getcwd()}", **secrets):
        job_id = jobs.enqueue(yard, NewJob("spying.look")).job_id

        def is_done() -> None:
            with yard.database.read() as connection:
                assert jobs.get(connection, job_id)["status"] == "completed"

        eventually(is_done, within=20)
    with yard.database.read() as connection:
        result = json.loads(jobs.get(connection, job_id)["result"])
    inner = json.loads(result["inner"])
    for environment in (result["own"], inner):
        assert "DATA_DIR" in environment
        assert not set(environment) & {*secrets, "SECRET_KEY", "DATABASE_URL", "REDIS_URL"}
