"""The word to whoever watches: something changed, look again."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from workers.broker import queues
from workers.store.types import Row
from workers.yard import Yard

_MOST_TOLD = 50


def tell(yard: Yard, row: Row, status: str | None = None) -> None:
    """Tell that a job changed. Never raises; a word that is lost is made good when the page reads again."""
    yard.live.publish(_changed(row, status))


def word_of(yard: Yard, row: Row) -> bytes | None:
    """Write what `tell` would say, for those who send it along with something else."""
    return yard.live.written(_changed(row))


def push(yard: Yard, rows: Sequence[Row]) -> int:
    """Put pending rows on their queues and tell it, in one trip; how many were not there yet. Raises Unavailable.

    Of many rows viewers hear once, that there are new ones.
    """
    if not rows:
        return 0
    return queues.push(yard.redis, [queues.PushRef.of(row) for row in rows], _words(yard, rows))


def push_soon(yard: Yard, rows: Sequence[Row]) -> None:
    """Put pending rows on their queues and tell it, without waiting while other pushes are under way.

    With Redis away, or when this process is killed within milliseconds, the sweep pushes them.
    """
    if rows:
        yard.pusher.push([queues.PushRef.of(row) for row in rows], _words(yard, rows))


def _words(yard: Yard, rows: Sequence[Row]) -> list[bytes]:
    told = [_changed(row) for row in rows] if len(rows) <= _MOST_TOLD else [{**_changed(rows[-1]), "id": "*"}]
    return [word for word in map(yard.live.written, told) if word is not None]


def tell_kind(yard: Yard, kind: str, name: str, status: str, version: int = 0) -> None:
    """Tell that a queue, worker, bulk action or task changed."""
    yard.live.publish(_changed_kind(kind, name, status, version))


def word_of_kind(yard: Yard, kind: str, name: str, status: str) -> bytes | None:
    """Write what `tell_kind` would say, for those who send it later."""
    return yard.live.written(_changed_kind(kind, name, status, 0))


def _changed_kind(kind: str, name: str, status: str, version: int) -> dict[str, Any]:
    return {"type": "changed", "kind": kind, "id": name, "status": status, "version": version}


def _changed(row: Row, status: str | None = None) -> dict[str, Any]:
    return {
        "type": "changed",
        "kind": "job",
        "id": row["id"],
        "status": status or row["status"],
        "version": row["version"],
        "queue": row["queue"],
    }
