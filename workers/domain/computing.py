"""Computation that may take long, such as the checks of a large payload: where it runs is up to the process.

A process that answers many from one thread sets a runner; everywhere else it runs where it is asked for.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol, TypeVar

T = TypeVar("T")


class Runner(Protocol):
    """What runs a function that only computes, and returns its result."""

    def __call__(self, function: Callable[..., T], /, *arguments: Any) -> T:
        """Run it."""


def _run_here(function: Callable[..., T], /, *arguments: Any) -> T:
    return function(*arguments)


_runner: Runner = _run_here


def set_runner(runner: Runner) -> None:
    """Have this process run its long computation so."""
    global _runner
    _runner = runner


def compute(function: Callable[..., T], *arguments: Any) -> T:
    """Call a function that only computes, and return its result. It must use no database, Redis or request."""
    return _runner(function, *arguments)
