"""Functions of users that run when a worker or one of its child processes starts or ends.

from workers.task import on_child_start

@on_child_start
def connect() -> None:
    global client
    client = Client()
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable

log = logging.getLogger("taskyard.hooks")

Hook = Callable[[], object]


class Hooks:
    """The functions for one occasion, in the order in which they were registered."""

    def __init__(self) -> None:
        self._hooks: list[Hook] = []

    def __call__(self, function: Hook) -> Hook:
        """Register a function without parameters; it is returned unchanged."""
        self._hooks.append(function)
        return function

    def __bool__(self) -> bool:
        """Return whether there is any to run."""
        return bool(self._usable())

    def run(self) -> None:
        """Call each function; what one of them raises ends the calls and is raised here."""
        for hook in self._usable():
            hook()

    def run_each(self) -> None:
        """Call each function; what one of them raises is logged and the next is called."""
        for hook in self._usable():
            try:
                hook()
            except BaseException:  # sys.exit() in one must not keep the others from running
                log.exception("the hook %s failed", getattr(hook, "__qualname__", hook))

    def _usable(self) -> list[Hook]:
        # A module whose import failed after it had registered a hook is not there any more.
        return [hook for hook in self._hooks if getattr(hook, "__module__", None) in sys.modules]


on_worker_start = Hooks()
on_child_start = Hooks()
on_child_stop = Hooks()
