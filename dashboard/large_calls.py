"""Calls with large bodies, of which few are received at the same time and one is worked on.

Each holds its body in memory while it is received, at the client's speed, and several times as much while it is worked on.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import wraps
from typing import Any, TypeVar, cast

from gevent.lock import BoundedSemaphore
from gevent.monkey import is_module_patched

from workers.domain.errors import Unavailable

F = TypeVar("F", bound=Callable[..., Any])

AT_ONCE = 2
WAIT_SECONDS = 10.0
_places = BoundedSemaphore(AT_ONCE)
_work = BoundedSemaphore(1)


def large_call(view: F) -> F:
    """Let only a few calls of such views run at once; Unavailable for whoever waits too long for a place."""

    @wraps(view)
    def run(*arguments: Any, **options: Any) -> Any:
        with _place(_places):
            return view(*arguments, **options)

    return cast(F, run)


def working_on_large_call() -> AbstractContextManager[None]:
    """Work on a body that was received; Unavailable for whoever waits too long for the others."""
    return _place(_work)


@contextmanager
def _place(places: BoundedSemaphore) -> Iterator[None]:
    if not places.acquire(timeout=WAIT_SECONDS if is_module_patched("socket") else 0.0):
        raise Unavailable("Too many large requests are in progress. Try again in a few seconds.")
    try:
        yield
    finally:
        places.release()
