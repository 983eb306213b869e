"""The command line: what it prints, and that expected trouble is one line."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from tests.integration.running import ROOT, Running
from workers.domain.actors import Actor
from workers.domain.clock import utcnow
from workers.services import execution, schedules, tokens, users
from workers.settings import Settings
from workers.store import jobs as rows
from workers.yard import Yard

pytestmark = pytest.mark.timeout(120)


@pytest.fixture(scope="module")
def taskyard(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A Taskyard that is set up but does not run: commands must work all the same."""
    running = Running(tmp_path_factory.mktemp("commands") / "yard")
    done = running.run("migrate")
    assert done.returncode == 0, done.stderr
    yield running
    running.clean_up()


@pytest.fixture
def yard(taskyard: Running) -> Iterator[Yard]:
    opened = Yard.open(Settings.from_env(taskyard.environment))
    yield opened
    opened.close()


def test_enqueue_prints_the_id_and_nothing_else(taskyard: Running) -> None:
    done = taskyard.run("enqueue", "samples.sleep", '{"seconds": 1}', "--queue", "reports", "--priority", "high")
    assert done.returncode == 0
    assert len(done.stdout.split()) == 1
    shown = [json.loads(line) for line in taskyard.run("jobs", "--json").stdout.splitlines()]
    assert {"id": done.stdout.strip(), "queue": "reports", "priority": "high", "status": "pending"}.items() <= next(
        one for one in shown if one["id"] == done.stdout.strip()
    ).items()


def test_the_same_key_gives_the_same_job(taskyard: Running) -> None:
    first, second = (taskyard.enqueue("samples.noop", "--key", "once") for _ in range(2))
    assert first == second


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("enqueue", "no.such"), "no.such"),
        (("enqueue", "samples.sleep", '{"seconds": "x"}'), "seconds"),
        (("enqueue", "samples.sleep", "{"), "not valid JSON"),
        (("enqueue", "samples.sleep", "[1]"), "JSON object"),
        (("enqueue", "samples.noop", "--at", "tomorrow"), "2026-01-31T08:00:00Z"),
        (("enqueue", "samples.noop", "--queue", "a b"), "queue"),
        (("jobs", "--status", "odd"), "status"),
        (("retry", "no-such-job"), "no-such-job"),
        (("purge", "--queue", "never-used"), "never-used"),
        (("users", "add", "a b"), "name"),
        (("users", "passwd", "nobody"), "nobody"),
    ],
)
def test_expected_trouble_is_one_line_and_status_1(taskyard: Running, words: tuple[str, ...], said: str) -> None:
    done = taskyard.run(*words)
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1, done.stderr
    assert said in done.stderr
    assert not done.stdout


def test_a_folder_without_a_taskyard_is_told_so(tmp_path: Path) -> None:
    done = Running(tmp_path / "empty").run("jobs")
    assert done.returncode == 78
    assert "There is no Taskyard in" in done.stderr
    assert not (tmp_path / "empty").exists()


def test_a_token_is_printed_alone_and_works(taskyard: Running, yard: Yard) -> None:
    done = taskyard.run("tokens", "create", "ci", "--role", "operator", "--days", "7")
    assert done.returncode == 0
    assert not done.stderr
    row = tokens.find(yard, done.stdout.strip())
    assert row is not None
    assert row["role"] == "operator"
    assert row["expires_at"] is not None


def test_a_user_gets_a_password_that_works(taskyard: Running, yard: Yard) -> None:
    password = taskyard.run("users", "add", "ada", "--role", "operator").stdout.strip()
    assert users.check_password(yard, "ada", password) is not None

    assert taskyard.run("users", "passwd", "ada", "--password-stdin", give="a better one\n").stdout == ""

    assert users.check_password(yard, "ada", password) is None
    assert users.check_password(yard, "ada", "a better one") is not None
    assert "ada" in taskyard.run("users", "list").stdout
    assert taskyard.run("users", "sign-out", "ada").stdout == "sessions ended: 0\n"
    assert "no second factor" in taskyard.run("users", "remove-second-factor", "ada").stderr
    assert taskyard.run("users", "delete", "ada").stdout == ""
    assert "ada" not in taskyard.run("users", "list").stdout


def test_purge_of_a_queue_cancels_what_waits(taskyard: Running) -> None:
    job = taskyard.enqueue("samples.noop", "--queue", "unloved")
    assert "1 waiting jobs canceled" in taskyard.run("purge", "--queue", "unloved").stdout
    assert taskyard.status(job) == "canceled"
    assert "pending" in taskyard.run("retry", job).stdout
    assert taskyard.status(job) == "pending"


def test_a_pipe_that_closes_early_is_no_trouble(taskyard: Running) -> None:
    taskyard.enqueue("samples.noop")
    listing = subprocess.Popen(
        [sys.executable, "app.py", "jobs"],
        cwd=ROOT,
        env=taskyard.environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert listing.stdout is not None
    assert listing.stderr is not None
    listing.stdout.close()
    assert listing.stderr.read() == b""
    listing.stderr.close()
    assert listing.wait(60) == 0


def test_versions_and_help_need_no_taskyard(taskyard: Running) -> None:
    assert taskyard.run("--version").stdout.startswith("Taskyard ")
    told = taskyard.run("--help").stdout
    for command in ("web", "worker", "scheduler", "enqueue", "jobs", "retry", "tokens", "users", "purge", "doctor"):
        assert command in told


def test_a_dry_run_tells_and_does_nothing(taskyard: Running, yard: Yard) -> None:
    made = taskyard.run("enqueue", "samples.noop", "--queue", "dry", "--max-retries", "1").stdout.strip()
    execution.begin(yard, made, 1, "gone")
    with yard.database.write() as connection:
        rows.touch(connection, made, 1, {"heartbeat_at": utcnow() - timedelta(hours=1)})
    told = taskyard.run("sweep", "--dry-run")
    assert told.returncode == 0, told.stderr
    assert made in told.stdout
    assert "would be reset" in told.stdout
    assert taskyard.run("purge", "--dry-run").stdout == "0 jobs would be deleted\n"
    assert taskyard.run("purge", "--queue", "dry", "--dry-run").stdout == "0 waiting jobs would be canceled\n"
    assert taskyard.status(made) == "processing"


def test_schedules_are_listed_run_and_paused(taskyard: Running, yard: Yard) -> None:
    ada = Actor("user", "ada", "admin")
    schedules.create(yard, {"name": "nightly", "task": "samples.noop", "cron": "0 2 * * *"}, ada)
    assert "nightly  samples.noop  At 02:00 UTC" in taskyard.run("schedules").stdout
    assert len(taskyard.run("schedules", "--run", "nightly").stdout.strip()) == 36
    assert taskyard.run("schedules", "--pause", "nightly").stdout.strip() == "nightly is paused"
    assert json.loads(taskyard.run("schedules", "--json").stdout)["enabled"] is False
    assert taskyard.run("schedules", "--run", "nobody").stderr.strip() == "taskyard: There is no schedule nobody."
