"""Rows as JSON: instants become text, the rest stays."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from workers.domain.clock import rfc3339


def plain(row: Mapping[str, Any]) -> dict[str, Any]:
    """Make a row JSON-ready."""
    return {name: rfc3339(value) if hasattr(value, "isoformat") else value for name, value in row.items()}
