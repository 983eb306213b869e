"""The word to whoever watches: something changed, look again."""

from __future__ import annotations

from workers.store.types import Row
from workers.yard import Yard


def tell(yard: Yard, row: Row, status: str | None = None) -> None:
    """Tell that a job changed. Never raises; a word that is lost is made good when the page reads again."""
    yard.live.publish(
        {
            "type": "changed",
            "kind": "job",
            "id": row["id"],
            "status": status or row["status"],
            "version": row["version"],
            "queue": row["queue"],
        }
    )


def tell_kind(yard: Yard, kind: str, name: str, status: str, version: int = 0) -> None:
    """Tell that a queue, worker, bulk action or task changed."""
    yard.live.publish({"type": "changed", "kind": kind, "id": name, "status": status, "version": version})
