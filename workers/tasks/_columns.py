"""What is known of one column of a table while its values stream by: bounded memory, exact counts.

While a column has few different values they are only counted, and read as numbers or dates once, at the end. A column with
many is folded into sums as it comes: whole numbers exactly, others with compensated sums (Neumaier, by math.fsum) and
merged moments (Chan, Golub, LeVeque 1979).
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

MISSING = frozenset({"", "NA", "null", "NULL", "Null"})
MOST_DISTINCT = 10_000
TOP = 5
LONGEST_SHOWN = 200
_INTEGER = re.compile(r"[+-]?\d{1,300}")
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d{1,3})?")
_DATE = re.compile(r"\d{4}-\d\d-\d\d")
_DATETIME = re.compile(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d(:\d\d(\.\d+)?)?(Z|[+-]\d\d:?\d\d)?")
_BOOLEANS = {"true": True, "false": False}


class Column:
    """One column."""

    def __init__(self) -> None:
        self.missing = self.count = 0
        self._counter: Counter[str] | None = Counter()
        self._kinds: Counter[str] = Counter()
        self._integers = _Integers()
        self._numbers = _Moments()
        self._least: str | None = None
        self._most: str | None = None

    def add(self, values: Iterable[str]) -> None:
        """Take values as they stand in the file."""
        here = Counter(values)
        if self._counter is None:
            self._fold(here)
            return
        self._counter.update(here)
        if len(self._counter) > MOST_DISTINCT:
            self._fold(self._counter)
            self._counter = None

    def summary(self) -> dict[str, Any]:
        """Tell what is known: type, count, missing and what fits the type."""
        distinct: dict[str, Any] = {}
        if self._counter is not None:
            counter, self._counter = self._counter, None
            self._fold(counter)
            known = {value: n for value, n in counter.items() if value.strip() not in MISSING}
            distinct = {"distinct": len(known), "top": _top(known)}
        kind = self._kind()
        told = {"type": kind, "count": self.count, "missing": self.missing, **distinct}
        return {**told, **self._range(kind)}

    def _fold(self, counter: Mapping[str, int]) -> None:
        floats: list[tuple[float, int]] = []
        for raw, n in counter.items():
            value = raw.strip()
            if value in MISSING:
                self.missing += n
                continue
            self.count += n
            self._least = value if self._least is None or value < self._least else self._least
            self._most = value if self._most is None or value > self._most else self._most
            kind = _kind_of(value)
            self._kinds[kind] += n
            if kind == "integer":
                self._integers.add(int(value), n)
            elif kind == "number":
                floats.append((float(value), n))
        if floats:
            self._numbers.add(floats)

    def _kind(self) -> str:
        kinds = set(self._kinds)
        if not kinds:
            return "empty"
        if kinds == {"integer"}:
            return "integer"
        if kinds <= {"integer", "number"}:
            return "number"
        if kinds <= {"date", "datetime"}:
            return "date" if kinds == {"date"} else "datetime"
        return kinds.pop() if len(kinds) == 1 else "text"

    def _range(self, kind: str) -> dict[str, Any]:
        if kind == "integer":
            return self._integers.summary()
        if kind == "number":
            return self._numbers.merged(self._integers).summary()
        shown = {"min": self._least, "max": self._most}
        return {name: value[:LONGEST_SHOWN] if value is not None else None for name, value in shown.items()}


class _Integers:
    """Sums of whole numbers, exact whatever their size."""

    def __init__(self) -> None:
        self.n = self.total = self.squares = 0
        self.least: int | None = None
        self.most: int | None = None

    def add(self, value: int, weight: int) -> None:
        self.n += weight
        self.total += value * weight
        self.squares += value * value * weight
        self.least = value if self.least is None or value < self.least else self.least
        self.most = value if self.most is None or value > self.most else self.most

    def summary(self) -> dict[str, Any]:
        spread = self.n * self.squares - self.total * self.total
        stddev = math.sqrt(spread / (self.n * (self.n - 1))) if self.n > 1 else None
        return {"min": self.least, "max": self.most, "mean": self.total / self.n, "stddev": stddev}


class _Moments:
    """Count, mean and spread of other numbers."""

    def __init__(self) -> None:
        self.n = 0
        self.mean = self.spread = 0.0
        self.least, self.most = math.inf, -math.inf

    def add(self, weighted: list[tuple[float, int]]) -> None:
        n = sum(weight for _, weight in weighted)
        mean = math.fsum(value * weight for value, weight in weighted) / n
        spread = math.fsum(weight * (value - mean) ** 2 for value, weight in weighted)
        self._merge(n, mean, spread)
        self.least = min(self.least, min(weighted)[0])
        self.most = max(self.most, max(weighted)[0])

    def merged(self, whole: _Integers) -> _Moments:
        if whole.n and whole.least is not None and whole.most is not None:
            mean = whole.total / whole.n
            self._merge(whole.n, mean, (whole.n * whole.squares - whole.total**2) / whole.n)
            self.least, self.most = min(self.least, whole.least), max(self.most, whole.most)
        return self

    def summary(self) -> dict[str, Any]:
        stddev = math.sqrt(self.spread / (self.n - 1)) if self.n > 1 else None
        return {"min": self.least, "max": self.most, "mean": self.mean, "stddev": stddev}

    def _merge(self, n: int, mean: float, spread: float) -> None:
        total = self.n + n
        apart = mean - self.mean
        self.spread += spread + apart * apart * self.n * n / total
        self.mean += apart * n / total
        self.n = total


def _kind_of(value: str) -> str:
    if _INTEGER.fullmatch(value):
        return "integer"
    if _NUMBER.fullmatch(value) and math.isfinite(float(value)):
        return "number"
    if value.lower() in _BOOLEANS:
        return "boolean"
    if _DATE.fullmatch(value):
        return "date"
    return "datetime" if _DATETIME.fullmatch(value) else "text"


def _top(known: Mapping[str, int]) -> list[dict[str, Any]]:
    return [{"value": value[:LONGEST_SHOWN], "count": n} for value, n in Counter(known).most_common(TOP)]
