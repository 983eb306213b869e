"""Numbers from outside: plain decimal digits only, finite, of the right type and within bounds."""

from __future__ import annotations

import math
import re
from typing import Any

from workers.domain.errors import BadInput

# int() and float() also read digits of other scripts, underscores, NaN and infinity.
_WHOLE = re.compile(r"[+-]?[0-9]{1,18}")
_NUMBER = re.compile(r"[+-]?(?:[0-9]{1,40}(?:\.[0-9]{0,40})?|\.[0-9]{1,40})(?:[eE][+-]?[0-9]{1,3})?")


def parse_whole(text: str) -> int:
    """Read a whole number of at most 18 digits. Raises ValueError."""
    text = text.strip()
    if not _WHOLE.fullmatch(text):
        raise ValueError("must be a whole number")
    return int(text)


def parse_number(text: str) -> float:
    """Read a finite decimal number. Raises ValueError."""
    text = text.strip()
    value = float(text) if _NUMBER.fullmatch(text) else math.nan
    if not math.isfinite(value):
        raise ValueError("must be a number")
    return value


def is_number(value: Any) -> bool:
    """Whether a value is a finite number; True and False are not."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return False
    return isinstance(value, int) or math.isfinite(value)


def check_whole(field: str, value: Any, least: int, most: int) -> int:
    """Return a whole number within bounds, or refuse it with BadInput; 2.0 is one, True and "2" are not."""
    if not is_number(value) or value != value // 1 or not least <= value <= most:
        raise BadInput(f"{field} must be a whole number from {least:,} to {most:,}.", field=field)
    return int(value)


def check_number(field: str, value: Any, least: float, most: float, *, is_open: bool = False) -> float:
    """Return a number within bounds, or refuse it with BadInput; `is_open` excludes the lower bound."""
    if not is_number(value) or not least <= value <= most or (is_open and value == least):
        lower = f"above {least:,.0f}" if is_open else f"from {least:,.0f}"
        raise BadInput(f"{field} must be a number {lower} to {most:,.0f}.", field=field)
    return float(value)


def check_flag(field: str, value: Any) -> bool:
    """Return True or False, or refuse everything else with BadInput."""
    if not isinstance(value, bool):
        raise BadInput(f"{field} must be true or false.", field=field)
    return value
