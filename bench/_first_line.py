"""The task whose first line is waited for: it writes the time to a file. The stock worker imports nothing else of ours."""

from __future__ import annotations

import time
from pathlib import Path


def stamp(path: str) -> None:
    """Append the monotonic clock, which all processes of a machine share, in nanoseconds."""
    now = time.monotonic_ns()
    with Path(path).open("a", encoding="ascii") as file:
        file.write(f"{now}\n")
