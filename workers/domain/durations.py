"""Durations as people read them, in one form: `240 ms`, `1.2 s`, `30 min`, `2 min 10 s`, `1 h 5 min`, `2 d 4 h`."""

from __future__ import annotations

_UNITS = (("d", 86400), ("h", 3600), ("min", 60), ("s", 1))


def write_duration(seconds: float) -> str:
    """Write a duration in its two largest units; one that is zero is left out."""
    if seconds < 0.9995:
        return f"{max(0, round(seconds * 1000))} ms"
    if seconds < 9.95:
        return f"{seconds:.1f} s".replace(".0 s", " s")
    whole = round(seconds)
    for place, (unit, size) in enumerate(_UNITS[:-1]):
        if whole >= size:
            smaller, smaller_size = _UNITS[place + 1]
            rest = whole % size // smaller_size
            return f"{whole // size} {unit}" + (f" {rest} {smaller}" if rest else "")
    return f"{whole} s"
