"""The command line: what may be said. What is done is imported only when it is asked for."""

from __future__ import annotations

import argparse
import importlib
import logging
import os
import signal
import sys
from collections.abc import Sequence
from typing import Any

from workers import logs
from workers.domain.actors import ROLES
from workers.domain.errors import BadInput, SettingsError, TaskyardError
from workers.domain.masking import mask_text
from workers.domain.names import PRIORITIES
from workers.domain.numbers import parse_number, parse_whole
from workers.domain.states import Status
from workers.domain.texts import check_text
from workers.domain.untrusted import visible
from workers.processes.keeper import CANNOT_WORK
from workers.services import private_files
from workers.settings import Settings

VERSION = "0.1.0"
SUPERVISED_HELP = argparse.SUPPRESS
_PROCESSES = "workers.commands.processes"
_JOBS = "workers.commands.jobs"
_PEOPLE = "workers.commands.people"

Commands = Any  # argparse keeps the type of its sub-parsers to itself


def parser() -> tuple[argparse.ArgumentParser, Commands]:
    """Make the parser with the engine's commands, and the place where more can be added."""
    top = argparse.ArgumentParser(
        prog="python app.py",
        description="Taskyard: background jobs for Python. Without a command it runs "
        "everything on this machine. Settings come from the environment; see docs/operations.md.",
    )
    top.add_argument("--version", action=_Version, nargs=0, help="print the versions of Taskyard, RQ and Python")
    top.set_defaults(handler=f"{_PROCESSES}:everything", label="taskyard")
    commands = top.add_subparsers(title="commands", metavar="COMMAND")
    _add_processes(commands)
    _add_jobs(commands)
    _add_people(commands)
    return top, commands


def run(top: argparse.ArgumentParser, words: Sequence[str]) -> int:
    """Do what the words say; expected trouble is one line on the standard error. Returns the exit code."""
    arguments = top.parse_args(words)
    private_files.restrict_umask()
    try:
        for number, word in enumerate(words, 1):
            # Bytes of the command line that are not UTF-8 arrive as lone surrogates.
            check_text(word, f"argument {number}")
        settings = Settings.from_env()
        logs.configure(settings, arguments.label)
        module, _, function = arguments.handler.partition(":")
        code = int(getattr(importlib.import_module(module), function)(arguments, settings))
        sys.stdout.flush()
        return code
    except SettingsError as error:
        _complain(str(error))
        return CANNOT_WORK
    except TaskyardError as error:
        _complain(str(error))
        for one in error.errors[1:] if isinstance(error, BadInput) else ():
            _complain(f"  {one.get('field', one.get('index'))}: {one['message']}")
        return 1
    except KeyboardInterrupt:
        return 128 + signal.SIGINT
    except BrokenPipeError:
        # Whoever read the output has enough; Python would complain again at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    finally:
        logging.shutdown()


def _add_processes(commands: Commands) -> None:
    worker = commands.add_parser("worker", help="run workers", description="Run workers that serve queues.")
    worker.add_argument(
        "--queues", type=_names, metavar="A,B", help="queues to serve; default: all except the system queues"
    )
    worker.add_argument("--count", type=_count, default=1, metavar="N", help="number of workers (default 1)")
    worker.add_argument("--name", help="name of the worker; default: host and process ID")
    worker.set_defaults(handler=f"{_PROCESSES}:worker", label="worker")
    scheduler = commands.add_parser("scheduler", help="enqueue due jobs and run the workers of the system queues")
    scheduler.add_argument("--alone", action="store_true", help="do not run workers for the system queues")
    scheduler.set_defaults(handler=f"{_PROCESSES}:scheduler", label="scheduler")
    pool = commands.add_parser(
        "pool", help="run the scheduler, the system workers and WORKERS workers in one process group"
    )
    pool.add_argument("--supervised", action="store_true", help=SUPERVISED_HELP)
    pool.set_defaults(handler=f"{_PROCESSES}:pool", label="pool")
    migrate = commands.add_parser("migrate", help="update the database tables and create the first admin")
    migrate.set_defaults(handler=f"{_PROCESSES}:migrate", label="migrate")
    installation = commands.add_parser("installation", help="print the ID that is part of each name in Redis")
    installation.add_argument(
        "--renew", action="store_true", help="create a new ID for a copied database; stop Taskyard first"
    )
    installation.set_defaults(handler="workers.commands.installation:show", label="installation")


def _add_jobs(commands: Commands) -> None:
    enqueue = commands.add_parser("enqueue", help="enqueue a job and print its ID")
    enqueue.add_argument("task", metavar="TASK", help="such as samples.sleep")
    enqueue.add_argument("payload", nargs="?", default="{}", metavar="JSON", help="such as '{\"seconds\": 5}'")
    enqueue.add_argument("--queue")
    enqueue.add_argument("--priority", choices=PRIORITIES)
    enqueue.add_argument("--delay", type=_number, metavar="SECONDS")
    enqueue.add_argument("--at", metavar="TIME", help="such as 2026-01-31T08:00:00Z")
    enqueue.add_argument("--key", help="idempotency key: a repeated key returns the same job")
    enqueue.add_argument("--max-retries", type=_whole, metavar="N")
    enqueue.add_argument("--timeout", type=_number, metavar="SECONDS")
    enqueue.set_defaults(handler=f"{_JOBS}:enqueue", label="enqueue")
    jobs = commands.add_parser("jobs", help="list the newest jobs")
    jobs.add_argument("--status", help=", ".join(Status))
    jobs.add_argument("--task")
    jobs.add_argument("--queue")
    jobs.add_argument("--limit", type=_count, default=20, metavar="N", help="at most 1000 (default 20)")
    jobs.add_argument("--json", action="store_true", help="one JSON object per line")
    jobs.set_defaults(handler=f"{_JOBS}:show", label="jobs")
    retry = commands.add_parser("retry", help="retry a failed or canceled job")
    retry.add_argument("job_id", metavar="ID")
    retry.set_defaults(handler=f"{_JOBS}:retry", label="retry")
    schedules = commands.add_parser("schedules", help="list, run, pause or resume schedules")
    schedules.add_argument("--run", metavar="NAME", help="run its task once now and print the job ID")
    schedules.add_argument("--pause", metavar="NAME", help="pause a schedule")
    schedules.add_argument("--resume", metavar="NAME", help="resume a schedule")
    schedules.add_argument("--json", action="store_true", help="one JSON object per line")
    schedules.set_defaults(handler="workers.commands.schedules:show", label="schedules")
    sweep = commands.add_parser("sweep", help="run one sweep of the monitor now")
    sweep.add_argument(
        "--dry-run", action="store_true", help="print what would be done with stuck jobs; change nothing"
    )
    sweep.set_defaults(handler=f"{_JOBS}:sweep", label="sweep")
    purge = commands.add_parser("purge", help="delete jobs that ended more than RETENTION_DAYS ago")
    purge.add_argument("--queue", help="cancel every waiting job of this queue instead")
    purge.add_argument("--dry-run", action="store_true", help="print the number of jobs; change nothing")
    purge.set_defaults(handler=f"{_JOBS}:purge", label="purge")


_USER_ACTIONS = {
    "sign-out": "end every session of a user",
    "remove-second-factor": "remove the second factor of a user who lost the app and the recovery codes",
    "delete": "delete a user; audit entries are kept",
}


def _add_people(commands: Commands) -> None:
    tokens = commands.add_parser("tokens", help="manage API tokens").add_subparsers(required=True, metavar="ACTION")
    create = tokens.add_parser("create", help="create a token and print only the token")
    create.add_argument("name", metavar="NAME")
    create.add_argument("--role", choices=ROLES, default="viewer", help="default viewer")
    create.add_argument("--days", type=_count, metavar="N", help="days until it expires; default: never")
    create.set_defaults(handler=f"{_PEOPLE}:create_token", label="tokens")
    users = commands.add_parser("users", help="manage users").add_subparsers(required=True, metavar="ACTION")
    add = users.add_parser(
        "add", help="add a user and print a one-time password, or read a password from standard input"
    )
    add.add_argument("name", metavar="NAME")
    add.add_argument("--role", choices=ROLES, default="viewer", help="default viewer")
    add.add_argument("--password-stdin", action="store_true", help="read the password from standard input")
    add.set_defaults(handler=f"{_PEOPLE}:add_user", label="users")
    passwd = users.add_parser(
        "passwd", help="set a new password: print a one-time password, or read one from standard input"
    )
    passwd.add_argument("name", metavar="NAME")
    passwd.add_argument("--password-stdin", action="store_true", help="read the password from standard input")
    passwd.set_defaults(handler=f"{_PEOPLE}:set_password", label="users")
    for action, help_text in _USER_ACTIONS.items():
        parser = users.add_parser(action, help=help_text)
        parser.add_argument("name", metavar="NAME")
        parser.set_defaults(handler=f"{_PEOPLE}:{action.replace('-', '_')}", label="users")
    users.add_parser("list", help="list users").set_defaults(handler=f"{_PEOPLE}:list_users", label="users")


def _names(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(",") if part.strip())


def _whole(text: str) -> int:
    try:
        return parse_whole(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def _number(text: str) -> float:
    try:
        return parse_number(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def _count(text: str) -> int:
    number = _whole(text)
    if not 1 <= number <= 1000:
        raise argparse.ArgumentTypeError("must be from 1 to 1000")
    return number


class _Version(argparse.Action):
    def __call__(self, *_given: Any) -> None:
        from importlib.metadata import version

        sys.stdout.write(f"Taskyard {VERSION} (rq {version('rq')}, Python {sys.version.split()[0]})\n")
        raise SystemExit(0)


def _complain(sentence: str) -> None:
    sys.stderr.write(f"taskyard: {visible(mask_text(sentence))}\n")
