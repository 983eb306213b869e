"""A task module that opens connections and starts a thread while it is imported, as many real ones do."""

from __future__ import annotations

import os
import queue
import threading

import httpx
import redis
import sqlalchemy as sa

from workers.task import on_child_start, on_child_stop, on_worker_start, task

CLIENT = httpx.Client(base_url=os.environ["ECHO_URL"])
CLIENT.get("/import")  # its connection is kept open from now on
REDIS = redis.Redis.from_url(os.environ["OWN_REDIS_URL"])
REDIS.ping()
ENGINE = sa.create_engine(os.environ["OWN_DATABASE_URL"], pool_size=1, max_overflow=0)
with ENGINE.connect() as _connection:
    _connection.execute(sa.text("SELECT 1"))
SENT: queue.Queue[tuple[str, queue.Queue[str]]] = queue.Queue()
HOOKS: list[str] = []


def _send() -> None:
    while True:
        text, answer = SENT.get()
        answer.put(text)


threading.Thread(target=_send, daemon=True).start()


@on_worker_start
def note_worker() -> None:
    """Note that the worker started."""
    HOOKS.append("worker")


@on_child_start
def note_child() -> None:
    """Note that the child started."""
    HOOKS.append("child")


@on_child_stop
def leave_mark() -> None:
    """Leave a file when the child stops."""
    with open(os.environ["STOP_MARKS"], "a") as marks:
        marks.write(f"{os.getpid()}\n")


@task(max_retries=0)
def compare(number: int) -> list[str]:
    """Ask every connection for this number; the names of those that answered with another."""
    wanted = str(number)
    back: queue.Queue[str] = queue.Queue()
    SENT.put((wanted, back))
    with ENGINE.connect() as connection:
        selected = connection.execute(sa.text("SELECT CAST(:number AS VARCHAR(20))"), {"number": wanted}).scalar_one()
    answers = {
        "http": CLIENT.get(f"/{wanted}").text.removeprefix("/"),
        "redis": REDIS.echo(wanted).decode(),
        "sql": selected,
        "thread": back.get(timeout=10),
    }
    return [name for name, answer in answers.items() if answer != wanted]


@task(max_retries=0)
def hooks() -> dict[str, object]:
    """Return which hooks have run in this process."""
    return {"pid": os.getpid(), "hooks": HOOKS}


@task(max_retries=0, timeout_seconds=1)
def hang() -> None:
    """Never end."""
    threading.Event().wait()
