"""Apply something to many rows at once, so that a row that cannot be changed is left out and the others are changed."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from workers.domain.errors import Unavailable

log = logging.getLogger("taskyard.bulk")

_LONGEST_REASON = 200
T = TypeVar("T")


@dataclass(slots=True)
class Pieces(Generic[T]):
    """What was returned for each part that could be applied, and the rows that failed: their ids and why."""

    results: list[T] = field(default_factory=list)
    failures: list[tuple[str, str]] = field(default_factory=list)
    last_error: Exception | None = None


def apply_piecemeal(connection: Connection, ids: Sequence[str], apply: Callable[[Sequence[str]], T]) -> Pieces[T]:
    """Apply to all rows at once; where that fails, to each half by itself, down to the rows that make it fail.

    Each part is a savepoint of this transaction. Raises Unavailable and what the database raises when it is away, also
    when no row at all could be changed for a fault that need not be the rows'.
    """
    pieces: Pieces[T] = Pieces()
    _apply_part(connection, ids, apply, pieces)
    if not pieces.results and isinstance(pieces.last_error, OperationalError):
        raise pieces.last_error
    return pieces


def _apply_part(
    connection: Connection, ids: Sequence[str], apply: Callable[[Sequence[str]], T], into: Pieces[T]
) -> None:
    try:
        with connection.begin_nested():
            into.results.append(apply(ids))
        return
    except (Unavailable, PoolTimeout):
        raise
    except Exception as error:
        if isinstance(error, DBAPIError) and error.connection_invalidated:
            raise
        if len(ids) <= 1:
            _note(ids, error, into)
            return
    middle = len(ids) // 2
    for half in (ids[:middle], ids[middle:]):
        _apply_part(connection, half, apply, into)


def _note(ids: Sequence[str], error: Exception, into: Pieces[T]) -> None:
    into.last_error = error
    reason = str(error.orig if isinstance(error, DBAPIError) else error).strip().partition("\n")[0][:_LONGEST_REASON]
    for job_id in ids:
        log.warning("job %s could not be changed: %s: %s", job_id, type(error).__name__, reason)
        into.failures.append((job_id, f"it could not be changed: {reason or type(error).__name__}"))
