"""Where long computations run: at once here, in a thread in a process that answers others meanwhile."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

Run = Callable[..., Any]
_run: list[Run] = []


def set_runner(run: Run) -> None:
    """Let `run(function, *arguments)` call whatever computes for long; for a process with an event loop."""
    _run[:] = [run]


def compute(function: Callable[..., Any], *arguments: Any) -> Any:
    """Call a function that only computes, and return its result."""
    return _run[0](function, *arguments) if _run else function(*arguments)
