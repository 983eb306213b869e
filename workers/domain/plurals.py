"""Numbers with their nouns: `1 job`, `2 jobs`. Every sentence of the engine that counts something uses this."""

from __future__ import annotations


def counted(n: float, noun: str, many: str = "") -> str:
    """Return a number with its noun: `1 job`, `12,431 jobs`. `many` is the plural, unless the noun takes an s."""
    return f"{n:,.0f} {plural(n, noun, many or noun + 's')}"


def plural(n: float, one: str, many: str) -> str:
    """Return the form of a word that agrees with a number as it is written: `is` or `are`, `job` or `jobs`."""
    return one if f"{n:.0f}" == "1" else many
