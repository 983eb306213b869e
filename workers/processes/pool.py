"""The pool: imports the engine once, then forks the processes that share these pages. Task modules are imported later."""

from __future__ import annotations

import gc
import os
import socket
from collections.abc import Sequence
from dataclasses import replace
from functools import partial

from workers import logs
from workers.domain.names import BULK_QUEUE, DELIVERY_QUEUE, SYSTEM_QUEUE
from workers.processes.crew import Crew, Member
from workers.processes.descendants import adopt_orphans, end_adopted
from workers.processes.keeper import Keeper, Kept
from workers.processes.kin import Supervised, die_with_parent, end_with_parent, fork, outlive_parent
from workers.processes.scheduler import run_scheduler
from workers.processes.worker import run_worker
from workers.settings import Settings


def scheduler_member(settings: Settings, crew: Crew | None = None) -> Member:
    """Describe a scheduler; it tells the crew how many workers are wished for."""
    tell = crew.tell if crew is not None else None
    return Member("scheduler", lambda: run_scheduler(settings, str(os.getpid()), tell), stage=0)


def worker_crew(settings: Settings) -> Crew:
    """Describe workers that serve all queues of people, as many as are wished for."""
    return Crew(lambda number: Member(f"worker-{number}", partial(_work, settings, None, None, number, 1), 1))


def worker_members(
    settings: Settings, count: int, queues: Sequence[str] | None = None, name: str | None = None, label: str = "worker"
) -> list[Member]:
    """Describe workers that serve these queues, or all of people; with a name, each carries it with its number."""
    return [
        Member(f"{label}-{number}" if count > 1 else label, partial(_work, settings, queues, name, number, count), 1)
        for number in range(1, count + 1)
    ]


def system_members(settings: Settings) -> list[Member]:
    """Describe a worker for each queue of Taskyard's own, so that none of its work waits for another kind."""
    labels = {SYSTEM_QUEUE: "system", DELIVERY_QUEUE: "deliveries", BULK_QUEUE: "bulk"}
    # The tasks of users run on other queues: what their modules do when they are imported is no concern of these workers.
    own = replace(settings, task_modules=())
    return [one for queue, label in labels.items() for one in worker_members(own, 1, (queue,), label=label)]


def run_pool(
    settings: Settings, members: Sequence[Member], supervised: Supervised | None = None, crew: Crew | None = None
) -> int:
    """Keep these processes alive until SIGTERM, SIGINT or the end of the supervisor. Returns the exit code."""
    keeper: Keeper
    gc.collect()
    gc.freeze()

    def start(member: Member) -> int:
        parent = os.getpid()
        return fork(lambda: _become(settings, member, parent, keeper, supervised))

    def kept(member: Member) -> Kept:
        return Kept(member.label, partial(start, member), member.stage, settings.shutdown_seconds)

    keeper = Keeper([kept(one) for one in members])
    adopt_orphans()  # what the tasks of a killed worker have started comes to the pool
    keeper.after_death = lambda: end_adopted({child.pid for child in keeper.children})
    keeper.obey_signals()
    if crew is not None:
        crew.join(keeper, kept, settings.workers)
    if supervised is not None:
        keeper.listen(supervised.input, partial(_orphaned, keeper, supervised))
        outlive_parent()
    return keeper.run()


def _orphaned(keeper: Keeper, supervised: Supervised) -> None:
    keeper.deafen(supervised.input)
    keeper.request_stop()


def _become(settings: Settings, member: Member, parent: int, keeper: Keeper, supervised: Supervised | None) -> int:
    die_with_parent()
    keeper.close()
    if supervised is not None:
        supervised.close()
    logs.configure(settings, member.label)
    end_with_parent(parent, settings.shutdown_seconds)
    return member.run()


def _work(settings: Settings, queues: Sequence[str] | None, name: str | None, number: int, count: int) -> int:
    named = f"{name}-{number}" if name and count > 1 else name
    return run_worker(settings, queues, named or f"{socket.gethostname()}-{os.getpid()}")
