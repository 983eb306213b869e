"""The command line: each command imports what it needs when it is called."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from workers import logs
from workers.domain.actors import Actor
from workers.domain.errors import TaskyardError
from workers.settings import Settings

if TYPE_CHECKING:
    from workers.yard import Yard

_CLI = Actor("system", "command-line", "admin")


def main(arguments: list[str], app: Path) -> int:
    """Run a command; its exit code. Expected trouble is one line on stderr, never a traceback."""
    options = _parser().parse_args(arguments)
    try:
        settings = Settings.from_env()
        logs.set_up(settings)
        return int(_COMMANDS[options.command](settings, options, app) or 0)
    except TaskyardError as error:
        sys.stderr.write(f"taskyard: {error}\n")
        return 1
    except KeyboardInterrupt:
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="app.py", description="Background jobs, run and watched.")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND")
    parser.set_defaults(command="run")
    commands.add_parser("run", help="everything on this machine (the default)")
    commands.add_parser("web", help="the dashboard and the API")
    commands.add_parser("scheduler", help="brings what is due to its queue")
    commands.add_parser("pool", help="WORKERS workers, the system worker and a scheduler")
    worker = commands.add_parser("worker", help="workers alone")
    worker.add_argument("--queues", default="", help="comma-separated; all but system unless given")
    worker.add_argument("--count", type=int, default=1)
    commands.add_parser("prepare", help="bring the database up to date and make the first user")
    commands.add_parser("sweep", help="run one pass of the monitor here and now")
    commands.add_parser("doctor", help="check every part and say what is wrong")
    enqueue = commands.add_parser("enqueue", help="enqueue a job and print its id")
    enqueue.add_argument("task")
    enqueue.add_argument("payload", nargs="?", default="{}", help="JSON object")
    enqueue.add_argument("--queue")
    enqueue.add_argument("--priority")
    jobs = commands.add_parser("jobs", help="list the newest jobs")
    jobs.add_argument("--status", default="")
    jobs.add_argument("--limit", type=int, default=20)
    commands.add_parser("retry", help="retry a failed or canceled job").add_argument("job_id")
    tokens = commands.add_parser("tokens", help="create NAME prints a new API token")
    tokens.add_argument("action", choices=["create"])
    tokens.add_argument("name")
    tokens.add_argument("--role", default="viewer")
    users = commands.add_parser("users", help="list, add NAME, or set the password of NAME")
    users.add_argument("action", choices=["list", "add", "password"])
    users.add_argument("name", nargs="?", default="")
    users.add_argument("--role", default="viewer")
    return parser


def _run(settings: Settings, _options: argparse.Namespace, app: Path) -> int:
    from workers.processes.supervisor import run_supervisor

    return run_supervisor(settings, app)


def _web(settings: Settings, _options: argparse.Namespace, _app: Path) -> int:
    # The one place where the engine's floor calls the face: the command line stands above both.
    from importlib import import_module

    return int(import_module("dashboard.serve").serve(settings))


def _scheduler(settings: Settings, _options: argparse.Namespace, _app: Path) -> int:
    from workers.processes.scheduler import run_scheduler

    return run_scheduler(settings)


def _pool(settings: Settings, _options: argparse.Namespace, _app: Path) -> int:
    from workers.processes.pool import run_pool

    return run_pool(settings, whole=True)


def _worker(settings: Settings, options: argparse.Namespace, _app: Path) -> int:
    from workers.domain.names import check_queue
    from workers.processes.pool import run_pool

    queues = tuple(check_queue(name.strip()) for name in options.queues.split(",") if name.strip())
    return run_pool(settings, queues=queues, count=options.count)


def _prepare(settings: Settings, _options: argparse.Namespace, _app: Path) -> None:
    from workers.services.users import ensure_admin
    from workers.store.migrate import migrate

    with_yard = _yard(settings)
    migrate(with_yard.database)
    password = ensure_admin(with_yard, settings.admin_password)
    if password:
        sys.stdout.write(
            f"\nSign in as admin with the one-time password  {password}  and choose your own in Settings.\n"
        )


def _sweep(settings: Settings, _options: argparse.Namespace, _app: Path) -> None:
    from workers.services.monitoring import sweep

    found = sweep(_yard(settings))
    sys.stdout.write(f"{found.lost} jobs had lost their worker, {found.requeued} were missing in Redis\n")


def _doctor(settings: Settings, _options: argparse.Namespace, _app: Path) -> int:
    from workers.services.health import check

    parts = check(_yard(settings))
    for name, trouble in parts.items():
        sys.stdout.write(
            f"{'ok     ' if trouble is None else 'TROUBLE'}  {name}{'' if trouble is None else ': ' + trouble}\n"
        )
    return 1 if any(parts.values()) else 0


def _enqueue(settings: Settings, options: argparse.Namespace, _app: Path) -> None:
    from workers.domain.errors import BadInput
    from workers.services.enqueueing import NewJob, enqueue

    try:
        payload = json.loads(options.payload)
    except ValueError as error:
        raise BadInput(f"The payload is not JSON: {error}") from error
    new = NewJob(options.task, payload, queue=options.queue, priority=options.priority, created_by=str(_CLI))
    sys.stdout.write(enqueue(_yard(settings), new).job_id + "\n")


def _jobs(settings: Settings, options: argparse.Namespace, _app: Path) -> None:
    from workers.domain.filters import JobFilter
    from workers.store.job_lists import jobs_page

    wanted = JobFilter.from_args({"status": options.status})
    with _yard(settings).database.read() as connection:
        for row in jobs_page(connection, wanted, limit=max(1, min(options.limit, 200))).rows:
            sys.stdout.write(f"{row['id']}  {row['status']:<15}  {row['queue']:<16}  {row['task']}\n")


def _retry(settings: Settings, options: argparse.Namespace, _app: Path) -> None:
    from workers.services.jobs import retry

    row = retry(_yard(settings), options.job_id, _CLI)
    sys.stdout.write(f"{row['id']} is pending, attempt {row['attempt']}\n")


def _tokens(settings: Settings, options: argparse.Namespace, _app: Path) -> None:
    from workers.services.tokens import create

    sys.stdout.write(create(_yard(settings), options.name, options.role, None, _CLI) + "\n")


def _users(settings: Settings, options: argparse.Namespace, _app: Path) -> None:
    from workers.services import users
    from workers.store.users import all_users

    yard = _yard(settings)
    if options.action == "add":
        sys.stdout.write(users.add(yard, options.name, options.role, None, _CLI) + "\n")
    elif options.action == "password":
        sys.stdout.write(users.set_password(yard, options.name, None, _CLI) + "\n")
    else:
        with yard.database.read() as connection:
            for row in all_users(connection):
                sys.stdout.write(f"{row['name']:<24}{row['role']}{'  locked out' if row['disabled_at'] else ''}\n")


def _yard(settings: Settings) -> Yard:
    from workers.yard import Yard

    return Yard.open(settings)


_COMMANDS: dict[str, Callable[[Settings, argparse.Namespace, Path], int | None]] = {
    "run": _run,
    "web": _web,
    "scheduler": _scheduler,
    "pool": _pool,
    "worker": _worker,
    "prepare": _prepare,
    "sweep": _sweep,
    "doctor": _doctor,
    "enqueue": _enqueue,
    "jobs": _jobs,
    "retry": _retry,
    "tokens": _tokens,
    "users": _users,
}
