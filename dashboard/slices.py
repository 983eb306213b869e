"""Long work in slices of a few milliseconds: one thread answers everybody, so whoever computes lets the others run."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Any, TypeVar

import gevent
from flask import Response, current_app
from gevent.lock import BoundedSemaphore
from gevent.monkey import is_module_patched

T = TypeVar("T")
SLICE_SECONDS = 0.005
_PIECES = 50  # of a template, each a few microseconds
_SOON = 0.000_01  # a timer, however short, waits for the next turn of the loop
_paused_at = 0.0


def let_others_run() -> None:
    """Let the event loop look at every socket once; `gevent.sleep(0)` does so only each fiftieth time."""
    gevent.sleep(_SOON)


def pause() -> None:
    """Let others run when a slice is over; called between small steps of long work."""
    global _paused_at
    if time.monotonic() - _paused_at > SLICE_SECONDS and is_module_patched("socket"):
        let_others_run()
        _paused_at = time.monotonic()


class Turns:
    """Lets one after the other begin, whoever came first, and everybody else run in between.

    What begins without it, such as the reading of a page, waits for one of those that take turns, not for a crowd of them.
    """

    def __init__(self) -> None:
        self._turn = BoundedSemaphore(1)

    def wait(self) -> None:
        """Wait for a turn."""
        with self._turn:
            let_others_run()


def in_slices(items: Iterable[T]) -> Iterator[T]:
    """Pass on items; others run in between."""
    for item in items:
        yield item
        pause()


def render_template(name: str, /, **values: Any) -> str:
    """Render a template as Flask does, in slices."""
    current_app.update_template_context(values)
    template = current_app.jinja_env.get_template(name)
    pieces = template.generate(values)
    parts = []
    while batch := list(islice(pieces, _PIECES)):
        parts.append("".join(batch))
        pause()
    return "".join(parts)


def json_answer(**values: Any) -> Response:
    """Answer a JSON object whose lists may be long, or iterators: each item is made and written by itself, in slices."""
    members = [f"{json.dumps(name)}:{_text(value)}" for name, value in values.items()]
    return Response("{" + ",".join(members) + "}\n", mimetype="application/json")


def _text(value: Any) -> str:
    if isinstance(value, list | tuple | Iterator):
        return "[" + ",".join(in_slices(map(_compact, value))) + "]"
    return _compact(value)


def _compact(value: Any) -> str:
    return current_app.json.dumps(value, separators=(",", ":"))
