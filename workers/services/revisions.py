"""Edits of two people at once: each edit moves a revision, and one that was made of an older revision is refused.

A revision is the number of edits, not of runs: a form that is open while its schedule runs can still be saved.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import datetime
from typing import Any

from workers.domain.clock import rfc3339
from workers.domain.errors import Edited

Expected = Collection[int] | None  # revisions that an edit may be made of; None for whatever is stored


def check_revision(
    what: str, revision: int, expected: Expected, given: Mapping[str, Any], stored: Mapping[str, Any]
) -> None:
    """Raise Edited when the stored revision is not an expected one, with both values of each field that differs.

    `given` and `stored` are shown to people: their secrets are masked.
    """
    if expected is None or revision in expected:
        return
    differences = [
        {"field": name, "yours": _plain(value), "stored": _plain(stored.get(name))}
        for name, value in given.items()
        if _plain(value) != _plain(stored.get(name))
    ]
    raise Edited(what, revision, differences)


def _plain(value: Any) -> Any:
    return rfc3339(value) if isinstance(value, datetime) else value
