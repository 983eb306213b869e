"""Small charts as SVG paths: plain numbers in, the `d` of a path out. No colours here; the CSS knows states."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from workers.services.statistics import Minute

LINE_HEIGHT = 28.0
LEAST_RISE = 1.5
BASE, UP, DOWN = 17.5, 15, 6


@dataclass(frozen=True, slots=True)
class Line:
    """A line over points that are one unit apart, with the area below it."""

    line: str
    area: str
    width: int


def line(values: Sequence[float], top: float | None = None) -> Line:
    """Draw values as a line; `top` is the value at the upper edge, the largest one unless given."""
    ceiling = max([top or 0.0, *values, 1e-9])
    points = [f"{x} {LINE_HEIGHT - 4 - _rise(value, ceiling):.1f}" for x, value in enumerate(values)]
    drawn = "M" + " L".join(points) if points else ""
    last = max(len(points) - 1, 0)
    return Line(drawn, f"{drawn} L{last} {LINE_HEIGHT:g} L0 {LINE_HEIGHT:g}Z" if points else "", last)


def _rise(value: float, ceiling: float) -> float:
    """Return the height of a value: anything above zero is seen to be above the line."""
    return max(LEAST_RISE, (LINE_HEIGHT - 8) * value / ceiling) if value > 0 else 0.0


@dataclass(frozen=True, slots=True)
class Bars:
    """What went through stands on the base line, what went wrong hangs below it."""

    done: str
    failed: str
    width: int


def bars(history: Sequence[Minute], step: int = 2, places: int = 60) -> Bars:
    """Draw the minutes of a queue or task; without a history the base line of an empty hour."""
    most = max([1, *(one.completed for one in history)])
    worst = max([1, *(one.failed + one.retried for one in history)])
    done, failed = [], []
    for index, one in enumerate(history):
        x = index * step + 0.5
        if one.completed:
            done.append(f"M{x:g} {BASE - 0.5:g}v-{max(1, round(UP * one.completed / most))}")
        if one.failed + one.retried:
            failed.append(f"M{x:g} {BASE + 0.5:g}v{max(2, round(DOWN * (one.failed + one.retried) / worst))}")
    return Bars("".join(done), "".join(failed), (len(history) or places) * step - 1)


@dataclass(frozen=True, slots=True)
class Slots:
    """One box a worker, the busy ones first."""

    busy: str
    idle: str
    width: int


def slots(busy: int, total: int, most: int = 12) -> Slots:
    """Draw the workers of a queue; above twelve only twelve boxes, in proportion."""
    shown = min(total, most)
    filled = busy if total <= most else round(busy * most / total)
    boxes = [f"M{3 + 9 * index} 0v12" for index in range(shown)]
    return Slots("".join(boxes[:filled]), "".join(boxes[filled:]), max(9 * shown - 3, 0))


@dataclass(frozen=True, slots=True)
class Threshold:
    """The last values of an alert as a line, and its limit as another."""

    line: str
    limit: float  # the height of the limit
    width: int


def threshold(values: Sequence[float], limit: float, places: int = 60, step: int = 3, height: float = 32) -> Threshold:
    """Draw values that crossed a limit; before the first of them they lay below it."""
    low = min([limit, *values]) * 0.5
    shown = [low] * (places - len(values)) + list(values)
    top = max([limit, *shown, 1e-9])
    points = [f"{x * step} {height - 3 - (height - 8) * value / top:.1f}" for x, value in enumerate(shown)]
    return Threshold("M" + " L".join(points), height - 3 - (height - 8) * limit / top, (places - 1) * step)
