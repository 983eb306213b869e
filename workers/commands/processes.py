"""Commands that run processes."""

from __future__ import annotations

import argparse
import logging
import sys

from workers.domain.names import check_queue
from workers.processes import home
from workers.settings import Settings, forget_secrets

log = logging.getLogger("taskyard")


def everything(_arguments: argparse.Namespace, settings: Settings) -> int:
    """Run everything on this machine."""
    from workers.processes.supervisor import supervise

    return supervise(home.settle(settings))


def pool(arguments: argparse.Namespace, settings: Settings) -> int:
    """Run a scheduler, workers for the system queues and WORKERS workers."""
    from workers.processes.kin import Supervised

    supervised = Supervised() if arguments.supervised else None
    from workers.processes.pool import run_pool, scheduler_member, system_members, worker_crew

    settings, password = _prepare(settings)
    if supervised is not None:
        supervised.tell(prepared=True, password=password)
    else:
        _show(password)
    _preload(settings)
    crew = worker_crew(settings)
    members = [scheduler_member(settings, crew), *system_members(settings)]
    return run_pool(settings, members, supervised, crew)


def worker(arguments: argparse.Namespace, settings: Settings) -> int:
    """Run workers."""
    from workers.processes.pool import run_pool, worker_members

    queues = tuple(check_queue(name) for name in arguments.queues) if arguments.queues else None
    settings, password = _prepare(settings)
    _show(password)
    _preload(settings)
    return run_pool(settings, worker_members(settings, arguments.count, queues, arguments.name))


def scheduler(arguments: argparse.Namespace, settings: Settings) -> int:
    """Run a scheduler, with workers for the system queues unless alone."""
    from workers.processes.pool import run_pool, scheduler_member, system_members

    settings, password = _prepare(settings)
    _show(password)
    system = [] if arguments.alone else system_members(settings)
    return run_pool(settings, [scheduler_member(settings), *system])


def migrate(_arguments: argparse.Namespace, settings: Settings) -> int:
    """Bring the tables up to date; make the first admin when there is nobody."""
    _, password = _prepare(settings)
    _show(password)
    log.info("the tables are up to date")
    return 0


def _prepare(settings: Settings) -> tuple[Settings, str | None]:
    """Bring the database up and publish the tasks; the settings to go on with, the one-time password of a first admin."""
    from workers.loading import load_own_tasks
    from workers.processes.preparing import prepare
    from workers.processes.trial_import import publish_tasks

    settings = home.settle(settings)
    forget_secrets()
    load_own_tasks()
    password = prepare(settings)
    return publish_tasks(settings), password


def _preload(settings: Settings) -> None:
    if settings.preload:
        from workers.processes.preloading import preload

        preload(settings)


def _show(password: str | None) -> None:
    if password:
        sys.stderr.write(f"sign in as admin with the one-time password {password} (shown only now)\n")
