"""The environment of a task holds no secret of Taskyard's own, and the engine's calls work without."""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.integration.running import Running
from tests.support import eventually
from workers.services import jobs
from workers.settings import Settings
from workers.yard import Yard

pytestmark = pytest.mark.timeout(120)
SECRETS = ("ADMIN_PASSWORD", "SECRET_KEY", "DATABASE_URL", "REDIS_URL", "SMTP_URL", "ALERT_URLS")


@pytest.fixture(scope="module", params=["plain", "files"])
def running(
    request: pytest.FixtureRequest, valkey: Settings, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Running]:
    """Run a whole Taskyard that was given every secret, by value or by file."""
    folder = tmp_path_factory.mktemp("environment")
    values = {
        "ADMIN_PASSWORD": "correct horse battery",
        "SECRET_KEY": secrets.token_hex(32),
        "DATABASE_URL": f"sqlite:///{folder / 'elsewhere.db'}",
        "REDIS_URL": valkey.effective_redis_url,
        "SMTP_URL": "smtp://user:hunter2@127.0.0.1:1",
        "ALERT_URLS": "json://127.0.0.1:1/hook",
    }
    if request.param == "files":
        values = {f"{name}_FILE": _written(folder / name, value) for name, value in values.items()}
    one = Running(folder / "yard", TASK_MODULES="tests.security.environment_tasks", **values)
    if request.param == "files":
        del one.environment["ADMIN_PASSWORD"]
    yield one.start().ready()
    one.clean_up()


def _written(path: Path, value: str) -> str:
    path.write_text(value)
    return str(path)


def result(running: Running, task: str) -> Any:
    job_id = running.enqueue(f"tests.security.environment_tasks.{task}")
    yard = Yard.open(Settings.from_env(running.environment))
    found: list[Any] = []

    def has_ended() -> None:
        with yard.database.read() as connection:
            found[:] = [jobs.get(connection, job_id)]
        assert found[0]["status"] in {"completed", "failed"}

    eventually(has_ended, within=30)
    yard.close()
    assert found[0]["status"] == "completed", found[0]["error"]
    return json.loads(found[0]["result"])


def test_no_secret_is_in_the_environment_of_a_task_or_of_a_program_that_it_starts(running: Running) -> None:
    seen = result(running, "environment")
    hidden = {*SECRETS, *(f"{name}_FILE" for name in SECRETS)}
    for place in ("at_import", "in_task", "in_child"):
        assert "DATA_DIR" in seen[place]
        assert hidden & set(seen[place]) == set()


def test_every_secret_setting_is_hidden() -> None:
    secret = {name.upper() for name, part in Settings.__dataclass_fields__.items() if not part.repr}
    assert set(SECRETS) <= secret


def test_the_settings_of_a_task_show_no_secret(running: Running) -> None:
    seen = result(running, "settings")
    assert (seen["secret_key"], seen["admin_password"]) == ("", "")
    assert "hunter2" not in seen["shown"]
    assert "elsewhere.db" not in seen["shown"]


@pytest.mark.parametrize("where", ["thread", "fork"])
def test_a_task_still_enqueues_from_a_thread_and_a_fork_of_its_process(running: Running, where: str) -> None:
    assert result(running, f"enqueue_from_{where}") in (0, *_ids(running))


def _ids(running: Running) -> list[str]:
    return [line.split()[0] for line in running.run("jobs", "--limit", "200").stdout.splitlines()]
