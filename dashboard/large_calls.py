"""Calls with large bodies, of which few are worked on at the same time: each holds its body and all its values in memory."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any, TypeVar, cast

from gevent.lock import BoundedSemaphore
from gevent.monkey import is_module_patched

from workers.domain.errors import Unavailable

F = TypeVar("F", bound=Callable[..., Any])

AT_ONCE = 2
WAIT_SECONDS = 10.0
_places = BoundedSemaphore(AT_ONCE)


def large_call(view: F) -> F:
    """Let only a few calls of such views run at once; Unavailable for whoever waits too long for a place."""

    @wraps(view)
    def run(*arguments: Any, **options: Any) -> Any:
        wait = WAIT_SECONDS if is_module_patched("socket") else 0.0
        if not _places.acquire(timeout=wait):
            raise Unavailable("Too many large calls are being worked on. Send the call again in a few seconds.")
        try:
            return view(*arguments, **options)
        finally:
            _places.release()

    return cast(F, run)
